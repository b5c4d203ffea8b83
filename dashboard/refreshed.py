"""A value that is computed at most every so often, once for everybody who asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger()
T = TypeVar("T")

SHARE = 0.05
"""What takes long is computed so rarely that it takes at most this part of one core."""

PATIENCE = 5.0
"""Seconds: what is older than this and its lifetime is too old to be shown while it is computed anew."""


class Refreshed(Generic[T]):
    """The latest result of `compute`.

    Who asks gets what is there, and has it computed anew in the background where its lifetime is over; he waits only where there is
    nothing, or it is too old. An exception of `compute` is raised to whoever waits for it, and tried again by the next.

    :arg lifetime: seconds for which a result is good; longer where computing takes long, see `SHARE`.
    """

    def __init__(self, compute: Callable[[], T], lifetime: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._compute = compute
        self._lifetime = lifetime
        self._clock = clock
        self._working = threading.Lock()
        self._result: tuple[T, float, float] | None = None  # what, when, how long it is good

    def get(self) -> T:
        """The result, at most its lifetime and `PATIENCE` old."""
        known = self._result
        age = 0.0 if known is None else self._clock() - known[1]
        if known is not None and age < known[2]:
            return known[0]
        if known is not None and age < known[2] + PATIENCE:
            if self._working.acquire(blocking=False):
                threading.Thread(target=self._renew_behind, name="refresh", daemon=True).start()
            return known[0]
        with self._working:
            latest = self._result
            if latest is not None and latest is not known:
                return latest[0]  # somebody else computed it while this thread waited
            return self._renew()

    def _renew_behind(self) -> None:
        try:
            self._renew()
        except Exception:
            log.debug("could not be computed anew; whoever asks next is told why", exc_info=True)
            self._result = None
        finally:
            self._working.release()

    def _renew(self) -> T:
        begun = self._clock()
        value = self._compute()
        now = self._clock()
        self._result = (value, now, max(self._lifetime, (now - begun) / SHARE))
        return value
