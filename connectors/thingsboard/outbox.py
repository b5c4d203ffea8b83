"""The durable outbox: what has been read and not yet been acknowledged by ThingsBoard waits here, on disk.

A record enters by `append`, which returns when it is on the disk, and leaves in one of two ways: `done` when its
acknowledgement arrived, `dead` when the server will never take it. Both happen in one transaction with their trace (a
receipt, a dead letter), so a crash at any point loses nothing: at worst a record is sent a second time, which
ThingsBoard overwrites. One connection writes, guarded by a lock; another one reads.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from connectors.thingsboard.outbox_schema import open_reader, open_writer, storage_errors, while_locked
from connectors.thingsboard.payload import Kind, Record
from model.messages import Alert, Receipt
from model.timestamps import to_ms

PRUNE_EVERY = 60.0
"""Seconds between two looks for what is too old."""

KEEP_DEAD = 90 * 86_400.0
"""Seconds that dead letters are kept for a person to look at."""

_COLUMNS = "device, meter, kind, ts, payload, origin, readings, read_at, points"


@dataclass(frozen=True)
class Device:
    """A device as ThingsBoard shall know it. `tags` is the encoded record of its attributes, None where nothing is known of them."""

    name: str
    type: str
    tags: Record | None = None


@dataclass(frozen=True)
class Pending:
    """A record that waits, with its row id; ids rise in the order of arrival and are never used again."""

    id: int
    record: Record


class Outbox:
    """The outbox file. All methods may be called from any thread.

    :arg path: the SQLite file; created with its directory where missing.
    :arg keep_receipts: seconds after which receipts and session alerts are forgotten.
    :arg clock: wall clock, seconds since 1970; decides what is too old.
    :raises StorageError: by every method, when the file cannot be used.
    """

    def __init__(self, path: Path, keep_receipts: float = 86_400.0, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._keep_receipts = keep_receipts
        self._clock = clock
        self._pruned = clock()
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        with storage_errors(path):
            self._writer = open_writer(path)
            try:
                self._reader = open_reader(path)
                depth, newest = self._reader.execute("SELECT count(*), max(id) FROM records").fetchone()
                self._depth, self._newest = int(depth), int(newest or 0)
                self._devices = {row[0]: row[1:] for row in self._reader.execute("SELECT name, type, tags FROM devices")}
            except BaseException:
                self._writer.close()
                raise

    def append(self, records: Sequence[Record], devices: Iterable[Device] = ()) -> None:
        """Keep records; they are on the disk when this returns.

        A device whose tags differ from what was known gets a record with its attributes as well.
        """
        with self._writing:
            changed = {device.name: device for device in devices if self._differs(device)}
            if not records and not changed:
                return
            known = {
                name: (device.type, self._tags(name) if device.tags is None else device.tags.payload) for name, device in changed.items()
            }
            tags = [device.tags for name, device in changed.items() if device.tags is not None and device.tags.payload != self._tags(name)]
            with self._transaction() as database:
                rows = [(name, *facts) for name, facts in known.items()]
                database.executemany("INSERT OR REPLACE INTO devices VALUES (?, ?, ?)", rows)
                newest = _insert(database, [*tags, *records])
            self._devices.update(known)  # before the records can be seen: their device is announced with its type
            self._depth += len(tags) + len(records)
            self._newest = newest

    def done(self, acknowledged: Sequence[tuple[Sequence[int], Receipt | None]]) -> None:
        """Remove acknowledged records and write the receipt of each packet, all in one transaction."""
        removed = 0
        with self._writing:
            with self._transaction() as database:
                for ids, receipt in acknowledged:
                    removed += _delete(database, ids)
                    if receipt is not None:
                        columns = "(meter, readings, oldest, newest, acknowledged, delay, polls)"
                        database.execute(f"INSERT INTO receipts {columns} VALUES (?, ?, ?, ?, ?, ?, ?)", _receipt_row(receipt))  # noqa: S608
                self._prune(database)
            self._depth -= removed

    def divide(self, row_id: int, parts: Sequence[Record]) -> None:
        """Put several smaller records in the place of one; they queue up at the end."""
        with self._writing:
            with self._transaction() as database:
                removed = _delete(database, [row_id])
                newest = _insert(database, parts)
            self._depth += len(parts) - removed
            self._newest = newest

    def dead(self, ids: Sequence[int], reason: str, code: int | None = None) -> None:
        """Put records aside for good: the server will never take them. `code` is the reason code it gave, if any."""
        died = int(self._clock() * 1000)
        copy = f"INSERT INTO dead_letter ({_COLUMNS}, code, reason, died) SELECT {_COLUMNS}, ?, ?, ? FROM records WHERE id = ?"  # noqa: S608
        with self._writing:
            with self._transaction() as database:
                database.executemany(copy, [(code, reason, died, row_id) for row_id in ids])
                removed = _delete(database, ids)
            self._depth -= removed

    def tell(self, alert: Alert) -> None:
        """Leave an alert of the session for `receipts-in`."""
        row = (alert.kind, alert.subject, alert.severity.value, alert.raised, to_ms(alert.ts), alert.evidence, alert.remedy)
        with self._writing, self._transaction() as database:
            database.execute("INSERT INTO alerts (kind, subject, severity, raised, ts, evidence, remedy) VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def pending(self, after: int, limit: int) -> list[Pending]:
        """The next records behind row id `after`, oldest first; never more than `limit`, so memory stays flat."""
        query = f"SELECT id, {_COLUMNS} FROM records WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"  # noqa: S608
        with self._reading, storage_errors(self._path):
            rows = while_locked(self._path, lambda: self._reader.execute(query, (after, self._newest, limit)).fetchall())
        return [Pending(row[0], _record(row[1:])) for row in rows]

    def device_type(self, device: str) -> str:
        """The type a device was given, "default" where it was never told."""
        return str(self._devices.get(device, ("default",))[0])

    @property
    def depth(self) -> int:
        """How many records wait."""
        return self._depth

    @property
    def newest(self) -> int:
        """The highest row id given so far."""
        return self._newest

    def close(self) -> None:
        """Close the file; the outbox must not be used afterwards."""
        with self._writing, self._reading, storage_errors(self._path):
            self._reader.close()
            self._writer.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction of the writer; the caller holds its lock."""
        with storage_errors(self._path):
            while_locked(self._path, lambda: self._writer.execute("BEGIN IMMEDIATE"))
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _tags(self, device: str) -> bytes:
        known = self._devices.get(device)
        return bytes(known[1]) if known else b""

    def _differs(self, device: Device) -> bool:
        known = self._devices.get(device.name)
        return known is None or known[0] != device.type or (device.tags is not None and device.tags.payload != known[1])

    def _prune(self, database: sqlite3.Connection) -> None:
        now = self._clock()
        if abs(now - self._pruned) < PRUNE_EVERY:
            return
        self._pruned = now
        oldest = int((now - self._keep_receipts) * 1000)
        database.execute("DELETE FROM receipts WHERE id IN (SELECT id FROM receipts WHERE acknowledged < ? LIMIT 10000)", (oldest,))
        database.execute("DELETE FROM alerts WHERE ts < ?", (oldest,))
        died = int((now - KEEP_DEAD) * 1000)
        database.execute("DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter WHERE died < ? LIMIT 1000)", (died,))


def _insert(database: sqlite3.Connection, records: Sequence[Record]) -> int:
    """Add records; returns the highest row id given so far."""
    rows = [(*astuple(record)[:2], record.kind.value, *astuple(record)[3:]) for record in records]
    database.executemany(f"INSERT INTO records ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
    newest = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
    return int(newest[0]) if newest else 0


def _delete(database: sqlite3.Connection, ids: Sequence[int]) -> int:
    if not ids:
        return 0
    removed: int = database.executemany("DELETE FROM records WHERE id = ?", [(row_id,) for row_id in ids]).rowcount
    return removed


def _record(row: Sequence[Any]) -> Record:
    return Record(row[0], row[1], Kind(row[2]), row[3], row[4], row[5], row[6], row[7], row[8])


def _receipt_row(receipt: Receipt) -> tuple[Any, ...]:
    polls = json.dumps([to_ms(ts) for ts in receipt.poll_timestamps])
    oldest, newest, acknowledged = to_ms(receipt.oldest), to_ms(receipt.newest), to_ms(receipt.acknowledged)
    return receipt.meter, receipt.readings, oldest, newest, acknowledged, receipt.delay, polls
