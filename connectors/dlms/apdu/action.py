"""The one ACTION that a client needs: reply_to_HLS_authentication, IEC 62056-6-2 clause 4.4.3 (Association LN, method 1)."""

from __future__ import annotations

from dataclasses import dataclass, field

from connectors.dlms.axdr import CosemError, Reader
from connectors.dlms.security.protection import octets

_CONFIRMED_HIGH = 0xC0
_CURRENT_ASSOCIATION = bytes([0, 15, 0, 0, 40, 0, 0, 255, 1])
"""Class 15, 0-0:40.0.0.255, method 1."""
_OCTET_STRING = 0x09


@dataclass(frozen=True, slots=True)
class ActionNormal:
    """ACTION-response-normal: its result (0 is success), and the octet-string it returned, if any."""

    invoke_id: int
    result: int
    returned: bytes | None = field(repr=False)


def reply_to_hls_authentication(proof: bytes, invoke_id: int) -> bytes:
    """ACTION-request-normal with `proof` as an octet-string."""
    return bytes([0xC3, 1, _CONFIRMED_HIGH | invoke_id]) + _CURRENT_ASSOCIATION + bytes([1, _OCTET_STRING]) + octets(proof)


def action_response(reader: Reader) -> ActionNormal:
    """What follows the tag C7.

    :raises CosemError: when it is no ACTION-response-normal that returns an octet-string or nothing.
    """
    choice = reader.byte()
    if choice != 1:
        raise CosemError(f"ACTION-response has choice {choice}, not normal")
    invoke_id, result = reader.byte() & 0x0F, reader.byte()
    if not reader.remaining or not reader.byte() or reader.byte():  # no return value, or an access result instead of data
        return ActionNormal(invoke_id, result, None)
    if reader.byte() != _OCTET_STRING:
        raise CosemError("ACTION-response does not return an octet-string")
    returned = reader.take(reader.length())
    reader.finish()
    return ActionNormal(invoke_id, result, returned)
