"""The wrapper of DLMS over TCP and UDP, IEC 62056-47 clause 7.3: version 1, source, destination, length, APDU."""

from __future__ import annotations

from connectors.dlms.scanner import Found, Refuted, Scanner, Verdict

VERSION = b"\x00\x01"
HEADER_SIZE = 8
_CUT_SHORT = Refuted("a message cut short")


def wrap(source: int, destination: int, apdu: bytes) -> bytes:
    """The WPDU that carries `apdu` between two wrapper ports.

    :raises OverflowError: when a port or the length needs more than 16 bits.
    """
    return VERSION + source.to_bytes(2, "big") + destination.to_bytes(2, "big") + len(apdu).to_bytes(2, "big") + apdu


class WrapperScanner(Scanner[bytes]):
    """Bytes in, APDUs out: those from the meter's wrapper port to ours.

    A wrapper has no checksum; version, both ports and the length tell a message from junk. A message whose end was lost
    takes the beginning of the next one for its own: this is noticed when that one is already there as a whole.

    :arg server: the meter's wrapper port, its logical device.
    :arg client: our wrapper port, the client SAP.
    """

    def __init__(self, server: int, client: int) -> None:
        self._ports = server.to_bytes(2, "big") + client.to_bytes(2, "big")
        self._stranger = Refuted(f"not a message from port {server} to port {client}")
        super().__init__(VERSION, self._judge_message, header=VERSION + self._ports)

    def _judge_message(self, buffer: bytes | bytearray, start: int) -> Verdict[bytes]:
        ports = buffer[start + 2 : start + 6]
        if ports != self._ports[: len(ports)]:
            return self._stranger
        end = _end(buffer, start)
        if end == start + HEADER_SIZE:
            return Refuted("an empty message")
        if end is None or len(buffer) < end:
            return None
        if end < len(buffer) and self._runs_into_another(buffer, start, end):
            return _CUT_SHORT
        return Found(bytes(buffer[start + HEADER_SIZE : end]), end)

    def _runs_into_another(self, buffer: bytes | bytearray, start: int, end: int) -> bool:
        header = VERSION + self._ports
        inner = buffer.find(header, start + 1, end + len(header) - 1)
        inner_end = None if inner < 0 else _end(buffer, inner)
        return inner_end is not None and end < inner_end <= len(buffer)


def _end(buffer: bytes | bytearray, start: int) -> int | None:
    """Where the message at `start` ends by its length field; None when that has not arrived yet."""
    if len(buffer) < start + HEADER_SIZE:
        return None
    return start + HEADER_SIZE + int.from_bytes(buffer[start + 6 : start + HEADER_SIZE], "big")
