"""What disks do to a SQLite file, and how one that is of no use any more is kept: for every connector that owns a file."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from model.errors import StorageError

COMPANIONS = ("-wal", "-shm")
"""What SQLite keeps beside a file in WAL mode, by suffix."""

_HEALING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_DAMAGED = ("malformed", "not a database", "no such table", "no such column", "is encrypted")


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that the file is not what it wrote: overwritten, cut short, or another program's."""
    return isinstance(error, sqlite3.Error) and any(sign in str(error) for sign in _DAMAGED)


def is_locked(error: BaseException) -> bool:
    """Whether another program holds the file."""
    return isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "busy" in str(error))


def is_disk_trouble(error: OSError) -> bool:
    """Whether the disk is full, read-only or failing, rather than the path or the rights to it wrong."""
    return error.errno in _HEALING


def may_heal(error: StorageError, path: Path) -> bool:
    """Whether the disk is to blame (full, read-only, failing), so that the same may work later without a change of settings."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return is_disk_trouble(cause)
        if isinstance(cause, sqlite3.OperationalError):
            message = str(cause)
            return "disk is full" in message or "disk I/O" in message or is_locked(cause) or _is_read_only(path)
        cause = cause.__cause__
    return False


def put_aside(path: Path, why: str) -> Path:
    """Rename a file and its companions, if there is one, to a name that says why and when; returns that."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    aside = path.with_name(f"{path.name}.{why}-{stamp}")
    count = 1
    while aside.exists():
        count += 1
        aside = path.with_name(f"{path.name}.{why}-{stamp}-{count}")
    for suffix in (*COMPANIONS, ""):  # the file itself last: as long as it is there, it is found damaged again
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
    return aside


def inode_of(path: Path) -> tuple[int, int] | None:
    """What tells this file from another one of the same name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False
