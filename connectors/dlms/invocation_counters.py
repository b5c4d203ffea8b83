"""The client's invocation counters: a number used twice with one key gives the key stream away, so none ever is, not even after kill -9.

A counter belongs to a meter, a client SAP and a key; the key is known by a fingerprint, which tells nothing about it. Numbers
are reserved on disk, `CHUNK` at a time, before the first of them is used; a kill loses what is left of a chunk. That leaves
room for four million restarts.

The file also keeps what was last seen of the other side: the meter's system title and its own counter, so that a recording
from before a restart is not believed after it.

Blocks: a reservation is one transaction that waits for the disk (some milliseconds), once per `CHUNK` messages; callers on the
event loop do it in a thread (`prepare`). Several threads and processes may use the file at once.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

import structlog

from connectors.dlms.security.protection import HIGHEST_COUNTER
from model.errors import MeterError, StorageError
from model.messages import ErrorKind
from model.settings.meter import MeterSettings

FILE_NAME = "invocation-counters.sqlite"
"""Name of the file in `state_dir`."""

CHUNK = 1000
"""Numbers reserved at a time."""

FEW = 100
"""Numbers left at which the next chunk is due: an exchange with many blocks must not wait for the disk on its way."""

log = structlog.get_logger(__name__)

_BUSY_SECONDS = 10.0
_CONTEXT = b"dlms-thingsboard invocation counter of key\0"
_TABLE = """CREATE TABLE IF NOT EXISTS counters (
    meter TEXT NOT NULL, client_sap INTEGER NOT NULL, key TEXT NOT NULL, upcoming INTEGER NOT NULL,
    server_title TEXT NOT NULL DEFAULT '', server_counter INTEGER,
    PRIMARY KEY (meter, client_sap, key)) WITHOUT ROWID"""


@dataclass(frozen=True, slots=True)
class CounterId:
    """Whose counter it is."""

    meter: str
    client_sap: int
    key: str

    @staticmethod
    def of(meter: MeterSettings) -> CounterId:
        """That of the meter's global encryption key."""
        fingerprint = hashlib.sha256(_CONTEXT + meter.block_cipher_key_bytes()).hexdigest()[:16]
        return CounterId(meter.id, meter.client_sap, fingerprint)


class InvocationCounters:
    """All counters of an installation, in one file.

    :arg path: the file; made when it is first used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, meter: MeterSettings) -> InvocationCounter:
        """The counter of the meter's client and key."""
        return InvocationCounter(self, CounterId.of(meter), meter.invocation_counter_start)

    def read(self, counter: CounterId) -> tuple[int, bytes, int | None] | None:
        """The first number never reserved, the meter's title (empty: unknown) and its own last counter; None before the first use.

        :raises StorageError: when the file cannot be used.
        """
        with self._database() as database:
            row = database.execute(
                "SELECT upcoming, server_title, server_counter FROM counters WHERE meter = ? AND client_sap = ? AND key = ?",
                (counter.meter, counter.client_sap, counter.key),
            ).fetchone()
        return None if row is None else (row[0], bytes.fromhex(row[1]), row[2])

    def reserve(self, counter: CounterId, at_least: int) -> range:
        """Numbers that are the caller's alone, none below `at_least`; on disk before this returns.

        :raises StorageError: when the file cannot be used.
        :raises MeterError: COUNTER, when the numbers are used up.
        """
        identity = (counter.meter, counter.client_sap, counter.key)
        with self._database() as database:
            row = database.execute("SELECT upcoming FROM counters WHERE meter = ? AND client_sap = ? AND key = ?", identity).fetchone()
            first = max(at_least, 0 if row is None else row[0])
            end = min(first + CHUNK, HIGHEST_COUNTER + 1)
            if first >= end:
                remedy = "give the meter a new block_cipher_key, here and there"
                raise MeterError(ErrorKind.COUNTER, "the invocation counter of this key is used up", remedy, needs_a_person=True)
            database.execute(
                "INSERT INTO counters (meter, client_sap, key, upcoming) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET upcoming = excluded.upcoming",
                (*identity, end),
            )
        return range(first, end)

    def note_server(self, counter: CounterId, title: bytes, server_counter: int | None) -> None:
        """Remember the meter's title and the last counter it used; a lower one than that known of this title changes nothing.

        :raises StorageError: when the file cannot be used.
        """
        with self._database() as database:
            database.execute(
                "UPDATE counters SET server_title = :title, server_counter ="
                " CASE WHEN server_title = :title AND server_counter > :counter THEN server_counter ELSE :counter END"
                " WHERE meter = :meter AND client_sap = :client_sap AND key = :key",
                {"title": title.hex(), "counter": server_counter, **asdict(counter)},
            )

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """One transaction on a connection of its own: this is rare, and any thread may come.

        Not in WAL mode: with a rollback journal and `synchronous` EXTRA a commit survives a power cut on any file system.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = EXTRA")
                database.execute("BEGIN IMMEDIATE")
                database.execute(_TABLE)
                yield database
                database.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"the invocation counters in {self._path} cannot be used: {error}",
                "make state_dir writable; never restore this file from a backup: delete it, and the meters are asked for their counters",
            ) from error


class InvocationCounter:
    """The counter of one client towards one meter, used by one conversation at a time.

    `server_title` and `server_counter` are what was last proven of the meter; `note_server` writes them down.
    """

    def __init__(self, store: InvocationCounters, identity: CounterId, start: int) -> None:
        self._store = store
        self._id = identity
        self._least = start
        self._reserved: deque[range] = deque()
        self._preparing = Lock()  # a caller that was cut short may have left its thread behind
        self._loaded = False
        self._written: tuple[bytes, int | None] = (b"", None)
        self._elsewhere = 0
        self.is_first_contact = False
        """Whether nothing was known when it was loaded, or less than elsewhere, so that the meter should be asked."""
        self.reserved: int | None = None
        """No number from this one on was ever used, as far as this process knows; None before anything is known."""
        self.last_used: int | None = None
        self.server_title = b""
        self.server_counter: int | None = None

    @property
    def is_due(self) -> bool:
        """Whether `prepare` has something to do."""
        return not self._loaded or (self._left() < FEW and not self.is_first_contact)

    @property
    def upcoming(self) -> int:
        """No number below this one is used any more."""
        return self._least

    def was_reserved_elsewhere(self, end: int) -> None:
        """What `reserved` was when the last snapshot was taken; another host may have read the meter then, with a file of its own.

        Where this host's file knows less, the meter is asked, and no number below `end` + `CHUNK` is used: so many may have been
        used after that snapshot. Call it before anything else.
        """
        self._elsewhere = end

    def load(self) -> None:
        """Read what is known. Blocks.

        :raises StorageError: when the file cannot be used.
        """
        if self._loaded:
            return
        known = self._store.read(self._id)
        self.is_first_contact = known is None
        if known is not None:
            self._least = max(self._least, known[0])
            self.server_title, self.server_counter = known[1], known[2]
            self._written = self.server_title, self.server_counter
        if self._elsewhere > (0 if known is None else known[0]):
            self.is_first_contact = True
            self._least = max(self._least, min(self._elsewhere + CHUNK, HIGHEST_COUNTER))
            log.info("the meter was read by another host before: its invocation counter goes on from there", begins_with=self._least)
        self._loaded = True

    @property
    def key(self) -> str:
        """Whose numbers they are: client and fingerprint of the key; those of another key are other numbers."""
        return f"{self._id.client_sap}:{self._id.key}"

    def prepare(self) -> None:
        """Load and reserve, so that the next `FEW` numbers are at hand. Blocks.

        :raises StorageError: when the file cannot be used.
        :raises MeterError: COUNTER, when the numbers are used up.
        """
        with self._preparing:
            self.load()
            if self._left() < FEW:
                self._reserve()

    def next(self) -> int:
        """A number that was never used before; blocks only where `prepare` was not called in time."""
        if not self._reserved:
            self.load()
            self._reserve()
        numbers = self._reserved.popleft()
        if len(numbers) > 1:
            self._reserved.appendleft(numbers[1:])
        self.last_used = numbers[0]
        self._least = self.last_used + 1
        return self.last_used

    def raise_to(self, least: int) -> None:
        """Use no number below `least` any more. Blocks."""
        with self._preparing:
            self._least = max(self._least, least)
            self._reserved.clear()
            self._reserve()

    def note_server(self) -> None:
        """Write down what is known of the meter, where that is new. Blocks.

        :raises StorageError: when the file cannot be used.
        """
        known = self.server_title, self.server_counter
        if known != self._written and self.server_title:
            self._store.note_server(self._id, *known)
            self._written = known

    def _reserve(self) -> None:
        numbers = self._store.reserve(self._id, self._least)
        self.is_first_contact = False
        self._reserved.append(numbers)
        self.reserved = numbers.stop
        self._least = self._reserved[0].start

    def _left(self) -> int:
        return sum(len(numbers) for numbers in self._reserved)
