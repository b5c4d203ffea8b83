"""The outbox file: its tables, how it is opened, and what is said when it cannot be used."""

from __future__ import annotations

import errno
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import structlog

from connectors.disk import is_damage, is_locked
from model.errors import StorageError

FILE_NAME = "outbox.sqlite"

VERSION = 2
"""Schema version, kept in PRAGMA user_version."""

BUSY_TIMEOUT = 5.0
"""Seconds to wait without a word for another process that holds the file (a backup, an operator's shell)."""

BUSY_PATIENCE = 15.0
"""Seconds to wait for it in all, with a warning, before it is an error and readings wait in memory."""

BUSY_PAUSE = 0.05
"""Seconds between two attempts."""

log = structlog.get_logger()
_Result = TypeVar("_Result")

_TABLES = """
CREATE TABLE identity (outbox TEXT NOT NULL);
CREATE TABLE records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL,
    meter TEXT NOT NULL,
    kind TEXT NOT NULL,
    ts INTEGER NOT NULL,
    payload BLOB NOT NULL,
    origin TEXT NOT NULL,
    readings INTEGER NOT NULL,
    read_at INTEGER NOT NULL,
    points INTEGER NOT NULL
);
CREATE INDEX attributes ON records (id) WHERE kind = 'attributes';
CREATE TABLE devices (name TEXT PRIMARY KEY, type TEXT NOT NULL, tags BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL,
    meter TEXT NOT NULL,
    kind TEXT NOT NULL,
    ts INTEGER NOT NULL,
    payload BLOB NOT NULL,
    origin TEXT NOT NULL,
    readings INTEGER NOT NULL,
    read_at INTEGER NOT NULL,
    points INTEGER NOT NULL,
    code INTEGER,
    reason TEXT NOT NULL,
    died INTEGER NOT NULL
);
CREATE TABLE receipts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    meter TEXT NOT NULL,
    readings INTEGER NOT NULL,
    oldest INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL,
    delay REAL NOT NULL,
    polls TEXT NOT NULL
);
CREATE TABLE dropped (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    meter TEXT NOT NULL,
    readings INTEGER NOT NULL,
    oldest INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    reason TEXT NOT NULL,
    profile TEXT NOT NULL
);
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    severity TEXT NOT NULL,
    raised INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    evidence TEXT NOT NULL,
    remedy TEXT NOT NULL
);
"""

_SINCE_2 = ("INDEX attributes", "TABLE dropped")


class DamagedError(StorageError):
    """The file is no sound outbox: it was overwritten, cut short, or the disk gave back something else than was written."""


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system complain about into a `StorageError` that names the file and the way out."""
    try:
        yield
    except sqlite3.Error as error:
        kind = DamagedError if is_damage(error) else StorageError
        raise kind(f"the outbox {path} cannot be used: {error}", _remedy(str(error))) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageError(
            f"the outbox {path} cannot be used: {error.strerror or error}", _remedy("disk is full" if full else "readonly")
        ) from error


def while_locked(path: Path, attempt: Callable[[], _Result]) -> _Result:
    """What `attempt` returns; tried again for `BUSY_PATIENCE` seconds while another process holds the file, which is logged once.

    :raises sqlite3.Error: of the last attempt; at once when it is about anything but a lock.
    """
    begun = time.monotonic()
    warned = False
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            waited = time.monotonic() - begun
            if not is_locked(error) or waited >= BUSY_PATIENCE:
                raise
            if waited >= BUSY_TIMEOUT and not warned:
                warned = True
                log.warning(
                    "the outbox is locked by another program; nothing is read or delivered until it is free",
                    file=str(path),
                    patience=f"{BUSY_PATIENCE:.0f} s",
                    remedy=_remedy(str(error)),
                )
            time.sleep(BUSY_PAUSE)


def open_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes; creates the file and its tables where they are missing.

    Every commit is on the disk when it returns (WAL with synchronous=FULL). Call it inside `storage_errors`.

    :raises StorageError: when the file has another schema version or cannot be put into WAL mode.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        if database.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StorageError(f"the outbox {path} cannot be kept in WAL mode", "put state_dir on a local disk, not on a network share")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA journal_size_limit = 67108864")
        database.execute("BEGIN IMMEDIATE")
        _create(database, path)
        database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; in WAL mode it neither waits for the writer nor makes it wait."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=0.0, isolation_level=None, check_same_thread=False)


def _create(database: sqlite3.Connection, path: Path) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        return
    if version == 1:
        for statement in _TABLES.split(";"):
            if any(name in statement for name in _SINCE_2):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
        return
    if version != 0 or database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StorageError(
            f"the outbox {path} has schema version {version}, this program knows {VERSION}",
            "run the version that wrote it until it is drained, or move the file away to start with an empty outbox",
        )
    for statement in filter(str.strip, _TABLES.split(";")):
        database.execute(statement)
    database.execute("INSERT INTO identity VALUES (?)", (secrets.token_hex(8),))
    database.execute(f"PRAGMA user_version = {VERSION}")


def _remedy(message: str) -> str:
    if "disk is full" in message or "disk I/O" in message:
        return "free space on the disk of state_dir, or check the disk"
    if "readonly" in message or "unable to open" in message:
        return "check the disk if it turned read-only; otherwise make state_dir and the file one this user can write to"
    if "locked" in message or "busy" in message:
        return "end the program that holds the file (a database shell, a backup)"
    return "look at the file and the disk it is on"
