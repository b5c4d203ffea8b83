"""Records, receipts and losses as rows of the outbox file. Statements only; the caller holds the transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from connectors.thingsboard.bounds import ROW_BYTES, Bounds, Load
from connectors.thingsboard.payload import Kind, Record
from model.messages import Alert, Origin, Receipt
from model.timestamps import to_ms

COLUMNS = "device, meter, kind, ts, payload, origin, readings, read_at, points"

PAGE = 500
"""Rows looked at together when room is made."""

MOST_INTERVALS = 5_000
"""Profile intervals named in one row of losses."""

LOAD = f"count(*), coalesce(sum(readings), 0), coalesce(sum(length(payload)), 0) + count(*) * {ROW_BYTES}"
"""What `Load` holds, as columns of a query over records."""

_READINGS = frozenset(origin.value for origin in Origin)
_KINDS: dict[Any, Kind] = {kind.value: kind for kind in Kind}
_PROFILE = Origin.PROFILE.value


@dataclass
class Loss:
    """What was dropped of one meter; times in milliseconds since 1970 UTC, those of profile intervals in `profile`."""

    meter: str
    readings: int = 0
    oldest: int = 0
    newest: int = 0
    profile: set[int] = field(default_factory=set)


@dataclass
class Losses:
    """What was dropped together, for one reason. `load` counts everything, `meters` only what were readings."""

    reason: str
    load: Load = field(default_factory=Load)
    meters: dict[str, Loss] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)

    def add(self, record: Record, size: int) -> None:
        """Count a record that takes `size` bytes."""
        self.load += Load(1, record.readings, size)
        if record.origin not in _READINGS:
            if record.kind is Kind.ATTRIBUTES:
                self.tags.add(record.device)
            return
        loss = self.meters.get(record.meter)
        if loss is None:
            loss = self.meters[record.meter] = Loss(record.meter, 0, record.ts, record.ts)
        loss.readings += record.readings
        loss.oldest, loss.newest = min(loss.oldest, record.ts), max(loss.newest, record.ts)
        if record.origin == _PROFILE:
            loss.profile.add(record.ts)

    def merge(self, other: Losses) -> None:
        """Count these as well."""
        self.load += other.load
        self.tags |= other.tags
        for meter, loss in other.meters.items():
            mine = self.meters.get(meter)
            if mine is None:
                mine = self.meters[meter] = Loss(meter, 0, loss.oldest, loss.newest)
            mine.readings += loss.readings
            mine.oldest, mine.newest = min(mine.oldest, loss.oldest), max(mine.newest, loss.newest)
            mine.profile |= loss.profile


def insert(database: sqlite3.Connection, records: Sequence[Record]) -> int:
    """Add records; returns the highest row id given so far."""
    rows = [(*astuple(record)[:2], record.kind.value, *astuple(record)[3:]) for record in records]
    database.executemany(f"INSERT INTO records ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
    newest = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
    return int(newest[0]) if newest else 0


def delete(database: sqlite3.Connection, ids: Iterable[int]) -> Load:
    """Remove rows by id; returns what they held. Ids that are not there (any more) count nothing."""
    listed = json.dumps(sorted(ids))
    where = "WHERE id IN (SELECT value FROM json_each(?))"
    found = Load(*database.execute(f"SELECT {LOAD} FROM records {where}", (listed,)).fetchone())  # noqa: S608
    if found.records:
        database.execute(f"DELETE FROM records {where}", (listed,))  # noqa: S608
    return found


def drop_oldest(database: sqlite3.Connection, load: Load, bounds: Bounds) -> Losses:
    """Remove the oldest rows until what is left of `load` is within `bounds`."""
    losses = Losses("the outbox is full")
    _drop_while(database, losses, lambda _record: not bounds.holds(load - losses.load))
    return losses


def drop_too_old(database: sqlite3.Connection, read_before: int) -> Losses:
    """Remove from the oldest on what was read before `read_before` (milliseconds since 1970 UTC)."""
    losses = Losses("they waited longer than thingsboard.outbox.max_age")
    _drop_while(database, losses, lambda record: record.read_at < read_before)
    return losses


def forget(database: sqlite3.Connection, table: str, moment: str, before: int, most: int) -> bool:
    """Remove those of the first `most` rows whose column `moment` is before `before`; whether that was all there is to remove.

    Only the head of the table is looked at: rows come in the order of time, and a day of them would take the writer long to search.
    """
    head = f"SELECT id, {moment} AS moment FROM {table} ORDER BY id LIMIT ?"  # noqa: S608 - names of outbox_schema.py
    removed = database.execute(f"DELETE FROM {table} WHERE id IN (SELECT id FROM ({head}) WHERE moment < ?)", (most, before))  # noqa: S608
    return removed.rowcount < most


def note_losses(database: sqlite3.Connection, losses: Losses, dropped: int) -> None:
    """Leave a trace of what was dropped for `receipts-in`; `dropped` is now, in milliseconds."""
    rows = [
        (loss.meter, readings, loss.oldest, loss.newest, dropped, losses.reason, json.dumps(intervals))
        for loss in losses.meters.values()
        for readings, intervals in _in_parts(loss)
    ]
    database.executemany(
        "INSERT INTO dropped (meter, readings, oldest, newest, dropped, reason, profile) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
    )
    database.executemany("UPDATE devices SET tags = x'' WHERE name = ?", [(device,) for device in losses.tags])


def record_of(row: Sequence[Any]) -> Record:
    """The record in a row of `COLUMNS`.

    :raises sqlite3.DatabaseError: when it is none, because the page it is in was overwritten.
    """
    device, meter, kind, ts, payload, origin, readings, read_at, points = row
    known = _KINDS.get(kind)
    whole = isinstance(ts, int) and isinstance(readings, int) and isinstance(read_at, int) and isinstance(points, int)
    if known is None or not whole or not isinstance(payload, bytes):
        raise sqlite3.DatabaseError("a row of records is malformed")
    return Record(device, meter, known, ts, payload, origin, readings, read_at, points)


def receipt_row(receipt: Receipt) -> tuple[Any, ...]:
    """A receipt as a row of its table."""
    polls = json.dumps([to_ms(ts) for ts in receipt.poll_timestamps])
    oldest, newest, acknowledged = to_ms(receipt.oldest), to_ms(receipt.newest), to_ms(receipt.acknowledged)
    return receipt.meter, receipt.readings, oldest, newest, acknowledged, receipt.delay, polls


def insert_alert(database: sqlite3.Connection, alert: Alert) -> None:
    """Leave an alert for `receipts-in`."""
    row = (alert.kind, alert.subject, alert.severity.value, alert.raised, to_ms(alert.ts), alert.evidence, alert.remedy)
    database.execute("INSERT INTO alerts (kind, subject, severity, raised, ts, evidence, remedy) VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def standing_alerts(database: sqlite3.Connection, kinds: Sequence[str]) -> list[str]:
    """Those kinds of alerts of which the last word was that they are raised."""
    latest = "SELECT max(id) FROM alerts WHERE kind = ?"
    words = [database.execute(f"SELECT raised FROM alerts WHERE id = ({latest})", (kind,)).fetchone() for kind in kinds]  # noqa: S608
    return [kind for kind, word in zip(kinds, words, strict=True) if word is not None and word[0]]


def _drop_while(database: sqlite3.Connection, losses: Losses, more: Callable[[Record], bool]) -> None:
    while True:
        last = None
        page = database.execute(f"SELECT id, {COLUMNS} FROM records ORDER BY id LIMIT ?", (PAGE,)).fetchall()  # noqa: S608
        for row in page:
            record = record_of(row[1:])
            if not more(record):
                break
            losses.add(record, len(record.payload) + ROW_BYTES)
            last = row[0]
        if last is not None:
            database.execute("DELETE FROM records WHERE id <= ?", (last,))
        if last is None or last != page[-1][0]:
            return


def _in_parts(loss: Loss) -> Iterator[tuple[int, list[int]]]:
    """The readings of a loss, and at most so many of its intervals as one row shall name; the first part has the readings."""
    intervals = sorted(loss.profile)
    yield loss.readings, intervals[:MOST_INTERVALS]
    for start in range(MOST_INTERVALS, len(intervals), MOST_INTERVALS):
        yield 0, intervals[start : start + MOST_INTERVALS]
