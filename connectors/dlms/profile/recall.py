"""Node type `profile-recall`: load profile intervals that were given up before ThingsBoard had them are read once more.

Parallelism: one partition, so one writer in the whole cluster; over several hosts one in each process, all of which write down
the same, since each source looks into the file of its own host. Guarantee: at least once. Nothing is in the snapshot: the
file is the state, see `recalls`. `write_batch` blocks for one short transaction. While the file cannot be written, what is
to be recalled waits in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Union

import bytewax.operators as op
import structlog
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.dlms.profile.recalls import RECALLS, Recalls
from model.cluster import Place
from model.messages import Dropped
from model.node import BuildContext, NodeType, Ports
from model.opening import Opening, merge_after_opening
from model.settings.node import NodeSettings

log = structlog.get_logger(__name__)

Item = Union[Dropped, Opening]
_ALONE = Place()

WRITE_EACH = "write_each"
"""Name of the output step over several hosts: another one, since the recovery store files other partitions under it."""


class RecallPartition(StatefulSinkPartition[Item, None]):
    """The one writer."""

    def __init__(self, recalls: Recalls) -> None:
        self._recalls = recalls
        self._waiting: list[Dropped] = []

    def write_batch(self, values: list[Item]) -> None:
        """Write down what is to be read again."""
        self._waiting += [value for value in values if isinstance(value, Dropped) and value.intervals]
        self._flush()

    def snapshot(self) -> None:
        """Nothing: the file is the state."""
        return

    def close(self) -> None:
        """Write what waits; never raises."""
        self._flush()

    def _flush(self) -> None:
        while self._waiting:
            dropped = self._waiting[0]
            try:
                self._recalls.note(dropped.meter, dropped.intervals)
            except (sqlite3.Error, OSError) as error:
                log.error("intervals to be read again cannot be written down", waiting=len(self._waiting), error=str(error))
                return
            log.info("intervals will be read again", meter=dropped.meter, intervals=len(dropped.intervals), reason=dropped.reason)
            self._waiting.pop(0)


class RecallSink(FixedPartitionedSink[Item, None]):
    """One file, one partition; over several hosts one in each process.

    :arg file: see `recalls`.
    :arg place: this process.
    :arg in_store: partitions of the recovery store, which must be listed also when there are fewer processes now.
    """

    def __init__(self, file: Path, place: Place = _ALONE, in_store: frozenset[str] = frozenset()) -> None:
        self._file = file
        self._place = place
        self._in_store = in_store

    def list_parts(self) -> list[str]:
        """The one partition, or that of this process; process 0 has those of processes that are no more as well."""
        if not self._place.spans_hosts:
            return ["recalls"]
        now = {_part(number) for number in range(self._place.count)}
        return [_part(self._place.index), *(sorted(self._in_store - now) if self._place.keeps else ())]

    def part_fn(self, item_key: str) -> int:
        """The number of the process in the key, see `_for_each`; everything goes to the one partition otherwise."""
        return int(item_key) if self._place.spans_hosts else 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> RecallPartition:
        """The writer; the file is opened for each batch."""
        return RecallPartition(Recalls(self._file))


@operator
def profile_recall(step_id: str, *ups: KeyedStream[Any], file: Path, place: Place = _ALONE, in_store: frozenset[str] = frozenset()) -> None:
    """Write down which intervals are to be read again.

    :arg ups: streams of `Dropped`, keyed by meter.
    :arg file: see `recalls`.
    :arg place: this process.
    :arg in_store: see `RecallSink`.
    """
    merged: KeyedStream[Any] = merge_after_opening("inputs", *ups)
    if place.spans_hosts:
        each = op.flat_map("for_each", merged, partial(_for_each, place.count))
        op.output(WRITE_EACH, each, RecallSink(file, place, in_store))
    else:
        op.output("write", merged, RecallSink(file))


def _for_each(count: int, item: tuple[str, Item]) -> list[tuple[str, Item]]:
    return [(str(number), item[1]) for number in range(count)]


def _part(number: int) -> str:
    """Names that sort as their numbers do: the engine counts partitions in the order of their names."""
    return f"recalls-{number:06}"


def _build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    in_store = context.remembered(f"{context.flow.flow_id}.{context.node_id}.{WRITE_EACH}")
    profile_recall(context.node_id, *inputs, file=context.pipeline.state_dir / RECALLS, place=context.place, in_store=in_store)
    return {}


NODE = NodeType(
    name="profile-recall",
    summary="Lets dlms-in read load profile intervals once more that the outbox had to drop.",
    settings=NodeSettings,
    accepts=(Dropped,),
    emits={},
    example="- id: recall\n  type: profile-recall\n  inputs: [receipts.dropped]\n",
    build=_build,
)
