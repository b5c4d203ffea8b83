"""From the bytes of one sender to the APDUs it pushed, in each framing. No I/O, no answers: pushes are not acknowledged.

Every deframer keeps at most one unfinished APDU per station and a few stations, whatever it is fed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, Union

from connectors.dlms.events import Discarded
from connectors.dlms.hdlc.frame import Frame, FrameType
from connectors.dlms.hdlc.scanner import FrameScanner
from connectors.dlms.hdlc.station import LLC_REQUEST, LLC_RESPONSE
from connectors.dlms.push.mbus import FINAL, SEQUENCE, MBusFrame, MBusScanner
from connectors.dlms.push.stations import Stations
from connectors.dlms.wrapper import HEADER_SIZE, VERSION

MAX_APDU = 65_535
"""Bytes of the largest APDU that is put together."""

_MOST_UNFINISHED = 4
"""Stations of one sender whose segments wait for the others; on one line they come one after the other."""

_BLOCK = b"\xe0"
"""What a general-block-transfer begins with."""

FramingName = Literal["hdlc", "wrapper", "mbus"]


@dataclass(frozen=True, slots=True)
class PushedApdu:
    """An APDU and the station it came from: HDLC "upper" or "upper/lower", wrapper port, M-Bus "address/SAP"."""

    apdu: bytes
    station: str


Deframed = Union[PushedApdu, Discarded]


class Deframer(Protocol):
    """One stream of bytes."""

    def feed(self, data: bytes) -> list[Deframed]:
        """The APDUs that `data` completes, and what was thrown away and why."""
        ...

    def end_of_datagram(self) -> list[Deframed]:
        """Forget what a datagram cannot leave to the next one."""
        ...


def deframer(framing: FramingName) -> Deframer:
    """A new one for a new sender."""
    if framing == "hdlc":
        return HdlcDeframer()
    return WrapperDeframer() if framing == "wrapper" else MBusDeframer()


class HdlcDeframer:
    """UI and I frames, IEC 62056-46: an APDU may be segmented over several, the LLC bytes begin the first.

    Some meters (Landis+Gyr E450) send each block of a general-block-transfer in a frame of its own and the LLC bytes
    only in the first.
    """

    def __init__(self) -> None:
        self._scanner = FrameScanner()
        self._parts: Stations[bytes] = Stations(_MOST_UNFINISHED)

    def feed(self, data: bytes) -> list[Deframed]:
        """See `Deframer`."""
        found: list[Deframed] = []
        for item in self._scanner.feed(data):
            found += self._frame(item) if isinstance(item, Frame) else [item]
        return found

    def end_of_datagram(self) -> list[Deframed]:
        """Nothing: a converter cuts the bytes of a line wherever it likes."""
        return []

    def _frame(self, frame: Frame) -> list[Deframed]:
        station = str(frame.source)
        if frame.type not in (FrameType.UI, FrameType.I):
            return [Discarded(len(frame.encode()), f"frame {frame} carries no notification")]
        found: list[Deframed] = []
        before = self._parts.pop(station) or b""
        apdu = before + frame.information
        if not before and not frame.information.startswith((LLC_REQUEST, LLC_RESPONSE, _BLOCK)):
            return [Discarded(len(apdu), f"a frame of station {station} that neither begins nor continues a message")]
        if frame.information.startswith((LLC_REQUEST, LLC_RESPONSE)):
            apdu = frame.information[len(LLC_REQUEST) :]
            if before:
                found.append(Discarded(len(before), f"segments of station {station} whose last one did not come"))
        if len(apdu) > MAX_APDU:
            found.append(Discarded(len(apdu), f"more than {MAX_APDU} bytes in segments from station {station}"))
        elif frame.segmented:
            self._parts.put(station, apdu)
        else:
            found.append(PushedApdu(apdu, station))
        return found


class WrapperDeframer:
    """Messages of IEC 62056-47. TCP delivers them in order, so a header that is none means that the sender is lost."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Deframed]:
        """See `Deframer`."""
        self._buffer += data
        found: list[Deframed] = []
        position = 0
        while len(self._buffer) - position >= HEADER_SIZE:
            header = self._buffer[position : position + HEADER_SIZE]
            size = int.from_bytes(header[6:], "big")
            if header[:2] != VERSION or size == 0:
                found.append(Discarded(len(self._buffer) - position, "no wrapper header: the framing of the sender is another one"))
                position = len(self._buffer)
                break
            end = position + HEADER_SIZE + size
            if len(self._buffer) < end:
                break
            apdu = bytes(self._buffer[position + HEADER_SIZE : end])
            found.append(PushedApdu(apdu, str(int.from_bytes(header[2:4], "big"))))
            position = end
        del self._buffer[:position]
        return found

    def end_of_datagram(self) -> list[Deframed]:
        """A datagram holds whole messages (IEC 62056-47 clause 6)."""
        left = len(self._buffer)
        self._buffer.clear()
        return [Discarded(left, "a datagram cut short")] if left else []


class MBusDeframer:
    """Long frames whose CI field says DLMS, EN 13757-3: CI holds a segment number and, in the last segment, the bit FINAL;
    the two bytes behind it are the sender's and the receiver's SAP."""

    def __init__(self) -> None:
        self._scanner = MBusScanner()
        self._parts: Stations[tuple[int, bytes]] = Stations(_MOST_UNFINISHED)

    def feed(self, data: bytes) -> list[Deframed]:
        """See `Deframer`."""
        found: list[Deframed] = []
        for item in self._scanner.feed(data):
            found += self._frame(item) if isinstance(item, MBusFrame) else [item]
        return found

    def end_of_datagram(self) -> list[Deframed]:
        """Nothing: a converter cuts the bytes of a line wherever it likes."""
        return []

    def _frame(self, frame: MBusFrame) -> list[Deframed]:
        if frame.information & ~(FINAL | SEQUENCE) or len(frame.data) < 2:
            return [Discarded(len(frame.data), f"an M-Bus frame with CI {frame.information:02X}, which carries no DLMS")]
        station = f"{frame.address}/{frame.data[0]}"
        number, part = frame.information & SEQUENCE, frame.data[2:]
        found: list[Deframed] = []
        expected, before = self._parts.pop(station) or (0, b"")
        if number != expected:
            what = f"M-Bus segment {number} of station {station} where {expected} was expected"
            found.append(Discarded(len(before) + (len(part) if number else 0), what))
            if number:
                return found
            before = b""
        apdu = before + part
        if not frame.information & FINAL and len(apdu) <= MAX_APDU:
            self._parts.put(station, ((number + 1) & SEQUENCE, apdu))
        elif len(apdu) > MAX_APDU:
            found.append(Discarded(len(apdu), f"more than {MAX_APDU} bytes in segments from station {station}"))
        else:
            found.append(PushedApdu(apdu, station))
        return found
