"""Which tags protected APDUs carry, IEC 62056-5-3 clause 8.2 (Green Book table of the APDU choices).

Below 0x80 stand the APDUs that came from DLMS (short names, association, errors), at and above 0xC0 those of COSEM services.
"""

from __future__ import annotations

from enum import Enum

GENERAL_GLO, GENERAL_DED = 0xDB, 0xDC
GENERAL_CIPHERING, GENERAL_SIGNING = 0xDD, 0xDF

_LOW = (0x01, 0x05, 0x06, 0x08, 0x0C, 0x0D, 0x0E, 0x16, 0x18)
"""initiateRequest, readRequest, writeRequest, initiateResponse, readResponse, writeResponse, confirmedServiceError,
unconfirmedWriteRequest, informationReportRequest."""
_HIGH = (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC7)
"""get-request, set-request, event-notification-request, action-request, get-response, set-response, action-response."""


class KeySet(Enum):
    """Which encryption key protects an APDU: the global unicast one, or the one dedicated to this association."""

    GLOBAL = "global"
    DEDICATED = "dedicated"


SERVICE_TAGS: dict[tuple[KeySet, int], int] = {
    **{(KeySet.GLOBAL, tag): tag + 0x20 for tag in _LOW},
    **{(KeySet.DEDICATED, tag): tag + 0x40 for tag in _LOW},
    **{(KeySet.GLOBAL, tag): tag + 0x08 for tag in _HIGH},
    **{(KeySet.DEDICATED, tag): tag + 0x10 for tag in _HIGH},
}
"""The tag of the service-specific ciphering of an APDU, by key and by the tag of what is protected."""

PROTECTED_BY: dict[int, tuple[KeySet, int]] = {protected: what for what, protected in SERVICE_TAGS.items()}
"""The key and the inner tag, by the tag of a service-specific ciphering."""

GENERAL_TAGS = {KeySet.GLOBAL: GENERAL_GLO, KeySet.DEDICATED: GENERAL_DED}
GENERAL_BY_TAG = {tag: keys for keys, tag in GENERAL_TAGS.items()}


def is_protected(tag: int) -> bool:
    """Whether an APDU with this tag is a ciphered one, of a kind that is understood here or not."""
    return tag in PROTECTED_BY or tag in GENERAL_BY_TAG or tag in (GENERAL_CIPHERING, GENERAL_SIGNING)
