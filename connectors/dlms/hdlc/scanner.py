"""Finds HDLC frames in a stream that also carries junk, half frames and leftovers."""

from __future__ import annotations

from connectors.dlms.hdlc.frame import FLAG, FORMAT_TYPE, MAX_LENGTH, Frame, HdlcError, check_sequence, decode, header_size
from connectors.dlms.scanner import Found, Refuted, Scanner, Verdict

_FLAG = bytes([FLAG])
_SHORTEST = 7
"""Format and length, two addresses of one byte, control, FCS."""
_NO_FRAME = Refuted("a flag that opens no frame")


class FrameScanner(Scanner[Frame]):
    """Bytes in, frames out.

    A frame is a flag whose length, HCS and FCS check out. The length field ends it, not the next flag: the information
    may contain 7E. One flag may close a frame and open the next. At most one frame's length (2 kB) is kept.
    """

    def __init__(self) -> None:
        super().__init__(_FLAG, _judge, _FLAG)


def _judge(buffer: bytes | bytearray, start: int) -> Verdict[Frame]:
    if len(buffer) < start + 3:
        return None if len(buffer) < start + 2 or buffer[start + 1] & 0xF0 == FORMAT_TYPE >> 8 else _NO_FRAME
    form = int.from_bytes(buffer[start + 1 : start + 3], "big")
    length = form & MAX_LENGTH
    if form & 0xF000 != FORMAT_TYPE or length < _SHORTEST:
        return _NO_FRAME
    end = start + length + 2
    try:
        header = header_size(buffer, start + 1)
        if len(buffer) >= end:
            return Found(decode(bytes(buffer[start:end])), end)
    except HdlcError as error:
        return Refuted(f"a damaged frame: {error}")
    # The HCS comes early: a false start need not be waited for until its supposed end.
    if header is not None and length > header + 2 and len(buffer) >= start + 1 + header + 2:
        checked = buffer[start + 1 : start + 1 + header]
        if check_sequence(checked) != buffer[start + 1 + header : start + 3 + header]:
            return Refuted("a damaged frame: wrong HCS")
    return None
