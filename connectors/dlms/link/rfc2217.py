"""RFC 2217: a serial port behind a converter that can be told baud rate, parity and stop bits over Telnet."""

from __future__ import annotations

import asyncio
import contextlib

from connectors.dlms.link.inbox import Inbox
from connectors.dlms.link.tcp import TcpLink
from connectors.dlms.link.telnet import (
    ANSWER,
    BINARY,
    COM_PORT,
    DO,
    DONT,
    NO_FLOW_CONTROL,
    PURGE_BOTH,
    PURGE_DATA,
    SET_BAUD,
    SET_CONTROL,
    SUPPRESS_GO_AHEAD,
    WILL,
    WONT,
    Negotiation,
    Subnegotiation,
    TelnetReader,
    com_port,
    escaped,
    negotiate,
    port_settings,
)
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.link_address import SerialParameters, authority

ANSWER_TIMEOUT = 3.0
"""Seconds the converter gets to answer a setting."""

_OURS = (BINARY, SUPPRESS_GO_AHEAD, COM_PORT)


class Rfc2217Link:
    """A TCP connection that carries data and com port commands."""

    def __init__(self, address: str, tcp: TcpLink) -> None:
        self._address = address
        self._tcp = tcp
        self._inbox = Inbox()
        self._reader = TelnetReader()
        self._answers: dict[int, bytes] = {}
        self._heard = asyncio.Event()
        self._refused = False
        self._baud = 9600
        self._sent_by = 0.0
        self._pump = asyncio.ensure_future(self._receive())

    @classmethod
    async def open(cls, host: str, port: int, parameters: SerialParameters, source_address: str | None = None) -> Rfc2217Link:
        """Connect and set the port; the caller sets the deadline.

        :raises MeterError: when the converter cannot be reached, does not know RFC 2217, or refuses a setting.
        """
        link = cls(authority(host, port), await TcpLink.open(host, port, source_address))
        try:
            await link._send(b"".join(negotiate(verb, option) for option in _OURS for verb in (WILL, DO)))
            await link.configure(parameters)
            await link._send(com_port(SET_CONTROL, bytes([NO_FLOW_CONTROL])))
        except BaseException:
            await link.close()
            raise
        return link

    @property
    def closed(self) -> bool:
        """Whether the connection is closed or broke."""
        return self._inbox.broken or self._tcp.closed

    @property
    def prompt(self) -> None:
        """It has to be waited for."""
        return None

    async def write(self, data: bytes) -> None:
        """Send `data` to the port.

        :raises MeterError: when the connection is broken.
        """
        now = asyncio.get_running_loop().time()
        self._sent_by = max(now, self._sent_by) + len(data) * 11 / self._baud
        await self._send(escaped(data))

    async def read(self, within: float | None = None) -> bytes:
        """Whatever the port has received, at least one byte.

        :raises MeterError: when the connection was closed or broke.
        """
        return await self._inbox.read(within)

    async def configure(self, parameters: SerialParameters) -> None:
        """Set the port once everything written should be out; what arrived before is thrown away.

        :raises MeterError: when the converter does not answer, or refuses or changes a setting.
        """
        await asyncio.sleep(max(0.0, self._sent_by - asyncio.get_running_loop().time()))
        wanted = port_settings(parameters)
        self._answers.clear()
        await self._send(b"".join(com_port(command, value) for command, value in wanted.items()))
        try:
            await asyncio.wait_for(self._all_answered(wanted), ANSWER_TIMEOUT)
        except asyncio.TimeoutError:
            raise MeterError(
                ErrorKind.CONNECT,
                f"{self._address} does not answer RFC 2217 commands",
                "switch the converter to RFC 2217 (Telnet com port control), or write tcp:// and set baud rate and parity there",
            ) from None
        for command, value in wanted.items():
            if self._answers[command] != value:
                raise MeterError(
                    ErrorKind.CONNECT,
                    f"{self._address} cannot set its port to {parameters}: it answered {_said(command, self._answers[command])}",
                    "choose what the converter supports, and leave the settings free there (not locked)",
                )
        self._baud = parameters.baud
        await self._send(com_port(PURGE_DATA, bytes([PURGE_BOTH])))
        self._inbox.clear()

    async def close(self) -> None:
        """Close the connection; never raises."""
        self._pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump
        await self._tcp.close()

    async def _all_answered(self, wanted: dict[int, bytes]) -> None:
        while not wanted.keys() <= self._answers.keys():
            self._inbox.check()
            if self._refused:
                raise asyncio.TimeoutError
            self._heard.clear()
            await self._heard.wait()

    async def _send(self, data: bytes) -> None:
        await self._tcp.write(data)

    async def _receive(self) -> None:
        try:
            while True:
                for item in self._reader.feed(await self._tcp.read()):
                    await self._take(item)
        except MeterError as error:
            self._inbox.fail(error)
        finally:
            self._heard.set()

    async def _take(self, item: bytes | Negotiation | Subnegotiation) -> None:
        if isinstance(item, bytes):
            self._inbox.put(item)
        elif isinstance(item, Subnegotiation):
            if len(item.content) >= 2 and item.content[0] == COM_PORT:
                self._answers[item.content[1] - ANSWER] = item.content[2:]
        elif item.verb in (DO, WILL) and item.option not in _OURS:
            await self._send(negotiate(WONT if item.verb == DO else DONT, item.option))
        elif item.verb == DONT and item.option == COM_PORT:
            self._refused = True
        self._heard.set()


def _said(command: int, value: bytes) -> str:
    return f"{int.from_bytes(value, 'big')} baud" if command == SET_BAUD else f"{value.hex()} to command {command}"
