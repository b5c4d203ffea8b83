"""What every kind of link can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from model.settings.link_address import SerialParameters


class Link(Protocol):
    """An open, ordered, unreliable stream of bytes."""

    @property
    def closed(self) -> bool:
        """Whether the other side has closed the link or it broke."""
        ...

    @property
    def prompt(self) -> PromptLink | None:
        """What lies below and need not be waited for, where this is such a link."""
        ...

    async def write(self, data: bytes) -> None:
        """Hand `data` to the link.

        :raises MeterError: when the link is broken.
        """
        ...

    async def read(self, within: float | None = None) -> bytes:
        """Whatever has arrived, at least one byte. Nothing is lost when the wait is cancelled or too long.

        :arg within: seconds to wait at most; for ever where it is None.
        :raises asyncio.TimeoutError: when nothing came in time.
        :raises MeterError: when the other side closed the link or it broke.
        """
        ...

    async def close(self) -> None:
        """Close the link; never raises."""
        ...


class PromptLink(Link, Protocol):
    """A link that takes and gives bytes in callbacks: no task has to be woken for each part of a long answer."""

    def send(self, data: bytes) -> bool:
        """Send `data` where that takes no waiting; whether it did."""
        ...

    def listen(self, listener: Callable[[bytes], bool] | None) -> None:
        """Have `listener` called with what arrives while a `read` waits, which ends only when that returns False: without bytes, for
        they are the listener's."""
        ...


class SerialLink(Link, Protocol):
    """A link whose other end is a serial port that can be told its baud rate."""

    async def configure(self, parameters: SerialParameters) -> None:
        """Set the port once everything written is out; what arrived before is thrown away.

        :raises MeterError: when the port cannot be set like that.
        """
        ...
