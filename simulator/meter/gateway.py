"""The gateway in front of a virtual meter (IEC 62056-5-3): takes the prefix off requests and puts it on replies."""

from __future__ import annotations

_REQUEST, _RESPONSE = 0xE6, 0xE7


class Gateway:
    """One device behind a gateway.

    :arg network: its network.
    :arg address: its address there.
    """

    def __init__(self, network: int, address: bytes) -> None:
        self._device = bytes((network, len(address))) + address

    def unwrap(self, apdu: bytes) -> bytes | None:
        """The APDU for the device; None where it is for another one, or for the gateway itself."""
        prefix = bytes((_REQUEST,)) + self._device
        return apdu[len(prefix) :] if apdu.startswith(prefix) else None

    def wrap(self, apdu: bytes) -> bytes:
        """A reply of the device, as the gateway hands it on."""
        return bytes((_RESPONSE,)) + self._device + apdu
