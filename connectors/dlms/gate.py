"""The limits of the whole fleet, per process: how many connections are open, and how many are opened per second.

A concentrator's network, a firewall's table and a mobile operator's radio cells all suffer from a thousand connections
at once; a large open head-end keeps to 1000 open and 30 new ones per second, which are the defaults of `limits`.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Gate:
    """Lets connections through, first come first served. Lives on the background loop.

    :arg most: connections open at the same time.
    :arg per_second: new ones per second, evenly spaced.
    """

    def __init__(self, most: int, per_second: float) -> None:
        self.most = most
        self._spacing = 1.0 / per_second
        self._open = 0
        self._next = 0.0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def crowded(self) -> bool:
        """Whether somebody waits because all connections are taken."""
        return any(not waiting.done() for waiting in self._queue)

    @property
    def open(self) -> int:
        """Connections that are open or about to be opened."""
        return self._open

    async def enter(self) -> None:
        """Wait for the right to open one connection; `leave` gives it back."""
        if self._open < self.most and not self.crowded:
            self._open += 1
        else:
            await self._queued()
        try:
            await self._paced()
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """A connection is closed, or was not opened after all."""
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.done():
                waiting.set_result(None)  # the place goes from hand to hand
                return
        self._open -= 1

    async def _queued(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._queue.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self.leave()
            raise

    async def _paced(self) -> None:
        now = asyncio.get_running_loop().time()
        begin = max(now, self._next)
        self._next = begin + self._spacing
        if begin > now:
            await asyncio.sleep(begin - now)
