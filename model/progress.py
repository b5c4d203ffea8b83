"""Whether the dataflow of this process goes on: each worker's sources wake at least every second, see `model.wake`.

A worker that stands still (a sink that hangs, a step that never returns) wakes no source any more, and soon holds back the
epoch of all others. A sink that waits on purpose, for room, says so by `holds`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Progress:
    """When each worker, which is a thread, last woke one of its sources.

    :arg clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._woke: dict[int, float] = {}
        self._held: float | None = None

    def woke(self) -> None:
        """The worker whose thread this is has woken a source."""
        self._woke[threading.get_ident()] = self._clock()

    def holds(self) -> None:
        """A step holds the flow up, knows it, and would go on at once if it could; to be said again and again."""
        self._held = self._clock()

    def age(self) -> float | None:
        """Seconds since the worker woke that is longest without a wake, or since somebody held; None before the first wake."""
        moments = list(self._woke.values())  # in one go: workers write meanwhile
        if not moments:
            return None
        latest = min(moments) if self._held is None else max(min(moments), self._held)
        return max(0.0, self._clock() - latest)

    def longest_without(self) -> int | None:
        """The thread of the worker that is longest without a wake; None before the first."""
        return min(self._woke.copy().items(), key=lambda entry: entry[1], default=(None, 0.0))[0]


PROGRESS = Progress()
"""Of this process."""
