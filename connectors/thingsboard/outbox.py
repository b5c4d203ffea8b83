"""The durable outbox: what has been read and not yet been acknowledged by ThingsBoard waits here, on disk.

A record enters by `append`, which returns when it is on the disk, and leaves in one of three ways: `done` when its
acknowledgement arrived, `dead` when the server will never take it, dropped when the outbox is full or it is too old. Each
happens in one transaction with its trace (a receipt, a dead letter, a loss), so a crash at any point loses nothing: at worst
a record is sent a second time, which ThingsBoard overwrites. One connection writes, guarded by a lock; another one reads.

What waits is bounded (`Bounds`). When a bound is reached, the policy decides: `drop-oldest` makes room by dropping what has
waited longest, `drop-newest` drops what comes, `block` takes nothing (`OutboxFull`) until there is room. Whatever is dropped
is counted, logged, alarmed once, and told to `receipts-in` by meter and time. A record that was on its way when it was
dropped may still be acknowledged; then it is in both accounts.

A file that turns out damaged or deleted while it is used is replaced by a new one with everything that can be read; see
`outbox_file`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from connectors.thingsboard.bounds import UNBOUNDED, Bounds, Load, load_of
from connectors.thingsboard.bulletin import bulletin_of
from connectors.thingsboard.outbox_file import OutboxFile, replace_damaged
from connectors.thingsboard.outbox_rows import (
    COLUMNS,
    LOAD,
    Losses,
    delete,
    drop_oldest,
    drop_too_old,
    forget,
    insert,
    insert_alert,
    note_losses,
    receipt_row,
    record_of,
    standing_alerts,
)
from connectors.thingsboard.outbox_schema import DamagedError
from connectors.thingsboard.outbox_trouble import DISK, FILE, FULL, OutboxTrouble
from connectors.thingsboard.payload import Kind, Record
from model.errors import StorageError
from model.messages import Alert, Receipt

PRUNE_EVERY = 60.0
"""Seconds between two looks for what is too old."""

PRUNE_AGAIN = 1.0
"""Seconds until the next look when there was more of it than one look takes."""

KEEP_DEAD = 90 * 86_400.0
"""Seconds that dead letters, and the traces of what was dropped, are kept."""

LOOK_EVERY = 1.0
"""Seconds between two looks whether the file is still there."""

_Result = TypeVar("_Result")


class OutboxFull(Exception):
    """A bound is reached and the policy is to block."""


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
    :arg bounds: how much may wait.
    :arg trouble: told what is wrong; one of its own where left out.
    :raises StorageError: by every method, when the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        keep_receipts: float = 86_400.0,
        clock: Callable[[], float] = time.time,
        bounds: Bounds = UNBOUNDED,
        trouble: OutboxTrouble | None = None,
    ) -> None:
        self._path = path
        self._keep_receipts = keep_receipts
        self._clock = clock
        self._bounds = bounds
        self._pruned = clock()
        self._looked = time.monotonic()
        self._writing = threading.RLock()
        self._reading = threading.Lock()
        self._bulletin = bulletin_of(path)
        self.trouble = OutboxTrouble(self._bulletin.post, clock) if trouble is None else trouble
        self._load, self._newest, self._identity = Load(), 0, ""
        self._devices: dict[str, tuple[str, bytes]] = {}
        try:
            self._file = OutboxFile(path)
            self._count()
        except DamagedError as error:
            self._replace_damaged(error)
        self._publish()

    def append(self, records: Sequence[Record], devices: Iterable[Device] = ()) -> None:
        """Keep records; they are on the disk when this returns, as far as the bounds and their policy allow.

        A device whose tags differ from what was known gets a record with its attributes as well.

        :raises OutboxFull: when a bound is reached and the policy is to block; nothing was kept.
        """
        with self._writing:
            if self._bounds.policy == "block" and self._bounds.reached(self._load):
                self._prune()
                raise OutboxFull
            self.append_beyond_bounds(records, devices, self._bounds)

    def append_beyond_bounds(self, records: Sequence[Record], devices: Iterable[Device] = (), bounds: Bounds = UNBOUNDED) -> None:
        """Keep records whatever `append` would say: for the moment before the process ends."""
        with self._writing:
            self._prune()
            changed = {device.name: device for device in devices if self._differs(device)}
            if not records and not changed:
                return
            tags = [device.tags for name, device in changed.items() if device.tags is not None and device.tags.payload != self._tags(name)]
            known = {
                name: (device.type, self._tags(name) if device.tags is None else device.tags.payload) for name, device in changed.items()
            }

            def work(database: sqlite3.Connection) -> tuple[int, Losses]:
                rows = [(name, *facts) for name, facts in known.items()]
                database.executemany("INSERT OR REPLACE INTO devices VALUES (?, ?, ?)", rows)
                return self._add(database, [*tags, *records], bounds)

            newest, losses = self._write(work)
            self._devices.update(known)  # before the records can be seen: their device is announced with its type
            self._load += load_of([*tags, *records]) - losses.load
            self._newest = newest
            self._lost(losses)

    def done(self, acknowledged: Sequence[tuple[Sequence[int], Receipt | None]]) -> None:
        """Remove acknowledged records and write the receipt of each packet, all in one transaction."""
        columns = "(meter, readings, oldest, newest, acknowledged, delay, polls)"
        receipts = [receipt_row(receipt) for _, receipt in acknowledged if receipt is not None]

        def work(database: sqlite3.Connection) -> Load:
            database.executemany(f"INSERT INTO receipts {columns} VALUES (?, ?, ?, ?, ?, ?, ?)", receipts)  # noqa: S608
            return delete(database, [row_id for ids, _ in acknowledged for row_id in ids])

        with self._writing:
            self._load -= self._write(work)
            self._prune()

    def divide(self, row_id: int, parts: Sequence[Record]) -> None:
        """Put several smaller records in the place of one; they queue up at the end. Nothing happens if it was dropped."""

        def work(database: sqlite3.Connection) -> tuple[Load, int]:
            removed = delete(database, [row_id])
            if not removed.records:
                return Load(), self._newest
            return load_of(parts) - removed, insert(database, parts)

        with self._writing:
            more, self._newest = self._write(work)
            self._load += more

    def dead(self, ids: Sequence[int], reason: str, code: int | None = None) -> None:
        """Put records aside for good: the server will never take them. `code` is the reason code it gave, if any."""
        died = int(self._clock() * 1000)
        copy = f"INSERT INTO dead_letter ({COLUMNS}, code, reason, died) SELECT {COLUMNS}, ?, ?, ? FROM records WHERE id = ?"  # noqa: S608

        def work(database: sqlite3.Connection) -> Load:
            database.executemany(copy, [(code, reason, died, row_id) for row_id in ids])
            return delete(database, ids)

        with self._writing:
            self._load -= self._write(work)

    def note(self, losses: Losses) -> None:
        """Leave a trace of what was dropped before it came here, for `receipts-in`."""
        with self._writing:
            self._write(lambda database: note_losses(database, losses, self._now_ms()))

    def tell(self, alert: Alert) -> None:
        """Leave an alert for `receipts-in`; where the file refuses, it waits in the process's `Bulletin`. Never raises."""
        self._bulletin.post(alert)
        self._publish()

    def pending(self, after: int, limit: int, upto: int | None = None) -> list[Pending]:
        """The next records behind row id `after`, oldest first; never more than `limit`, so memory stays flat."""
        query = f"SELECT id, {COLUMNS} FROM records WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"  # noqa: S608
        return self._pending(query, (after, self._newest if upto is None else upto, limit))

    def pending_attributes(self, after: int, limit: int, upto: int) -> list[Pending]:
        """The next attributes behind row id `after`, oldest first, whatever lies between them."""
        query = f"SELECT id, {COLUMNS} FROM records WHERE kind = '{Kind.ATTRIBUTES.value}' AND id > ? AND id <= ? ORDER BY id LIMIT ?"  # noqa: S608
        return self._pending(query, (after, upto, limit))

    def pending_before(self, before: int, limit: int) -> list[Pending]:
        """The last records before row id `before`, newest first."""
        query = f"SELECT id, {COLUMNS} FROM records WHERE id < ? ORDER BY id DESC LIMIT ?"  # noqa: S608
        return self._pending(query, (before, limit))

    def device_type(self, device: str) -> str:
        """The type a device was given, "default" where it was never told."""
        return str(self._devices.get(device, ("default",))[0])

    def probe(self) -> None:
        """Write something, to see whether that is possible.

        :raises StorageError: when it is not.
        """
        with self._writing:
            self._write(lambda database: database.execute("UPDATE identity SET outbox = outbox"))

    def identity(self) -> str:
        """Of the file, drawn when it was made; it stays when a damaged one is replaced."""
        return self._identity

    @property
    def depth(self) -> int:
        """How many records wait."""
        return self._load.records

    @property
    def load(self) -> Load:
        """How much waits: records, readings, bytes."""
        return self._load

    @property
    def newest(self) -> int:
        """The highest row id given so far."""
        return self._newest

    def close(self) -> None:
        """Close the file; the outbox must not be used afterwards."""
        with self._writing, self._reading:
            self._file.close()

    def _add(self, database: sqlite3.Connection, records: Sequence[Record], bounds: Bounds) -> tuple[int, Losses]:
        """Insert records within `bounds`; what had to go for it."""
        if bounds.policy == "drop-newest":
            kept, losses = self._what_fits(records, bounds)
            newest = insert(database, kept)
        else:
            newest = insert(database, records)
            load = self._load + load_of(records)
            losses = Losses("")
            if bounds.policy == "drop-oldest" and not bounds.holds(load):
                losses = drop_oldest(database, load, bounds.eased())
        note_losses(database, losses, self._now_ms())
        return newest, losses

    def _what_fits(self, records: Sequence[Record], bounds: Bounds) -> tuple[Sequence[Record], Losses]:
        losses = Losses("the outbox is full")
        load = self._load
        for count, record in enumerate(records):
            load += load_of([record])
            if not bounds.holds(load):
                for refused in records[count:]:
                    losses.add(refused, load_of([refused]).size)
                return records[:count], losses
        return records, losses

    def _lost(self, losses: Losses) -> None:
        """The books after something was dropped: the tags of a device must be told again if they were among it."""
        for device in losses.tags:
            if device in self._devices:
                self._devices[device] = (self._devices[device][0], b"")
        self.trouble.dropped(losses)
        self.trouble.look(self._bounds.fill(self._load))
        self._publish()

    def _pending(self, query: str, values: tuple[int, ...]) -> list[Pending]:
        def look(database: sqlite3.Connection) -> list[Pending]:
            return [Pending(row[0], record_of(row[1:])) for row in database.execute(query, values)]

        file = self._file
        try:
            with self._reading:
                return self._file.read(look)
        except DamagedError as error:
            with self._writing:
                if self._file is file:
                    self._replace_damaged(error)
                with self._reading:
                    return self._file.read(look)

    def _write(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """`work` in one transaction; in a new file if the old one turns out to be deleted or damaged. The caller holds the lock."""
        now = time.monotonic()
        if now - self._looked >= LOOK_EVERY:
            self._looked = now
            if self._file.gone():
                self._recreate()
        try:
            return self._file.write(work)
        except DamagedError as error:
            self._replace_damaged(error)
            return self._file.write(work)

    def _recreate(self) -> None:
        with self._reading:
            self._file, found = self._file.recreate()
            if not found.complete:
                self._count()
        self.trouble.file_replaced(
            f"the outbox {self._path} was deleted or replaced while it was in use; a new one was made: {found}",
            "find out who deletes files in state_dir; a pipeline that runs needs its outbox",
        )
        self._publish()

    def _replace_damaged(self, error: StorageError) -> None:
        with self._reading:
            opened: OutboxFile | None = getattr(self, "_file", None)
            if opened is not None:
                opened.abandon()
            replaced = replace_damaged(self._path)
            self._file = OutboxFile(self._path)
            self._count()
        self.trouble.file_replaced(
            f"{error.what}; it was moved to {replaced.aside} and a new one was made: {replaced.salvaged}",
            "check the disk; what could not be read may be recovered from the moved file with sqlite3 .recover, else delete it",
        )
        self._publish()

    def _count(self) -> None:
        """What the file holds, counted anew."""

        def look(database: sqlite3.Connection) -> None:
            self._load = Load(*database.execute(f"SELECT {LOAD} FROM records").fetchone())  # noqa: S608
            newest = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
            self._newest = int(newest[0]) if newest else 0
            (self._identity,) = database.execute("SELECT outbox FROM identity").fetchone()
            self.trouble.resume(standing_alerts(database, (FULL, DISK, FILE)))
            self._devices = {name: (kind, tags) for name, kind, tags in database.execute("SELECT name, type, tags FROM devices")}

        self._file.read(look)

    def _publish(self) -> None:
        """Write the alerts that wait in the bulletin into the file, if it lets us."""
        alerts = self._bulletin.take()
        if not alerts:
            return

        def work(database: sqlite3.Connection) -> None:
            for alert in alerts:
                insert_alert(database, alert)

        try:
            with self._writing:
                self._file.write(work)
        except StorageError:
            self._bulletin.post(*alerts)

    def _tags(self, device: str) -> bytes:
        known = self._devices.get(device)
        return bytes(known[1]) if known else b""

    def _differs(self, device: Device) -> bool:
        known = self._devices.get(device.name)
        return known is None or known[0] != device.type or (device.tags is not None and device.tags.payload != known[1])

    def _prune(self) -> None:
        """Once a minute: forget old receipts, alerts and traces, drop what is too old, look at what is over."""
        now = self._clock()
        if abs(now - self._pruned) < PRUNE_EVERY:
            return
        self._pruned = now
        oldest, died = int((now - self._keep_receipts) * 1000), int((now - KEEP_DEAD) * 1000)

        def work(database: sqlite3.Connection) -> Losses:
            whole = (
                forget(database, "receipts", "acknowledged", oldest, 10_000),
                forget(database, "dead_letter", "died", died, 1_000),
                forget(database, "dropped", "dropped", died, 10_000),
            )
            database.execute("DELETE FROM alerts WHERE ts < ?", (oldest,))
            if not all(whole):
                self._pruned = now - PRUNE_EVERY + PRUNE_AGAIN
            losses = Losses("")
            if self._bounds.age < now:
                losses = drop_too_old(database, int((now - self._bounds.age) * 1000))
                note_losses(database, losses, self._now_ms())
            return losses

        losses = self._write(work)
        self._load -= losses.load
        self._lost(losses)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
