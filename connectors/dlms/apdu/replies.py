"""Parses the APDUs that a meter sends to a client, IEC 62056-5-3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Union

from connectors.dlms.apdu import names
from connectors.dlms.apdu.action import ActionNormal, action_response
from connectors.dlms.axdr import CosemError, Reader
from model.tuples import kept_in_a_tuple

MULTIPLE_REFERENCES = 0x000200
BLOCK_TRANSFER_WITH_GET = 0x001000
"""Conformance bits 14 and 11, counted from the highest of the 24."""

_BIT_STRING_OF_CONFORMANCE = b"\x5f\x1f"
_INITIATE_RESPONSE, _CONFIRMED_SERVICE_ERROR = 0x08, 0x0E


@dataclass(frozen=True, slots=True)
class AssociationAccepted:
    """AARE: the association is open, with these conformance bits and the meter's PDU size in bytes (0: unlimited).

    `authentication_due` when the meter still waits for the answer to its `challenge` (empty where it sent none).
    """

    conformance: int
    max_pdu_size: int
    authentication_due: bool = False
    challenge: bytes = field(default=b"", repr=False)

    @property
    def with_list(self) -> bool:
        """Whether GET-with-list was granted."""
        return bool(self.conformance & MULTIPLE_REFERENCES)

    @property
    def block_transfer(self) -> bool:
        """Whether answers may come in blocks."""
        return bool(self.conformance & BLOCK_TRANSFER_WITH_GET)


@dataclass(frozen=True, slots=True)
class AssociationRefused:
    """AARE: no association, and why."""

    detail: str
    remedy: str


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class GetNormal:
    """GET-response-normal; `result` is still encoded: a choice of data and access result."""

    invoke_id: int
    result: bytes


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class GetList:
    """GET-response-with-list; `results` are still encoded: their number, then a choice for each."""

    invoke_id: int
    results: bytes


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class GetBlock:
    """GET-response-with-datablock: a part of the encoded answer, or the access result that ends it.

    `surplus` came behind the `data` whose length the block states, though nothing belongs there. It may be the rest of it: Gurux's C
    server states 18 bytes less than it sends in a ciphered block.
    """

    invoke_id: int
    last: bool
    number: int
    data: bytes
    error: int | None
    surplus: bytes = b""


@dataclass(frozen=True, slots=True)
class ReadResponse:
    """READ-response, to short names; `results` are still encoded: their number, then a choice for each."""

    results: bytes


@dataclass(frozen=True, slots=True)
class ServiceError:
    """exception-response or confirmed-service-error; `no_association` when it says that the service needs one, `counter`
    when our invocation counter was too low or what we sent could not be deciphered."""

    detail: str
    no_association: bool
    counter: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """RLRE."""


@dataclass(frozen=True, slots=True)
class Other:
    """An APDU that answers no request of ours, such as a notification."""

    name: str


GetReply = Union[GetNormal, GetList, GetBlock]
Reply = Union[
    AssociationAccepted, AssociationRefused, GetNormal, GetList, GetBlock, ReadResponse, ActionNormal, ServiceError, Released, Other
]

Revealer = Callable[[bytes, bytes], bytes]
"""Turns the responding AP title and the initiate response of an AARE into the plain initiate response."""


def _plain(_title: bytes, initiate: bytes) -> bytes:
    return initiate


def parse(apdu: bytes, reveal: Revealer = _plain) -> Reply:
    """What `apdu` says.

    :arg reveal: opens the initiate response of an AARE that accepts; what it raises is not caught.
    :raises CosemError: when it ends too early or contradicts itself.
    """
    reader = Reader(apdu)
    tag = reader.byte()
    if tag == 0xC4:
        return _get_response(reader)
    if tag == 0x0C:
        return ReadResponse(reader.rest())
    if tag == 0x61:
        return _association_response(reader, reveal)
    if tag == 0xC7:
        return action_response(reader)
    if tag == 0x63:
        return Released()
    if tag == 0xD8:
        return _exception_response(reader)
    if tag == _CONFIRMED_SERVICE_ERROR:
        return ServiceError(_service_error(reader), no_association=False)
    return Other(names.apdu_name(apdu))


def _get_response(reader: Reader) -> GetReply:
    choice = reader.byte()
    invoke_id = reader.byte() & 0x0F
    if choice == 1:
        return GetNormal(invoke_id, reader.rest())
    if choice == 3:
        return GetList(invoke_id, reader.rest())
    if choice != 2:
        raise CosemError(f"GET-response has no choice {choice}")
    last, number, is_error = reader.byte() != 0, reader.unsigned(4), reader.byte() != 0
    if is_error:
        return GetBlock(invoke_id, last, number, b"", reader.byte())
    data = reader.take(reader.length())
    if not last:
        return GetBlock(invoke_id, last, number, data, None, reader.rest())
    if data:  # some meters repeat the header behind an empty last block
        reader.finish()
    return GetBlock(invoke_id, last, number, data, None)


def _exception_response(reader: Reader) -> ServiceError:
    state, service = reader.byte(), reader.byte()
    detail = f"exception-response: {names.STATE_ERRORS.get(state, state)}, {names.SERVICE_ERRORS.get(service, service)}"
    # Without an association no service is allowed at all; one that is merely not supported or too long says so.
    no_association = state == names.NOT_ALLOWED and service not in (names.NOT_SUPPORTED, names.TOO_LONG, *names.CIPHERING_ERRORS)
    return ServiceError(detail, no_association, counter=service in names.CIPHERING_ERRORS)


def _service_error(reader: Reader) -> str:
    return names.confirmed_service_error(reader.byte(), reader.byte(), reader.byte())


def _association_response(reader: Reader, reveal: Revealer) -> Union[AssociationAccepted, AssociationRefused]:
    """AARE: context name A1, result A2, diagnostic A3, responding AP title A4, authentication value AA, user information BE."""
    fields: dict[int, bytes] = {}
    body = Reader(reader.take(reader.length()))
    while body.remaining:
        tag = body.byte()
        fields[tag] = body.take(body.length())
    result = _integer(Reader(fields.get(0xA2, b"")))
    information = fields.get(0xBE, b"")
    if result != 0:
        return _refused(result, fields.get(0xA3, b""), information)
    provider, diagnostic = _diagnostic(fields.get(0xA3, b""))
    if not provider and diagnostic in names.AUTHENTICATION_MECHANISM:
        return _refused(result, fields[0xA3], information)
    due = not provider and diagnostic == names.AUTHENTICATION_REQUIRED
    challenge = _octets(fields.get(0xAA, b""), 0x80)
    initiate = reveal(_octets(fields.get(0xA4, b""), 0x04), _user_information(information).rest())
    return replace(_initiate_response(Reader(initiate)), authentication_due=due, challenge=challenge)


def _octets(field_content: bytes, tag: int) -> bytes:
    """The octets in a field of the AARE that may be missing."""
    if not field_content:
        return b""
    reader = Reader(field_content)
    if reader.byte() != tag:
        raise CosemError(f"a field of the AARE has no octets with tag {tag:02x}")
    return reader.take(reader.length())


def _refused(result: int, source_diagnostic: bytes, information: bytes) -> AssociationRefused:
    detail = f"the meter refused the association: {names.ASSOCIATION_RESULTS.get(result, result)}"
    remedy = names.OTHER_REMEDY
    try:
        provider, diagnostic = _diagnostic(source_diagnostic)
        table = names.PROVIDER_DIAGNOSTICS if provider else names.USER_DIAGNOSTICS
        detail += f", {table.get(diagnostic, f'diagnostic {diagnostic}')}"
        if not provider:
            remedy = names.USER_REMEDIES.get(diagnostic, remedy)
        initiate = _user_information(information)
        if initiate.byte() == _CONFIRMED_SERVICE_ERROR:
            detail += f" ({_service_error(initiate)})"
    except CosemError:
        pass  # Many meters send only half of this with a refusal; the result alone is certain.
    return AssociationRefused(detail, remedy)


def _integer(reader: Reader) -> int:
    if reader.byte() != 0x02:
        raise CosemError("an INTEGER is missing")
    return reader.unsigned(reader.length())


def _diagnostic(field: bytes) -> tuple[bool, int]:
    """Whether the diagnostic is from the ACSE provider (else the user), and its code."""
    reader = Reader(field)
    tag = reader.byte()
    if tag not in (0xA1, 0xA2):
        raise CosemError(f"no diagnostic source has tag {tag:02x}")
    return tag == 0xA2, _integer(Reader(reader.take(reader.length())))


def _user_information(field: bytes) -> Reader:
    reader = Reader(field)
    if reader.byte() != 0x04:
        raise CosemError("the user information is not an octet-string")
    return Reader(reader.take(reader.length()))


def _initiate_response(reader: Reader) -> AssociationAccepted:
    tag = reader.byte()
    if tag != _INITIATE_RESPONSE:
        raise CosemError(f"InitiateResponse expected, tag {tag:02x} found")
    if reader.byte():  # negotiated quality of service
        reader.byte()
    version = reader.byte()
    if version != 6:
        raise CosemError(f"DLMS version {version}, not 6")
    tag = reader.byte()
    length = reader.byte()
    if bytes([tag, length]) == _BIT_STRING_OF_CONFORMANCE:
        length = reader.byte()
    # Older meters write the tag as one byte, 5F.
    if tag != _BIT_STRING_OF_CONFORMANCE[0] or length != 4:
        raise CosemError("the conformance block is damaged")
    reader.byte()  # unused bits
    return AssociationAccepted(conformance=reader.unsigned(3), max_pdu_size=reader.unsigned(2))
