"""Keeps the epochs of all inputs of a flow together, so that none of them stands still for the others.

Bytewax 0.21 lets every partition end its epoch by itself, at the first activation of its input that comes an epoch's length after the
one before. An input that wakes seldom ends its epochs a little later each time than one that wakes often. Whoever has ended an epoch
gets nothing to do until all others have, in every input, worker and process; meanwhile its worker spins. Within minutes the one that
is ahead stands still for nearly all of each epoch: measured with two inputs, 100 ms and 730 ms apart, epochs of 2 s: 3 of 40 calls, and
60 % of a core.

So an input notices for how long it was held up after the end of an epoch, and ends the next one that much later; and each input wakes
when its epoch is over, whatever its partitions have to do. Nothing else needs to be shared for that between workers and processes.

An input that is a whole epoch ahead, as after a long pause of another process, ends its next epoch in the moment in which it may go on.
It cannot help that, but it can sleep until the others have caught up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

SHORTEST = 0.5
"""Seconds: shorter epochs need no help."""

MOST_ADDED = 5.0
"""Seconds by which one epoch is made longer at most."""

LONGEST_SLEEP = 15.0
"""Seconds that an input sleeps at most that is a whole epoch ahead; a stop may have to wait for so long."""

EARLIER = 0.1
"""Seconds before the expected end of an epoch at which it is tried whether that may be."""

LATER = 0.005
"""Seconds after the expected end at which an input wakes for it."""

TOLERANCE = 0.02
"""Seconds that a wake may be late without anybody having held it up."""


class EpochLength:
    """How long epochs are: the shortest that any input of this process has seen; None until one was."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def seen(self, seconds: float) -> None:
        """One epoch has lasted so long."""
        if self.seconds is None or seconds < self.seconds:
            self.seconds = seconds


class Epochs:
    """Of one input in one worker, on the worker's thread. Times are seconds of a monotonic clock.

    Partitions are told apart by `Hashable` keys.
    """

    def __init__(self, length: EpochLength, clock: Callable[[], float] = time.monotonic) -> None:
        self._length = length
        self._clock = clock
        self._counts: dict[Hashable, int] = {}
        self._wakes: dict[Hashable, float] = {}
        self._current = 0
        self._began: float | None = None
        self._held: float | None = None
        self._extra = 0.0
        self._asleep_until = 0.0

    def woke(self, partition: Hashable) -> None:
        """`partition` is asked for what it has: the first time in an epoch this tells whether the input was held up."""
        if self._began is None or self._held is not None or self._counts.get(partition) != self._current:
            return
        now = self._clock()
        wanted = max(min(self._wakes.values(), default=now), self._began)
        held = now - self._began if now - wanted > TOLERANCE else 0.0
        self._held = min(held, MOST_ADDED)
        length = self._length.seconds
        if length is not None and length >= SHORTEST and held > length - TOLERANCE:
            self._asleep_until = now + min(length + held, LONGEST_SLEEP)

    def ended(self, partition: Hashable) -> None:
        """An epoch of `partition` is over; the first one to say so speaks for all."""
        count = self._counts[partition] = self._counts.get(partition, 0) + 1
        if count <= self._current:
            return
        now = self._clock()
        if self._began is not None:
            self._length.seen(now - self._began)
        self._current, self._began, self._held, self._extra = count, now, None, 0.0

    def wake(self, partition: Hashable, planned: float) -> float:
        """When `partition` is to wake that would at `planned`."""
        planned = self._wakes[partition] = self._together(planned)
        return planned

    def _together(self, planned: float) -> float:
        now, length = self._clock(), self._length.seconds
        if self._asleep_until > now:
            return self._asleep_until
        if self._began is None or length is None or length < SHORTEST:
            return planned
        over = self._began + length
        end = over + (self._held or 0.0) + LATER
        if over <= planned < end:
            return end
        # Before the expected end too: an input that has only seen longer epochs than they may be would never find out otherwise. And
        # again and again after it: the clock is not read in the moment in which the engine does. One partition is enough.
        first = end if self._held else end - EARLIER
        moment = first if first > now else now + EARLIER if now >= end else end
        if planned > moment > self._extra + EARLIER / 2:
            self._extra = moment
            return moment
        return planned


class EpochsOfWorkers:
    """The `Epochs` of one input, by the worker's thread."""

    def __init__(self, length: EpochLength | None = None) -> None:
        self._length = length or EpochLength()
        self._by_thread: dict[int, Epochs] = {}

    def here(self) -> Epochs:
        """Those of the worker that asks."""
        return self._by_thread.setdefault(threading.get_ident(), Epochs(self._length))
