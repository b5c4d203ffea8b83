"""Builds request APDUs with gurux-dlms, behind a fence: bytes out, nothing of gurux's own state or types escapes.

What the fence is for (gurux-dlms 1.0.203): `readList` puts at most ten attributes into a request and computes that number
as a float; a changed `invokeID` is not what goes out; framing sends cannot be repeated without counting up. Replies are not
parsed by gurux at all: it takes an AARE that was rejected without a reason for accepted, refuses a PDU size of 0
(unlimited), keeps one error code for a whole list, and lets IndexError, AttributeError and TypeError escape.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from gurux_dlms import GXByteBuffer, GXDLMSClient
from gurux_dlms.enums import Authentication, Command, Conformance, InterfaceType
from gurux_dlms.GetCommandType import GetCommandType
from gurux_dlms.GXDLMS import GXDLMS
from gurux_dlms.GXDLMSLNParameters import GXDLMSLNParameters

from connectors.dlms.apdu import gurux_seam
from connectors.dlms.events import Attribute

gurux_seam.install()

CONFORMANCE, CONFORMANCE_SHORT = 0x001214, 0x101220
"""As in the standard: get or read, several at a time, block transfer, selective access; `PROPOSED` is how the library writes it."""
PROPOSED = Conformance.GET | Conformance.MULTIPLE_REFERENCES | Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ | Conformance.SELECTIVE_ACCESS
PROPOSED_SHORT = (
    Conformance.READ | Conformance.MULTIPLE_REFERENCES | Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ | Conformance.PARAMETERIZED_ACCESS
)
CONFIRMED_HIGH = 0xC0
"""Service class confirmed and priority high, the upper bits of invoke-id-and-priority."""
MAX_PASSWORD = 128
"""Bytes; the lengths inside an AARQ are one byte each."""
_RELEASE_NORMAL = b"\x03\x80\x01\x00"
_DESCRIPTOR_SIZE = 10
_LIST_HEADER_SIZE = 5
"""Tag, choice, invoke-id and, at most, two bytes for the number of attributes."""
_NO_STATUS = 0xFF
_INVOKE_ID = 2
"""Where invoke-id-and-priority stands in a GET-request, behind tag and choice."""
_NUMBER_SIZE = 4
"""Bytes of a block's number, at the end of a GET-request-next."""


class RequestBuilder:
    """The requests of one client.

    :arg password: None for authentication none, else for low.
    :arg max_pdu_size: largest APDU in bytes that we offer to receive.
    :arg short_names: associate for short names; what is asked then is built by `short_names`, not here.
    :raises ValueError: when the password is longer than `MAX_PASSWORD` bytes.
    """

    def __init__(self, password: bytes | None, max_pdu_size: int, short_names: bool = False) -> None:
        if password is not None and len(password) > MAX_PASSWORD:
            raise ValueError(f"a password has at most {MAX_PASSWORD} bytes")
        authentication = Authentication.NONE if password is None else Authentication.LOW
        self._client = GXDLMSClient(not short_names, 16, 1, authentication, password or None, InterfaceType.PDU)
        self._client.proposedConformance = PROPOSED_SHORT if short_names else PROPOSED
        self._max_pdu_size = max_pdu_size

    def associate(self) -> bytes:
        """AARQ: the kind of names, our conformance and PDU size, the password where there is one."""
        self._client.maxReceivePDUSize = self._max_pdu_size
        return bytes(self._client.aarqRequest()[0])

    def get(self, attributes: Sequence[Attribute], invoke_id: int) -> bytes:
        """GET-request-normal for one attribute, GET-request-with-list for several (at most 255)."""
        asked = tuple(attributes)
        if len(asked) == 1 and asked[0].selection:
            # What asks for a part of an attribute asks for another part next time; it stands at the end.
            request = _known_get_request((asked[0]._replace(selection=b""),))[:-1] + _selected(asked[0])
        else:
            request = _known_get_request(asked)
        return request[:_INVOKE_ID] + bytes((CONFIRMED_HIGH | invoke_id,)) + request[_INVOKE_ID + 1 :]

    def next_block(self, number: int, invoke_id: int) -> bytes:
        """GET-request-next: block `number` has arrived, send the one after it."""
        request = _next_request()
        return (
            request[:_INVOKE_ID]
            + bytes((CONFIRMED_HIGH | invoke_id,))
            + request[_INVOKE_ID + 1 : -_NUMBER_SIZE]
            + number.to_bytes(_NUMBER_SIZE, "big")
        )

    def release(self) -> bytes:
        """RLRQ, reason normal."""
        return _built(Command.RELEASE_REQUEST, 0, 0, _RELEASE_NORMAL)


def _built(command: int, choice: int, invoke_id: int, body: bytes) -> bytes:
    settings = GXDLMSClient(True, 16, 1, Authentication.NONE, None, InterfaceType.PDU).settings
    parameters = GXDLMSLNParameters(settings, CONFIRMED_HIGH | invoke_id, command, choice, GXByteBuffer(body), None, _NO_STATUS)
    return bytes(GXDLMS.getLnMessages(parameters)[0])


def _get_request(attributes: tuple[Attribute, ...]) -> bytes:
    """GET-request-normal or -with-list, with invoke-id 0."""
    descriptors = b"".join(map(_descriptor, attributes))
    if len(attributes) == 1:
        return _built(Command.GET_REQUEST, GetCommandType.NORMAL, 0, descriptors)
    count = bytes([len(attributes)]) if len(attributes) < 0x80 else bytes([0x81, len(attributes)])
    return _built(Command.GET_REQUEST, GetCommandType.WITH_LIST, 0, count + descriptors)


@lru_cache(maxsize=1)
def _next_request() -> bytes:
    """GET-request-next, with invoke-id 0 and behind block 0."""
    return _built(Command.GET_REQUEST, GetCommandType.NEXT_DATA_BLOCK, 0, bytes(_NUMBER_SIZE))


_known_get_request = lru_cache(maxsize=4096)(_get_request)
"""All meters of a template ask for the same."""


def _descriptor(attribute: Attribute) -> bytes:
    """Attribute descriptor, then whether selective access follows, and which."""
    return attribute.class_id.to_bytes(2, "big") + attribute.logical_name + bytes([attribute.index]) + _selected(attribute)


def _selected(attribute: Attribute) -> bytes:
    return b"\x01" + attribute.selection if attribute.selection else b"\x00"


def list_capacity(max_pdu_size: int) -> int:
    """How many attributes a GET-request-with-list of at most `max_pdu_size` bytes holds (0: unlimited), at least 1, at most 255."""
    if max_pdu_size == 0:
        return 255
    return min(255, max(1, (max_pdu_size - _LIST_HEADER_SIZE) // _DESCRIPTOR_SIZE))
