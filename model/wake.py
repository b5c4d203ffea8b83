"""When a source wants to be woken next; the same rule for all sources of the flow."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable
from datetime import datetime, timezone

from model.epochs import Epochs
from model.progress import PROGRESS

WAKE_GRID = 0.1
"""Seconds: wakes fall on this grid, so that thousands of partitions share one activation of the worker."""

WAKE_LIMIT = 1.0
"""Seconds: no partition sleeps longer, else it would hold back the epochs of other workers and delay a stop."""

_SOONEST = 0.001


def next_wake(ahead: float) -> datetime:
    """The first moment of the grid that is `ahead` seconds away or more, where that is not beyond `WAKE_LIMIT`.

    To be asked on the worker's thread, each time it has woken the source: `model.progress` knows from this that it goes on.
    """
    PROGRESS.woke()
    wake = time.time() + min(max(ahead, _SOONEST), WAKE_LIMIT)
    return datetime.fromtimestamp(math.ceil(wake / WAKE_GRID) * WAKE_GRID, tz=timezone.utc)


class Wakes:
    """When one partition is woken; it has to tell of each batch and of each snapshot.

    :arg epochs: those of the partition's input in this worker.
    """

    def __init__(self, epochs: Epochs, partition: Hashable) -> None:
        self._epochs = epochs
        self._partition = partition

    def woke(self) -> None:
        """`next_batch` was called."""
        self._epochs.woke(self._partition)

    def epoch_ended(self) -> None:
        """`snapshot` was called, which Bytewax does at the end of each epoch."""
        self._epochs.ended(self._partition)

    def next(self, ahead: float) -> datetime:
        """As `next_wake`, and so that the epochs of all inputs stay together."""
        planned = next_wake(ahead).timestamp()
        since_boot = time.monotonic() - time.time()
        return datetime.fromtimestamp(self._epochs.wake(self._partition, planned + since_boot) - since_boot, tz=timezone.utc)
