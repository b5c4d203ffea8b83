"""HDLC frames of format type 3, IEC 62056-46 clause 6.4: 7E, format and length, addresses, control, HCS, information, FCS, 7E."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from fastcrc import crc16

FLAG = 0x7E
_FLAG = bytes([FLAG])
SEGMENTED = 0x0800
FORMAT_TYPE = 0xA000
MAX_LENGTH = 0x7FF
"""Largest value of the length field: all bytes between the flags."""
ALL_STATIONS = {1: 0x7F, 2: 0x7F, 4: 0x3FFF}
"""The physical address that every server answers, by bytes of the address; its answer carries its own address."""
LARGEST_SHORT = 0x7D
"""The largest logical or physical address of seven bits that belongs to a single meter."""
_POLL_FINAL = 0x10


class HdlcError(ValueError):
    """Bytes that are not a frame, or values that do not fit into one."""


class FrameType(Enum):
    """The kinds of frame, each with its control field without poll/final bit and sequence numbers (clause 6.4.3)."""

    I = 0x00  # noqa: E741 - the standard's own name
    RR = 0x01
    RNR = 0x05
    UI = 0x03
    DM = 0x0F
    DISC = 0x43
    UA = 0x63
    SNRM = 0x83
    FRMR = 0x87


_NUMBERED = (FrameType.RR, FrameType.RNR)
_UNNUMBERED = {t.value: t for t in FrameType if t.value & 0x03 == 0x03}
_SUPERVISORY = {t.value: t for t in _NUMBERED}


class Address(NamedTuple):
    """An HDLC address of `size` bytes: 1 (upper, the logical device or the client), 2 or 4 (upper and lower, the physical device)."""

    upper: int
    lower: int = 0
    size: int = 1

    def encode(self) -> bytes:
        """The bytes on the line: seven bits each, the last one marked by its lowest bit.

        :raises HdlcError: when a part does not fit.
        """
        limit = 0x3FFF if self.size == 4 else 0x7F
        if self.size not in (1, 2, 4) or not 0 <= self.upper <= limit or not 0 <= self.lower <= (0 if self.size == 1 else limit):
            raise HdlcError(f"address {self} does not fit into {self.size} bytes")
        if self.size == 1:
            return bytes([self.upper << 1 | 1])
        if self.size == 2:
            return bytes([self.upper << 1, self.lower << 1 | 1])
        return bytes([self.upper >> 7 << 1, (self.upper & 0x7F) << 1, self.lower >> 7 << 1, (self.lower & 0x7F) << 1 | 1])

    def answers(self, asked: Address) -> bool:
        """Whether a frame from this address can be the answer to one sent to `asked`, whatever the number of bytes."""
        if self.upper != asked.upper:
            return False
        return self.lower == asked.lower or (asked.size > 1 and asked.lower == ALL_STATIONS[asked.size])

    def __str__(self) -> str:
        return f"{self.upper}" if self.size == 1 else f"{self.upper}/{self.lower}"


def server_address(logical: int, physical: int, size: int | None = None) -> Address:
    """The address of a meter; without `size` the shortest that holds both parts, one byte when `physical` is 0.

    126 and 127 get four bytes: in fewer they are reserved, for a meter that calls and for all stations (clause 6.4.2.3).

    :raises HdlcError: when the parts do not fit into `size` bytes.
    """
    if size is None:
        size = 4 if max(logical, physical) > LARGEST_SHORT else 2 if physical else 1
    address = Address(logical, physical, size)
    address.encode()
    return address


class Frame(NamedTuple):
    """One frame. `final` is the poll bit of a command and the final bit of a response; `ns` and `nr` are N(S) and N(R)."""

    type: FrameType
    destination: Address
    source: Address
    information: bytes = b""
    ns: int = 0
    nr: int = 0
    final: bool = True
    segmented: bool = False

    def encode(self) -> bytes:
        """The bytes on the line, flags included.

        :raises HdlcError: when the frame is longer than the length field can say.
        """
        addresses = _encoded(self.destination) + _encoded(self.source)
        length = 2 + len(addresses) + 1 + 2 + (len(self.information) + 2 if self.information else 0)
        if length > MAX_LENGTH:
            raise HdlcError(f"a frame of {length} bytes; the length field holds at most {MAX_LENGTH}")
        form = FORMAT_TYPE | (SEGMENTED if self.segmented else 0) | length
        body = form.to_bytes(2, "big") + addresses + bytes((self._control(),))
        if self.information:
            body += check_sequence(body) + self.information
        return _FLAG + body + check_sequence(body) + _FLAG

    def _control(self) -> int:
        final = _POLL_FINAL if self.final else 0
        if self.type is FrameType.I:
            return (self.nr << 5) | final | (self.ns << 1)
        control: int = self.type.value | final
        return control | (self.nr << 5) if self.type in _NUMBERED else control

    def __str__(self) -> str:
        name = self.type.name
        if self.type is FrameType.I:
            name += f" S={self.ns} R={self.nr}"
        elif self.type in (FrameType.RR, FrameType.RNR):
            name += f" R={self.nr}"
        return name + (" segmented" if self.segmented else "") + ("" if self.final else " not final")


@lru_cache(maxsize=16_384)
def _encoded(address: Address) -> bytes:
    return address.encode()


def check_sequence(data: bytes | bytearray) -> bytes:
    """HCS or FCS of `data`, lower byte first (clause 6.4.5; CRC-16/IBM-SDLC)."""
    crc: int = crc16.ibm_sdlc(data if type(data) is bytes else bytes(data))
    return crc.to_bytes(2, "little")


def header_size(data: bytes | bytearray, start: int = 0) -> int | None:
    """Bytes from the format field at `start` to the control field, both included; None when more bytes are needed.

    :raises HdlcError: when the addresses are not 1, 2 or 4 bytes long.
    """
    position = start + 2
    for _ in range(2):
        size = _address_size(data, position)
        if size is None:
            return None
        position += size
    return position + 1 - start if position < len(data) else None


def decode(data: bytes) -> Frame:
    """The frame in `data`, which begins and ends with a flag.

    :raises HdlcError: when it is none: length, HCS, FCS, address or control field.
    """
    if len(data) < 9 or data[0] != FLAG or data[-1] != FLAG:
        raise HdlcError("no flag where it should end")
    body = data[1:-1]
    form = body[0] << 8 | body[1]
    if form & 0xF000 != FORMAT_TYPE or form & MAX_LENGTH != len(body):
        raise HdlcError("the length field does not match")
    header = header_size(body)
    if header is None or not (len(body) == header + 2 or len(body) >= header + 4):
        raise HdlcError("too short for its addresses")
    if check_sequence(body[:-2]) != body[-2:]:
        raise HdlcError("wrong FCS")
    if len(body) > header + 2 and check_sequence(body[:header]) != body[header : header + 2]:
        raise HdlcError("wrong HCS")
    destination, source = _decode_addresses(body[2 : header - 1])
    control = body[header - 1]
    information = body[header + 2 : -2] if len(body) > header + 2 else b""
    final, segmented = bool(control & _POLL_FINAL), bool(form & SEGMENTED)
    if control & 1 == 0:
        return Frame(FrameType.I, destination, source, information, control >> 1 & 7, control >> 5, final, segmented)
    frame_type = _frame_type(control)
    return Frame(frame_type, destination, source, information, 0, control >> 5 if frame_type in _NUMBERED else 0, final, segmented)


def _address_size(data: bytes | bytearray, start: int) -> int | None:
    for size in (1, 2, 3, 4):
        if start + size > len(data):
            return None
        if data[start + size - 1] & 1:
            if size == 3:
                break
            return size
    raise HdlcError("an address is 1, 2 or 4 bytes long")


@lru_cache(maxsize=16_384)
def _decode_addresses(addresses: bytes) -> tuple[Address, Address]:
    """Destination and source; the same few come again and again."""
    destination = _decode_address(addresses, 0)
    return destination, _decode_address(addresses, destination.size)


def _decode_address(body: bytes, start: int) -> Address:
    size = _address_size(body, start) or 0
    parts = [byte >> 1 for byte in body[start : start + size]]
    if size == 4:
        return Address(parts[0] << 7 | parts[1], parts[2] << 7 | parts[3], 4)
    return Address(parts[0], parts[1] if size == 2 else 0, size)


def _frame_type(control: int) -> FrameType:
    frame_type = _SUPERVISORY.get(control & 0x0F) if control & 3 == 1 else _UNNUMBERED.get(control & ~_POLL_FINAL)
    if frame_type is None:
        raise HdlcError(f"unknown control field {control:02x}")
    return frame_type
