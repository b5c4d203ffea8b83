"""The limits of the whole fleet, per process: how many connections are open, and how many are opened per second.

A concentrator's network, a firewall's table and a mobile operator's radio cells all suffer from a thousand connections
at once; a large open head-end keeps to 1000 open and 30 new ones per second, which are the defaults of `limits`.

Cycles go before load profiles: after a start, and whenever a capture period ends, all profiles of a fleet want a connection at the same
moment, and no cycle may be late for that. Where cycles alone want more than there is, profiles still get their share.
"""

from __future__ import annotations

import asyncio
from collections import deque

MADE_UP = 1.0
"""Seconds: a loop that was busy for so long lets in at once who would have come in meanwhile; a longer stall is not made up for."""

IN_A_ROW = 4
"""Urgent ones that go before one that is not."""


class Gate:
    """Lets connections through, the urgent ones first, else first come first served. Lives on the background loop.

    :arg most: connections open at the same time.
    :arg per_second: new ones per second, evenly spaced.
    """

    def __init__(self, most: int, per_second: float) -> None:
        self.most = most
        self._spacing = 1.0 / per_second
        self._open = 0
        self._next = 0.0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._patient: deque[asyncio.Future[None]] = deque()
        self._urgent_in_a_row = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def crowded(self) -> bool:
        """Whether somebody waits because all connections are taken."""
        return self._open >= self.most and self._first() is not None

    @property
    def open(self) -> int:
        """Connections that are open or about to be opened."""
        return self._open

    async def enter(self, urgent: bool = True) -> None:
        """Wait for the right to open one connection; `leave` gives it back.

        :arg urgent: before all those that are not.
        """
        waiting = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._patient).append(waiting)
        self._let_in()
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """A connection is closed, or was not opened after all."""
        self._open -= 1
        self._let_in()

    def _first(self) -> asyncio.Future[None] | None:
        """Who is next; those that gave up are forgotten."""
        for queue in (self._urgent, self._patient):
            while queue and queue[0].done():
                queue.popleft()
        patients_turn = not self._urgent or self._urgent_in_a_row >= IN_A_ROW
        if self._patient and patients_turn:
            return self._patient[0]
        return self._urgent[0] if self._urgent else None

    def _let_in(self, late: float = 0.0) -> None:
        """As many as may begin now; a timer calls again when the next one may.

        :arg late: seconds by which they may be made up for who waited when the loop had something else to do.
        """
        if self._timer is not None:
            return  # it makes up for what it is late; who comes meanwhile waits for it
        loop = asyncio.get_running_loop()
        while self._open < self.most and (waiting := self._first()) is not None:
            now = loop.time()
            if now < self._next:
                self._timer = loop.call_at(self._next, self._due)
                return
            self._next = self._spacing + max(self._next, now - late)
            self._open += 1
            self._urgent_in_a_row = self._urgent_in_a_row + 1 if self._urgent and waiting is self._urgent[0] else 0
            waiting.set_result(None)

    def _due(self) -> None:
        self._timer = None
        self._let_in(MADE_UP)
