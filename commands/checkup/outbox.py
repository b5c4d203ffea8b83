"""What waits to be delivered: how much, since when, what was refused for good, and what the outbox itself complains about."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from commands.checkup.area import Area, Site, ago, note_damaged_aside
from connectors.thingsboard.forgotten import forgotten_outboxes
from connectors.thingsboard.left_behind import left_remedy
from connectors.thingsboard.outbox_state import OutboxState, look_into
from connectors.thingsboard.session_names import outbox_file
from connectors.thingsboard.trouble import ALERT_KIND
from model.errors import StorageError
from model.finding import Degree
from model.messages import Severity

SLOW = timedelta(minutes=5)
"""What waits longer than this waits too long."""

_DEAD_REMEDY = (
    "look at table dead_letter of the outbox: ThingsBoard refused these records for good; correct what made them, then delete them"
)


def look_at_outbox(area: Area, site: Site) -> None:
    """Each file, what it holds, and its standing alerts; then those that nobody empties any more."""
    for session in site.sessions:
        _look_at_one(area, site, session)
    for left in forgotten_outboxes(site.state_dir, site.sessions) if site.loaded is not None and site.keeper is None else ():
        area.critical(left.what, left.remedy, site.named(area.name, left.session))


def _look_at_one(area: Area, site: Site, session: str) -> None:
    path, subject = outbox_file(site.state_dir, session), site.named(area.name, session)
    prefix = "" if subject == area.name else f"{session}: "
    note_damaged_aside(area, path, subject)
    try:
        if not path.exists():
            area.fact(f"{prefix}there is none yet: nothing was ever to be delivered from this state_dir")
            return
        state = look_into(path)
    except StorageError as error:
        area.critical(f"it cannot be read: {error.what}", f"{error.remedy}; the flow moves a damaged one aside when it starts", subject)
        return
    except OSError as error:
        area.not_seen(f"{path}: {error.strerror or error}")
        return
    if site.keeper is not None:
        _look_at_what_was_left(area, site, state, path, subject)
        return
    degree, what, remedy = _waiting(site, state)
    if degree is None:
        area.fact(f"{prefix}{what}")
    else:
        area.note(degree, what, remedy, subject)
    for alert in state.standing:
        if alert.kind != ALERT_KIND:  # the session's is told with the session
            degree = Degree.CRITICAL if alert.severity is Severity.CRITICAL else Degree.MINOR
            area.note(degree, f"{alert.kind} since {alert.ts:%Y-%m-%d %H:%M:%S} UTC: {alert.evidence}", alert.remedy, subject)
    if state.dead:
        area.minor(f"{state.dead} dead letters; the latest: {state.last_refusal}", _DEAD_REMEDY, subject)


def _look_at_what_was_left(area: Area, site: Site, state: OutboxState, path: Path, subject: str) -> None:
    """This host had the session once; nobody delivers from here now."""
    if not state.waiting:
        area.fact(f"{path.name} is empty; it is of a time when the session was here, now it is on {site.keeper}")
        return
    what = f"{state.waiting} records wait in the outbox of this host and nobody delivers them: the session is on {site.keeper} now"
    area.critical(what, left_remedy(path), subject)


def _waiting(site: Site, state: OutboxState) -> tuple[Degree | None, str, str]:
    """How bad it is that so much waits for so long, None where it is not; what is to be said, and the remedy."""
    oldest = None if state.oldest is None else site.now - state.oldest
    acknowledged = "nothing was acknowledged yet"
    if state.acknowledged is not None:
        acknowledged = f"the latest acknowledgement came {ago(state.acknowledged, site.now)}"
    if oldest is None or oldest <= SLOW:
        return None, f"{state.waiting} records wait, {state.dead} dead letters, {acknowledged}", ""
    assert state.oldest is not None
    what = f"{state.waiting} records wait, the oldest read {ago(state.oldest, site.now)}; {acknowledged}"
    if not site.running:
        return Degree.MINOR, f"{what}. They go out when the flow runs again", "start the flow"
    if state.acknowledged is not None and site.now - state.acknowledged < SLOW:
        return Degree.MINOR, f"{what}: the backlog is being delivered", "none, unless it grows: then look at the server's rate limits"
    return Degree.CRITICAL, f"{what}: delivery stands still", "see session; look for `thingsboard session` in the log"
