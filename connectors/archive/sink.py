"""Node type `archive-out`: keeps the history of everything that flows in one SQLite file.

Parallelism: one partition, so one writer in the whole cluster, on the host where the engine places it. Guarantee: at least
once, and a repeat overwrites itself. Nothing is in the snapshot: the file is the state. `write_batch` blocks for one
transaction (milliseconds; there is no fsync per commit), and a twentieth of the time since the last one for old rows to go.

The archive is a record, not the way to ThingsBoard: it must not stop the flow. When the disk is full or the file is locked,
messages wait in memory (the newest 100,000, older ones are dropped and counted), writing is tried again every few
seconds, and the log says once that it began and once that it is over. What waits is lost if the process ends before.
A damaged file is moved aside and what can be read of it goes into a new one; a file that was deleted is made anew, empty,
since whoever deletes an archive may need the room. Only what will not heal by itself (a directory in its place, no right to
write, a newer version) is an error that ends the flow at its start.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Union

import bytewax.operators as op
import structlog
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from pydantic import Field

from connectors.archive.salvage import replace_damaged
from connectors.archive.schema import FILE_NAME
from connectors.archive.store import ArchiveStore
from connectors.disk import inode_of, is_damage, may_heal
from model.cluster import Place
from model.errors import StorageError
from model.messages import Alert, Cycle, Gap, HealthReport, Message, Reading, Receipt, Rejection
from model.node import BuildContext, NodeType, Ports
from model.opening import Opening, merge_after_opening
from model.settings.base import Duration
from model.settings.node import NodeSettings

log = structlog.get_logger()

WAITING_MAX = 100_000
RETRY_SECONDS = 5.0
TIDY_PART, TIDY_MOST = 0.05, 0.25
"""Of the time since the last batch, and seconds: what moving and deleting rows may take at most, but for its last step."""

_CHUNK = 5_000

Item = Union[Message, Opening]
_ALONE = Place()


class ArchiveSettings(NodeSettings):
    """Settings of an archive-out node."""

    keep: Duration = Field(default=90 * 86400.0, ge=60, description="How long rows are kept, by their own time.")


class ArchivePartition(StatefulSinkPartition[Item, None]):
    """The one writer, and the messages that wait for it while the disk refuses."""

    def __init__(
        self,
        path: Path,
        keep: float,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._wall = wall
        self._monotonic = monotonic
        self._keep = keep
        self._store: ArchiveStore | None = None
        self._inode: tuple[int, int] | None = None
        self._damage: Exception | None = None
        self._waiting: deque[Message] = deque()
        self._dropped = 0
        self._retry_at: float | None = None
        self._tidied = monotonic()
        try:
            self._open()
        except StorageError as error:
            if not may_heal(error, path):
                raise
            self._refused(error)

    def write_batch(self, values: list[Item]) -> None:
        """Write the batch, or let it wait if the disk refuses."""
        self._waiting.extend(value for value in values if not isinstance(value, Opening))
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self._dropped += 1
        if self._retry_at is None or self._monotonic() >= self._retry_at:
            self._flush()

    def snapshot(self) -> None:
        """Nothing: the file is the state."""
        return

    def close(self) -> None:
        """Write what waits, if the disk lets us, and close the file; never raises: Bytewax would abort the process."""
        try:
            self._flush()
        except Exception:
            log.exception("archive could not be written at its close", file=str(self._path))
        if self._waiting:
            log.error("archive is closed with messages unwritten", file=str(self._path), lost=len(self._waiting) + self._dropped)
        if self._store is not None:
            self._store.close()

    def _flush(self) -> None:
        try:
            store = self._usable()
            while self._waiting:
                chunk = list(islice(self._waiting, _CHUNK))
                store.write(chunk)
                for _ in chunk:
                    self._waiting.popleft()
            self._tidy(store)
        except (sqlite3.Error, StorageError) as error:
            if is_damage(error) and self._store is not None:
                self._store.close()
                self._store = None
                self._damage = error  # replaced at the next attempt
            self._refused(error)
        else:
            self._accepted()

    def _tidy(self, store: ArchiveStore) -> None:
        """Move and delete rows for a part of the time since the last batch.

        On a busy machine batches are seconds apart, and hold what thousands of meters said meanwhile: a step each would not delete
        as much as is written.
        """
        now = self._monotonic()
        until = now + min(TIDY_MOST, (now - self._tidied) * TIDY_PART)
        self._tidied = now
        while store.tidy(self._now_ms()) and self._monotonic() < until:
            pass

    def _usable(self) -> ArchiveStore:
        """The store, opened again where it has to be."""
        if self._store is not None and inode_of(self._path) != self._inode:
            log.error(
                "the archive was deleted or replaced while it was in use; a new one is made",
                file=str(self._path),
                remedy="stop the pipeline before you move its archive, and set `keep` to what the disk holds",
            )
            self._store.close()
            self._store = None
        return self._open() if self._store is None else self._store

    def _open(self) -> ArchiveStore:
        """Open the file; one that is damaged is replaced first."""
        if self._damage is not None:
            self._replace(self._damage)
            self._damage = None
        try:
            store = ArchiveStore(self._path, self._keep, self._now_ms())
            store.check()
        except (StorageError, sqlite3.Error) as error:
            if not is_damage(error if isinstance(error, sqlite3.Error) else error.__cause__):
                raise
            self._replace(error)
            store = ArchiveStore(self._path, self._keep, self._now_ms())
        self._store, self._inode = store, inode_of(self._path)
        return store

    def _replace(self, error: Exception) -> None:
        salvaged = replace_damaged(self._path, self._now_ms())
        log.error(
            "the archive is damaged; it was moved aside and a new one made of what can be read",
            file=str(self._path),
            error=str(error),
            moved_to=str(salvaged.aside),
            rows=salvaged.rows,
            incomplete=", ".join(salvaged.incomplete) or None,
            remedy="check the disk; what could not be read may be recovered from the moved file with sqlite3 .recover, else delete it",
        )

    def _refused(self, error: Exception) -> None:
        if self._retry_at is None:
            log.error(
                "archive cannot be written, messages wait in memory",
                file=str(self._path),
                error=str(error),
                remedy="free disk space, or end the program that holds the file; delivery to ThingsBoard goes on",
            )
        self._retry_at = self._monotonic() + RETRY_SECONDS

    def _accepted(self) -> None:
        if self._retry_at is not None:
            log.info("archive is written again", file=str(self._path), lost=self._dropped)
        self._retry_at = None
        self._dropped = 0

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)


class ArchiveSink(FixedPartitionedSink[Item, None]):
    """One SQLite file, one partition.

    :arg path: the file; its directory is made if need be.
    :arg keep: seconds after which rows are deleted.
    :arg place: this process; over several hosts one of them has the file, always the same.
    """

    def __init__(self, path: Path, keep: float, place: Place = _ALONE) -> None:
        self._place = place
        self._path = path
        self._keep = keep

    def list_parts(self) -> list[str]:
        """The one partition."""
        return ["archive"] if self._place.keeps else []

    def part_fn(self, item_key: str) -> int:
        """Everything goes to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> ArchivePartition:
        """Open the file.

        :raises StorageError: it cannot be used; says what to do.
        """
        return ArchivePartition(self._path, self._keep)


@operator
def archive_out(step_id: str, *ups: KeyedStream[Any], path: Path, keep: float, place: Place = _ALONE) -> None:
    """Write everything to the archive.

    :arg ups: streams of any messages, keyed by meter.
    :arg path: the SQLite file.
    :arg keep: seconds after which rows are deleted.
    :arg place: see `ArchiveSink`.
    """
    op.output("write", merge_after_opening("inputs", *ups), ArchiveSink(path, keep, place))


def build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    """Add the node to the flow."""
    archive_out(context.node_id, *inputs, path=context.pipeline.state_dir / FILE_NAME, keep=context.settings.keep, place=context.place)
    return {}


NODE = NodeType(
    name="archive-out",
    summary="Keeps readings, cycles, rejections, receipts, reports, gaps and alerts in a SQLite file, for as long as you say.",
    settings=ArchiveSettings,
    accepts=(Cycle, Reading, Rejection, Receipt, HealthReport, Alert, Gap),
    emits={},
    example="""\
- id: archive
  type: archive-out
  inputs: [meters, checked, checked.rejected, receipts, health, alerts]
  settings: {keep: 90d}
""",
    build=build,
)
