"""What waits to be delivered: how much, since when, what was refused for good, and what the outbox itself complains about."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from commands.checkup.area import Area, Site, ago, note_damaged_aside
from connectors.thingsboard.left_behind import left_remedy
from connectors.thingsboard.outbox_schema import FILE_NAME
from connectors.thingsboard.outbox_state import OutboxState, look_into
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
    """The file, what it holds, and its standing alerts."""
    path = site.state_dir / FILE_NAME
    note_damaged_aside(area, path)
    try:
        if not path.exists():
            area.fact("there is none yet: nothing was ever to be delivered from this state_dir")
            return
        state = look_into(path)
    except StorageError as error:
        area.critical(f"it cannot be read: {error.what}", f"{error.remedy}; the flow moves a damaged one aside when it starts")
        return
    except OSError as error:
        area.not_seen(f"{path}: {error.strerror or error}")
        return
    if site.keeper is not None:
        _look_at_what_was_left(area, site, state, path)
        return
    _look_at_waiting(area, site, state)
    for alert in state.standing:
        if alert.kind != ALERT_KIND:  # the session's is told with the session
            degree = Degree.CRITICAL if alert.severity is Severity.CRITICAL else Degree.MINOR
            area.note(degree, f"{alert.kind} since {alert.ts:%Y-%m-%d %H:%M:%S} UTC: {alert.evidence}", alert.remedy)
    if state.dead:
        area.minor(f"{state.dead} dead letters; the latest: {state.last_refusal}", _DEAD_REMEDY)


def _look_at_what_was_left(area: Area, site: Site, state: OutboxState, path: Path) -> None:
    """This host had the session once; nobody delivers from here now."""
    if not state.waiting:
        area.fact(f"empty; it is of a time when the session was here, now it is on {site.keeper}")
        return
    what = f"{state.waiting} records wait in the outbox of this host and nobody delivers them: the session is on {site.keeper} now"
    area.critical(what, left_remedy(path))


def _look_at_waiting(area: Area, site: Site, state: OutboxState) -> None:
    oldest = None if state.oldest is None else site.now - state.oldest
    acknowledged = "nothing was acknowledged yet"
    if state.acknowledged is not None:
        acknowledged = f"the latest acknowledgement came {ago(state.acknowledged, site.now)}"
    if oldest is None or oldest <= SLOW:
        area.fact(f"{state.waiting} records wait, {state.dead} dead letters, {acknowledged}")
        return
    assert state.oldest is not None
    what = f"{state.waiting} records wait, the oldest read {ago(state.oldest, site.now)}; {acknowledged}"
    if not site.running:
        area.minor(f"{what}. They go out when the flow runs again", "start the flow")
    elif state.acknowledged is not None and site.now - state.acknowledged < SLOW:
        area.minor(f"{what}: the backlog is being delivered", "none, unless it grows: then look at the server's rate limits")
    else:
        area.critical(f"{what}: delivery stands still", "see session; look for `thingsboard session` in the log")
