"""The association control service: AARQ in, AARE out, RLRQ and RLRE (IEC 62056-5-3, BER), with the xDLMS initiate inside."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from simulator.meter.axdr import DataError, decode_length, encode_length

AARQ, AARE, RLRQ, RLRE = 0x60, 0x61, 0x62, 0x63

_LOGICAL_NAMES = bytes.fromhex("60857405080101")
_MECHANISM = bytes.fromhex("608574050802")
_VAA_NAME_LN = 0x0007
_VERSION = 6
SMALLEST_PDU = 12
"""A client that receives less than this cannot be served, bytes."""


class Mechanism(IntEnum):
    """Authentication mechanisms; the high-level ones are known by number only."""

    NONE = 0
    LOW = 1


class Diagnostic(IntEnum):
    """Why an association is rejected: result-source-diagnostic of the ACSE service user."""

    NULL = 0
    NO_REASON_GIVEN = 1
    APPLICATION_CONTEXT_NAME_NOT_SUPPORTED = 2
    MECHANISM_NAME_NOT_RECOGNISED = 11
    AUTHENTICATION_FAILURE = 13
    AUTHENTICATION_REQUIRED = 14


class InitiateError(IntEnum):
    """Why the xDLMS context is rejected: the initiate branch of a confirmedServiceError."""

    DLMS_VERSION_TOO_LOW = 1
    INCOMPATIBLE_CONFORMANCE = 2
    PDU_SIZE_TOO_SHORT = 3


class Conformance(IntFlag):
    """Services a client proposes and a server grants; bit 0 of the standard is the highest of the 24."""

    PRIORITY_MANAGEMENT = 1 << 14
    BLOCK_TRANSFER_WITH_GET = 1 << 12
    MULTIPLE_REFERENCES = 1 << 9
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE_ACCESS = 1 << 2
    ACTION = 1 << 0


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """What an AARQ asks for. `max_pdu_size` is the longest APDU the client receives, 0 for unlimited."""

    application_context: bytes
    mechanism: int
    password: bytes
    dlms_version: int
    conformance: Conformance
    max_pdu_size: int

    @property
    def logical_names(self) -> bool:
        """Whether it wants logical names without ciphering, the only application context there is yet."""
        return self.application_context == _LOGICAL_NAMES

    def __repr__(self) -> str:
        return f"AssociationRequest(mechanism={self.mechanism}, conformance={self.conformance!r}, max_pdu_size={self.max_pdu_size})"


def parse_aarq(apdu: bytes) -> AssociationRequest:
    """What the client asks for.

    :raises DataError: when the bytes are not an AARQ with an initiate request.
    """
    fields = _fields(_contents(apdu, AARQ))
    mechanism = fields.get(0x8B, b"")
    if mechanism and not (mechanism.startswith(_MECHANISM) and len(mechanism) == len(_MECHANISM) + 1):
        raise DataError("the mechanism name is none of the standard's")
    password = fields.get(0xAC, b"")
    version, conformance, max_pdu_size = _parse_initiate(_contents(fields.get(0xBE, b""), 0x04))
    return AssociationRequest(
        application_context=_contents(fields.get(0xA1, b""), 0x06),
        mechanism=mechanism[-1] if mechanism else Mechanism.NONE,
        password=_contents(password, 0x80) if password else b"",
        dlms_version=version,
        conformance=Conformance(conformance),
        max_pdu_size=max_pdu_size,
    )


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


def _parse_initiate(data: bytes) -> tuple[int, int, int]:
    """Version, conformance and PDU size of an InitiateRequest (A-XDR)."""
    if not data or data[0] != 0x01:
        raise DataError("the user information is not an initiate request")
    try:
        offset = 1
        if data[offset]:
            length, offset = decode_length(data, offset + 1)
            offset += length
        else:
            offset += 1
        for _ in ("response-allowed", "quality-of-service"):
            offset += 2 if data[offset] else 1
        version = data[offset]
        rest = data[offset + 1 :]
        rest = rest[2:] if rest.startswith(b"\x5f\x1f") else rest[1:]
        if len(rest) < 7 or rest[0] != 4:
            raise DataError("the proposed conformance is missing")
        return version, int.from_bytes(rest[2:5], "big"), int.from_bytes(rest[5:7], "big")
    except IndexError:
        raise DataError("the initiate request is cut short") from None


def _field(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + encode_length(len(content)) + content


def _build_aare(result: int, diagnostic: int, user_information: bytes) -> bytes:
    return _field(
        AARE,
        _field(0xA1, _field(0x06, _LOGICAL_NAMES))
        + _field(0xA2, bytes((0x02, 0x01, result)))
        + _field(0xA3, _field(0xA1, bytes((0x02, 0x01, diagnostic))))
        + _field(0xBE, _field(0x04, user_information)),
    )


def _initiate_response(conformance: Conformance, max_pdu_size: int) -> bytes:
    return (
        bytes((0x08, 0x00, _VERSION, 0x5F, 0x1F, 0x04, 0x00))
        + int(conformance).to_bytes(3, "big")
        + max_pdu_size.to_bytes(2, "big")
        + _VAA_NAME_LN.to_bytes(2, "big")
    )


def build_aare_accepted(conformance: Conformance, max_pdu_size: int) -> bytes:
    """AARE that accepts; `max_pdu_size` is the longest APDU the server receives, bytes."""
    return _build_aare(0, Diagnostic.NULL, _initiate_response(conformance, max_pdu_size))


def build_aare_rejected(diagnostic: Diagnostic, conformance: Conformance, max_pdu_size: int) -> bytes:
    """AARE that rejects the association for good."""
    return _build_aare(1, diagnostic, _initiate_response(conformance, max_pdu_size))


def build_aare_initiate_error(error: InitiateError) -> bytes:
    """AARE that rejects the xDLMS context with a confirmedServiceError."""
    return _build_aare(1, Diagnostic.NO_REASON_GIVEN, bytes((0x0E, 0x01, 0x06, error)))


def build_rlre() -> bytes:
    """RLRE, reason normal."""
    return _field(RLRE, bytes((0x80, 0x01, 0x00)))


def initiate_problem(request: AssociationRequest) -> InitiateError | None:
    """What makes the proposed xDLMS context unusable, if anything."""
    if request.dlms_version < _VERSION:
        return InitiateError.DLMS_VERSION_TOO_LOW
    if Conformance.GET not in request.conformance:
        return InitiateError.INCOMPATIBLE_CONFORMANCE
    if 0 < request.max_pdu_size < SMALLEST_PDU:
        return InitiateError.PDU_SIZE_TOO_SHORT
    return None
