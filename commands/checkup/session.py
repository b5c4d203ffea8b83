"""The sessions with ThingsBoard: is each up, and why the last ones ended."""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from commands.checkup.area import Area, Site, ago
from connectors.thingsboard.connection import parse_address
from connectors.thingsboard.ending import Ending, ending_named, not_opened
from connectors.thingsboard.outbox_state import standing_alert
from connectors.thingsboard.session_names import outbox_file
from connectors.thingsboard.trouble import ALERT_KIND
from model.errors import StorageError
from model.finding import Degree
from model.messages import Alert, Severity
from model.settings.thingsboard import EMBEDDED
from model.status import SessionEnd, SessionStatus, read_session_ends

RECENT = timedelta(hours=1)
LASTING = timedelta(seconds=60)
"""What is not up for so long is not about to come."""

OFTEN = 10
"""Ends within `RECENT` that are too many, whatever their causes."""

PATIENCE = 3.0
"""Seconds to wait for a TCP connection to the server."""

STARTING = timedelta(seconds=20)
_LOG_REMEDY = "look for `thingsboard session` in the log"


def look_at_session(area: Area, site: Site) -> None:
    """Of each session what its owner tells, what stands on disk, and the ends of the last hour."""
    if site.keeper is not None:
        area.fact(f"it is on {site.keeper}: ask there")
        return
    for name in site.sessions:
        _look_at_one(_Told(area, site, name))


@dataclass(frozen=True)
class _Told:
    """What is said about one session: where there are several each finding is about one of them, and each fact names it."""

    area: Area
    site: Site
    name: str

    @property
    def session(self) -> SessionStatus | None:
        """As its owner tells; None where no process that runs owns it."""
        owners = self.site.owned.get(self.name)
        return owners[0].session if owners else None

    @property
    def outbox(self) -> Path:
        """Its outbox."""
        return outbox_file(self.site.state_dir, self.name)

    def note(self, degree: Degree, what: str, remedy: str) -> None:
        """A finding."""
        self.area.note(degree, what, remedy, self.site.named(self.area.name, self.name))

    def fact(self, what: str) -> None:
        """A fact."""
        prefix = self.site.named("", self.name).strip()
        self.area.fact(f"{prefix}: {what}" if prefix else what)


def _look_at_one(told: _Told) -> None:
    site, session = told.site, told.session
    alert = _standing(told.outbox)
    ends = _recent_ends(site, told.name, session)
    if not site.running:
        if alert is not None:
            told.note(Degree.MINOR, f"when it last ran, the session had trouble: {alert.evidence}", alert.remedy)
        _tell_ends(told, ends)
        return
    if alert is not None:
        degree = Degree.CRITICAL if alert.severity is Severity.CRITICAL or (session is not None and session.state != "up") else Degree.MINOR
        what, remedy = _with_latest(alert, site, session)
        told.note(degree, f"since {alert.ts:%H:%M:%S} UTC: {what}", remedy)
    if session is None:
        _look_for_owner(told)
        return
    if session.state == "up":
        told.fact(f"up since {session.since:%Y-%m-%d %H:%M:%S} UTC, {session.acknowledged} of {session.sent} messages acknowledged")
    elif alert is None:
        _look_at_absence(told, session)
    if session.state == "up" and alert is None:
        _look_at_ends(told, ends)
    _tell_ends(told, ends)


def _look_for_owner(told: _Told) -> None:
    site = told.site
    if not all(site.now - status.started > STARTING and not status.unconnected for status in site.running):
        return
    if site.named("", told.name):
        what, remedy = (
            f"no process of the flow owns the session {told.name}",
            f"restart the flow if pipeline.yaml was changed since; {_LOG_REMEDY}",
        )
    else:
        what, remedy = "no process of the flow owns a session with ThingsBoard", _LOG_REMEDY
    told.note(Degree.CRITICAL, what, remedy)


def _standing(path: Path) -> Alert | None:
    try:
        alert = standing_alert(path) if path.exists() else None
    except (OSError, StorageError):
        return None  # the area of the outbox says so
    return alert if alert is not None and alert.kind == ALERT_KIND else None


def _recent_ends(site: Site, name: str, session: SessionStatus | None) -> list[SessionEnd]:
    """Those of this run and of earlier ones, newest first."""
    kept = read_session_ends(site.state_dir) or ([] if session is None else list(session.ends))
    return [end for end in kept if end.session == name and timedelta(0) <= site.now - end.at <= RECENT]


def _with_latest(alert: Alert, site: Site, session: SessionStatus | None) -> tuple[str, str]:
    """Evidence and remedy; an alert tells how the trouble began, and what is found now may say more."""
    if session is None or session.state == "up":
        return alert.evidence, alert.remedy
    found = _try_server(site)
    if found is None:
        return f"{alert.evidence}. Tried just now: the server's port accepts connections", alert.remedy
    remedy = alert.remedy if found.remedy == alert.remedy else f"{alert.remedy}; now: {found.remedy}"
    return f"{alert.evidence}. Tried just now: {found.explanation}", remedy


def _try_server(site: Site) -> Ending | None:
    """Why no TCP connection to the server can be made; None where one can, or where nobody but the flow knows the server."""
    if site.loaded is None or site.loaded.settings.thingsboard.url == EMBEDDED:
        return None
    address = parse_address(site.loaded.settings.thingsboard.url)
    try:
        socket.create_connection((address.host, address.port), PATIENCE).close()
    except OSError as error:
        return not_opened(error)
    return None


def _look_at_absence(told: _Told, session: SessionStatus) -> None:
    site = told.site
    lasted = site.now - session.since
    last = session.ends[0] if session.ends else None
    what = f"the session with {session.server} is not up ({session.state} since {ago(session.since, site.now)})"
    remedy = _LOG_REMEDY
    if last is not None:
        ending = ending_named(last.cause)
        what += f": {last.cause}" + (f", {ending.explanation}" if ending else "") + (f" ({last.detail})" if last.detail else "")
        remedy = ending.remedy if ending else remedy
    found = _try_server(site)
    if found is not None and (last is None or found.name != last.cause):
        what, remedy = f"{what}. Tried just now: {found.explanation}", f"{remedy}; now: {found.remedy}"
    failing = session.ends and session.acknowledged == 0
    told.note(Degree.CRITICAL if lasted > LASTING or failing else Degree.MINOR, what, remedy)


def _look_at_ends(told: _Told, ends: list[SessionEnd]) -> None:
    """The session is up again; was it too restless?"""
    causes = Counter(end.cause for end in ends)
    contested = False
    for cause, count in causes.items():
        ending = ending_named(cause)
        if ending is not None and ending.contested and not ending.at_the_door:
            contested = True
            told.note(Degree.MINOR, f"up, but within the last hour: {ending.explanation} ({cause}, {_times(count)})", ending.remedy)
    if len(ends) >= OFTEN and not contested:
        ending = ending_named(causes.most_common(1)[0][0])
        remedy = ending.remedy if ending else _LOG_REMEDY
        told.note(Degree.MINOR, f"up, but it ended {len(ends)} times within the last hour", remedy)


def _tell_ends(told: _Told, ends: list[SessionEnd]) -> None:
    if ends:
        causes = Counter(end.cause for end in ends).most_common()
        told.fact("ends within the last hour: " + ", ".join(f"{cause} {_times(count)}" for cause, count in causes))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
