"""The data link of prepared meters: HDLC and the wrapper, one whole request in, one whole reply out.

With HDLC the numbers of a reply follow from those of its request, so that a link needs no state: what was answered once is
answered from memory. There is no segmentation: the client has to offer information fields that hold its longest message.
"""

from __future__ import annotations

import struct

from fastcrc import crc16

from bench import prepared_ciphering
from bench.prepared_replies import Conversation, Replies

MOST_REMEMBERED = 50_000
_LLC = b"\xe6\xe7\x00"
_SNRM, _DISC, _UA, _FINAL = 0x83, 0x43, 0x63, 0x10
_DEFAULT_PARAMETERS = b"\x81\x80\x12" + struct.pack(">BBBBBBBBIBBI", 5, 1, 128, 6, 1, 128, 7, 4, 1, 8, 4, 1)
_HEADER = struct.Struct(">HHHH")


class Prepared:
    """Answers requests with their framing.

    :arg framing: "hdlc" or "wrapper".
    """

    def __init__(self, replies: Replies, framing: str) -> None:
        self._replies = replies
        self._answer = self._hdlc if framing == "hdlc" else self._wrapper
        self._size = hdlc_size if framing == "hdlc" else wrapper_size
        self._known: dict[bytes, bytes] = {}

    def known(self, request: bytes) -> bytes | None:
        """The reply to a whole request that was answered before and always gets the same reply."""
        return self._known.get(request)

    def answer(self, received: bytearray, conversation: Conversation) -> bytes:
        """The reply to the first request in `received`, which is taken off; nothing while it is not complete."""
        size = self._size(received)
        if not size or len(received) < size:
            return b""
        request = bytes(received[:size])
        del received[:size]
        return self._answer(request, conversation)

    def _apdu(self, apdu: bytes, conversation: Conversation) -> tuple[bytes, bool]:
        """The answer, and whether it is always the same."""
        if prepared_ciphering.is_ciphered(apdu):
            return prepared_ciphering.answer(self._replies, apdu, conversation), False
        if apdu[0] == 0x60:
            return prepared_ciphering.associate(self._replies, apdu, conversation), False
        if apdu[0] == 0x62:
            return b"\x63\x03\x80\x01\x00", True
        return self._replies.answer(apdu, conversation), self._replies.is_pure(apdu)

    def _wrapper(self, request: bytes, conversation: Conversation) -> bytes:
        version, client, server, _ = _HEADER.unpack_from(request)
        reply, pure = self._apdu(request[8:], conversation)
        return self._remember(request, _HEADER.pack(version, server, client, len(reply)) + reply, pure)

    def _hdlc(self, request: bytes, conversation: Conversation) -> bytes:
        at = 3
        while not request[at] & 1:
            at += 1
        server, client, control = request[3 : at + 1], request[at + 1 : at + 2], request[at + 2]
        if control & ~_FINAL == _SNRM:
            proposed = request[at + 5 : -3] if len(request) > at + 6 else _DEFAULT_PARAMETERS
            return self._remember(request, _frame(client, server, _UA | _FINAL, proposed), True)
        if control & ~_FINAL == _DISC:
            return self._remember(request, _frame(client, server, _UA | _FINAL, b""), True)
        reply, pure = self._apdu(request[at + 8 : -3], conversation)
        numbers = ((control >> 1) + 1 & 7) << 5 | _FINAL | (control >> 5) << 1
        return self._remember(request, _frame(client, server, numbers, _LLC + reply), pure)

    def _remember(self, request: bytes, reply: bytes, pure: bool) -> bytes:
        if pure and len(self._known) < MOST_REMEMBERED:
            self._known[request] = reply
        return reply


def hdlc_size(received: bytearray) -> int:
    """Bytes of the frame that `received` begins with, flags included; 0 while that cannot be told."""
    while len(received) > 1 and received[0] == received[1] == 0x7E:
        del received[0]
    return 0 if len(received) < 3 else ((received[1] & 7) << 8 | received[2]) + 2


def wrapper_size(received: bytearray) -> int:
    """Bytes of the message that `received` begins with; 0 while that cannot be told."""
    return 0 if len(received) < 8 else 8 + int.from_bytes(received[6:8], "big")


def _frame(destination: bytes, source: bytes, control: int, information: bytes) -> bytes:
    size = 2 + len(destination) + len(source) + 1 + 2 + (len(information) + 2 if information else 0)
    body = bytes((0xA0 | size >> 8, size & 0xFF)) + destination + source + bytes((control,))
    if information:
        body += _check(body) + information
    return b"\x7e" + body + _check(body) + b"\x7e"


def _check(data: bytes) -> bytes:
    return crc16.ibm_sdlc(data).to_bytes(2, "little")
