"""HDLC frames of format type 3 (IEC 62056-46): addresses, control field, check sequences, and finding them in a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from fastcrc import crc16

FLAG = 0x7E
_FORMAT_TYPE = 0xA0
_SEGMENTATION = 0x08
_LONGEST_HEADER = 2 + 4 + 4 + 1 + 2


class Control(IntEnum):
    """Control fields of frames without sequence numbers, poll/final bit cleared."""

    SNRM = 0x83
    DISC = 0x43
    UA = 0x63
    DM = 0x0F
    FRMR = 0x87


POLL_FINAL = 0x10


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame without its flags, length and check sequences; addresses as on the wire."""

    destination: bytes
    source: bytes
    control: int
    information: bytes = b""
    segmented: bool = False

    @property
    def is_information(self) -> bool:
        """Whether this is an I-frame."""
        return not self.control & 0x01

    @property
    def is_receiver_ready(self) -> bool:
        """Whether this is RR."""
        return self.control & 0x0F == 0x01

    @property
    def send_number(self) -> int:
        """N(S) of an I-frame."""
        return self.control >> 1 & 0x07

    @property
    def receive_number(self) -> int:
        """N(R) of an I-frame or RR."""
        return self.control >> 5

    @property
    def unnumbered(self) -> int:
        """The control field with poll/final cleared, to compare with `Control`."""
        return self.control & ~POLL_FINAL


def information_control(send: int, receive: int, final: bool = True) -> int:
    """Control field of an I-frame, mostly with the poll/final bit."""
    return receive << 5 | (POLL_FINAL if final else 0) | send << 1


def receiver_ready_control(receive: int) -> int:
    """Control field of RR with the poll/final bit."""
    return receive << 5 | POLL_FINAL | 0x01


def encode_address(logical: int, physical: int = 0, size: int | None = None) -> bytes:
    """A server address of 1, 2 or 4 bytes, the smallest that fits where `size` is None; one byte has no physical part.

    :raises ValueError: when the address does not fit `size`.
    """
    widest = max(logical, physical)
    smallest = 4 if widest > 0x7F else 2 if physical else 1
    if size is None:
        size = smallest
    if size < smallest or size not in (1, 2, 4) or widest > 0x3FFF:
        raise ValueError(f"server address {logical}/{physical} does not fit in {size} bytes")
    if size == 1:
        return bytes((logical << 1 | 1,))
    if size == 2:
        return bytes((logical << 1, physical << 1 | 1))
    return bytes((logical >> 7 << 1, (logical & 0x7F) << 1, physical >> 7 << 1, (physical & 0x7F) << 1 | 1))


def decode_address(address: bytes) -> tuple[int, int]:
    """Logical and physical part of an address; the physical part is 0 where it has one byte."""
    if len(address) == 1:
        return address[0] >> 1, 0
    if len(address) == 2:
        return address[0] >> 1, address[1] >> 1
    return address[0] >> 1 << 7 | address[1] >> 1, address[2] >> 1 << 7 | address[3] >> 1


def encode_frame(frame: Frame) -> bytes:
    """The bytes of a frame, flags included."""
    header_size = 2 + len(frame.destination) + len(frame.source) + 1
    length = header_size + 2 + (len(frame.information) + 2 if frame.information else 0)
    head = bytes((_FORMAT_TYPE | (_SEGMENTATION if frame.segmented else 0) | length >> 8, length & 0xFF))
    body = head + frame.destination + frame.source + bytes((frame.control,))
    if frame.information:
        body += _check_sequence(body) + frame.information
    return bytes((FLAG,)) + body + _check_sequence(body) + bytes((FLAG,))


def _check_sequence(data: bytes) -> bytes:
    return crc16.ibm_sdlc(data).to_bytes(2, "little")


class FrameReader:
    """Finds frames in a byte stream: the length field, not the next flag, ends a frame; what is no frame is skipped."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames completed by `data`."""
        self._buffer += data
        while (start := self._buffer.find(FLAG)) >= 0:
            del self._buffer[:start]
            outcome = self._frame_at_flag()
            if outcome is None:
                return
            if isinstance(outcome, Frame):
                yield outcome
            else:
                del self._buffer[0]
        self._buffer.clear()

    def _frame_at_flag(self) -> Frame | bool | None:
        """The frame behind the first flag, False when there is none, None when more bytes are needed."""
        buffer = self._buffer
        if len(buffer) < 3:
            return None
        if buffer[1] & 0xF0 != _FORMAT_TYPE:
            return False
        length = (buffer[1] & 0x07) << 8 | buffer[2]
        if length < 7:
            return False
        header = bytes(buffer[1 : 1 + min(length, _LONGEST_HEADER)])
        parts = _split_header(header)
        if parts is None:
            return None if len(header) < min(length, _LONGEST_HEADER) else False
        destination, source, control, size = parts
        has_information = length > size + 2
        if has_information and len(header) >= size + 2 and _check_sequence(header[:size]) != header[size : size + 2]:
            return False
        if len(buffer) < length + 2:
            return None
        body = bytes(buffer[1 : 1 + length])
        if buffer[length + 1] != FLAG or _check_sequence(body[:-2]) != body[-2:]:
            return False
        del buffer[: length + 1]
        information = body[size + 2 : -2] if has_information else b""
        return Frame(destination, source, control, information, bool(body[0] & _SEGMENTATION))


def _split_header(header: bytes) -> tuple[bytes, bytes, int, int] | None:
    """Destination, source, control and the size of the header up to the control field; None when it is too short."""
    ends = []
    for position, octet in enumerate(header[2:], start=2):
        if octet & 1:
            ends.append(position + 1)
            if len(ends) == 2:
                break
    if len(ends) < 2 or ends[1] >= len(header):
        return None
    destination, source = header[2 : ends[0]], header[ends[0] : ends[1]]
    if len(destination) not in (1, 2, 4) or len(source) not in (1, 2, 4):
        return None
    return destination, source, header[ends[1]], ends[1] + 1
