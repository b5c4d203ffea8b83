"""Keeps what the stand-in accepted in a SQLite file, so that a restart of it loses nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from simulator.thingsboard.payload import Record, StoredValue
from simulator.thingsboard.store import StoredDevice

_SCHEMA = """
CREATE TABLE IF NOT EXISTS device (name TEXT PRIMARY KEY, type TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS point (device TEXT, key TEXT, ts INTEGER, value TEXT NOT NULL, PRIMARY KEY (device, key, ts)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attribute (device TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY (device, key)) WITHOUT ROWID;
"""


class SqliteJournal:
    """A store's journal in one file; values are kept as JSON text, so that 1, 1.0 and "1" stay apart.

    Used by one thread at a time. Every message is committed, without waiting for the disk: it survives a killed
    process, not a power cut.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        :raises sqlite3.Error: when it cannot be opened or is not a journal.
        """
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error:
            self._db.close()
            raise

    def devices(self) -> Iterable[StoredDevice]:
        """What an earlier run has kept."""
        found = {name: StoredDevice(name, kind) for name, kind in self._db.execute("SELECT name, type FROM device")}
        for name, key, ts, value in self._db.execute("SELECT device, key, ts, value FROM point ORDER BY ts"):
            found[name].write(Record(ts, {key: json.loads(value)}))
        for name, key, value in self._db.execute("SELECT device, key, value FROM attribute"):
            found[name].attributes[key] = json.loads(value)
        return found.values()

    def add_device(self, name: str, device_type: str) -> None:
        """A device has been created."""
        self._db.execute("INSERT OR IGNORE INTO device VALUES (?, ?)", (name, device_type))

    def add_points(self, name: str, ts: int, values: list[tuple[str, StoredValue]]) -> None:
        """Values of one timestamp are new or have changed."""
        self._write("INSERT OR REPLACE INTO point VALUES (?, ?, ?, ?)", [(name, key, ts, json.dumps(value)) for key, value in values])

    def add_attributes(self, name: str, values: dict[str, StoredValue]) -> None:
        """Client attributes have been set."""
        self._write("INSERT OR REPLACE INTO attribute VALUES (?, ?, ?)", [(name, key, json.dumps(value)) for key, value in values.items()])

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def _write(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(statement, rows)
        self._db.execute("COMMIT")
