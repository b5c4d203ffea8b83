"""The recovery store: looked at before Bytewax opens it, which answers whatever is wrong with a panic and a traceback.

A store is a folder of SQLite files, its partitions, each of which says how many there are. In a cluster over several hosts all of
them are on the host of process 0, beside outbox and archive, and the other hosts have an empty folder: of a second store, or of a
copy, the engine would use some files here and some there without a word, and a store in parts is lost with any of its hosts.
Nothing here is ever deleted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from urllib.parse import quote

from bytewax.recovery import init_db_dir

from connectors.disk import is_locked
from flows.engine_options import engine_options
from model.cluster import KEEPER, Place
from model.errors import StorageError
from model.node import Remembered, no_memory

FOLDER = "recovery"
"""Of the store, inside state_dir."""

MAKE = "python -m commands recovery"
MAKE_ELSEWHERE = "python -m commands recovery --elsewhere"
SET_ASIDE = "python -m commands recovery --set-aside"

MAKE_REMEDY = f"make it once, before the first start: {MAKE}; where it was made already, check the path and whether its disk is mounted"
ANEW_REMEDY = (
    f"bring the whole folder back from a backup, or move it aside and begin with an empty one: {SET_ASIDE}; then windows and alerts"
    " begin anew, and load profiles are read on from the newest interval in the archive"
)
_WRITABLE_REMEDY = "make the folder and its files readable and writable for the user that runs the pipeline"

_OPEN_MARK = 128
"""The byte of the -shm file on which SQLite keeps a shared lock as long as a connection is open (UNIX_SHM_DMS in its os_unix.c)."""

_PATTERN = "part-*.sqlite3"
_SCHEMA = {
    "parts": {"part_index", "part_count"},
    "exs": {"ex_num", "worker_count", "resume_epoch"},
    "fronts": {"ex_num", "worker_index", "worker_frontier"},
    "commits": {"part_index", "commit_epoch"},
    "snaps": {"step_id", "state_key", "snap_epoch", "ser_change"},
}
"""Tables and columns that Bytewax 0.21 uses."""


@dataclass(frozen=True)
class StoreState:
    """What there is: how many partitions belong to the store, its size in bytes, when Bytewax wrote to it last."""

    partitions: int
    size: int
    written: datetime


def partitions(store: Path) -> list[Path]:
    """The files of the store, none where there is no store."""
    return sorted(store.glob(_PATTERN))


def make_store(store: Path, count: int) -> bool:
    """Make a store of `count` partitions where there is none; whether one was made. Several processes may ask at once.

    :raises StorageError: when the disk does not let us.
    """
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with _alone(store):
            if partitions(store):
                return False
            draft = store.with_name(f"{store.name}.new")
            if draft.exists():  # of somebody who was killed here
                shutil.rmtree(draft)
            draft.mkdir()
            init_db_dir(draft, count)  # type: ignore[no-untyped-call]
            draft.rename(store)  # whole or not at all; takes the place of an empty folder
            return True
    except OSError as error:
        remedy = "make state_dir writable, or set another one; a folder of that name may hold nothing but the store"
        raise StorageError(f"the recovery store {store} cannot be made: {error.strerror}", remedy) from error


def set_aside(store: Path) -> Path | None:
    """Rename the folder to a name that says when; returns that, None where there is no folder.

    :raises StorageError: when a pipeline is using it, or when it cannot be renamed.
    """
    if not store.exists():
        return None
    if any(_is_open(part) for part in partitions(store)):
        raise StorageError(f"the recovery store {store} is in use", "stop the pipeline first")
    aside = store.with_name(f"{store.name}.aside-{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}")
    try:
        store.rename(aside)
    except OSError as error:
        raise StorageError(f"the recovery store {store} cannot be moved: {error.strerror}", "make state_dir writable") from error
    return aside


def back_up(store: Path, target: Path) -> None:
    """Copy the store into a new folder, also while a pipeline writes to it; each file as it was at one moment.

    :raises StorageError: when there is something at `target`, or a file cannot be read or written.
    """
    draft = target.with_name(f"{target.name}.new")
    try:
        if target.exists() and any(target.iterdir()):
            raise StorageError(f"the backup {target} exists already", "name a folder that does not, such as one with today's date")
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(parents=True)
        for part in partitions(store):
            with closing(_open(part)) as source, closing(sqlite3.connect(draft / part.name)) as copy:
                source.backup(copy)
        draft.rename(target)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"the recovery store {store} cannot be copied to {target}: {error}", "check both disks") from error


def check_store(store: Path, complete: bool = True) -> StoreState:
    """Make sure that Bytewax can resume from `store`.

    :arg complete: whether all partitions must be here.
    :raises StorageError: when it cannot; the message says what is wrong with which file, and what to do.
    """
    if not store.is_dir():
        raise StorageError(f"there is no recovery store {store}", MAKE_REMEDY)
    parts = partitions(store)
    if not parts:
        raise StorageError(f"the folder {store} holds no recovery store: it was never made", MAKE_REMEDY)
    if not os.access(store, os.W_OK):
        raise StorageError(f"the recovery store {store} cannot be written", _WRITABLE_REMEDY)
    found = [_checked(part) for part in parts]
    indices, counts = {index for index, _ in found}, {count for _, count in found}
    if len(counts) > 1 or len(indices) < len(found):
        raise StorageError(f"the files of the recovery store {store} belong to different stores", ANEW_REMEDY)
    (count,) = counts
    missing = [f"part-{index}.sqlite3" for index in range(count) if index not in indices]
    if missing and complete:
        raise StorageError(f"the recovery store {store} has lost {', '.join(missing)} of its {count} files", ANEW_REMEDY)
    written, size = _written(parts)
    return StoreState(count, size, datetime.fromtimestamp(written, tz=timezone.utc))


def leave_to_another_host(store: Path) -> None:
    """Make the empty folder that a host needs whose cluster has its store on another one.

    :raises StorageError: when it cannot be made, or is not empty.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder {store} cannot be made: {error.strerror}", "make state_dir writable, or set another one") from error
    check_no_store(store, "another host")


def check_no_store(store: Path, keeper: str) -> None:
    """Make sure that the folder is there and empty.

    :arg keeper: where the store is.
    :raises StorageError: when it is not.
    """
    if not store.is_dir():
        remedy = f"make it: {MAKE_ELSEWHERE}"
        raise StorageError(f"the store of this cluster is on {keeper}, and the empty folder {store} is missing here", remedy)
    if partitions(store):
        remedy = f"move this one aside, it is kept: {SET_ASIDE} --elsewhere; where this host is to keep the store, make it process 0"
        raise StorageError(f"there is a recovery store in {store}, but this cluster has its one on {keeper}", remedy)


def _written(parts: Iterable[Path]) -> tuple[float, int]:
    """When the partitions or the files beside them were written last, and their size in bytes."""
    written, size = 0.0, 0
    for part in parts:
        for file in part.parent.glob(f"{part.name}*"):
            with suppress(FileNotFoundError):  # another process of the cluster has just closed it
                state = file.stat()
                written, size = max(written, state.st_mtime), size + state.st_size
    return written, size


def store_in_use(place: Place, arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> Remembered:
    """What the store that Bytewax was told to use remembers; nothing without one.

    :arg arguments: of the command line; those of this process where it is None.
    :raises StorageError: as `check_store` does.
    """
    store = engine_options(sys.argv[1:] if arguments is None else arguments, environment).recovery
    if store is None:
        return no_memory
    if KEEPER in place.elsewhere_by_number:
        check_no_store(store, place.elsewhere_by_number[KEEPER])
    else:
        check_store(store, complete=place.count == 1 or place.spans_hosts)
    return partial(remembered, store)


def remembered(store: Path, step: str) -> frozenset[str]:
    """The keys of which the store holds a state of `step`; none where it cannot be read, which `check_store` reports."""
    keys: set[str] = set()
    for part in partitions(store):
        try:
            with closing(_open(part)) as database:
                keys.update(key for (key,) in database.execute("SELECT DISTINCT state_key FROM snaps WHERE step_id = ?", (step,)))
        except sqlite3.Error:
            continue
    return frozenset(keys)


def _checked(part: Path) -> tuple[int, int]:
    """Number of a partition and how many there are; the whole file is read, a few megabytes for thousands of meters."""
    if not os.access(part, os.R_OK | os.W_OK):
        raise StorageError(f"the file {part} of the recovery store cannot be read and written", _WRITABLE_REMEDY)
    try:
        with closing(_open(part)) as database:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise StorageError(f"the file {part} of the recovery store is damaged: {' '.join(str(verdict).split())}", ANEW_REMEDY)
            for table, columns in _SCHEMA.items():
                if not columns <= {row[1] for row in database.execute(f"PRAGMA table_info({table})")}:
                    what = f"is empty, damaged or of another version of Bytewax: it has no table {table} as it should be"
                    raise StorageError(f"the file {part} of the recovery store {what}", ANEW_REMEDY)
            rows = database.execute("SELECT part_index, part_count FROM parts").fetchall()
    except sqlite3.Error as error:
        if is_locked(error):
            raise StorageError(f"the file {part} of the recovery store is locked", "end the program that holds it open") from error
        raise StorageError(f"the file {part} of the recovery store is damaged: {error}", ANEW_REMEDY) from error
    if len(rows) != 1:
        raise StorageError(f"the file {part} of the recovery store is damaged: it does not say which of its files it is", ANEW_REMEDY)
    return int(rows[0][0]), int(rows[0][1])


def _is_open(part: Path) -> bool:
    """Whether a process has the file open: each connection to a database in WAL mode holds a lock beside it."""
    try:
        descriptor = os.open(part.with_name(f"{part.name}-shm"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _OPEN_MARK)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open(part: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(part.resolve()))}?mode=rw", uri=True, timeout=5.0)


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    descriptor = os.open(store.with_name(f"{store.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
