"""Node type `profile-recall`: load profile intervals that were given up before ThingsBoard had them are read once more.

Parallelism: one partition, so one writer in the whole cluster. Guarantee: at least once. Nothing is in the snapshot: the
file is the state, see `recalls`. `write_batch` blocks for one short transaction. While the file cannot be written, what is
to be recalled waits in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

import bytewax.operators as op
import structlog
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.dlms.profile.recalls import RECALLS, Recalls
from model.messages import Dropped
from model.node import BuildContext, NodeType, Ports
from model.opening import Opening, merge_after_opening
from model.settings.node import NodeSettings

log = structlog.get_logger(__name__)

Item = Union[Dropped, Opening]


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
    """One file, one partition.

    :arg file: see `recalls`.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def list_parts(self) -> list[str]:
        """The one partition."""
        return ["recalls"]

    def part_fn(self, item_key: str) -> int:
        """Everything goes to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> RecallPartition:
        """The writer; the file is opened for each batch."""
        return RecallPartition(Recalls(self._file))


@operator
def profile_recall(step_id: str, *ups: KeyedStream[Any], file: Path) -> None:
    """Write down which intervals are to be read again.

    :arg ups: streams of `Dropped`, keyed by meter.
    :arg file: see `recalls`.
    """
    op.output("write", merge_after_opening("inputs", *ups), RecallSink(file))


def _build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    profile_recall(context.node_id, *inputs, file=context.pipeline.state_dir / RECALLS)
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
