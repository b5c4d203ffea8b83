"""Opens the archive's SQLite file, for its one writer or for any number of readers, and wraps a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import StorageError

_BUSY_SECONDS = 0.5


def open_writer(path: Path) -> sqlite3.Connection:
    """Open or create the file in WAL mode: readers do not block the writer, nor the writer them.

    `synchronous` is NORMAL: a kill loses nothing that was committed, a power cut the last seconds, and neither the file.

    :raises StorageError: the file cannot be created, opened or used with WAL.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from error
    try:
        mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA journal_size_limit = 67108864")
    except sqlite3.Error as error:
        database.close()
        raise _unusable(path, error) from error
    if mode != "wal":
        database.close()
        raise StorageError(f"{path}: the file system does not support SQLite's WAL", "put state_dir on a local disk")
    return database


def open_reader(path: Path) -> sqlite3.Connection:
    """Open an existing archive for reading only; it can do the writer no harm.

    One that nobody has open, in a directory this user may not write, is read as a file that does not change: SQLite could not make
    its companions there. Whoever keeps such a connection opens another one when a -wal file appears. Threads may share the
    connection, one at a time.

    :raises StorageError: there is no archive, or it cannot be read.
    """
    if not path.exists():
        raise StorageError(f"{path}: there is no archive", "check state_dir, and that the pipeline has an archive-out node and has run")
    try:
        return _read_only(path, "mode=ro")
    except sqlite3.Error as error:
        if isinstance(error, sqlite3.OperationalError) and not has_wal(path):
            try:
                return _read_only(path, "mode=ro&immutable=1")
            except sqlite3.Error:
                pass  # the first reason tells more
        raise _unusable(path, error) from error


def has_wal(path: Path) -> bool:
    """Whether a writer has the archive open, or left without closing it."""
    return path.with_name(path.name + "-wal").exists()


def _read_only(path: Path, options: str) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?{options}"
    database = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA query_only = 1")
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing: commit at the end, roll back on any exception.

    :raises sqlite3.Error: the transaction could not begin or be committed.
    """
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # SQLite has rolled back by itself after some errors
            database.execute("ROLLBACK")
        raise


def _unusable(path: Path, error: Exception) -> StorageError:
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return StorageError(f"{path}: not a usable archive: {error}", "move the file away; a new one is made at the next start")
    return StorageError(f"{path}: cannot be opened: {error}", "check that the directory exists, is writable, and that the disk is not full")
