"""M-Bus long frames, EN 13757-2 clause 5: 68 L L 68 C A CI data CS 16, as local customer ports send them."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.dlms.scanner import Found, Refuted, Scanner, Verdict

START, STOP = 0x68, 0x16
FINAL, SEQUENCE = 0x10, 0x0F
"""In CI: the bit of the last segment, and the segment number (EN 13757-3, application data of DLMS)."""
_HEADER = 4
_SHORTEST = 3
"""C, A and CI."""


@dataclass(frozen=True, slots=True)
class MBusFrame:
    """One long frame: control field, primary address, control information field, and what follows."""

    control: int
    address: int
    information: int
    data: bytes


class MBusScanner(Scanner[MBusFrame]):
    """Bytes in, long frames out: those whose lengths, checksum and stop byte are right."""

    def __init__(self) -> None:
        super().__init__(bytes([START]), _judge)


def _judge(buffer: bytes | bytearray, start: int) -> Verdict[MBusFrame]:
    header = buffer[start : start + _HEADER]
    if (len(header) > 2 and header[1] != header[2]) or (len(header) > 3 and header[3] != START):
        return Refuted("a start byte that opens no M-Bus frame")
    if len(header) < _HEADER:
        return None
    # Meters are known that send one or two bytes more than L can say, and let it overflow (68 01 01 68 for 257).
    size = header[1] if header[1] >= _SHORTEST else header[1] + 0x100
    end = start + _HEADER + size + 2
    if len(buffer) < end:
        return None
    content = buffer[start + _HEADER : end - 2]
    if buffer[end - 1] != STOP:
        return Refuted("an M-Bus frame without its stop byte")
    if sum(content) & 0xFF != buffer[end - 2]:
        return Refuted("an M-Bus frame with a wrong checksum")
    return Found(MBusFrame(content[0], content[1], content[2], bytes(content[3:])), end)
