"""Moves bytes between us and a meter, a converter or a modem. Nothing here knows what the bytes mean.

Each kind of link is a class with the same four methods; `open_link` picks one by the scheme of the address.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import Protocol
from urllib.parse import urlsplit

from connectors.dlms.host_names import lookup
from model.errors import MeterError
from model.messages import ErrorKind

READ_SIZE = 65536


class Link(Protocol):
    """An open, ordered, unreliable stream of bytes."""

    @property
    def closed(self) -> bool:
        """Whether the other side has closed the link or it broke."""
        ...

    async def write(self, data: bytes) -> None:
        """Hand `data` to the link.

        :raises MeterError: when the link is broken.
        """
        ...

    async def read(self) -> bytes:
        """Whatever has arrived, at least one byte.

        :raises MeterError: when the other side closed the link or it broke.
        """
        ...

    async def close(self) -> None:
        """Close the link; never raises."""
        ...


class TcpLink:
    """A TCP connection, to a meter or to a serial-to-TCP converter."""

    def __init__(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> TcpLink:
        """Connect to `host`:`port`; the caller sets the deadline.

        :raises MeterError: when the address cannot be reached, with what the operating system said.
        """
        address = f"{host}:{port}"
        try:
            reader, writer = await _connect(host, port)
        except OSError as error:
            raise MeterError(ErrorKind.CONNECT, f"cannot connect to {address}: {_reason(error)}", _remedy(error)) from error
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
            raise MeterError(ErrorKind.LINK_LOST, f"the connection to {self._address} broke: {_reason(error)}") from error

    async def read(self) -> bytes:
        """Whatever has arrived, at least one byte.

        :raises MeterError: when the connection was closed or broke.
        """
        try:
            data = await self._reader.read(READ_SIZE)
        except OSError as error:
            raise MeterError(ErrorKind.LINK_LOST, f"the connection to {self._address} broke: {_reason(error)}") from error
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


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The first of the host's addresses that accepts."""
    *others, last = await lookup(host)
    for address in others:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(address, port)
    return await asyncio.open_connection(last, port)


def _reason(error: OSError) -> str:
    """The operating system's words; asyncio replaces them by the address it tried."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _remedy(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there, or the one connection it allows is taken: check port and converter, and other programs"
    if isinstance(error, socket.gaierror):
        return "the name is not known to this host: check the spelling and the name server"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "this process has too many files open: raise its limit (ulimit -n, LimitNOFILE)"
    return "check address, cable and routing"


async def open_link(address: str) -> Link:
    """Open the link that `address` (tcp://host:port) names; the caller sets the deadline.

    :raises MeterError: when it cannot be opened.
    """
    parts = urlsplit(address)
    if parts.scheme != "tcp" or parts.hostname is None or parts.port is None:
        raise MeterError(ErrorKind.CONNECT, f"{address!r} is not a link that can be opened", "write tcp://host:port")
    return await TcpLink.open(parts.hostname, parts.port)
