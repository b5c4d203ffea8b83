"""The association control service: AARQ in, AARE out, RLRQ and RLRE (IEC 62056-5-3, BER), with the xDLMS initiate inside."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from simulator.meter.axdr import DataError, decode_length, encode_length

AARQ, AARE, RLRQ, RLRE = 0x60, 0x61, 0x62, 0x63

LOGICAL_NAMES = bytes.fromhex("60857405080101")
SHORT_NAMES = bytes.fromhex("60857405080102")
LOGICAL_NAMES_CIPHERED = bytes.fromhex("60857405080103")
"""Application context names, as object identifiers."""
_MECHANISM = bytes.fromhex("608574050802")
_VAA_NAME_LN, _VAA_NAME_SN = 0x0007, 0xFA00
_VERSION = 6
SMALLEST_PDU = 12
"""A client that receives less than this cannot be served, bytes."""


class Mechanism(IntEnum):
    """Authentication mechanisms by their number in the mechanism name; ECDSA is known by number only."""

    NONE = 0
    LOW = 1
    HIGH = 2
    HIGH_MD5 = 3
    HIGH_SHA1 = 4
    HIGH_GMAC = 5
    HIGH_SHA256 = 6
    HIGH_ECDSA = 7

    @property
    def is_high(self) -> bool:
        """Whether both sides prove that they know a secret, in four passes."""
        return self >= Mechanism.HIGH


class Diagnostic(IntEnum):
    """Why an association is rejected: result-source-diagnostic of the ACSE service user."""

    NULL = 0
    NO_REASON_GIVEN = 1
    APPLICATION_CONTEXT_NAME_NOT_SUPPORTED = 2
    CALLING_AP_TITLE_NOT_RECOGNISED = 3
    MECHANISM_NAME_NOT_RECOGNISED = 11
    AUTHENTICATION_FAILURE = 13
    AUTHENTICATION_REQUIRED = 14


class InitiateError(IntEnum):
    """Why the xDLMS context is rejected: the initiate branch of a confirmedServiceError."""

    DLMS_VERSION_TOO_LOW = 1
    INCOMPATIBLE_CONFORMANCE = 2
    PDU_SIZE_TOO_SHORT = 3


class Conformance(IntFlag):
    """Services a client proposes and a server grants; bit 0 of the standard is the highest of the 24.

    Block transfer and multiple references hold for READ as they do for GET.
    """

    GENERAL_PROTECTION = 1 << 22
    READ = 1 << 20
    PRIORITY_MANAGEMENT = 1 << 14
    BLOCK_TRANSFER_WITH_GET = 1 << 12
    MULTIPLE_REFERENCES = 1 << 9
    GET = 1 << 4
    SET = 1 << 3
    PARAMETERIZED_ACCESS = 1 << 5
    SELECTIVE_ACCESS = 1 << 2
    ACTION = 1 << 0


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """What an AARQ asks for.

    :arg calling_title: system title of the client, empty where it names none.
    :arg authentication_value: password, or the client's challenge.
    :arg user_information: the initiate request, plain or ciphered.
    """

    application_context: bytes
    mechanism: int
    calling_title: bytes
    authentication_value: bytes
    user_information: bytes

    @property
    def ciphered(self) -> bool:
        """Whether it wants the application context with ciphering."""
        return self.application_context == LOGICAL_NAMES_CIPHERED

    @property
    def logical_names(self) -> bool:
        """Whether it wants logical names, with or without ciphering, the only application contexts there are yet."""
        return self.application_context in (LOGICAL_NAMES, LOGICAL_NAMES_CIPHERED)

    @property
    def short_names(self) -> bool:
        """Whether it wants short names without ciphering."""
        return self.application_context == SHORT_NAMES

    def __repr__(self) -> str:
        return f"AssociationRequest(mechanism={self.mechanism}, ciphered={self.ciphered}, calling_title={self.calling_title.hex()})"


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    """The xDLMS context a client proposes. `max_pdu_size` is the longest APDU it receives, 0 for unlimited."""

    dlms_version: int
    conformance: Conformance
    max_pdu_size: int
    dedicated_key: bytes = field(default=b"", repr=False)


def parse_aarq(apdu: bytes) -> AssociationRequest:
    """What the client asks for.

    :raises DataError: when the bytes are not an AARQ with user information.
    """
    fields = _fields(_contents(apdu, AARQ))
    mechanism = fields.get(0x8B, b"")
    if mechanism and not (mechanism.startswith(_MECHANISM) and len(mechanism) == len(_MECHANISM) + 1):
        raise DataError("the mechanism name is none of the standard's")
    value, title = fields.get(0xAC, b""), fields.get(0xA6, b"")
    return AssociationRequest(
        application_context=_contents(fields.get(0xA1, b""), 0x06),
        mechanism=mechanism[-1] if mechanism else Mechanism.NONE,
        calling_title=_contents(title, 0x04) if title else b"",
        authentication_value=_contents(value, 0x80) if value else b"",
        user_information=_contents(fields.get(0xBE, b""), 0x04),
    )


def parse_rlrq(apdu: bytes) -> bytes:
    """The user information of an RLRQ: a ciphered initiate request, or nothing.

    :raises DataError: when the bytes are not an RLRQ.
    """
    information = _fields(_contents(apdu, RLRQ)).get(0xBE, b"")
    return _contents(information, 0x04) if information else b""


def _contents(data: bytes, tag: int) -> bytes:
    if not data or data[0] != tag:
        raise DataError(f"a field with tag {tag:02X} is missing")
    length, offset = decode_length(data, 1)
    if offset + length > len(data):
        raise DataError(f"the field with tag {tag:02X} is cut short")
    return data[offset : offset + length]


def _fields(data: bytes) -> dict[int, bytes]:
    fields = {}
    offset = 0
    while offset < len(data):
        tag = data[offset]
        length, start = decode_length(data, offset + 1)
        offset = start + length
        fields[tag] = data[start:offset]
    return fields


def parse_initiate(data: bytes) -> InitiateRequest:
    """The xDLMS context that a plain initiate request (A-XDR) proposes.

    :raises DataError: when the bytes are not one.
    """
    if not data or data[0] != 0x01:
        raise DataError("the user information is not an initiate request")
    try:
        dedicated_key, offset = b"", 2
        if data[1]:
            length, start = decode_length(data, 2)
            offset = start + length
            dedicated_key = data[start:offset]
        for _ in ("response-allowed", "quality-of-service"):
            offset += 2 if data[offset] else 1
        version = data[offset]
        rest = data[offset + 1 :]
        rest = rest[2:] if rest.startswith(b"\x5f\x1f") else rest[1:]
        if len(rest) < 7 or rest[0] != 4:
            raise DataError("the proposed conformance is missing")
    except IndexError:
        raise DataError("the initiate request is cut short") from None
    conformance, max_pdu_size = int.from_bytes(rest[2:5], "big"), int.from_bytes(rest[5:7], "big")
    return InitiateRequest(version, Conformance(conformance), max_pdu_size, dedicated_key)


def _field(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + encode_length(len(content)) + content


@dataclass(frozen=True, slots=True)
class Responder:
    """What the server says about itself in an AARE besides its verdict.

    :arg context: application context name.
    :arg title: its system title; empty leaves it out.
    :arg mechanism: high-level mechanism of an association that is still to be authenticated.
    :arg challenge: its challenge for that.
    """

    context: bytes = LOGICAL_NAMES
    title: bytes = b""
    mechanism: Mechanism = Mechanism.NONE
    challenge: bytes = b""


PLAIN = Responder()
"""A server in the plain application context, without high-level authentication."""


def _build_aare(result: int, diagnostic: int, user_information: bytes, responder: Responder) -> bytes:
    title = _field(0xA4, _field(0x04, responder.title)) if responder.title else b""
    authentication = b""
    if responder.challenge:
        authentication = (
            bytes.fromhex("88020780")
            + _field(0x89, _MECHANISM + bytes((responder.mechanism,)))
            + _field(0xAA, _field(0x80, responder.challenge))
        )
    return _field(
        AARE,
        _field(0xA1, _field(0x06, responder.context))
        + _field(0xA2, bytes((0x02, 0x01, result)))
        + _field(0xA3, _field(0xA1, bytes((0x02, 0x01, diagnostic))))
        + title
        + authentication
        + _field(0xBE, _field(0x04, user_information)),
    )


def build_initiate_response(conformance: Conformance, max_pdu_size: int, short_names: bool = False) -> bytes:
    """The initiate response; `max_pdu_size` is the longest APDU the server receives, bytes."""
    return (
        bytes((0x08, 0x00, _VERSION, 0x5F, 0x1F, 0x04, 0x00))
        + int(conformance).to_bytes(3, "big")
        + max_pdu_size.to_bytes(2, "big")
        + (_VAA_NAME_SN if short_names else _VAA_NAME_LN).to_bytes(2, "big")
    )


def build_aare_accepted(initiate_response: bytes, responder: Responder = PLAIN) -> bytes:
    """AARE that accepts, or with a challenge accepts on condition that the client answers it.

    :arg initiate_response: plain or ciphered.
    """
    diagnostic = Diagnostic.AUTHENTICATION_REQUIRED if responder.challenge else Diagnostic.NULL
    return _build_aare(0, diagnostic, initiate_response, responder)


def build_aare_rejected(diagnostic: Diagnostic, initiate_response: bytes, responder: Responder = PLAIN) -> bytes:
    """AARE that rejects the association for good."""
    return _build_aare(1, diagnostic, initiate_response, responder)


def build_aare_initiate_error(error: InitiateError, responder: Responder = PLAIN) -> bytes:
    """AARE that rejects the xDLMS context with a confirmedServiceError."""
    return _build_aare(1, Diagnostic.NO_REASON_GIVEN, bytes((0x0E, 0x01, 0x06, error)), responder)


def build_rlre(user_information: bytes = b"") -> bytes:
    """RLRE, reason normal.

    :arg user_information: a ciphered initiate response, where the RLRQ had a ciphered initiate request.
    """
    return _field(RLRE, bytes((0x80, 0x01, 0x00)) + (_field(0xBE, _field(0x04, user_information)) if user_information else b""))


def initiate_problem(
    request: InitiateRequest, smallest_pdu: int = SMALLEST_PDU, service: Conformance = Conformance.GET
) -> InitiateError | None:
    """What makes the proposed xDLMS context unusable, if anything; a client that does not offer `service` reads nothing."""
    if request.dlms_version < _VERSION:
        return InitiateError.DLMS_VERSION_TOO_LOW
    if service not in request.conformance:
        return InitiateError.INCOMPATIBLE_CONFORMANCE
    if 0 < request.max_pdu_size < smallest_pdu:
        return InitiateError.PDU_SIZE_TOO_SHORT
    return None
