"""What the outbox file says about how delivery goes, read without disturbing whoever writes it."""

from __future__ import annotations

import math
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from connectors.patience import gave_up, give_up_after
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
    :arg exact: whether `waiting` was counted; else it is an upper bound, and `oldest` that of the first records.
    :arg standing: all alerts, also those of the outbox itself, that were raised and not cleared.
    :arg last_refusal: why ThingsBoard refused the latest dead letter, and of which device; empty where there is none.
    """

    waiting: int
    oldest: datetime | None
    dead: int
    acknowledged: datetime | None
    alert: Alert | None
    writable: bool
    standing: tuple[Alert, ...] = ()
    last_refusal: str = ""
    exact: bool = True


_FIRST = 1_000
"""Records that tell how old the oldest is, where there are too many to look at all of them: most wait in the order they came."""


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


def look_into(path: Path, patience: float | None = None) -> OutboxState:
    """The state of the outbox file at `path`, which must exist.

    :arg patience: seconds that counting may take; a long outage leaves millions of records. As long as need be where left out.
    :raises StorageError: when it cannot be read.
    """
    with storage_errors(path), closing(open_reader(path)) as database:
        waiting, oldest, exact = _waiting(database, patience)
        (dead,) = database.execute("SELECT count(*) FROM dead_letter").fetchone()
        (acknowledged,) = database.execute("SELECT max(acknowledged) FROM receipts").fetchone()
        refusal = database.execute("SELECT device, reason FROM dead_letter ORDER BY id DESC LIMIT 1").fetchone()
        alert = _latest_alert(database)
        standing = tuple(_alert(row) for row in database.execute(_STANDING))
    return OutboxState(
        waiting=int(waiting),
        oldest=None if oldest is None else from_ms(oldest),
        dead=int(dead),
        acknowledged=None if acknowledged is None else from_ms(acknowledged),
        alert=alert,
        writable=_may_write(path) and _may_write(path.parent),
        standing=standing,
        last_refusal="" if refusal is None else f"{refusal[0]}: {refusal[1]}",
        exact=exact,
    )


def _waiting(database: sqlite3.Connection, patience: float | None) -> tuple[int, int | None, bool]:
    """How many records wait, when the oldest was read, and whether both are exact."""
    try:
        with give_up_after(database, math.inf if patience is None else patience):
            return (*database.execute("SELECT count(*), min(read_at) FROM records").fetchone(), True)
    except sqlite3.OperationalError as error:
        if not gave_up(error):
            raise
    (bound,) = database.execute("SELECT max(id) - min(id) + 1 FROM records").fetchone()
    (oldest,) = database.execute("SELECT min(read_at) FROM (SELECT read_at FROM records ORDER BY id LIMIT ?)", (_FIRST,)).fetchone()
    return bound or 0, oldest, False


def profile_records(path: Path, meter: str, patience: float) -> int | None:
    """Load profile records of one meter that wait; None where that could not be counted in `patience` seconds.

    :raises StorageError: when the file cannot be read.
    """
    with storage_errors(path), closing(open_reader(path)) as database:
        try:
            with give_up_after(database, patience):
                (count,) = database.execute("SELECT count(*) FROM records WHERE meter = ? AND origin = 'profile'", (meter,)).fetchone()
        except sqlite3.OperationalError as error:
            if not gave_up(error):
                raise
            return None
    return int(count)


def standing_alert(path: Path) -> Alert | None:
    """The session's alert that was raised and not cleared; None when there is none.

    :raises StorageError: when the file cannot be read.
    """
    with storage_errors(path), closing(open_reader(path)) as database:
        alert = _latest_alert(database)
    return alert if alert is not None and alert.raised else None


_COLUMNS = "kind, subject, severity, raised, ts, evidence, remedy"
_LATEST = f"SELECT {_COLUMNS} FROM alerts WHERE kind = ? ORDER BY id DESC LIMIT 1"  # noqa: S608
_STANDING = (
    f"SELECT {_COLUMNS} FROM alerts AS a WHERE raised AND id = "  # noqa: S608
    "(SELECT max(id) FROM alerts WHERE kind = a.kind AND subject = a.subject) ORDER BY ts"
)


def _latest_alert(database: sqlite3.Connection) -> Alert | None:
    row = database.execute(_LATEST, (ALERT_KIND,)).fetchone()
    return None if row is None else _alert(row)


def _alert(row: tuple[Any, ...]) -> Alert:
    kind, subject, severity, raised, ts, evidence, remedy = row
    return Alert(kind, subject, Severity(severity), bool(raised), from_ms(ts), evidence, remedy)


def _may_write(path: Path) -> bool:
    """Whether the user may whose rights this process has (os.access asks for the one who started it)."""
    return os.access(path, os.W_OK, effective_ids=True)
