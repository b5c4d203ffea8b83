"""TCP: to a meter, or to a serial-to-TCP converter that passes bytes on as they are."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket

from connectors.dlms.host_names import lookup
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.link_address import authority

READ_SIZE = 65536

_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Seconds until the first probe, between probes, and how many: a converter that lost its power is noticed within two
minutes also between the cycles of a long interval."""


class TcpLink:
    """A TCP connection."""

    def __init__(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int, source_address: str | None = None) -> TcpLink:
        """Connect to `host`:`port`; the caller sets the deadline.

        :arg source_address: the address of this host to connect from; the system's choice where it is None.
        :raises MeterError: when the address cannot be reached, with what the operating system said.
        """
        address = authority(host, port)
        try:
            reader, writer = await _connect(host, port, source_address)
        except OSError as error:
            raise MeterError(ErrorKind.CONNECT, f"cannot connect to {address}: {reason(error)}", remedy(error)) from error
        _keep_alive(writer.get_extra_info("socket"))
        return cls(address, reader, writer)

    @property
    def closed(self) -> bool:
        """Whether the other side has closed the connection or it broke."""
        return self._reader.at_eof() or self._reader.exception() is not None or self._writer.is_closing()

    async def write(self, data: bytes) -> None:
        """Send `data`.

        :raises MeterError: when the connection is broken.
        """
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise MeterError(ErrorKind.LINK_LOST, f"the connection to {self._address} broke: {reason(error)}") from error

    async def read(self) -> bytes:
        """Whatever has arrived, at least one byte.

        :raises MeterError: when the connection was closed or broke.
        """
        try:
            data = await self._reader.read(READ_SIZE)
        except OSError as error:
            raise MeterError(ErrorKind.LINK_LOST, f"the connection to {self._address} broke: {reason(error)}") from error
        if not data:
            raise MeterError(
                ErrorKind.LINK_LOST,
                f"{self._address} closed the connection",
                "many meters accept one client at a time: look for another program that reads this meter",
            )
        return data

    async def close(self) -> None:
        """Close the connection; never raises."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


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


async def _connect(host: str, port: int, source_address: str | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The first of the host's addresses that accepts."""
    local = None if source_address is None else (source_address, 0)
    *others, last = await reachable(host, source_address)
    for address in others:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(address, port, local_addr=local)
    return await asyncio.open_connection(last, port, local_addr=local)


def _keep_alive(connection: socket.socket) -> None:
    """Have the system probe an idle connection, and send requests at once (they are short and answered one by one)."""
    with contextlib.suppress(OSError):  # the connection may have been reset already; the first read will say so
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):  # not every system has all three
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
