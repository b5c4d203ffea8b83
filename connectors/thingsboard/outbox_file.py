"""The outbox's SQLite file with its two connections, and what is done when it turns out damaged or deleted.

Nothing is ever thrown away: a damaged file is read as far as it can be into a new one and then renamed; a deleted one is
still open here, so everything in it goes into the new one. The new file takes the old one's place only when it is complete:
until then it is a draft beside it, and a crash at any point leaves one of both to go on with.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from connectors.disk import COMPANIONS, inode_of, put_aside
from connectors.thingsboard.outbox_schema import open_reader, open_writer, storage_errors, while_locked
from connectors.thingsboard.salvage import Salvaged, salvage

_Result = TypeVar("_Result")


class OutboxFile:
    """One opened outbox file. The caller sees to it that one thread writes and one reads at a time.

    :raises StorageError: when it cannot be used; `DamagedError` when it is no sound outbox.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            _finish_replacing(path)
            self._writer = open_writer(path)
            try:
                self._reader = open_reader(path)
            except BaseException:
                self._writer.close()
                raise
            self._inode = inode_of(path)

    def gone(self) -> bool:
        """Whether somebody deleted the file or put another one in its place."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # a disk that fails has not lost the file yet
            return False
        return (found.st_dev, found.st_ino) != self._inode

    def write(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """What `work` returns, done in one transaction; on a full disk once more if the write-ahead log gives back some room."""
        with storage_errors(self.path):
            try:
                return self._transaction(work)
            except sqlite3.OperationalError as error:
                if "disk is full" not in str(error) or not self._gives_back_room():
                    raise
            return self._transaction(work)

    def read(self, look: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """What `look` returns; it sees what was committed."""
        with storage_errors(self.path):
            return while_locked(self.path, lambda: look(self._reader))

    def close(self) -> None:
        """Close both connections."""
        with storage_errors(self.path):
            self._reader.close()
            self._writer.close()

    def _transaction(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        while_locked(self.path, lambda: self._writer.execute("BEGIN IMMEDIATE"))
        try:
            result = work(self._writer)
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return result

    def _gives_back_room(self) -> bool:
        try:
            busy, _frames, _moved = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            return False
        return not busy

    def abandon(self) -> None:
        """Close both connections of a damaged file, whatever they say."""
        for connection in (self._reader, self._writer):
            with suppress(sqlite3.Error):
                connection.close()

    def recreate(self) -> tuple[OutboxFile, Salvaged]:
        """A new file with everything in it, in the place of the deleted one; this one is closed.

        :raises StorageError: when it cannot be made; this one goes on as it is.
        """
        draft = _draft(self.path)
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            found = salvage(self._writer, draft)
            put_aside(self.path, "replaced")  # whatever lies in its place now
            with suppress(sqlite3.Error):
                self._reader.close()
                self._writer.close()  # by its name this deletes a -wal; so before the new one has its own
            draft.replace(self.path)
        return OutboxFile(self.path), found


@dataclass(frozen=True)
class Replaced:
    """A damaged file that was replaced: where it is now, and what could be read of it."""

    aside: Path
    salvaged: Salvaged


def replace_damaged(path: Path) -> Replaced:
    """Put a new file with all that can be read in the place of a damaged one, which is kept under another name.

    No connection of this process may be open to it.

    :raises StorageError: when the new one cannot be made; the damaged one is still in its place then.
    """
    draft = _draft(path)
    with storage_errors(path):
        source = open_reader(path)
        try:
            found = salvage(source, draft)
        finally:
            source.close()
        aside = put_aside(path, "damaged")
        draft.replace(path)
    return Replaced(aside, found)


def _draft(path: Path) -> Path:
    draft = path.with_name(f"{path.name}.new")
    for file in (draft, *(draft.with_name(draft.name + suffix) for suffix in COMPANIONS)):
        file.unlink(missing_ok=True)  # of an attempt that was cut short; the original is still there
    return draft


def _finish_replacing(path: Path) -> None:
    """A crash came between the two renames: the draft is complete."""
    draft = path.with_name(f"{path.name}.new")
    if draft.exists() and not path.exists():
        draft.replace(path)
