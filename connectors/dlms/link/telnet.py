"""The Telnet side of RFC 2217 without I/O: data and commands apart on the way in, escaped on the way out.

RFC 854 (IAC is doubled in data), RFC 855 (WILL, WONT, DO, DONT and subnegotiation), RFC 856 (binary), RFC 858 (suppress
go ahead), RFC 2217 (com port control).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model.settings.link_address import Parity, SerialParameters

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44

SET_BAUD, SET_DATA_BITS, SET_PARITY, SET_STOP_BITS, SET_CONTROL, PURGE_DATA = 1, 2, 3, 4, 5, 12
ANSWER = 100
"""What the server's answer to a com port command is above the command, RFC 2217 clause 3."""

NO_FLOW_CONTROL = 1
PURGE_BOTH = 3

_PARITIES: dict[Parity, int] = {"none": 1, "odd": 2, "even": 3, "mark": 4, "space": 5}
_STOP_BITS = {1.0: 1, 2.0: 2, 1.5: 3}
_LONGEST_SUBNEGOTIATION = 1024


@dataclass(frozen=True, slots=True)
class Negotiation:
    """The other side says WILL, WONT, DO or DONT about an option."""

    verb: int
    option: int


@dataclass(frozen=True, slots=True)
class Subnegotiation:
    """The content of SB ... SE, the option's number first."""

    content: bytes


def escaped(data: bytes) -> bytes:
    """`data` as it goes over the connection."""
    return data.replace(b"\xff", b"\xff\xff")


def negotiate(verb: int, option: int) -> bytes:
    """One of WILL, WONT, DO, DONT about an option."""
    return bytes([IAC, verb, option])


def com_port(command: int, value: bytes) -> bytes:
    """A com port command with its value."""
    return bytes([IAC, SB, COM_PORT, command]) + escaped(value) + bytes([IAC, SE])


def port_settings(parameters: SerialParameters) -> dict[int, bytes]:
    """The commands that set a port, with their values: RFC 2217 clause 3."""
    return {
        SET_BAUD: parameters.baud.to_bytes(4, "big"),
        SET_DATA_BITS: bytes([parameters.data_bits]),
        SET_PARITY: bytes([_PARITIES[parameters.parity]]),
        SET_STOP_BITS: bytes([_STOP_BITS[float(parameters.stop_bits)]]),
    }


class TelnetReader:
    """Bytes from the connection in; data, negotiations and subnegotiations out. Whatever comes, it never raises."""

    def __init__(self) -> None:
        self._command = bytearray()
        self._content: bytearray | None = None

    def feed(self, data: bytes) -> Iterator[bytes | Negotiation | Subnegotiation]:
        """What `data` completes, in order."""
        plain = bytearray()
        for byte in data:
            if not self._command and byte != IAC:
                self._add(byte, plain)
                continue
            self._command.append(byte)
            item = self._completed()
            if isinstance(item, int):
                self._add(item, plain)
            elif item is not None:
                if plain:
                    yield bytes(plain)
                    plain.clear()
                yield item
        if plain:
            yield bytes(plain)

    def _add(self, byte: int, plain: bytearray) -> None:
        """A byte of data, or of a subnegotiation; one without end is given up."""
        if self._content is None:
            plain.append(byte)
            return
        self._content.append(byte)
        if len(self._content) > _LONGEST_SUBNEGOTIATION:
            self._content = None

    def _completed(self) -> int | Negotiation | Subnegotiation | None:
        """What the command collected so far is, once it is complete: a data byte 255, or one of the two others."""
        if len(self._command) < 2:
            return None
        verb = self._command[1]
        if verb in (WILL, WONT, DO, DONT):
            if len(self._command) < 3:
                return None
            option = self._command[2]
            self._command.clear()
            return Negotiation(verb, option)
        self._command.clear()
        if verb == IAC:
            return IAC
        if verb == SB:
            self._content = bytearray()
        elif verb == SE and self._content is not None:
            content, self._content = bytes(self._content), None
            return Subnegotiation(content)
        return None
