"""What the outbox file says about how delivery goes, read without disturbing whoever writes it."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from connectors.thingsboard.outbox_schema import open_reader, storage_errors
from connectors.thingsboard.trouble import ALERT_KIND
from model.messages import Alert, Severity
from model.timestamps import from_ms


@dataclass(frozen=True, slots=True)
class OutboxState:
    """A look at the outbox.

    :arg waiting: records that ThingsBoard has not acknowledged.
    :arg oldest: when the oldest of them was read; None where nothing waits.
    :arg dead: records that ThingsBoard refused for good.
    :arg acknowledged: when the latest acknowledgement arrived; None where none is kept.
    :arg alert: the latest alert of the session, raised or cleared.
    :arg writable: whether this user may write the file and its directory.
    """

    waiting: int
    oldest: datetime | None
    dead: int
    acknowledged: datetime | None
    alert: Alert | None
    writable: bool


def look_into(path: Path) -> OutboxState:
    """The state of the outbox file at `path`, which must exist.

    :raises StorageError: when it cannot be read.
    """
    with storage_errors(path), closing(open_reader(path)) as database:
        waiting, oldest = database.execute("SELECT count(*), min(read_at) FROM records").fetchone()
        (dead,) = database.execute("SELECT count(*) FROM dead_letter").fetchone()
        (acknowledged,) = database.execute("SELECT max(acknowledged) FROM receipts").fetchone()
        columns = "kind, subject, severity, raised, ts, evidence, remedy"
        alert = database.execute(f"SELECT {columns} FROM alerts WHERE kind = ? ORDER BY id DESC LIMIT 1", (ALERT_KIND,)).fetchone()  # noqa: S608
    return OutboxState(
        waiting=int(waiting),
        oldest=None if oldest is None else from_ms(oldest),
        dead=int(dead),
        acknowledged=None if acknowledged is None else from_ms(acknowledged),
        alert=None if alert is None else _alert(alert),
        writable=os.access(path, os.W_OK) and os.access(path.parent, os.W_OK),
    )


def standing_alert(path: Path) -> Alert | None:
    """The session's alert that was raised and not cleared; None when there is none.

    :raises StorageError: when the file cannot be read.
    """
    alert = look_into(path).alert
    return alert if alert is not None and alert.raised else None


def _alert(row: tuple[Any, ...]) -> Alert:
    kind, subject, severity, raised, ts, evidence, remedy = row
    return Alert(kind, subject, Severity(severity), bool(raised), from_ms(ts), evidence, remedy)
