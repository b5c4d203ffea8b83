"""From the outbox to ThingsBoard's acknowledgement, told from what the pipeline has left on disk: nothing is published here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from commands.diagnosis.links import BrokenLinkError, Chain, Finding
from commands.diagnosis.owner import of_session, running_sessions
from connectors.thingsboard.forgotten import forgotten_outboxes
from connectors.thingsboard.outbox_state import OutboxState, look_into
from connectors.thingsboard.session_names import outbox_file
from model.errors import StorageError
from model.loading.load import Loaded
from model.timestamps import utc_now

SUBJECT = "delivery"
SLOW = timedelta(minutes=5)
"""What waits longer than this, or an acknowledgement that is older, means that delivery stands still."""

LEAST_FREE = 100_000_000
"""Bytes that should be free on the disk of the outbox."""


def look_at_delivery(chain: Chain, loaded: Loaded, holders: Mapping[str, str | None]) -> None:
    """Outbox, publishing and acknowledgement of each session, and outboxes of sessions that there are no more.

    :arg holders: by session, pid of the pipeline that runs on this host with it; None when none does.
    """
    for session, holder in holders.items():
        with suppress(BrokenLinkError):
            _look_at_session(chain, loaded, session, holder)
    emptied = [*holders, *running_sessions(loaded.settings.state_dir)]
    for left in forgotten_outboxes(loaded.settings.state_dir, emptied):
        chain.broken(SUBJECT, f"outbox ({left.session})", left.what, left.remedy)


def _look_at_session(chain: Chain, loaded: Loaded, session: str, holder: str | None) -> None:
    path, names = outbox_file(loaded.settings.state_dir, session), loaded.settings.thingsboard.session_names
    with chain.link(SUBJECT, of_session("outbox", session, names)) as finding:
        state = _look_at_outbox(finding, path, holder)
    if state is None:
        return
    with chain.link(SUBJECT, of_session("publish", session, names)) as finding:
        _look_at_publishing(finding, state, holder)
    with chain.link(SUBJECT, of_session("acknowledgement", session, names)) as finding:
        _look_at_acknowledgements(finding, loaded, state, holder)


def _look_at_outbox(finding: Finding, path: Path, holder: str | None) -> OutboxState | None:
    if not path.exists():
        _look_at_directory(path.parent)
        finding.skip(f"{path} does not exist yet: no pipeline has delivered from this state_dir")
        return None
    try:
        state = look_into(path)
    except StorageError as error:
        raise BrokenLinkError(error.what, error.remedy) from None
    if not state.writable:
        raise BrokenLinkError(f"{path} cannot be written by this user", "make state_dir and the file one this user can write to")
    free = shutil.disk_usage(path.parent).free
    text = f"{path}: {state.waiting} records wait{_since(state.oldest)}, {state.dead} dead letters, {free / 1e9:.1f} GB free"
    if free < LEAST_FREE:
        raise BrokenLinkError(text, "free space on the disk of state_dir")
    if state.dead:
        finding.note(text, "look at table dead_letter of the outbox: ThingsBoard refused these records for good")
    else:
        finding.found = text
    return state


def _look_at_directory(directory: Path) -> None:
    existing = next(parent for parent in (directory, *directory.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise BrokenLinkError(f"state_dir {directory} cannot be made or written", "set state_dir to a directory this user can write to")


def _look_at_publishing(finding: Finding, state: OutboxState, holder: str | None) -> None:
    alert = state.alert
    if alert is not None and alert.raised and holder is not None:
        raise BrokenLinkError(f"since {alert.ts:%Y-%m-%d %H:%M:%S} UTC: {alert.evidence}", alert.remedy)
    if holder is None:
        last = f"; its last session alert was: {alert.evidence}" if alert is not None and alert.raised else ""
        finding.note(f"no pipeline runs on this host with this session{last}", "start it: python -m bytewax.run flows.main")
    else:
        finding.found = f"the pipeline with pid {holder} has the session and reports no trouble"


def _look_at_acknowledgements(finding: Finding, loaded: Loaded, state: OutboxState, holder: str | None) -> None:
    slow = max(SLOW, timedelta(seconds=3 * max((loaded.settings.interval(meter) for meter in loaded.settings.meters), default=0.0)))
    now = utc_now()
    text = "ThingsBoard has acknowledged nothing yet" if state.acknowledged is None else f"the latest one came{_ago(state.acknowledged)}"
    if holder is None:
        finding.skip(text)
    elif state.oldest is not None and now - state.oldest > slow and (state.acknowledged is None or now - state.acknowledged > slow):
        remedy = "look for `thingsboard session` in the pipeline's log"
        raise BrokenLinkError(f"{text}, while {state.waiting} records wait{_since(state.oldest)}", remedy)
    else:
        finding.found = text


def _since(moment: datetime | None) -> str:
    return "" if moment is None else f", the oldest read{_ago(moment)}"


def _ago(moment: datetime) -> str:
    seconds = (utc_now() - moment).total_seconds()
    return f" {seconds:.0f} s ago" if seconds < 7200 else f" at {moment:%Y-%m-%d %H:%M:%S} UTC"
