"""An item per start of the dataflow, for outputs that must open at start and not at the first message that flows."""

from __future__ import annotations

from typing import Any

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream

_PARTITION = "opening"


class Opening:
    """Makes Bytewax build a sink's partition, which it does at the first item; carries nothing, the sink skips it."""


class _OpeningPartition(StatefulSourcePartition[tuple[str, Opening], None]):
    """Emits the opening item and ends."""

    def __init__(self) -> None:
        self._emitted = False

    def next_batch(self) -> list[tuple[str, Opening]]:
        if self._emitted:
            raise StopIteration
        self._emitted = True
        return [(_PARTITION, Opening())]

    def snapshot(self) -> None:
        return None


class OpeningSource(FixedPartitionedSource[tuple[str, Opening], None]):
    """One item per start of the dataflow, also when it resumes."""

    def list_parts(self) -> list[str]:
        """The single partition."""
        return [_PARTITION]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _OpeningPartition:
        """Emit anew."""
        return _OpeningPartition()


@operator
def merge_after_opening(step_id: str, *ups: KeyedStream[Any]) -> KeyedStream[Any]:
    """All of `ups` in one stream, behind an `Opening`."""
    opening = op.input("open", ups[0].flow(), OpeningSource())
    return op.merge("inputs", opening, *ups)
