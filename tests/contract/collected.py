"""A sink for flows under test: keeps what arrives, and ends the flow when there is enough."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from model.messages import Cycle
from model.stop import Stop

Cycles = dict[str, list[Cycle]]
"""By meter, in the order in which they arrived."""


class Collected(DynamicSink[tuple[str, Cycle]]):
    """Keeps what arrives, from all workers, and requests the stop as soon as `enough` says so."""

    def __init__(self, stop: Stop, enough: Callable[[Cycles], bool]) -> None:
        self.cycles: Cycles = defaultdict(list)
        self._stop = stop
        self._enough = enough
        self._lock = threading.Lock()

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[tuple[str, Cycle]]:
        """A partition of one worker."""
        outer = self

        class Partition(StatelessSinkPartition[tuple[str, Cycle]]):
            def write_batch(self, items: list[tuple[str, Cycle]]) -> None:
                with outer._lock:
                    for meter, cycle in items:
                        outer.cycles[meter].append(cycle)
                    if outer._enough(outer.cycles):
                        outer._stop.request()

        return Partition()
