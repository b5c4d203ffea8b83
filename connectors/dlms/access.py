"""How a meter gets at its link: by a connection of its own, or by a place on a line that it shares (see `line`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from connectors.dlms.gate import Gate
from connectors.dlms.link.contract import Link, PromptLink
from connectors.dlms.link.opening import open_link
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.meter import MeterSettings


class Access(Protocol):
    """The right to use a link, turn by turn. Lives on the background loop."""

    @property
    def crowded(self) -> bool:
        """Whether others wait for what this meter holds open between its cycles."""
        ...

    @property
    def shared(self) -> bool:
        """Whether others take turns with this meter on the same link."""
        ...

    async def begin(self, patience: float, failing: bool, urgent: bool = True) -> None:
        """Wait for the meter's turn; `end` must follow.

        :arg patience: seconds to wait at most.
        :arg failing: whether the meter did not answer last time.
        :arg urgent: whether a cycle is due; what is not urgent may have to wait until none is.
        :raises MeterError: when the turn did not come in time, or a stop was requested.
        """
        ...

    def end(self, answered: bool) -> None:
        """The turn is over; whether the meter answered in it."""
        ...

    async def open(self, address: str) -> Link:
        """Open the link, in the meter's turn.

        :raises MeterError: when it cannot be opened.
        """
        ...

    def answer_limit(self, limit: float) -> float:
        """Seconds to wait for the first sign of life of the meter, at most `limit`."""
        ...

    def turn_limit(self, interval: float) -> float:
        """Seconds that a turn may take of a meter that is due every `interval` seconds."""
        ...

    def stop(self) -> None:
        """Wait for nothing any more: `begin` raises, and no turn lasts much longer."""
        ...

    async def begin_farewell(self) -> bool:
        """Wait for a last turn in which to release the association, also after `stop`; whether it came."""
        ...

    async def leave(self) -> None:
        """The meter is not read any more; never raises."""
        ...


class OwnConnection:
    """A connection of the meter's own, within the limits of the fleet.

    :arg meter: its settings.
    :arg gate: the limits; None for none.
    """

    def __init__(self, meter: MeterSettings, gate: Gate | None = None) -> None:
        self._meter = meter
        self._gate = gate
        self._admitted = False
        self._connected = False
        self._closed_at = float("-inf")
        self._waiting: asyncio.Future[None] | None = None
        self._stopping = False

    @property
    def crowded(self) -> bool:
        """Whether other meters wait for one of the fleet's connections."""
        return self._gate is not None and self._gate.crowded

    @property
    def shared(self) -> bool:
        """Nobody does."""
        return False

    async def begin(self, patience: float, failing: bool, urgent: bool = True) -> None:
        """Wait until the fleet has a connection to spare, where the meter has none open.

        :raises MeterError: when there was none in time, or a stop was requested.
        """
        if self._gate is None or self._admitted:
            return
        self._waiting = asyncio.ensure_future(self._gate.enter(urgent))
        if self._stopping:
            self._waiting.cancel()
        try:
            await asyncio.wait({self._waiting}, timeout=patience)
        finally:
            self._admitted = self._waiting.done() and not self._waiting.cancelled()
            self._waiting.cancel()
        if self._admitted:
            return
        if self._stopping:
            raise stopping()
        raise MeterError(
            ErrorKind.CONNECT,
            f"no connection was free within {patience:g} s: {self._gate.open} of {self._gate.most} are open",
            "raise limits.connections, lengthen the intervals, or read the fleet with more processes",
        )

    def end(self, answered: bool) -> None:
        """Give the connection back that was not opened."""
        if not self._connected:
            self._give_back()

    async def open(self, address: str) -> Link:
        """Connect, when `reconnect_pause` is over.

        :raises MeterError: when that is not possible.
        """
        if self._gate is not None and not self._admitted:
            await self._gate.enter()
            self._admitted = True
        pause = self._closed_at + (self._meter.reconnect_pause or 0.0) - asyncio.get_running_loop().time()
        if pause > 0:
            await asyncio.sleep(pause)
        link = await open_link(address, self._meter)
        self._connected = True
        return Watched(link, self._closed)

    def answer_limit(self, limit: float) -> float:
        """All the time the settings allow: nobody else waits."""
        return limit

    def turn_limit(self, interval: float) -> float:
        """All the time until the next one is due."""
        return interval

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._stopping = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def begin_farewell(self) -> bool:
        """At once."""
        return True

    async def leave(self) -> None:
        """Give back what is left."""
        self._give_back()

    def _closed(self) -> None:
        self._connected = False
        self._closed_at = asyncio.get_running_loop().time()
        self._give_back()

    def _give_back(self) -> None:
        if self._gate is not None and self._admitted:
            self._admitted = False
            self._gate.leave()


class Watched:
    """A link that says when it is closed."""

    def __init__(self, link: Link, on_close: Callable[[], None]) -> None:
        self._link = link
        self._on_close: Callable[[], None] | None = on_close

    @property
    def closed(self) -> bool:
        """That of the link."""
        return self._link.closed

    @property
    def prompt(self) -> PromptLink | None:
        """That of the link."""
        return self._link.prompt

    async def write(self, data: bytes) -> None:
        """That of the link."""
        await self._link.write(data)

    async def read(self, within: float | None = None) -> bytes:
        """That of the link."""
        return await self._link.read(within)

    async def close(self) -> None:
        """That of the link, and the word."""
        try:
            await self._link.close()
        finally:
            tell, self._on_close = self._on_close, None
            if tell is not None:
                tell()


def stopping() -> MeterError:
    """What ends a wait when a stop was requested."""
    return MeterError(ErrorKind.TIMEOUT, "not asked: the pipeline is stopping")
