"""The client's end of an HDLC data link with one meter: primary station, normal response mode.

We send one frame at a time; the meter may send as many before it waits for an acknowledgement as both sides agreed to.
IEC 62056-46 clause 6.4.4. Frames in, events out; no I/O, no clock: when a reply stays away the caller asks for `resend`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Union

from connectors.dlms.events import Discarded, Progressed, Transmit
from connectors.dlms.hdlc.frame import Address, Frame, FrameType
from model.tuples import kept_in_a_tuple

LLC_REQUEST = b"\xe6\xe6\x00"
LLC_RESPONSE = b"\xe6\xe7\x00"
DEFAULT_INFORMATION_SIZE = 128
"""Bytes of the information field where neither SNRM nor UA says otherwise (clause 6.4.4.4.3.2)."""
MAX_POLLS = 8
"""How often in a row a meter without an answer is asked at once; after that only when the caller asks for `resend`."""

_TRANSMIT_SIZE, _RECEIVE_SIZE, _TRANSMIT_WINDOW, _RECEIVE_WINDOW = 5, 6, 7, 8


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The meter agreed to the link; `information_size` is the largest information field it receives, in bytes."""

    information_size: int


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class Received:
    """A complete APDU that answers the last one sent."""

    apdu: bytes


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link is closed, as we asked for."""


@dataclass(frozen=True, slots=True)
class LinkBroken:
    """The meter refused or ended the link; `disconnected` when it says that it is in disconnected mode (DM)."""

    detail: str
    disconnected: bool = False


StationEvent = Union[LinkUp, Received, LinkDown, LinkBroken, Transmit, Progressed, Discarded]


class Station:
    """One data link. After `connect`, `send` or `disconnect` their bytes go out; `receive` judges every frame that comes.

    :arg client: our address.
    :arg server: the meter's address.
    :arg information_size: largest information field in bytes that we offer to send and receive.
    :arg max_apdu: bytes of the largest APDU that is put together from segments.
    :arg window: frames that we offer to receive before we acknowledge them, 1 to 7.
    """

    def __init__(self, client: Address, server: Address, information_size: int, max_apdu: int, window: int = 1) -> None:
        self._client = client
        self._server = server
        self._offered = information_size
        self._offered_window = window
        self._max_reply = max_apdu + len(LLC_RESPONSE)
        self._reset()

    def _reset(self) -> None:
        self._send_size = DEFAULT_INFORMATION_SIZE
        self._window = 1
        self._pending = 0
        self._expected: FrameType | None = None
        self._vs = self._vr = 0
        self._taken = 0
        self._acknowledges = True
        self._segments: list[bytes] = []
        self._reply = bytearray()
        self._frames = 0
        self._unacknowledged = b""
        self._last = b""
        self._polls = 0
        self._busy = False

    def connect(self) -> bytes:
        """The SNRM that opens a new link; everything about an earlier one is forgotten."""
        self._reset()
        self._expected = FrameType.UA
        return self._transmit(self._frame(FrameType.SNRM, self._parameters()))

    def send(self, apdu: bytes) -> bytes:
        """The first I-frame that carries `apdu`; more follow as `Transmit` events where the meter takes only short ones."""
        data = LLC_REQUEST + apdu
        self._segments = [data[i : i + self._send_size] for i in range(0, len(data), self._send_size)]
        self._reply.clear()
        self._frames = 0
        self._pending = 0
        self._polls = 0
        self._expected = FrameType.I
        return self._next_segment()

    def disconnect(self) -> bytes:
        """The DISC that closes the link."""
        self._expected = FrameType.DISC
        return self._transmit(self._frame(FrameType.DISC))

    def resend(self) -> bytes:
        """The very bytes that went out last; or what acknowledges the frames of a window that came only in part."""
        self._polls = 0
        return self._ready().data if self._pending else self._last

    def reject(self) -> None:
        """The caller found that the APDU just received answers an earlier request: wait on for the right one."""
        if self._frames == 1:
            self._vr = (self._vr - 1) & 7
            self._taken -= 1
        self._expected = FrameType.I

    def receive(self, frame: Frame) -> list[StationEvent]:
        """What `frame` means."""
        if frame.destination != self._client or not frame.source.answers(self._server):
            return [_discard(frame, f"is from {frame.source} to {frame.destination}, not from {self._server} to {self._client}")]
        if frame.type is FrameType.I:
            return self._information(frame)
        if frame.type in (FrameType.RR, FrameType.RNR):
            return self._supervisory(frame)
        return self._unnumbered(frame)

    def _unnumbered(self, frame: Frame) -> list[StationEvent]:
        expected = self._expected
        if frame.type is FrameType.UA and expected is FrameType.UA:
            self._expected = None
            limits = _limits(frame.information)
            self._send_size = min(self._offered, limits.receive_size)
            self._window = min(self._offered_window, limits.transmit_window)
            return [LinkUp(self._send_size)]
        if frame.type in (FrameType.UA, FrameType.DM) and expected is FrameType.DISC:
            self._expected = None
            return [LinkDown()]
        if frame.type is FrameType.DM:
            return [LinkBroken("the meter is in disconnected mode (DM)", disconnected=True)]
        if frame.type is FrameType.FRMR:
            return [LinkBroken(f"the meter rejected a frame (FRMR {frame.information.hex()})")]
        if frame.type is FrameType.DISC:
            return [LinkBroken("the meter asked to disconnect (DISC)")]
        return [_discard(frame, "was not expected")]

    def _information(self, frame: Frame) -> list[StationEvent]:
        if self._expected is not FrameType.I:
            return [_discard(frame, "answers nothing that was asked")]
        if self._taken == 0:
            self._acknowledges = frame.nr != 0
        expected_nr = self._vs if self._acknowledges else 0  # some meters leave N(R) at 0 for ever
        if self._window > 1 and frame.final and frame.ns != self._vr and frame.nr == expected_nr and not self._segments:
            return self._poll(frame)  # a frame before it is lost; the acknowledgement of those before that one brings it
        if frame.ns != self._vr or frame.nr != expected_nr or self._segments:
            return [_discard(frame, f"is stale or repeated, not S={self._vr} R={expected_nr}")]
        self._taken += 1
        self._vr = (self._vr + 1) & 7
        self._polls = 0
        self._busy = False
        self._reply += frame.information
        self._frames += 1
        if len(self._reply) > self._max_reply:
            return [LinkBroken(f"the meter's reply is longer than the {self._max_reply} bytes we offered to receive")]
        if frame.segmented:
            self._pending += 1
            if frame.final or self._pending >= self._window:  # also without the final bit, which some meters forget
                return [self._ready()]
            return [Progressed()]
        self._expected = None
        reply = bytes(self._reply)
        self._reply.clear()
        if not reply.startswith((LLC_RESPONSE, LLC_REQUEST)):  # some meters answer with the bytes of a request
            self.reject()
            return [_discard(frame, "does not begin with the LLC bytes E6 E7 00")]
        return [Received(reply[len(LLC_RESPONSE) :])]

    def _supervisory(self, frame: Frame) -> list[StationEvent]:
        """RR and RNR: the meter took a segment, is not ready, or has no answer yet (clauses 6.4.3.4 and 6.4.3.5)."""
        if self._expected is not FrameType.I:
            return [_discard(frame, "was not expected")]
        if frame.type is FrameType.RNR:
            self._busy = True
            return self._poll(frame)
        if frame.nr == self._vs:
            self._busy = False
            return [Transmit(self._next_segment())] if self._segments else self._poll(frame)
        if self._busy and frame.nr == (self._vs - 1) & 7:
            self._busy = False
            self._last = self._unacknowledged
            return [Transmit(self._last)]
        return [_discard(frame, "acknowledges nothing")]

    def _poll(self, frame: Frame) -> list[StationEvent]:
        ready = self._ready()
        if self._polls >= MAX_POLLS:
            return [_discard(frame, "says the meter is not ready")]
        self._polls += 1
        return [ready]

    def _ready(self) -> Transmit:
        self._pending = 0
        return Transmit(self._transmit(self._frame(FrameType.RR)))

    def _next_segment(self) -> bytes:
        information = self._segments.pop(0)
        frame = Frame(FrameType.I, self._server, self._client, information, self._vs, self._vr, segmented=bool(self._segments))
        self._vs = (self._vs + 1) & 7
        self._unacknowledged = frame.encode()
        return self._transmit(self._unacknowledged)

    def _frame(self, frame_type: FrameType, information: bytes = b"") -> bytes:
        return Frame(frame_type, self._server, self._client, information, nr=self._vr).encode()

    def _transmit(self, data: bytes) -> bytes:
        self._last = data
        return data

    def _parameters(self) -> bytes:
        """The limits SNRM proposes; none at all where they are the defaults, which every meter understands."""
        if self._offered == DEFAULT_INFORMATION_SIZE and self._offered_window == 1:
            return b""
        size = self._offered.to_bytes(2, "big")
        parameters = bytes([_TRANSMIT_SIZE, 2]) + size + bytes([_RECEIVE_SIZE, 2]) + size
        parameters += bytes([_TRANSMIT_WINDOW, 4, 0, 0, 0, 1, _RECEIVE_WINDOW, 4, 0, 0, 0, self._offered_window])
        return bytes([0x81, 0x80, len(parameters)]) + parameters


def _discard(frame: Frame, why: str) -> Discarded:
    return Discarded(len(frame.encode()), f"frame {frame} {why}")


class _Limits(NamedTuple):
    """What a UA says of the meter: the largest information field it receives, in bytes, and how many frames it sends at a time."""

    receive_size: int
    transmit_window: int


def _limits(parameters: bytes) -> _Limits:
    """The parameters of a UA, values of any number of bytes; what is absent or makes no sense is the default."""
    receive_size, transmit_window = DEFAULT_INFORMATION_SIZE, 1
    position = 3 if parameters[:2] == b"\x81\x80" else len(parameters)
    while position + 2 <= len(parameters):
        name, length = parameters[position], parameters[position + 1]
        value = int.from_bytes(parameters[position + 2 : position + 2 + length], "big")
        if name == _RECEIVE_SIZE and value > len(LLC_REQUEST):
            receive_size = value
        elif name == _TRANSMIT_WINDOW and value > 0:
            transmit_window = value
        position += 2 + length
    return _Limits(receive_size, transmit_window)
