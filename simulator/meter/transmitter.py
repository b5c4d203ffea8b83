"""Sends bytes in order, after a delay and at the pace of a serial line, with one timer per connection."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol


class Writer(Protocol):
    """Where bytes go: a transport, or one end of a line."""

    def write(self, data: bytes) -> None:
        """Take bytes without waiting."""


class Transmitter:
    """The sending side of one connection; a delay begins when what was sent before is out."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Writer) -> None:
        self._loop = loop
        self._transport = transport
        self._pending: deque[tuple[float, bytes]] = deque()
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def send(self, data: bytes, delay: float = 0.0, byte_interval: float = 0.0) -> None:
        """Send `data` after `delay` seconds, byte by byte where `byte_interval` is above zero."""
        now = self._loop.time()
        start = max(now, self._free_at) + delay
        if byte_interval > 0:
            for position in range(len(data)):
                self._pending.append((start + position * byte_interval, data[position : position + 1]))
            start += len(data) * byte_interval
        else:
            self._pending.append((start, data))
        self._free_at = start
        if self._timer is None:
            self._flush()

    def close(self) -> None:
        """Forget what is not sent yet."""
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._pending and self._pending[0][0] <= now:
            self._transport.write(self._pending.popleft()[1])
        if self._pending:
            self._timer = self._loop.call_at(self._pending[0][0], self._flush)
