"""Whether all is well: one verdict for the page, for scripts and for `commands health`, and what led to it.

`judge` is pure: it is given what was found and says what is wrong and what to do. Who gathers the facts may know less than all of
them; what is None is not judged. Imports `model` and `connectors` only, so that any tool can use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from connectors.thingsboard.forgotten import Forgotten
from connectors.thingsboard.outbox_state import OutboxState
from connectors.thingsboard.session_names import is_one_of_several
from model.errors import Problem
from model.finding import PUBLISH_CRITICAL, PUBLISH_MINOR, Degree, Finding, clipped, worst_first
from model.messages import FLEET, Alert, HealthReport, Severity
from model.percent import percent_text
from model.settings.thingsboard import SINGLE
from model.status import ProcessStatus, SessionStatus, StatusFiles, missing_processes, owned_sessions

FEWEST_CYCLES = 5
"""Cycles that a window needs so that its ratio tells something."""

OUTBOX_MINOR, OUTBOX_CRITICAL = timedelta(minutes=5), timedelta(hours=1)
"""How long the oldest record may wait."""

SETTLING = timedelta(seconds=30)
"""How long the session may be down before it matters: connecting again after a server's restart is no fault."""

SHOWN = 5
"""Names listed in one sentence."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an installation at `now`. None means unknown, and is not judged.

    :arg delivers: whether the pipeline delivers to ThingsBoard at all.
    :arg fleet: the newest report of all meters together.
    :arg unreachable: meters without a good cycle in their newest window. :arg meters: how many there are.
    :arg gaps_open: load profile intervals that are asked for again; `gaps_lost` those that are lost for good.
    :arg sessions: the sessions with ThingsBoard. :arg outboxes: what is known of their outboxes, by session.
    :arg left: outboxes of sessions that are configured no more.
    :arg unusable: files that cannot be read: subject, what, remedy.
    """

    now: datetime
    status: StatusFiles
    delivers: bool = True
    problems: Sequence[Problem] = ()
    fleet: HealthReport | None = None
    unreachable: Sequence[str] = ()
    meters: int = 0
    gaps_open: int = 0
    gaps_lost: int = 0
    sessions: Sequence[str] = (SINGLE,)
    outboxes: Mapping[str, OutboxState] = field(default_factory=dict)
    left: Sequence[Forgotten] = ()
    standing: Sequence[Alert] = ()
    unusable: Sequence[tuple[str, str, str]] = field(default=())

    @property
    def running(self) -> tuple[ProcessStatus, ...]:
        """The processes of the flow that run."""
        return self.status.running(self.now)

    def named(self, what: str, session: str) -> str:
        """`what`, and of which session where there are several."""
        return what if len(self.sessions) == 1 else f"{what} {session}"


def judge(facts: Facts) -> list[Finding]:
    """Everything that is wrong, the worst first; nothing in a healthy installation."""
    found = [
        *_configuration(facts),
        *_flow(facts),
        *_session(facts),
        *_unusable(facts),
        *_reachability(facts),
        *_publishing(facts),
        *_gaps(facts),
        *_outbox(facts),
        *_alerts(facts),
    ]
    return worst_first(found)


def not_ready(facts: Facts) -> list[str]:
    """Why the installation does not do its work right now: meters are not read, or the session is not up."""
    reasons = []
    running = facts.running
    if not running:
        return ["the flow does not run"]
    if facts.delivers:
        owners = owned_sessions(running)
        for name in facts.sessions:
            states = [owned.session.state for owned in owners.get(name, [])]
            if "up" not in states:
                reasons.append(_one_not_ready(states) if len(facts.sessions) == 1 else _another_not_ready(name, states))
    if facts.meters and len(facts.unreachable) >= facts.meters:
        reasons.append("no meter can be read")
    elif facts.fleet is None:
        reasons.append("no window of the health node is complete yet")
    elif facts.fleet.cycles and not facts.fleet.ok + facts.fleet.partial:
        reasons.append("no cycle of the newest window gave a value")
    return reasons


def _one_not_ready(states: Sequence[str]) -> str:
    return f"the session to ThingsBoard is {states[0]}" if states else "no process owns the session to ThingsBoard yet"


def _another_not_ready(name: str, states: Sequence[str]) -> str:
    return f"the session {name} to ThingsBoard is {states[0]}" if states else f"no process owns the session {name} to ThingsBoard yet"


def _configuration(facts: Facts) -> Iterable[Finding]:
    for problem in list(facts.problems)[:SHOWN]:
        place = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
        remedy = problem.remedy or "mend the line; `python -m commands check` shows all mistakes"
        yield Finding(Degree.MINOR, "configuration", f"{place}: {problem.what}", remedy)


def _flow(facts: Facts) -> Iterable[Finding]:
    for damaged in facts.status.damaged:
        yield Finding(
            Degree.MINOR, "flow", f"{damaged.file}: {damaged.what}", "restart the flow, which writes it anew; delete it where none runs"
        )
    running = facts.running
    if running:
        missing = missing_processes(running)
        if missing:
            names = ", ".join(map(str, missing))
            yield Finding(
                Degree.CRITICAL,
                "flow",
                f"of {len(missing) + len(running)} processes these do not run: {names}",
                "start all of them together, none can come back alone",
            )
        return
    last = max(facts.status.processes, key=lambda process: process.written, default=None)
    if last is None:
        what = "the flow does not run, and has not run with this state_dir"
    elif last.ended is not None:
        what = f"the flow does not run; it was stopped at {_time(last.ended)}"
    else:
        what = f"the flow does not run; it was last heard of at {_time(last.written)} and did not stop in order"
    yield Finding(
        Degree.CRITICAL, "flow", what, "start it: python -m bytewax.run flows.main, or systemctl start; its log says why it ended"
    )


def _session(facts: Facts) -> Iterable[Finding]:
    if not facts.running:
        return
    owners = owned_sessions(facts.running)
    for name in facts.sessions:
        subject, alone = facts.named("session", name), len(facts.sessions) == 1
        mine = owners.get(name, [])
        if len(mine) > 1:
            names = ", ".join(f"process {owned.process.process} (pid {owned.process.pid} on {owned.process.host})" for owned in mine)
            remedy = "stop all of them and start one pipeline; ThingsBoard allows one session per device"
            yield Finding(Degree.CRITICAL, subject, f"{len(mine)} processes own the session at once: {names}", remedy)
        if mine:
            yield from _state(facts, subject, mine[0].session)
        elif facts.delivers and min(facts.now - process.started for process in facts.running) > SETTLING:
            what = "no process owns the session to ThingsBoard" if alone else f"no process owns the session {name} to ThingsBoard"
            remedy = "look for `thingsboard` in the flow's log"
            if not alone:
                remedy = f"restart the flow if pipeline.yaml was changed since; {remedy}"
            yield Finding(Degree.CRITICAL, subject, what, remedy)


def _state(facts: Facts, subject: str, session: SessionStatus) -> Iterable[Finding]:
    if session.state == "up" or facts.now - session.since <= SETTLING:
        return
    why = f": {session.ends[0].cause}, {session.ends[0].detail}" if session.ends else ""
    remedy = "see the standing alarm about the session; python -m commands diagnose looks at every link to the server"
    yield Finding(Degree.CRITICAL, subject, f"not connected to {session.server} since {_time(session.since)}, {session.state}{why}", remedy)


def _unusable(facts: Facts) -> Iterable[Finding]:
    for subject, what, remedy in facts.unusable:
        yield Finding(Degree.MINOR, subject, what, remedy)


def _reachability(facts: Facts) -> Iterable[Finding]:
    if not facts.unreachable or not facts.running:
        return
    count = len(facts.unreachable)
    names = clipped(facts.unreachable, SHOWN)
    severity = Degree.CRITICAL if count >= facts.meters else Degree.MINOR
    remedy = f"python -m commands diagnose --meter {facts.unreachable[0]}"
    yield Finding(severity, "meters", f"{count} of {facts.meters} meters gave nothing in their last window: {names}", remedy)


def _publishing(facts: Facts) -> Iterable[Finding]:
    report = facts.fleet
    if report is None or not facts.delivers or not facts.running or report.with_values < FEWEST_CYCLES:
        return
    rate = report.delivery_rate
    if rate is None or rate >= PUBLISH_MINOR:
        return
    severity = Degree.CRITICAL if rate < PUBLISH_CRITICAL else Degree.MINOR
    share = percent_text(report.cycles_published, report.with_values)
    what = f"ThingsBoard acknowledged {report.cycles_published} of {report.with_values} cycles of the last window ({share})"
    yield Finding(severity, "publishing", what, "look at the session and its last ends; what is not acknowledged waits on disk")


def _gaps(facts: Facts) -> Iterable[Finding]:
    if facts.gaps_lost:
        what = f"{facts.gaps_lost} intervals of load profiles are lost for good, {facts.gaps_open} are asked for again"
        yield Finding(Degree.MINOR, "gaps", what, "python -m commands gaps says which and why")
    elif facts.gaps_open:
        what = f"{facts.gaps_open} intervals of load profiles are missing and asked for again"
        yield Finding(Degree.MINOR, "gaps", what, "nothing, as long as their number falls; python -m commands gaps says which")


def _outbox(facts: Facts) -> Iterable[Finding]:
    for name, outbox in facts.outboxes.items():
        subject = facts.named("outbox", name)
        if outbox.oldest is not None and facts.now - outbox.oldest > OUTBOX_MINOR:
            severity = Degree.CRITICAL if facts.now - outbox.oldest > OUTBOX_CRITICAL else Degree.MINOR
            what = f"{outbox.waiting} records wait for ThingsBoard, the oldest read at {_time(outbox.oldest)}"
            yield Finding(severity, subject, what, "look at the session; they are delivered as soon as the server takes them")
        if outbox.dead:
            remedy = "look at table dead_letter of the outbox: reason and payload of each"
            yield Finding(Degree.MINOR, subject, f"ThingsBoard refused {outbox.dead} records for good", remedy)
    for left in facts.left:
        yield Finding(Degree.CRITICAL, f"outbox {left.session}", left.what, left.remedy)


def _alerts(facts: Facts) -> Iterable[Finding]:
    """The newest of each kind; a thousand silent meters are one finding, but each session is named."""
    kinds: dict[tuple[str, str], list[Alert]] = {}
    for alert in sorted(facts.standing, key=lambda alert: alert.ts, reverse=True):
        kinds.setdefault((alert.kind, alert.subject if is_one_of_several(alert.subject) else ""), []).append(alert)
    for (kind, _), alerts in kinds.items():
        newest = alerts[0]
        severity = Degree.CRITICAL if any(alert.severity is Severity.CRITICAL for alert in alerts) else Degree.MINOR
        subject = "all meters" if newest.subject == FLEET else newest.subject
        more = f" (and {len(alerts) - 1} more)" if len(alerts) > 1 else ""
        yield Finding(severity, subject, f"{kind} since {_time(newest.ts)}: {newest.evidence}{more}", newest.remedy)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
