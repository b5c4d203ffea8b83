"""Suite 0, authenticated and encrypted, with HLS by GMAC, computed as quickly as a load generator needs it.

Nothing that a client sends is verified: a wrong request would show as a wrong answer at the client, whose checks are what is measured.
All meters have the same keys and title, and one invocation counter, which rises with every message.
"""

from __future__ import annotations

from itertools import count

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.prepared_replies import Conversation, Replies
from simulator.meter import acse
from simulator.meter.acse import Mechanism, Responder
from simulator.meter.axdr import decode_length, encode_length

BLOCK_CIPHER_KEY = bytes(range(0x00, 0x10))
AUTHENTICATION_KEY = bytes(range(0xD0, 0xE0))
SERVER_TITLE = b"BEN\x00\x00\x00\x00\x01"
CLIENT_TITLE = b"BEN\x00\x00\x00\x00\x02"
ADDED = 24
"""Bytes that protection adds to an APDU at most."""

_CONTROL, _GMAC = 0x30, 0x10
_TAG = 12
_CIPHER = AESGCM(BLOCK_CIPHER_KEY)
_AUTHENTICATED = bytes((_CONTROL,)) + AUTHENTICATION_KEY
_CHALLENGE = b"prepared-meter-c"
_GLO_RESPONSES = {0xC8: 0xCC, 0xCB: 0xCF}
"""glo-get and glo-action: tag of the request, tag of the response."""

_counter = count(1)


def is_ciphered(apdu: bytes) -> bool:
    """Whether a service request is protected."""
    return apdu[0] in _GLO_RESPONSES


def answer(replies: Replies, apdu: bytes, conversation: Conversation) -> bytes:
    """The protected answer to a protected service request."""
    request = _open(apdu, conversation.client_title)
    reply = _prove(request, conversation) if request[0] == 0xC3 else replies.answer(request, conversation)
    return _sealed(_GLO_RESPONSES[apdu[0]], reply)


def associate(replies: Replies, aarq: bytes, conversation: Conversation) -> bytes:
    """AARE for an AARQ, with ciphering where it asks for that."""
    request = acse.parse_aarq(aarq)
    if not request.ciphered:
        return replies.associate(aarq, conversation)
    initiate = acse.parse_initiate(_open(request.user_information, request.calling_title))
    response = replies.accept(request, initiate, conversation)
    conversation.room -= ADDED
    responder = Responder(acse.LOGICAL_NAMES_CIPHERED, SERVER_TITLE, Mechanism.HIGH_GMAC, _CHALLENGE)
    return acse.build_aare_accepted(_sealed(0x28, response), responder)


def _open(apdu: bytes, title: bytes) -> bytes:
    """The plain text: AES-GCM is a stream cipher, so that encrypting once more decrypts."""
    _, start = decode_length(apdu, 1)
    text = apdu[start + 5 : -_TAG]
    return _CIPHER.encrypt(title + apdu[start + 1 : start + 5], text, None)[: len(text)]


def _sealed(tag: int, apdu: bytes) -> bytes:
    counter = next(_counter).to_bytes(4, "big")
    text = _CIPHER.encrypt(SERVER_TITLE + counter, apdu, _AUTHENTICATED)
    content = bytes((_CONTROL,)) + counter + text[: len(apdu) + _TAG]
    return bytes((tag,)) + encode_length(len(content)) + content


def _prove(action: bytes, conversation: Conversation) -> bytes:
    """Pass 4: the answer to the client's challenge."""
    counter = next(_counter).to_bytes(4, "big")
    tag = _CIPHER.encrypt(SERVER_TITLE + counter, b"", bytes((_GMAC,)) + AUTHENTICATION_KEY + conversation.client_challenge)[:_TAG]
    return b"\xc7\x01" + action[2:3] + b"\x00\x01\x00\x09\x11" + bytes((_GMAC,)) + counter + tag
