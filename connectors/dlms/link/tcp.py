"""TCP: to a meter, or to a serial-to-TCP converter that passes bytes on as they are."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import cast

from connectors.dlms.host_names import lookup
from connectors.dlms.link.inbox import Inbox
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.link_address import authority

MOST_UNREAD = 65_536
"""Bytes that wait to be read, above which the system is left to hold back the sender."""

_received = bytearray(65_536)

_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Seconds until the first probe, between probes, and how many: a converter that lost its power is noticed within two
minutes also between the cycles of a long interval."""


class TcpLink(asyncio.BufferedProtocol):
    """A TCP connection."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._inbox = Inbox()
        self._transport: asyncio.Transport | None = None
        self._full: asyncio.Future[None] | None = None
        self._held = False
        self._listener: Callable[[bytes], bool] | None = None
        self._over = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, host: str, port: int, source_address: str | None = None) -> TcpLink:
        """Connect to `host`:`port`; the caller sets the deadline.

        :arg source_address: the address of this host to connect from; the system's choice where it is None.
        :raises MeterError: when the address cannot be reached, with what the operating system said.
        """
        address = authority(host, port)
        try:
            link = await _connect(address, host, port, source_address)
        except OSError as error:
            raise MeterError(ErrorKind.CONNECT, f"cannot connect to {address}: {reason(error)}", remedy(error)) from error
        assert link._transport is not None
        _keep_alive(link._transport.get_extra_info("socket"))
        return link

    @property
    def closed(self) -> bool:
        """Whether the other side has closed the connection or it broke."""
        return self._inbox.broken or self._transport is None or self._transport.is_closing()

    @property
    def prompt(self) -> TcpLink:
        """Itself."""
        return self

    async def write(self, data: bytes) -> None:
        """Send `data`.

        :raises MeterError: when the connection is broken.
        """
        self._inbox.check()
        assert self._transport is not None
        self._transport.write(data)
        if self._full is not None:
            await asyncio.shield(self._full)
            self._inbox.check()

    def send(self, data: bytes) -> bool:
        """Send `data` where that takes no waiting; whether it did."""
        if self._full is not None or self._inbox.broken or self._transport is None:
            return False
        self._transport.write(data)
        return True

    def listen(self, listener: Callable[[bytes], bool] | None) -> None:
        """Have `listener` called with what arrives while a `read` waits, which ends only when that returns False."""
        self._listener = listener

    async def read(self, within: float | None = None) -> bytes:
        """Whatever has arrived, at least one byte.

        :raises asyncio.TimeoutError: when nothing came in time.
        :raises MeterError: when the connection was closed or broke.
        """
        data = await self._inbox.read(within)
        if self._held and self._transport is not None:
            self._held = False
            self._transport.resume_reading()
        return data

    async def close(self) -> None:
        """Close the connection; never raises."""
        if self._transport is not None:
            if self._transport.get_write_buffer_size():
                self._transport.abort()  # nobody takes what is left to be sent
            self._transport.close()
            await asyncio.shield(self._over)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Called by asyncio, which fills it and calls `buffer_updated` at once: so one buffer serves all connections of the loop."""
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        """Called by asyncio."""
        if self._listener is not None and self._inbox.awaited:
            if not self._listener(bytes(_received[:nbytes])):
                self._inbox.nudge()
            return
        self._inbox.put(_received[:nbytes])
        if self._inbox.size > MOST_UNREAD and not self._held and self._transport is not None:
            self._held = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Called by asyncio: the other side sends nothing any more; asyncio closes the connection then."""
        self._inbox.fail(
            MeterError(
                ErrorKind.LINK_LOST,
                f"{self._address} closed the connection",
                "many meters accept one client at a time: look for another program that reads this meter",
            )
        )
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        why = reason(error) if isinstance(error, OSError) else str(error or "it is closed")
        self._inbox.fail(MeterError(ErrorKind.LINK_LOST, f"the connection to {self._address} broke: {why}"))
        self.resume_writing()
        if not self._over.done():
            self._over.set_result(None)

    def pause_writing(self) -> None:
        """Called by asyncio: what is to be sent piles up."""
        if self._full is None:
            self._full = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)


def reason(error: OSError) -> str:
    """The operating system's words; asyncio replaces them by the address it tried."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def remedy(error: OSError) -> str:
    """What to do about an address that cannot be reached."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there, or the one connection it allows is taken: check port and converter, and other programs"
    if isinstance(error, ConnectionResetError):
        return "it accepts and resets at once: the one connection it allows is taken; look for another program that reads this meter"
    if isinstance(error, socket.gaierror):
        return "the name is not known to this host: check the spelling and the name server"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "this process has too many files open: raise its limit (ulimit -n, LimitNOFILE)"
    if error.errno == errno.EADDRNOTAVAIL:
        return "source_address must be an address of this host; write another, or remove it"
    return "check address, cable and routing"


async def reachable(host: str, source_address: str | None) -> list[str]:
    """The addresses of `host` that can be reached from `source_address`, in the order in which they should be tried.

    :raises OSError: when there are none.
    """
    addresses = await lookup(host)
    if source_address is not None:
        addresses = [address for address in addresses if (":" in address) == (":" in source_address)]
        if not addresses:
            raise OSError(errno.EADDRNOTAVAIL, "the host has no address of the kind of source_address")
    return addresses


async def _connect(address: str, host: str, port: int, source_address: str | None) -> TcpLink:
    """To the first of the host's addresses that accepts."""
    local = None if source_address is None else (source_address, 0)
    loop = asyncio.get_running_loop()
    *others, last = await reachable(host, source_address)
    for other in others:
        with contextlib.suppress(OSError):
            return (await loop.create_connection(lambda: TcpLink(address), other, port, local_addr=local))[1]
    return (await loop.create_connection(lambda: TcpLink(address), last, port, local_addr=local))[1]


def _keep_alive(connection: socket.socket) -> None:
    """Have the system probe an idle connection, and send requests at once (they are short and answered one by one)."""
    with contextlib.suppress(OSError):  # the connection may have been reset already; the first read will say so
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):  # not every system has all three
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
