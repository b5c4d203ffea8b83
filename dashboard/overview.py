"""The answers about the installation as a whole: verdict, readiness, everything at a glance, the flow as a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from connectors.archive.reader import ArchivedReport
from connectors.thingsboard.outbox_state import OutboxState
from dashboard.answers import (
    Alarm,
    Alarms,
    Configuration,
    FindingShown,
    FlowGraph,
    FlowShown,
    GapCounts,
    Health,
    MeterState,
    NodeShown,
    OutboxShown,
    Overview,
    Owner,
    ProcessShown,
    Rate,
    Ready,
    SessionEndShown,
    SessionOutbox,
    SessionShown,
    Window,
)
from dashboard.configuration import ConfiguredNode
from dashboard.fleet import Fleet
from dashboard.installation import THINGSBOARD_OUT, Installation
from dashboard.node_rates import NodeCount
from dashboard.verdict import not_ready
from model.finding import Finding, clipped, verdict_of
from model.messages import Alert
from model.status import KEPT_ENDS, Owned, ProcessStatus, SessionEnd, owned_sessions, read_session_ends

POLLING = "dlms-in"

_BADNESS = {"up": 0, "connecting": 1, "closed": 2, "backing-off": 3}


def health(installation: Installation) -> Health:
    """The verdict and its findings."""
    found = installation.findings()
    return Health(verdict=verdict_of(found).value, findings=[_finding(finding) for finding in found])


def ready(installation: Installation) -> Ready:
    """Whether meters are being read and the session is up."""
    reasons = not_ready(installation.facts())
    return Ready(ready=not reasons, reasons=reasons)


def overview(installation: Installation) -> Overview:
    """Everything at a glance."""
    found = installation.findings()
    archive, outboxes = installation.archive_glance.get(), installation.outbox.get().states
    running = installation.running()
    sessions = _sessions(installation, running)
    told = {session.name for session in sessions}
    without_owner = [name for name in installation.sessions if name not in told and installation.delivers]
    gaps_open, gaps_lost = archive.fleet.gaps()
    return Overview(
        now=installation.now(),
        verdict=verdict_of(found).value,
        findings=len(found),
        flow=_flow(running),
        meters=archive.fleet.counts(),
        window=None if archive.report is None else Window.model_validate(archive.report.report),
        rate=Rate(readings_per_second=_readings_per_second(installation, running, archive.report)),
        session=None if without_owner else max(sessions, key=lambda session: _BADNESS[session.state], default=None),
        sessions=sessions,
        sessions_without_owner=without_owner,
        outbox=_together(list(outboxes.values())),
        outboxes=[SessionOutbox(session=name, **_waiting(outbox)) for name, outbox in outboxes.items()],
        gaps=GapCounts(open=gaps_open, lost=gaps_lost),
        alarms={"critical": 0, "warning": 0, **Counter(alert.severity.value for alert in installation.standing())},
    )


def graph(installation: Installation) -> FlowGraph:
    """The flow as nodes and wires, with what comes out of each."""
    running = installation.running()
    counts = installation.rates.counts() if running else {}
    session = _session_dot(installation, running)
    fleet = installation.archive_glance.get().fleet
    nodes = []
    for node in installation.configured.nodes:
        count = counts.get(node.id)
        state, reason = _node_state(node, count, running, session, fleet)
        nodes.append(
            NodeShown(
                id=node.id,
                type=node.type,
                summary=node.summary,
                inputs=list(node.inputs),
                outputs=list(node.outputs),
                emitted={} if count is None else dict(count.emitted),
                rate={} if count is None else dict(count.rate),
                state=state,
                reason=reason,
                last=None if count is None else count.last,
            )
        )
    return FlowGraph(running=bool(running), nodes=nodes)


def alarms(installation: Installation, standing: bool | None, limit: int) -> Alarms:
    """Alarms, newest first: all, those that stand, or those that are over."""
    stand = [_alarm(alert) for alert in installation.standing()]
    if standing:
        return Alarms(alarms=stand[:limit])
    known = {(alarm.kind, alarm.subject, alarm.at) for alarm in stand}
    over = [
        _alarm(raised.alert, raised.cleared, over=True)
        for raised in installation.archive_glance.get().alarms
        if (raised.alert.kind, raised.alert.subject, raised.alert.ts) not in known
    ]
    found = over if standing is False else sorted([*stand, *over], key=lambda alarm: alarm.at, reverse=True)
    return Alarms(alarms=found[:limit])


def configuration(installation: Installation) -> Configuration:
    """The configuration file with its secrets masked."""
    configured = installation.configured
    return Configuration(file=str(configured.file), text=configured.text)


def _alarm(alert: Alert, cleared: datetime | None = None, *, over: bool = False) -> Alarm:
    return Alarm(
        kind=alert.kind,
        subject=alert.subject,
        severity=alert.severity.value,
        raised=not over,
        at=alert.ts,
        cleared_at=cleared,
        evidence=alert.evidence,
        remedy=alert.remedy,
    )


def _finding(found: Finding) -> FindingShown:
    return FindingShown(severity=found.severity.value, subject=found.subject, what=found.what, remedy=found.remedy)


def _flow(running: Sequence[ProcessStatus]) -> FlowShown:
    return FlowShown(
        running=bool(running),
        started=min((process.started for process in running), default=None),
        processes=[
            ProcessShown(process=process.process, pid=process.pid, host=process.host, written=process.written) for process in running
        ],
    )


def _readings_per_second(installation: Installation, running: Sequence[ProcessStatus], archived: ArchivedReport | None) -> float:
    """What comes out of the nodes that make readings of something else, now; else what the newest window says."""
    if not running:
        return 0.0
    counts = installation.rates.counts()
    nodes = {node.id: node for node in installation.configured.nodes}
    makers = [node for node in nodes.values() if node.gives_readings and not any(_gives_readings(nodes, wire) for wire in node.inputs)]
    rates = [counts[node.id].rate.get("main", 0.0) for node in makers if node.id in counts]
    if rates:
        return round(sum(rates), 3)
    if archived is None:
        return 0.0
    report = archived.report
    seconds = (report.end - report.start).total_seconds()
    return round(report.readings / seconds, 3) if seconds > 0 else 0.0


def _gives_readings(nodes: Mapping[str, ConfiguredNode], wire: str) -> bool:
    node = nodes.get(wire)
    return node is not None and node.gives_readings


def _sessions(installation: Installation, running: Sequence[ProcessStatus]) -> list[SessionShown]:
    """The sessions of the flow that runs; of one that runs no more the last ones, closed: why they ended is what one wants to know then."""
    owned = owned_sessions(running or sorted(installation.status.get().processes, key=lambda process: process.written, reverse=True))
    kept: dict[str, list[SessionEnd]] = {}
    if any(len(owners[0].session.ends) < KEPT_ENDS for owners in owned.values()):
        for end in read_session_ends(installation.configured.state_dir):
            kept.setdefault(end.session, []).append(end)
    return [_session(owned[name][0], kept.get(name, []), bool(running)) for name in installation.sessions if name in owned]


def _session(owned: Owned, kept: Sequence[SessionEnd], running: bool) -> SessionShown:
    process, session = owned.process, owned.session
    ends = session.ends if len(session.ends) >= KEPT_ENDS else kept[:KEPT_ENDS] or session.ends
    return SessionShown(
        name=session.name,
        server=session.server,
        client_id=session.client_id,
        protocol=session.protocol,
        state=session.state if running else "closed",
        since=session.since if running else (process.ended or process.written),
        sent=session.sent,
        acknowledged=session.acknowledged,
        ends=[SessionEndShown(at=end.at, cause=end.cause, code=end.code, detail=end.detail, lasted=end.lasted) for end in ends],
        ends_by_cause=dict(session.ends_by_cause),
        owner=Owner(pid=process.pid, host=process.host, process=process.process),
    )


def _waiting(outbox: OutboxState) -> dict[str, Any]:
    return {name: getattr(outbox, name) for name in OutboxShown.model_fields}


def _together(outboxes: Sequence[OutboxState]) -> OutboxShown | None:
    if not outboxes:
        return None
    return OutboxShown(
        waiting=sum(outbox.waiting for outbox in outboxes),
        exact=all(outbox.exact for outbox in outboxes),
        oldest=min((outbox.oldest for outbox in outboxes if outbox.oldest is not None), default=None),
        dead=sum(outbox.dead for outbox in outboxes),
        acknowledged=max((outbox.acknowledged for outbox in outboxes if outbox.acknowledged is not None), default=None),
    )


def _session_dot(installation: Installation, running: Sequence[ProcessStatus]) -> tuple[MeterState, str]:
    """The dot of the node that owns the sessions, and why: red as soon as one is not up."""
    owned, names = owned_sessions(running), installation.sessions
    if len(names) == 1:
        (name,) = names
        if name not in owned:
            return "yellow", "no process owns the session yet"
        state = owned[name][0].session.state
        return ("green", "the session is up") if state == "up" else ("red", f"the session is {state}")
    states = {name: owned[name][0].session.state for name in names if name in owned}
    down = [f"{name} is {state}" for name, state in states.items() if state != "up"]
    if down:
        return "red", f"of {len(names)} sessions {clipped(down)}"
    missing = [name for name in names if name not in states]
    if missing:
        return "yellow", f"no process owns {clipped(missing)} yet"
    return "green", f"all {len(names)} sessions are up"


def _node_state(
    node: ConfiguredNode,
    count: NodeCount | None,
    running: Sequence[ProcessStatus],
    session: tuple[MeterState, str],
    fleet: Fleet,
) -> tuple[MeterState, str]:
    """The dot of a node, and why."""
    if not running:
        return "unknown", "the flow does not run"
    if count is None:
        return "unknown", "the running flow says nothing of this node: it was started with another configuration"
    if node.type == THINGSBOARD_OUT:
        return session
    if node.type == POLLING:
        return _meters_state(fleet)
    lately = {port: rate for port, rate in count.rate.items() if rate > 0}
    if lately.get("rejected"):
        return "yellow", f"{lately['rejected']:g} rejected per second"
    if node.outputs and not any(count.emitted.values()):
        return "unknown", "nothing came out of it yet"
    return "green", "working"


def _meters_state(fleet: Fleet) -> tuple[MeterState, str]:
    counts = fleet.counts()
    judged = counts.green + counts.yellow + counts.red
    if not judged:
        return "unknown", "no window is complete yet"
    if counts.red == judged:
        return "red", "no meter can be read"
    if counts.red or counts.yellow:
        return "yellow", f"{counts.red} meters cannot be read, {counts.yellow} only partly"
    return "green", "all meters are read"
