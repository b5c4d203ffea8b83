"""The server side of the HDLC data link (IEC 62056-46, normal response mode; several frames at a time are sent, one is received)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from simulator.meter.hdlc_frame import (
    POLL_FINAL,
    Control,
    Frame,
    FrameReader,
    decode_address,
    encode_frame,
    information_control,
    receiver_ready_control,
)
from simulator.meter.link import Connected, Disconnected, LinkEvent, Reply, Request

_LLC_REQUEST = bytes.fromhex("E6E600")
_LLC_RESPONSE = bytes.fromhex("E6E700")
_PARAMETERS = bytes.fromhex("8180")
_DEFAULT_INFORMATION_SIZE = 128
_LONGEST_REQUEST = 0x10000
_TRANSMIT_SIZE, _RECEIVE_SIZE = 0x05, 0x06


_RECEIVE_WINDOW = 0x08


class Limits(NamedTuple):
    """Longest information fields in bytes, and frames sent before an acknowledgement."""

    transmit: int
    receive: int
    window: int


class HdlcLink:
    """Answers one server address; keeps N(S), N(R), the segments still to send and the last reply.

    A frame for another address, from a client that is not accepted, or out of sequence is ignored. A repeated request
    (the N(S) of the one before and the same content) gets the same reply again and does not reach the layer above.

    :arg address: logical and physical address.
    :arg address_size: 1, 2 or 4 to insist on that size; None takes any.
    :arg clients: client SAPs that are answered.
    :arg information_size: longest information field offered in UA, bytes.
    :arg window: frames sent before an acknowledgement, where the client receives as many.
    """

    def __init__(
        self, address: tuple[int, int], address_size: int | None, clients: Collection[int], information_size: int, window: int = 1
    ) -> None:
        self._address = address
        self._address_size = address_size
        self._clients = clients
        self._offered_size = information_size
        self._offered_window = window
        self.ua_parameters = "full"
        self._reader = FrameReader()
        self.refuses_connections = False
        self.drop()

    def drop(self) -> None:
        """Return to normal disconnected mode, without a word to the client."""
        self._client: int | None = None
        self._limits = Limits(self._offered_size, self._offered_size, 1)
        self._sent: list[bytes] = []
        self._send_state = 0
        self._receive_state = 0
        self._request = b""
        self._segments: list[bytes] = []
        self._last_request: Frame | None = None
        self._last_reply = b""
        self._server_address = b""
        self._client_address = b""

    def receive(self, data: bytes) -> Iterator[LinkEvent]:
        """What `data` completes, in order."""
        for frame in self._reader.feed(data):
            if self._is_for_us(frame):
                yield from self._handle(frame)

    def respond(self, apdu: bytes) -> bytes:
        """The I-frame with the answer to the last request, or those with its first segments; RR brings the others."""
        size = self._limits.transmit
        information = _LLC_RESPONSE + apdu
        self._segments = [information[start : start + size] for start in range(0, len(information), size)]
        return self._next_segments()

    def _is_for_us(self, frame: Frame) -> bool:
        if self._address_size is not None and len(frame.destination) != self._address_size:
            return False
        return decode_address(frame.destination) == self._address and decode_address(frame.source)[0] in self._clients

    def _handle(self, frame: Frame) -> Iterator[LinkEvent]:
        client = decode_address(frame.source)[0]
        if frame.unnumbered == Control.SNRM:
            yield from self._connect(client, frame)
        elif client != self._client:
            yield Reply(self._unnumbered(frame, Control.DM), "disconnected-mode")
        elif frame.unnumbered == Control.DISC:
            self.drop()
            yield Disconnected(client)
            yield Reply(self._unnumbered(frame, Control.UA), "disc")
        elif frame.is_information:
            yield from self._information(client, frame)
        elif frame.is_receiver_ready:
            yield from self._receiver_ready(frame)

    def _connect(self, client: int, frame: Frame) -> Iterator[LinkEvent]:
        if self.refuses_connections:
            yield Reply(self._unnumbered(frame, Control.DM), "snrm")
            return
        self.drop()
        self._client = client
        self._server_address, self._client_address = frame.destination, frame.source
        asked = _parse_parameters(frame.information)
        self._limits = Limits(
            transmit=min(self._offered_size, asked.receive),
            receive=min(self._offered_size, asked.transmit),
            window=min(self._offered_window, asked.window),
        )
        yield Connected(client)
        yield Reply(self._unnumbered(frame, Control.UA, _encode_parameters(self._limits, self.ua_parameters)), "snrm")

    def _information(self, client: int, frame: Frame) -> Iterator[LinkEvent]:
        if self._is_repeated(frame):
            yield Reply(self._last_reply, "repeated")
            return
        if frame.send_number != self._receive_state or frame.receive_number != self._send_state:
            return
        self._receive_state = (self._receive_state + 1) % 8
        self._last_request = frame
        self._last_reply = b""
        self._request += frame.information
        if len(self._request) > _LONGEST_REQUEST:
            self.drop()
            return
        if frame.segmented:
            yield self._acknowledge("segment")
            return
        request, self._request = self._request, b""
        if request.startswith(_LLC_REQUEST):
            yield Request(client, request[len(_LLC_REQUEST) :])

    def _is_repeated(self, frame: Frame) -> bool:
        last = self._last_request
        return (
            last is not None
            and bool(self._last_reply)
            and frame.send_number == (self._receive_state - 1) % 8
            and frame.information == last.information
        )

    def _receiver_ready(self, frame: Frame) -> Iterator[LinkEvent]:
        missing = (self._send_state - frame.receive_number) % 8
        if not missing:
            if self._segments:
                yield Reply(self._next_segments(), "rr")
            else:
                yield self._acknowledge("rr")
        elif missing <= len(self._sent):
            yield Reply(b"".join(self._sent[-missing:]), "repeated")
        elif missing == 1 and self._last_reply:
            yield Reply(self._last_reply, "repeated")

    def _acknowledge(self, service: str) -> Reply:
        self._last_reply = self._numbered(receiver_ready_control(self._receive_state))
        return Reply(self._last_reply, service)

    def _next_segments(self) -> bytes:
        """As many segments as the window holds; only the last of them asks for an acknowledgement."""
        self._sent = []
        for left in range(min(self._limits.window, len(self._segments)), 0, -1):
            information = self._segments.pop(0)
            control = information_control(self._send_state, self._receive_state, final=left == 1)
            self._send_state = (self._send_state + 1) % 8
            self._sent.append(self._numbered(control, information, segmented=bool(self._segments)))
        self._last_reply = b"".join(self._sent)
        return self._last_reply

    def _numbered(self, control: int, information: bytes = b"", segmented: bool = False) -> bytes:
        return encode_frame(Frame(self._client_address, self._server_address, control, information, segmented))

    @staticmethod
    def _unnumbered(received: Frame, control: Control, information: bytes = b"") -> bytes:
        return encode_frame(Frame(received.source, received.destination, control | POLL_FINAL, information))


def _parse_parameters(information: bytes) -> Limits:
    """The longest fields the client of an SNRM says it transmits and receives, and how many frames it receives at a time."""
    sizes = {_TRANSMIT_SIZE: _DEFAULT_INFORMATION_SIZE, _RECEIVE_SIZE: _DEFAULT_INFORMATION_SIZE, _RECEIVE_WINDOW: 1}
    if information.startswith(_PARAMETERS):
        offset = len(_PARAMETERS) + 1
        while offset + 2 <= len(information):
            end = offset + 2 + information[offset + 1]
            sizes[information[offset]] = int.from_bytes(information[offset + 2 : end], "big")
            offset = end
    return Limits(max(1, sizes[_TRANSMIT_SIZE]), max(1, sizes[_RECEIVE_SIZE]), max(1, sizes[_RECEIVE_WINDOW]))


def _encode_parameters(limits: Limits, manner: str) -> bytes:
    """The parameters of a UA; `manner` is one of `Behaviour.ua_parameters`."""
    if manner == "none":
        return b""
    if manner == "short":
        values = [
            (name, bytes((min(255, value),))) for name, value in ((5, limits.transmit), (6, limits.receive), (7, limits.window), (8, 1))
        ]
    elif manner == "huge":
        values = [(name, (0x7FFFFFFF).to_bytes(4, "big")) for name in (5, 6, 7, 8)]
    else:
        sizes = [(5, limits.transmit.to_bytes(2, "big")), (6, limits.receive.to_bytes(2, "big"))]
        values = [*sizes, (7, limits.window.to_bytes(4, "big")), (8, (1).to_bytes(4, "big"))]
    if manner == "unknown":
        values = [(0x0E, b""), (0x0F, b"\x01\x02\x03"), *values]
    encoded = b"".join(bytes((name, len(value))) + value for name, value in values)
    return _PARAMETERS + bytes((len(encoded),)) + encoded
