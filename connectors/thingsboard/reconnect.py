"""When to connect again."""

from __future__ import annotations

import random
from collections.abc import Callable

from connectors.thingsboard.ending import Ending

STABLE = 60.0
"""Seconds a connection must last to count as proof that the trouble is over; two clients that evict each other never get there."""

STABLE_FACTOR = 10.0
"""With short waits less is enough: so many times the longest one."""

QUICK_LIMIT = 15.0
"""Seconds: longest wait while the network or the server is merely away. Only a contested session waits up to `longest`."""

CONTESTED_FACTOR = 5.0
"""A contested session starts with so many times the shortest wait."""


def stable(longest: float) -> float:
    """Seconds a connection must last where the longest wait is `longest` seconds."""
    return min(STABLE, STABLE_FACTOR * longest)


class Reconnect:
    """Waits that double from `shortest` to `longest` seconds, with jitter, and start over only after a stable connection.

    :arg uniform: random number between two bounds, for tests.
    """

    def __init__(self, shortest: float, longest: float, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._shortest = shortest
        self._longest = longest
        self._uniform = uniform
        self._failures = 0

    def after(self, ending: Ending, lifetime: float) -> float:
        """Seconds to wait after a connection that lasted `lifetime` seconds (0.0 when it was never accepted)."""
        if lifetime >= stable(self._longest):
            self._failures = 0
        wait = self._shortest * 2.0 ** min(self._failures, 30)
        self._failures += 1
        wait = min(self._longest, wait * CONTESTED_FACTOR) if ending.contested else min(self._longest, QUICK_LIMIT, wait)
        return wait * self._uniform(0.5, 1.0)
