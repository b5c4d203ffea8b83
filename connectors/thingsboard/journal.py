"""Reads, from any process of the host, what became of records: receipts, refusals, losses and alerts in the outbox file."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog

from connectors.disk import inode_of
from connectors.thingsboard.outbox_schema import VERSION, open_reader
from connectors.thingsboard.payload import original_text
from model.messages import Alert, Dropped, Origin, Reading, Receipt, Rejection, Severity
from model.timestamps import from_ms

RULE = "thingsboard"
"""The rule that a reading broke when the server refused it for good."""

PATIENCE = 20
"""Looks in a row that may fail before it is worth a warning: the file is being created, or swapped."""

MISSING = 60.0
"""Seconds without an outbox file after which that is worth a warning."""

UNREADABLE = "unreadable"
"""Key of the rejection for a record whose payload is damaged; its value is the payload."""

MOST_ROWS = 1000
"""Most rows of each table in one look, so that a look stays short."""

_TABLES = {
    "receipts": "meter, readings, oldest, newest, acknowledged, delay, polls",
    "dead_letter": "meter, origin, ts, read_at, payload, code, reason",
    "dropped": "meter, readings, oldest, newest, dropped, reason, profile",
    "alerts": "kind, subject, severity, raised, ts, evidence, remedy",
}
_ORIGINS = frozenset(origin.value for origin in Origin)

log = structlog.get_logger()
Cursor = dict[str, Any]
"""Where a reader stands: the outbox file's identity and the last row id seen in each table."""


CURSOR_VERSION = 1


def checked_cursor(state: dict[str, Any]) -> Cursor:
    """A cursor as it was stored.

    :raises LookupError, TypeError, ValueError: when it is something else.
    """
    return {**state, **{table: int(state[table]) for table in _TABLES if table in state}, "outbox": state["outbox"]}


@dataclass
class News:
    """What is new since the last look."""

    receipts: list[Receipt] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)


class Journal:
    """A reader of one outbox file, which may not exist yet.

    :arg path: the SQLite file.
    :arg cursor: where the last run stood; None starts behind everything that is there now.
    :arg clock: monotonic seconds.
    """

    def __init__(self, path: Path, cursor: Cursor | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._failed_looks = 0
        self._clock = clock
        self._warn_at: float | None = clock() + MISSING
        self.cursor: Cursor = {"version": CURSOR_VERSION, "outbox": None, **dict.fromkeys(_TABLES, 0), **(cursor or {})}
        if cursor is None:
            self._read(self._move_to_end)

    def look(self) -> News:
        """What is new; nothing while the file is missing or cannot be read (logged once)."""
        return self._read(self._news) or News()

    def close(self) -> None:
        """Close the file; never raises."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _read(self, look: Callable[[sqlite3.Connection], News]) -> News | None:
        """What `look` finds in one read transaction; None when there is nothing to read, or no way to."""
        try:
            database = self._open()
            if database is None:
                return None
            database.execute("BEGIN")
            news = look(database)
            database.execute("COMMIT")
        except sqlite3.Error as error:
            self.close()
            self._failed_looks += 1
            if self._failed_looks == PATIENCE:
                log.warning("receipts cannot be read from the outbox", file=str(self._path), reason=str(error))
            return None
        self._failed_looks = 0
        return news

    def _open(self) -> sqlite3.Connection | None:
        if self._database is not None and inode_of(self._path) != self._inode:
            self.close()  # another file has taken its place
        if self._database is None:
            if not self._path.exists():
                self._warn_if_missing_long()
                return None
            inode = inode_of(self._path)
            database = open_reader(self._path)
            try:
                version = database.execute("PRAGMA user_version").fetchone()[0]
            except sqlite3.Error:
                database.close()
                raise
            if version != VERSION:
                database.close()  # being created right now; a file of another version stops the sink, which says so
                return None
            self._database, self._inode = database, inode
        return self._database

    def _warn_if_missing_long(self) -> None:
        if self._warn_at is not None and self._clock() >= self._warn_at:
            self._warn_at = None
            log.warning(
                "there is no outbox to read receipts from; without receipts all publish rates are 0 %",
                file=str(self._path),
                remedy="run receipts-in on the host whose process owns the ThingsBoard session, with the same state_dir",
            )

    def _follow(self, database: sqlite3.Connection) -> None:
        """Notice that the file is another one than last time: its ids start anew."""
        outbox = database.execute("SELECT outbox FROM identity").fetchone()[0]
        if self.cursor["outbox"] not in (None, outbox):
            self.cursor.update(dict.fromkeys(_TABLES, 0))
        self.cursor["outbox"] = outbox

    def _news(self, database: sqlite3.Connection) -> News:
        self._follow(database)
        return News(
            [_receipt(row) for row in self._rows(database, "receipts")],
            [rejection for row in self._rows(database, "dead_letter") for rejection in _rejections(row)],
            [_dropped(row) for row in self._rows(database, "dropped")],
            [_alert(row) for row in self._rows(database, "alerts")],
        )

    def _move_to_end(self, database: sqlite3.Connection) -> News:
        self._follow(database)
        for table in _TABLES:
            row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
            self.cursor[table] = row[0] if row else 0
        return News()

    def _rows(self, database: sqlite3.Connection, table: str) -> list[Sequence[Any]]:
        query = f"SELECT id, {_TABLES[table]} FROM {table} WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
        rows = database.execute(query, (self.cursor[table], MOST_ROWS)).fetchall()
        if rows:
            self.cursor[table] = rows[-1][0]
        return [row[1:] for row in rows]


def _receipt(row: Sequence[Any]) -> Receipt:
    meter, readings, oldest, newest, acknowledged, delay, polls = row
    timestamps = tuple(from_ms(ts) for ts in json.loads(polls))
    return Receipt(meter, readings, from_ms(oldest), from_ms(newest), from_ms(acknowledged), delay, timestamps)


def _rejections(row: Sequence[Any]) -> list[Rejection]:
    """The readings of a dead record; their units are not kept in the outbox. Reports, alerts and tags are no readings."""
    meter, origin, ts, read_at, payload, code, reason = row
    if origin not in _ORIGINS:
        return []
    try:
        values = json.loads(payload, parse_float=Decimal)["values"]
    except ValueError:
        values = {UNREADABLE: payload.decode("utf-8", "replace")}
    evidence = reason if code is None else f"{reason} (reason code 0x{code:02x})"
    rejections = []
    for key, value in values.items():
        kept = original_text(value) if isinstance(value, str) else value
        rejections.append(Rejection(Reading(meter, key, kept, None, from_ms(ts), Origin(origin), from_ms(read_at)), RULE, evidence))
    return rejections


def _dropped(row: Sequence[Any]) -> Dropped:
    meter, readings, oldest, newest, dropped, reason, profile = row
    intervals = tuple(from_ms(ts) for ts in json.loads(profile))
    return Dropped(meter, readings, from_ms(oldest), from_ms(newest), from_ms(dropped), reason, intervals)


def _alert(row: Sequence[Any]) -> Alert:
    kind, subject, severity, raised, ts, evidence, remedy = row
    return Alert(kind, subject, Severity(severity), bool(raised), from_ms(ts), evidence, remedy)
