"""The client's end of a line as a TCP port: a serial converter that serves one client at a time."""

from __future__ import annotations

import asyncio
from typing import cast

from simulator.meter.shared_line import SharedLine
from simulator.meter.virtual_meter import Address


class ConverterPort:
    """A converter with a line behind it. Whoever connects while it is taken is turned away."""

    def __init__(self, line: SharedLine) -> None:
        self._line = line
        self._client: asyncio.Transport | None = None
        self._server: asyncio.Server | None = None
        self.connections = 0
        self.rejected = 0

    @property
    def baud(self) -> int | None:
        """None: the client cannot set it."""
        return None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Address:
        """Listen; port 0 takes a free one.

        :raises OSError: when the port is taken.
        """
        self._server = await asyncio.get_running_loop().create_server(lambda: _Client(self), host, port)
        self._line.attach(self)
        return Address(*self._server.sockets[0].getsockname()[:2])

    async def stop(self) -> None:
        """Stop listening and drop the client."""
        self._line.detach()
        if self._server is not None:
            self._server.close()
            if self._client is not None:
                self._client.abort()
            await asyncio.sleep(0)
            await self._server.wait_closed()

    def write(self, data: bytes) -> None:
        """Deliver bytes to the client, if there is one."""
        if self._client is not None:
            self._client.write(data)

    def admit(self, transport: asyncio.Transport) -> bool:
        """Take the client, or turn it away."""
        if self._client is not None:
            self.rejected += 1
            return False
        self.connections += 1
        self._client = transport
        return True

    def received(self, data: bytes) -> None:
        """Pass on what the client sends."""
        self._line.receive(data)

    def left(self, transport: asyncio.Transport) -> None:
        """Be free for the next client."""
        if self._client is transport:
            self._client = None


class _Client(asyncio.Protocol):
    def __init__(self, port: ConverterPort) -> None:
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._port.admit(self._transport):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._port.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.left(self._transport)
