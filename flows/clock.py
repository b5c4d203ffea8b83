"""Notices that the host's clock was set back, and starts the process anew then.

Bytewax wakes sources at a time of day, at most a second ahead. After a step back that time is as far away as the step was
long: until then nothing is taken from any meter, no epoch ends, and a request to stop is seen by nobody. Nothing that a
source says can change that, so the process begins again, as after a kill: what is in the outbox and in the meters' memory is
not touched by it. Steps forward do no harm.
"""

from __future__ import annotations

import os
import sys
import threading
import time

import structlog

from model.cluster import Place
from model.stop import Stop

TOLERATED = 2.0
"""Seconds: a smaller step back is over before it matters."""

EVERY = 0.5
"""Seconds between two looks."""

EXIT_CLOCK = 1

log = structlog.get_logger(__name__)


class ClockWatch:
    """Compares the time of day with a clock that only goes forward. Pure: told both, in seconds."""

    def __init__(self, now: float, monotonic: float) -> None:
        self._ahead = now - monotonic

    def set_back(self, now: float, monotonic: float) -> float:
        """Seconds by which the clock was set back since the last look; 0.0 where it was not, or was set forward."""
        before, self._ahead = self._ahead, now - monotonic
        return max(0.0, before - self._ahead)


def watch_clock(stop: Stop, place: Place) -> None:
    """Look at the clock from now on, on a thread; what happens is said above, once the flow has begun."""
    threading.Thread(target=_watch, args=(stop, place), name="clock", daemon=True).start()


def _watch(stop: Stop, place: Place) -> None:
    watch, never = ClockWatch(time.time(), time.monotonic()), threading.Event()
    while not never.wait(EVERY):
        seconds = watch.set_back(time.time(), time.monotonic())
        if seconds > TOLERATED and stop.attended:
            _begin_again(seconds, stop, place)


def _begin_again(seconds: float, stop: Stop, place: Place) -> None:
    """One process replaces itself; of a cluster all end, since none can come back alone, and whoever started them starts them again."""
    alone = place.count == 1 and not stop.requested()
    log.critical(
        "the host's clock was set back; " + ("the process starts anew" if alone else "the process ends"),
        seconds=round(seconds, 1),
        remedy="let the host's clock be slewed, not stepped (chrony, systemd-timesyncd), and start after time-sync.target",
    )
    sys.stdout.flush()
    sys.stderr.flush()
    if alone:
        os.execv(sys.executable, sys.orig_argv)
    os._exit(EXIT_CLOCK)
