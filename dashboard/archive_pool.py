"""Read-only connections to the archive for many threads; the file may be missing, replaced, or of another version at any time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.archive.database import has_wal
from connectors.archive.survey import ArchiveSurvey
from connectors.disk import inode_of
from connectors.patience import gave_up
from model.errors import StorageError

IDLE = 8
"""Connections kept open."""

PATIENCE = 5.0
"""Seconds after which a question is given up."""


class TookTooLongError(StorageError):
    """A question was given up; the archive is well."""


_Identity = tuple[tuple[int, int] | None, bool]


class ArchivePool:
    """Lends connections to one archive. A question never holds the writer up: each statement is a short read of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[ArchiveSurvey] = []
        self._identity: _Identity | None = None

    @contextmanager
    def survey(self) -> Iterator[ArchiveSurvey]:
        """A connection for this thread, for a few questions.

        :raises StorageError: there is no archive, or not one that can be read; or a question took too long.
        """
        identity = self._looked_at()
        lent = self._lend(identity)
        healthy = False
        try:
            with lent.give_up_after(PATIENCE):
                yield lent
            healthy = True
        except sqlite3.OperationalError as error:
            if gave_up(error):
                healthy = True
                remedy = "ask for a shorter span of time, or for one meter"
                raise TookTooLongError(f"{self._path}: the question was given up after {PATIENCE:g} s", remedy) from error
            raise self._unreadable(error) from error
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        finally:
            self._take_back(lent, identity, healthy)

    def close(self) -> None:
        """Close what is idle; what is lent is closed when it comes back."""
        with self._lock:
            self._identity = None
            self._drop_idle()

    def _looked_at(self) -> _Identity:
        """Which file is there now, and whether it is written: a connection is of no use for another one."""
        identity = (inode_of(self._path), has_wal(self._path))
        with self._lock:
            if identity != self._identity:
                self._drop_idle()
                self._identity = identity
        return identity

    def _lend(self, identity: _Identity) -> ArchiveSurvey:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return ArchiveSurvey(self._path)

    def _take_back(self, lent: ArchiveSurvey, identity: _Identity, healthy: bool) -> None:
        with self._lock:
            if healthy and identity == self._identity and len(self._idle) < IDLE:
                self._idle.append(lent)
                return
        lent.close()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _unreadable(self, error: sqlite3.Error) -> StorageError:
        return StorageError(f"{self._path}: cannot be read: {error}", "check the disk; the pipeline replaces a damaged archive by itself")
