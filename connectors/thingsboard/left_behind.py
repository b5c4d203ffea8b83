"""What waits in the outbox of a host that has the session no more: nobody delivers it until it is taken over.

Over several hosts the outbox is on the disk of the process that keeps the session. When another host becomes that one, what
ThingsBoard had not acknowledged stays where it is. It is said there, at every start and by `health`; the new keeper says it
as well, from its snapshot (`sink`). `take_over` moves the records into another outbox.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from connectors.disk import COMPANIONS
from connectors.thingsboard.outbox_rows import COLUMNS
from connectors.thingsboard.outbox_schema import VERSION, open_writer, storage_errors
from connectors.thingsboard.outbox_state import look_into
from connectors.thingsboard.ownership import Lock
from connectors.thingsboard.payload import Kind
from connectors.thingsboard.session_names import outbox_file, outbox_lock, outboxes_on_disk, session_of_file
from model.cluster import KEEPER, Place
from model.errors import StorageError
from model.settings.thingsboard import SINGLE

PATIENCE = 1.0
"""Seconds for counting what was left."""

log = structlog.get_logger(__name__)


def left_remedy(path: Path) -> str:
    """What to do with what waits in the outbox file at `path`."""
    return (
        f"copy {path.name} and its -wal from {path.parent} to the host of process {KEEPER}, stop the flow there, and run"
        " python -m commands take-over COPY; or make this host process 0 again"
    )


def tell_what_was_left(state_dir: Path, place: Place) -> None:
    """Warn where records wait on this host, whose session is on another one; never raises."""
    if KEEPER not in place.elsewhere_by_number:
        return
    for path in outboxes_on_disk(state_dir).values():
        _tell(path, place)


def _tell(path: Path, place: Place) -> None:
    try:
        state = look_into(path, PATIENCE)
    except (StorageError, OSError) as error:
        log.warning("the outbox that was left on this host cannot be read", file=str(path), reason=str(error))
        return
    if state.waiting:
        keeper = place.elsewhere_by_number[KEEPER]
        said = "records wait in the outbox of this host and nobody delivers them: the session is on another host"
        log.error(said, waiting=state.waiting, session=keeper, remedy=left_remedy(path))


@dataclass(frozen=True)
class TakenOver:
    """How many records were moved, how many attributes were left out, and what the emptied file is called now."""

    records: int
    attributes: int
    aside: Path


def take_over(source: Path, state_dir: Path, sessions: Sequence[str] = (SINGLE,)) -> TakenOver:
    """Move the records that wait in the outbox file `source` into the outbox in `state_dir`; nothing may run on either.

    Of several sessions it is the one whose name the file has.

    They come behind what waits there already. Attributes are left out: they say how things stand, and the flow that runs now
    says it anew. A crash in between leaves both files as they were, or the records in both, which ThingsBoard overwrites. The
    file is kept, under a name that says when it was taken over.

    :raises OwnershipError: when a flow uses one of the two.
    :raises StorageError: when one of them cannot be used, or both are the same outbox.
    """
    session = _session_of(source, sessions)
    target = outbox_file(state_dir, session)
    if not source.is_file():
        raise StorageError(f"there is no outbox {source}", "name the file, outbox.sqlite of the other host, copied to this one")
    if target.exists() and target.samefile(source):
        raise StorageError(f"{source} is the outbox of this flow", "name the copy of the other host's; what waits here is delivered anyway")
    with (
        _held(state_dir, target, session),
        _held(source.parent, source, session),
        storage_errors(target),
        closing(open_writer(target)) as database,
    ):
        with storage_errors(source):
            database.execute("ATTACH ? AS other", (str(source),))
            _check_other(database, source, target)
            database.execute("BEGIN IMMEDIATE")
            moved, left_out = _move(database)
            database.execute("COMMIT")
            database.execute("PRAGMA other.wal_checkpoint(TRUNCATE)")
            database.execute("DETACH other")
        return TakenOver(moved, left_out, _put_aside(source))


def _session_of(source: Path, sessions: Sequence[str]) -> str:
    if len(sessions) == 1:
        return sessions[0]
    session = session_of_file(source)
    if session not in sessions:
        names = ", ".join(outbox_file(Path(), name).name for name in sessions)
        raise StorageError(f"{source} does not tell by its name which session it is of", f"let the copy keep its name, one of {names}")
    return session


def _check_other(database: sqlite3.Connection, source: Path, target: Path) -> None:
    (version,) = database.execute("PRAGMA other.user_version").fetchone()
    if version != VERSION:
        raise StorageError(f"{source} is no outbox of this version of the program", "let the version that wrote it deliver it")
    if database.execute("SELECT outbox FROM main.identity INTERSECT SELECT outbox FROM other.identity").fetchone() is not None:
        raise StorageError(f"{source} is a copy of the outbox {target}", "nothing is to be taken over; delete the copy")


def _move(database: sqlite3.Connection) -> tuple[int, int]:
    """Records that were moved, and attributes that were not."""
    kind = (Kind.ATTRIBUTES.value,)
    moved = database.execute(
        f"INSERT INTO main.records ({COLUMNS}) SELECT {COLUMNS} FROM other.records WHERE kind <> ? ORDER BY id",  # noqa: S608
        kind,
    ).rowcount
    database.execute("INSERT OR IGNORE INTO main.devices SELECT name, type, x'' FROM other.devices")
    (left_out,) = database.execute("SELECT count(*) FROM other.records WHERE kind = ?", kind).fetchone()
    return moved, left_out


@contextmanager
def _held(folder: Path, outbox: Path, session: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(outbox_lock(folder, session), f"the outbox {outbox}", "stop that flow first (pid {pid})", {"command": "take-over"})
    try:
        yield
    finally:
        lock.release()


def _put_aside(source: Path) -> Path:
    aside = source.with_name(f"{source.name}.taken-over-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
    source.replace(aside)
    for suffix in COMPANIONS:
        source.with_name(source.name + suffix).unlink(missing_ok=True)
    return aside
