"""The AARQ and RLRQ of associations with high-level authentication or ciphering, IEC 62056-5-3 clause 7.2.4 (ACSE in BER).

gurux-dlms could build these too, but it takes the challenge from `random`, counts the invocation counter in its own state,
and prints; nothing of what it adds would remain.
"""

from __future__ import annotations

from collections.abc import Callable

from connectors.dlms.security.protection import octets

ACTION, GENERAL_PROTECTION = 0x000001, 0x400000
"""Conformance bits 23 and 1, counted from the highest of the 24."""

LOGICAL_NAMES, SHORT_NAMES, LOGICAL_NAMES_CIPHERED, SHORT_NAMES_CIPHERED = 1, 2, 3, 4
"""The last byte of the application context's name, 2.16.756.5.8.1.x."""

_CONTEXT_NAME = bytes.fromhex("06076085740508 01")
_MECHANISM_NAME = bytes.fromhex("608574050802")
_AUTHENTICATION_REQUIRED = bytes.fromhex("8A020780")
"""sender-acse-requirements: the authentication functional unit."""
_REASON_NORMAL = bytes.fromhex("800100")

Protector = Callable[[bytes], bytes]


def initiate_request(conformance: int, max_pdu_size: int, dedicated_key: bytes) -> bytes:
    """InitiateRequest, DLMS version 6; an empty `dedicated_key` is none."""
    key = b"\x01" + octets(dedicated_key) if dedicated_key else b"\x00"
    return b"\x01" + key + b"\x00\x00\x06\x5f\x1f\x04\x00" + conformance.to_bytes(3, "big") + max_pdu_size.to_bytes(2, "big")


def associate_request(context: int, title: bytes, mechanism: int, challenge: bytes, initiate: bytes) -> bytes:
    """AARQ.

    :arg title: our system title as calling AP title; empty for none.
    :arg mechanism: the authentication mechanism's number; 0 for none.
    :arg challenge: the calling authentication value: a password for mechanism 1, a challenge for the others.
    :arg initiate: the InitiateRequest, protected where the context asks for it.
    """
    body = b"\xa1" + octets(_CONTEXT_NAME + bytes([context]))
    if title:
        body += b"\xa6" + octets(b"\x04" + octets(title))
    if mechanism:
        body += _AUTHENTICATION_REQUIRED
        body += b"\x8b" + octets(_MECHANISM_NAME + bytes([mechanism]))
        body += b"\xac" + octets(b"\x80" + octets(challenge))
    return b"\x60" + octets(body + _user_information(initiate))


def release_request(initiate: bytes) -> bytes:
    """RLRQ, reason normal; with a protected InitiateRequest unless that is empty."""
    return b"\x62" + octets(_REASON_NORMAL + (_user_information(initiate) if initiate else b""))


def _user_information(initiate: bytes) -> bytes:
    return b"\xbe" + octets(b"\x04" + octets(initiate))
