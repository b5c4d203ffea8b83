"""What a source keeps of a partition that is configured no more but may still be in the recovery store.

Bytewax does not resume without such a partition, and forgets what is not told again.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from bytewax.inputs import StatefulSourcePartition

State = TypeVar("State")


class ParkedPartition(StatefulSourcePartition[Any, State], Generic[State]):
    """Ends at once, and keeps its state, should it come back.

    :arg state: as it was.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def next_batch(self) -> list[Any]:
        """Nothing, for ever.

        :raises StopIteration: always.
        """
        raise StopIteration

    def snapshot(self) -> State:
        """As it was."""
        return self._state
