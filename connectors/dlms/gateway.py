"""Speaks to a meter through a gateway that fans out to many (IEC 62056-5-3, gateway protocol).

A prefix in front of each APDU says for which device it is: E6 on the way there, E7 on the way back, the network, the
length of the device's address, the address. The data link below is the one with the gateway. gurux-dlms could write the
prefix, but on requests that it frames itself, and it does not check whose answer comes back.
"""

from __future__ import annotations

from collections.abc import Iterator

from connectors.dlms.apdu import names
from connectors.dlms.events import Discarded
from connectors.dlms.framing import Framing, Reveal
from connectors.dlms.hdlc.station import Received, StationEvent

REQUEST, RESPONSE = 0xE6, 0xE7

_REFUSALS = (0x0E, 0xD8)
"""confirmed-service-error and exception-response: without a prefix they are the gateway's own words."""


class GatewayFraming:
    """`framing` to the gateway, APDUs to and from the device behind it.

    :arg network: the network behind the gateway, 0 to 255.
    :arg address: the device in that network, 1 to 127 bytes.
    """

    def __init__(self, framing: Framing, network: int, address: bytes) -> None:
        self._framing = framing
        self._device = bytes([network, len(address)]) + address

    @property
    def information_size(self) -> int:
        """As of the framing to the gateway."""
        return self._framing.information_size

    @property
    def numbers_replies(self) -> bool:
        """As of the framing to the gateway."""
        return self._framing.numbers_replies

    def connect(self) -> bytes:
        """As of the framing to the gateway."""
        return self._framing.connect()

    def send(self, apdu: bytes) -> bytes:
        """The first bytes that carry `apdu` to the device."""
        return self._framing.send(bytes([REQUEST]) + self._device + apdu)

    def disconnect(self) -> bytes:
        """As of the framing to the gateway."""
        return self._framing.disconnect()

    def resend(self) -> bytes:
        """As of the framing to the gateway."""
        return self._framing.resend()

    def reject(self) -> None:
        """As of the framing to the gateway."""
        self._framing.reject()

    def receive(self, data: bytes) -> Iterator[StationEvent]:
        """What the bytes mean: APDUs of our device without their prefix, others discarded."""
        for event in self._framing.receive(data):
            yield self._unwrapped(event.apdu) if isinstance(event, Received) else event

    def is_part(self, data: bytes) -> bool:
        """As of the framing to the gateway."""
        return self._framing.is_part(data)

    def describe(self, data: bytes, reveal: Reveal | None = None) -> str:
        """As of the framing to the gateway."""
        return self._framing.describe(data, reveal)

    def _unwrapped(self, apdu: bytes) -> StationEvent:
        prefix = bytes([RESPONSE]) + self._device
        if apdu.startswith(prefix):
            return Received(apdu[len(prefix) :])
        if apdu[:1] and apdu[0] in _REFUSALS:
            return Received(apdu)
        self._framing.reject()
        whose = "of another device" if apdu[:1] == bytes([RESPONSE]) else "without the gateway's prefix"
        return Discarded(len(apdu), f"{names.apdu_name(apdu)} {whose}")
