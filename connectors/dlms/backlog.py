"""How many cycles of load profiles wait to be taken by the flow, of all meters of a process together.

After an outage a fleet has months of rows to catch up with, and meters give them faster than a flow archives and delivers them. What
waits is in memory, so reading rests when there is enough of it; the rows stay in the meters meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MOST = 20_000
"""Cycles, some 30 MB: a second's work for a flow or a little more."""

A_REQUEST = 100
"""Cycles that a request brings, nearly: a day of quarter hours."""


class Backlog:
    """Counts what is put by the background loop and taken by workers; any thread.

    :arg most: cycles above which reading rests.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._waiting = 0
        self._lock = threading.Lock()

    @property
    def full(self) -> bool:
        """Whether there is enough to do."""
        return self._waiting >= self._most

    @contextmanager
    def expected(self) -> Iterator[None]:
        """A request is under way: what it will bring counts already, else all meters would ask at the same moment."""
        self.put(A_REQUEST)
        try:
            yield
        finally:
            self.taken(A_REQUEST)

    def put(self, cycles: int) -> None:
        """So many wait now."""
        with self._lock:
            self._waiting += cycles

    def taken(self, cycles: int) -> None:
        """So many wait no more."""
        with self._lock:
            self._waiting -= cycles
