"""UDP: every message of the wrapper is one datagram (IEC 62056-47 clause 7). A lost one is healed by the session's resend."""

from __future__ import annotations

import asyncio
from typing import cast

from connectors.dlms.link.inbox import Inbox
from connectors.dlms.link.tcp import reachable, reason, remedy
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.link_address import authority


class UdpLink(asyncio.DatagramProtocol):
    """A socket that only takes datagrams from the one meter it sends to. Nothing is on the wire before the first write."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._inbox = Inbox()
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def open(cls, host: str, port: int, source_address: str | None = None) -> UdpLink:
        """A socket to `host`:`port`; the caller sets the deadline.

        :arg source_address: the address of this host to send from; the system's choice where it is None.
        :raises MeterError: when the name is not known or there is no way there.
        """
        link = cls(authority(host, port))
        local = None if source_address is None else (source_address, 0)
        try:
            addresses = await reachable(host, source_address)
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: link, local_addr=local, remote_addr=(addresses[0], port))
        except OSError as error:
            raise MeterError(ErrorKind.CONNECT, f"cannot send to {link._address}: {reason(error)}", remedy(error)) from error
        return link

    @property
    def closed(self) -> bool:
        """Whether the meter's host said that nothing listens there, or the socket is closed."""
        return self._inbox.broken

    @property
    def prompt(self) -> None:
        """It has to be waited for."""
        return None

    async def write(self, data: bytes) -> None:
        """Send `data` as one datagram.

        :raises MeterError: when the meter's host has said that nothing listens there.
        """
        self._inbox.check()
        assert self._transport is not None
        self._transport.sendto(data)

    async def read(self, within: float | None = None) -> bytes:
        """Whatever has arrived, at least one byte.

        :raises MeterError: when the meter's host says that nothing listens there.
        """
        return await self._inbox.read(within)

    async def close(self) -> None:
        """Close the socket; never raises."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, _address: object) -> None:
        """Called by asyncio."""
        self._inbox.put(data)

    def error_received(self, error: Exception) -> None:
        """Called by asyncio: an ICMP message, or a datagram that is too long for the way."""
        what = reason(error) if isinstance(error, OSError) else str(error)
        cause = f"datagrams to {self._address} do not arrive: {what}"
        self._inbox.fail(MeterError(ErrorKind.LINK_LOST, cause, "check address and port, and that the meter serves the wrapper over UDP"))

    def connection_lost(self, _error: Exception | None) -> None:
        """Called by asyncio."""
        self._inbox.fail(MeterError(ErrorKind.LINK_LOST, f"the socket to {self._address} is closed"))
