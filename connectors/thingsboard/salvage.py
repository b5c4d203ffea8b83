"""Copies what can be read of an outbox into a new file: row by row, around the damage, with the same row ids."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from connectors.thingsboard.outbox_rows import COLUMNS
from connectors.thingsboard.outbox_schema import open_writer
from connectors.thingsboard.payload import Kind

PAGE = 500
"""Rows read together while nothing is wrong."""

HIGHEST = 2**62
"""Row ids do not come near this."""

_TABLES = {
    "records": f"id, {COLUMNS}",
    "dead_letter": f"id, {COLUMNS}, code, reason, died",
    "dropped": "id, meter, readings, oldest, newest, dropped, reason, profile",
    "alerts": "id, kind, subject, severity, raised, ts, evidence, remedy",
    "receipts": "id, meter, readings, oldest, newest, acknowledged, delay, polls",
}
_KINDS = frozenset(kind.value for kind in Kind)


@dataclass
class Salvaged:
    """What was copied, and what could not be.

    `records` wait again; `spoilt` were there but hold no record any more; `missing` is how many row ids lie in parts of
    the file that cannot be read: at most so many records, if none of them had been delivered; None if that is unknown.
    """

    records: int = 0
    spoilt: int = 0
    missing: int | None = 0
    unread: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing was lost."""
        return not self.spoilt and self.missing == 0 and not self.unread

    def __str__(self) -> str:
        text = f"{self.records} waiting records were kept"
        if self.spoilt:
            text += f", {self.spoilt} were damaged"
        if self.missing is None:
            text += ", how many were lost cannot be said"
        elif self.missing:
            text += f", at most {self.missing} were lost"
        return text + (f"; unreadable: {', '.join(self.unread)}" if self.unread else "")


def salvage(source: sqlite3.Connection, draft: Path) -> Salvaged:
    """Copy what `source` can read into the new file `draft`, which is complete and closed when this returns.

    :raises sqlite3.Error: when the draft cannot be written.
    """
    found = Salvaged()
    target = open_writer(draft)
    try:
        target.execute("BEGIN IMMEDIATE")
        known = _copy_identity(source, target)
        _copy_devices(source, target, found)
        sequences = _sequences(source)
        for table in _TABLES:
            if table == "receipts" and not known:
                continue  # readers would take them for new ones
            _copy(source, target, table, sequences.get(table), found)
        for table, highest in sequences.items():
            target.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (highest, table))
            target.execute(
                "INSERT INTO sqlite_sequence SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?)",
                (table, highest, table),
            )
        target.execute("COMMIT")
    finally:
        target.close()
    return found


def _copy_identity(source: sqlite3.Connection, target: sqlite3.Connection) -> bool:
    try:
        row = source.execute("SELECT outbox FROM identity").fetchone()
    except sqlite3.Error:
        return False
    if row is None or not isinstance(row[0], str):
        return False
    target.execute("UPDATE identity SET outbox = ?", row)
    return True


def _copy_devices(source: sqlite3.Connection, target: sqlite3.Connection, found: Salvaged) -> None:
    """What is missing here is told anew by the readings that come."""
    try:
        rows = source.execute("SELECT name, type, tags FROM devices").fetchall()
    except sqlite3.Error:
        found.unread.append("devices")
        return
    target.executemany("INSERT OR REPLACE INTO devices VALUES (?, ?, ?)", rows)


def _sequences(source: sqlite3.Connection) -> dict[str, int]:
    try:
        rows = source.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
    except sqlite3.Error:
        return {}
    return {name: seq for name, seq in rows if name in _TABLES and isinstance(seq, int) and 0 <= seq < HIGHEST}


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str, highest: int | None, found: Salvaged) -> None:
    columns = _TABLES[table]
    marks = ", ".join("?" * len(columns.split(",")))
    statement = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608
    missing: int | None = 0
    for rows, skipped in _pages(source, table, columns, highest):
        missing = None if missing is None or skipped is None else missing + skipped
        sound = [row for row in rows if table != "records" or _is_sound(row)]
        for row in sound:
            try:
                target.execute(statement, row)
            except sqlite3.IntegrityError:  # a column that must not be null is
                found.spoilt += table == "records"
                found.records -= table == "records"
        if table == "records":
            found.records += len(sound)
            found.spoilt += len(rows) - len(sound)
    if table == "records":
        found.missing = missing
    elif missing != 0:
        found.unread.append(f"a part of {table}")


def _pages(source: sqlite3.Connection, table: str, columns: str, highest: int | None) -> Iterator[tuple[list[Sequence[Any]], int | None]]:
    """Rows in order of their ids, with the number of ids before them that had to be skipped (None: unknown)."""
    query = f"SELECT {columns} FROM {table} WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
    position, limit, skipped = 0, PAGE, 0
    while True:
        try:
            rows = source.execute(query, (position, limit)).fetchall()
        except sqlite3.Error:
            if limit > 1:
                limit = max(1, limit // 8)
                continue
            behind = _behind_the_damage(source, table, position, highest)
            if behind is None:
                yield [], None if highest is None else skipped + max(0, highest - position)
                return
            skipped += behind - position
            position, limit = behind, PAGE
            continue
        if not rows:
            if skipped:
                yield [], skipped
            return
        yield rows, skipped
        position, limit, skipped = rows[-1][0], min(PAGE, limit * 8), 0


def _behind_the_damage(source: sqlite3.Connection, table: str, position: int, highest: int | None) -> int | None:
    """An id after which reading works again, as near behind `position` as can be found; None if there is none."""
    query = f"SELECT id FROM {table} WHERE id > ? ORDER BY id LIMIT 1"  # noqa: S608

    def readable(after: int) -> bool:
        try:
            return source.execute(query, (after,)).fetchone() is not None
        except sqlite3.Error:
            return False

    step = 1
    while not readable(position + step):
        if position + step >= (HIGHEST if highest is None else highest):
            return None
        step *= 2
    low, high = position + step // 2, position + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if readable(middle) else (middle, high)
    return high


def _is_sound(row: Sequence[Any]) -> bool:
    _id, device, meter, kind, ts, payload, origin, readings, read_at, points = row
    texts = all(isinstance(text, str) for text in (device, meter, origin))
    numbers = all(isinstance(number, int) for number in (ts, readings, read_at, points))
    if not (texts and numbers and kind in _KINDS and isinstance(payload, bytes)):
        return False
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return False
    return isinstance(content, dict)
