"""What the outbox file says about how delivery goes, read without disturbing whoever writes it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from connectors.thingsboard.outbox_schema import open_reader, storage_errors
from connectors.thingsboard.trouble import ALERT_KIND
from model.messages import Alert, Origin, Severity
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


@dataclass(frozen=True, slots=True)
class Undelivered:
    """The load profile intervals of one meter that ThingsBoard does not have, in milliseconds since 1970 UTC.

    :arg waiting: not acknowledged yet.
    :arg refused: refused for good.
    """

    waiting: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)


def undelivered_intervals(path: Path, meter: str | None = None) -> dict[str, Undelivered]:
    """By meter, of all or of one, what the outbox file at `path`, which must exist, still holds of load profiles.

    :raises StorageError: when it cannot be read.
    """
    found: dict[str, Undelivered] = {}
    where = f"WHERE origin = '{Origin.PROFILE.value}' AND (:meter IS NULL OR meter = :meter)"
    with storage_errors(path), closing(open_reader(path)) as database:
        for of_meter, ts in database.execute(f"SELECT DISTINCT meter, ts FROM records {where}", {"meter": meter}):  # noqa: S608
            found.setdefault(of_meter, Undelivered()).waiting.add(ts)
        for of_meter, ts in database.execute(f"SELECT DISTINCT meter, ts FROM dead_letter {where}", {"meter": meter}):  # noqa: S608
            found.setdefault(of_meter, Undelivered()).refused.add(ts)
    return found


def look_into(path: Path) -> OutboxState:
    """The state of the outbox file at `path`, which must exist.

    :raises StorageError: when it cannot be read.
    """
    with storage_errors(path), closing(open_reader(path)) as database:
        waiting, oldest = database.execute("SELECT count(*), min(read_at) FROM records").fetchone()
        (dead,) = database.execute("SELECT count(*) FROM dead_letter").fetchone()
        (acknowledged,) = database.execute("SELECT max(acknowledged) FROM receipts").fetchone()
        alert = _latest_alert(database)
    return OutboxState(
        waiting=int(waiting),
        oldest=None if oldest is None else from_ms(oldest),
        dead=int(dead),
        acknowledged=None if acknowledged is None else from_ms(acknowledged),
        alert=alert,
        writable=os.access(path, os.W_OK) and os.access(path.parent, os.W_OK),
    )


def standing_alert(path: Path) -> Alert | None:
    """The session's alert that was raised and not cleared; None when there is none.

    :raises StorageError: when the file cannot be read.
    """
    with storage_errors(path), closing(open_reader(path)) as database:
        alert = _latest_alert(database)
    return alert if alert is not None and alert.raised else None


def _latest_alert(database: sqlite3.Connection) -> Alert | None:
    columns = "kind, subject, severity, raised, ts, evidence, remedy"
    row = database.execute(f"SELECT {columns} FROM alerts WHERE kind = ? ORDER BY id DESC LIMIT 1", (ALERT_KIND,)).fetchone()  # noqa: S608
    if row is None:
        return None
    kind, subject, severity, raised, ts, evidence, remedy = row
    return Alert(kind, subject, Severity(severity), bool(raised), from_ms(ts), evidence, remedy)
