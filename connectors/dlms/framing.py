"""What lies between APDUs and bytes on the link: the HDLC data link, or the wrapper. Both look the same from above.

`gateway` puts the prefix for a device behind a gateway on top of either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, Union

from connectors.dlms.apdu.describe import Reveal, describe
from connectors.dlms.events import Discarded
from connectors.dlms.hdlc.frame import Address, Frame, FrameType, server_address
from connectors.dlms.hdlc.scanner import FrameScanner
from connectors.dlms.hdlc.station import (
    LLC_REQUEST,
    LLC_RESPONSE,
    LinkBroken,
    LinkDown,
    LinkUp,
    Received,
    Station,
    StationEvent,
)
from connectors.dlms.wrapper import HEADER_SIZE, VERSION, WrapperScanner, wrap
from model.settings.meter import MeterSettings

__all__ = ["Framing", "LinkBroken", "LinkDown", "LinkUp", "Received", "Reveal", "choose"]

MAX_APDU = 65_535


class Framing(Protocol):
    """Carries APDUs; what `hdlc.station` says of the methods holds for both kinds."""

    @property
    def information_size(self) -> int:
        """Bytes of the largest HDLC information field that the meter receives; 0 for unlimited."""
        ...

    @property
    def numbers_replies(self) -> bool:
        """Whether a late reply to an earlier request, or to one that was repeated, is told from the one that is due."""
        ...

    def connect(self) -> bytes:
        """Start on a fresh link; the bytes that open it, if the framing has any."""
        ...

    def send(self, apdu: bytes) -> bytes:
        """The first bytes that carry `apdu`."""
        ...

    def disconnect(self) -> bytes:
        """The bytes that end the link, if the framing has any."""
        ...

    def resend(self) -> bytes:
        """The very bytes that went out last."""
        ...

    def reject(self) -> None:
        """The APDU just received was not the one that is awaited."""
        ...

    def receive(self, data: bytes) -> Iterator[StationEvent]:
        """What the bytes mean, one event at a time: what the caller does about one decides about the next."""
        ...

    def is_part(self, data: bytes) -> bool:
        """Whether `data` is a message that carries only a part of an APDU."""
        ...

    def describe(self, data: bytes, reveal: Reveal | None = None) -> str:
        """The messages in `data` in words, for a log line.

        :arg reveal: what is inside of a protected APDU; None where it cannot be opened.
        """
        ...


def choose(meter: MeterSettings) -> Framing:
    """The framing that the meter's settings ask for.

    :raises ValueError: when its addresses do not fit.
    """
    return _Hdlc(meter) if meter.framing == "hdlc" else _Wrapper(meter)


class _Hdlc:
    numbers_replies = True

    def __init__(self, meter: MeterSettings) -> None:
        server = server_address(meter.server_logical, meter.server_physical, meter.server_address_size)
        self._scanner = FrameScanner()
        self._station = Station(Address(meter.client_sap), server, meter.hdlc_information_size, MAX_APDU, meter.hdlc_window)
        self.information_size = 0

    def connect(self) -> bytes:
        self._scanner = FrameScanner()
        return self._station.connect()

    def send(self, apdu: bytes) -> bytes:
        return self._station.send(apdu)

    def disconnect(self) -> bytes:
        return self._station.disconnect()

    def resend(self) -> bytes:
        return self._station.resend()

    def reject(self) -> None:
        self._station.reject()

    def receive(self, data: bytes) -> Iterator[StationEvent]:
        for item in self._scanner.feed(data):
            for event in [item] if isinstance(item, Discarded) else self._station.receive(item):
                if isinstance(event, LinkUp):
                    self.information_size = event.information_size
                yield event

    def is_part(self, data: bytes) -> bool:
        frames = [item for item in FrameScanner().feed(data) if isinstance(item, Frame) and item.type is FrameType.I]
        return any(frame.segmented or not frame.information.startswith(LLC_REQUEST) for frame in frames)

    def describe(self, data: bytes, reveal: Reveal | None = None) -> str:
        return _describe([item if isinstance(item, Discarded) else _describe_frame(item, reveal) for item in FrameScanner().feed(data)])


class _Wrapper:
    information_size = 0
    numbers_replies = False

    def __init__(self, meter: MeterSettings) -> None:
        self._server, self._client = meter.server_logical, meter.client_sap
        self._scanner = WrapperScanner(self._server, self._client)
        self._last = b""

    def connect(self) -> bytes:
        self._scanner = WrapperScanner(self._server, self._client)
        return b""

    def send(self, apdu: bytes) -> bytes:
        self._last = wrap(self._client, self._server, apdu)
        return self._last

    def disconnect(self) -> bytes:
        return b""

    def resend(self) -> bytes:
        return self._last

    def reject(self) -> None:
        pass

    def receive(self, data: bytes) -> Iterator[StationEvent]:
        for item in self._scanner.feed(data):
            yield item if isinstance(item, Discarded) else Received(item)

    def is_part(self, data: bytes) -> bool:
        return False

    def describe(self, data: bytes, reveal: Reveal | None = None) -> str:
        if data[:2] != VERSION or len(data) < HEADER_SIZE:
            return _describe([])
        source, destination = int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:6], "big")
        return f"{source} to {destination} {describe(data[HEADER_SIZE:], reveal)}"


def _describe(items: list[Union[str, Discarded]]) -> str:
    texts = [f"{item.count} bytes: {item.reason}" if isinstance(item, Discarded) else item for item in items]
    return "; ".join(texts) or "part of a message"


def _describe_frame(frame: Frame, reveal: Reveal | None) -> str:
    text = str(frame)
    if frame.type is FrameType.I:
        begins = frame.information[:3] in (LLC_REQUEST, LLC_RESPONSE)
        text += f" {describe(frame.information[3:], reveal)}" if begins else " continued"
    return text
