"""A value that is computed at most every so often, once for everybody who asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

SHARE = 0.05
"""What takes long is computed so rarely that it takes at most this part of one core."""

PATIENCE = 5.0
"""Seconds: what is older than this and its lifetime is too old to be shown while it is computed anew."""


class Refreshed(Generic[T]):
    """The latest result of `compute`.

    Who asks gets what is there while one thread computes it anew, and waits only where there is nothing or it is too old. An
    exception of `compute` is raised to whoever waits for it, and tried again by the next.

    :arg lifetime: seconds for which a result is good; longer where computing takes long, see `SHARE`.
    """

    def __init__(self, compute: Callable[[], T], lifetime: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._compute = compute
        self._lifetime = lifetime
        self._clock = clock
        self._working = threading.Lock()
        self._result: tuple[T, float, float] | None = None  # what, when, how long it is good

    def get(self) -> T:
        """The result, at most `lifetime` and `PATIENCE` old."""
        known = self._result
        now = self._clock()
        if known is not None and now - known[1] < known[2]:
            return known[0]
        if known is not None and now - known[1] < known[2] + PATIENCE:
            if not self._working.acquire(blocking=False):
                return known[0]
        else:
            self._working.acquire()
        try:
            latest = self._result
            if latest is not None and latest is not known and self._clock() - latest[1] < latest[2]:
                return latest[0]  # somebody else computed it while this thread waited
            return self._renew()
        finally:
            self._working.release()

    def forget(self) -> None:
        """Compute it anew when it is asked for next."""
        self._result = None

    def _renew(self) -> T:
        begun = self._clock()
        value = self._compute()
        took = self._clock() - begun
        self._result = (value, self._clock(), max(self._lifetime, took / SHARE))
        return value
