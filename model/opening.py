"""Items per start of the dataflow, for outputs that must open at start and not at the first message that flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream

_PARTITION = "opening"
KEYS = ("opening",)
"""Keys of the opening items for a sink with one partition."""


class Opening:
    """Makes Bytewax build a sink's partition, which it does at the first item; carries nothing, the sink skips it."""


class _OpeningPartition(StatefulSourcePartition[tuple[str, Opening], None]):
    """Emits the opening items and ends."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        self._emitted = False

    def next_batch(self) -> list[tuple[str, Opening]]:
        if self._emitted:
            raise StopIteration
        self._emitted = True
        return [(key, Opening()) for key in self._keys]

    def snapshot(self) -> None:
        return None


class OpeningSource(FixedPartitionedSource[tuple[str, Opening], None]):
    """One item per start of the dataflow and key, also when it resumes."""

    def __init__(self, keys: Sequence[str] = KEYS) -> None:
        self._keys = keys

    def list_parts(self) -> list[str]:
        """The single partition."""
        return [_PARTITION]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _OpeningPartition:
        """Emit anew."""
        return _OpeningPartition(self._keys)


@operator
def merge_after_opening(step_id: str, *ups: KeyedStream[Any], keys: Sequence[str] = KEYS) -> KeyedStream[Any]:
    """All of `ups` in one stream, behind an `Opening` for each of `keys`."""
    opening = op.input("open", ups[0].flow(), OpeningSource(keys))
    return op.merge("inputs", opening, *ups)
