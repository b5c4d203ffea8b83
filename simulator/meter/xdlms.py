"""xDLMS APDUs with logical names (IEC 62056-5-3): GET in all its forms, the one ACTION there is, refusals of SET and of
other ACTIONs, exception-response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Union

from simulator.meter.axdr import DataError, TypedValue, decode, decode_length, encode, encode_length

GET_REQUEST, SET_REQUEST, ACTION_REQUEST = 0xC0, 0xC1, 0xC3
GET_RESPONSE = 0xC4
_SET_RESPONSE, _ACTION_RESPONSE, _EXCEPTION = 0xC5, 0xC7, 0xD8
_NORMAL, _NEXT_OR_BLOCK, _WITH_LIST = 1, 2, 3
_BLOCK_OVERHEAD = 12
NORMAL_OVERHEAD = 4
"""Bytes of a get-response-normal besides the data."""


class AccessResult(IntEnum):
    """Data-Access-Result."""

    SUCCESS = 0
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    NO_LONG_GET_IN_PROGRESS = 16
    DATA_BLOCK_NUMBER_INVALID = 19
    OTHER_REASON = 250


class AccessError(Exception):
    """An attribute cannot be read; `result` says why to the client."""

    def __init__(self, result: AccessResult) -> None:
        super().__init__(result.name)
        self.result = result


class StateError(IntEnum):
    """First half of an exception-response."""

    SERVICE_NOT_ALLOWED = 1
    SERVICE_UNKNOWN = 2


class ServiceError(IntEnum):
    """Second half of an exception-response."""

    OPERATION_NOT_POSSIBLE = 1
    SERVICE_NOT_SUPPORTED = 2
    OTHER_REASON = 3
    PDU_TOO_LONG = 4
    DECIPHERING_ERROR = 5
    INVOCATION_COUNTER_ERROR = 6


@dataclass(frozen=True, slots=True)
class Selection:
    """Selective access: which selector (1 by range, 2 by entry) and its parameters."""

    selector: int
    parameters: TypedValue


@dataclass(frozen=True, slots=True)
class AttributeDescriptor:
    """One attribute asked for."""

    class_id: int
    logical_name: bytes
    index: int
    selection: Selection | None = None


@dataclass(frozen=True, slots=True)
class GetNormal:
    """get-request-normal."""

    invoke: int
    attribute: AttributeDescriptor


@dataclass(frozen=True, slots=True)
class GetNext:
    """get-request-next: the client has `block`."""

    invoke: int
    block: int


@dataclass(frozen=True, slots=True)
class GetWithList:
    """get-request-with-list."""

    invoke: int
    attributes: tuple[AttributeDescriptor, ...]


@dataclass(frozen=True, slots=True)
class Action:
    """action-request-normal."""

    invoke: int
    class_id: int
    logical_name: bytes
    method: int
    parameters: TypedValue | None


GetRequest = Union[GetNormal, GetNext, GetWithList]
GetResult = Union[bytes, AccessResult]
"""The encoded data of one attribute, or why there is none."""


def parse_get(apdu: bytes) -> GetRequest:
    """The GET that an APDU asks for.

    :raises DataError: when the bytes are not a get-request.
    """
    if len(apdu) < 3 or apdu[0] != GET_REQUEST:
        raise DataError("not a get-request")
    kind, invoke = apdu[1], apdu[2]
    if kind == _NORMAL:
        return GetNormal(invoke, _parse_descriptor(apdu, 3)[0])
    if kind == _NEXT_OR_BLOCK:
        if len(apdu) < 7:
            raise DataError("the block number is cut short")
        return GetNext(invoke, int.from_bytes(apdu[3:7], "big"))
    if kind == _WITH_LIST:
        count, offset = decode_length(apdu, 3)
        attributes = []
        for _ in range(count):
            attribute, offset = _parse_descriptor(apdu, offset)
            attributes.append(attribute)
        return GetWithList(invoke, tuple(attributes))
    raise DataError(f"get-request of unknown kind {kind}")


def parse_action(apdu: bytes) -> Action:
    """The method that an APDU invokes.

    :raises DataError: when the bytes are not an action-request-normal.
    """
    if len(apdu) < 13 or apdu[0] != ACTION_REQUEST or apdu[1] != _NORMAL:
        raise DataError("not an action-request-normal")
    class_id, name, method = int.from_bytes(apdu[3:5], "big"), apdu[5:11], apdu[11]
    return Action(apdu[2], class_id, name, method, decode(apdu, 13)[0] if apdu[12] else None)


def build_action(invoke: int, data: TypedValue) -> bytes:
    """action-response-normal: success, and what the method returns."""
    return bytes((_ACTION_RESPONSE, _NORMAL, invoke, AccessResult.SUCCESS, 1, 0)) + encode(data)


def _parse_descriptor(apdu: bytes, offset: int) -> tuple[AttributeDescriptor, int]:
    end = offset + 10
    if len(apdu) < end:
        raise DataError("the attribute descriptor is cut short")
    class_id, name, index = int.from_bytes(apdu[offset : offset + 2], "big"), apdu[offset + 2 : offset + 8], apdu[offset + 8]
    if not apdu[end - 1]:
        return AttributeDescriptor(class_id, name, index), end
    if len(apdu) <= end:
        raise DataError("the selector is missing")
    parameters, after = decode(apdu, end + 1)
    return AttributeDescriptor(class_id, name, index, Selection(apdu[end], parameters)), after


def encode_result(result: GetResult) -> bytes:
    """Get-Data-Result: data or an access result, with its choice tag."""
    return bytes((1, result)) if isinstance(result, AccessResult) else b"\x00" + result


def build_get_normal(invoke: int, result: GetResult) -> bytes:
    """get-response-normal."""
    return bytes((GET_RESPONSE, _NORMAL, invoke)) + encode_result(result)


def build_get_with_list(invoke: int, results: Sequence[GetResult]) -> bytes:
    """get-response-with-list."""
    return bytes((GET_RESPONSE, _WITH_LIST, invoke)) + encode_result_list(results)


def encode_result_list(results: Sequence[GetResult]) -> bytes:
    """The results of a with-list with their count, as in one APDU and as spread over blocks."""
    return encode_length(len(results)) + b"".join(encode_result(result) for result in results)


def build_get_block_error(invoke: int, block: int, result: AccessResult) -> bytes:
    """get-response-with-datablock that ends the transfer with an access result."""
    return bytes((GET_RESPONSE, _NEXT_OR_BLOCK, invoke, 1)) + block.to_bytes(4, "big") + bytes((1, result))


class BlockTransfer:
    """The answer to one GET spread over blocks that fit the client's PDU size; a repeated request repeats its block."""

    def __init__(self, data: bytes, max_pdu_size: int) -> None:
        self._data = data
        self._size = max_pdu_size - _BLOCK_OVERHEAD

    def block(self, invoke: int, number: int) -> bytes | None:
        """get-response-with-datablock number `number` (from 1), None when there is no such block."""
        start = (number - 1) * self._size
        if number < 1 or start >= len(self._data):
            return None
        content = self._data[start : start + self._size]
        last = start + self._size >= len(self._data)
        head = bytes((GET_RESPONSE, _NEXT_OR_BLOCK, invoke, last)) + number.to_bytes(4, "big") + b"\x00"
        return head + encode_length(len(content)) + content


def _count(apdu: bytes) -> int:
    count, offset = decode_length(apdu, 3)
    if count > len(apdu) - offset:
        raise DataError(f"{count} items are announced but {len(apdu) - offset} bytes are left")
    return count


def build_set_refused(apdu: bytes) -> bytes:
    """The answer read-write-denied to a set-request of any kind.

    :raises DataError: when the bytes are not a set-request.
    """
    if len(apdu) < 3:
        raise DataError("not a set-request")
    kind, invoke, denied = apdu[1], apdu[2], AccessResult.READ_WRITE_DENIED
    if kind == 1:
        return bytes((_SET_RESPONSE, 1, invoke, denied))
    if kind == 4:
        count = _count(apdu)
        return bytes((_SET_RESPONSE, 5, invoke)) + encode_length(count) + bytes((denied,)) * count
    if kind in (2, 3, 5):
        return bytes((_SET_RESPONSE, 3, invoke, denied)) + (1).to_bytes(4, "big")
    raise DataError(f"set-request of unknown kind {kind}")


def build_action_refused(apdu: bytes) -> bytes:
    """The answer read-write-denied to an action-request.

    :raises DataError: when the bytes are not an action-request-normal or -with-list.
    """
    if len(apdu) < 3:
        raise DataError("not an action-request")
    kind, invoke, denied = apdu[1], apdu[2], AccessResult.READ_WRITE_DENIED
    if kind == _NORMAL:
        return bytes((_ACTION_RESPONSE, _NORMAL, invoke, denied, 0))
    if kind == _WITH_LIST:
        count = _count(apdu)
        return bytes((_ACTION_RESPONSE, _WITH_LIST, invoke)) + encode_length(count) + bytes((denied, 0)) * count
    raise DataError(f"action-request of unknown kind {kind}")


def build_exception(state: StateError, service: ServiceError) -> bytes:
    """exception-response."""
    return bytes((_EXCEPTION, state, service))


def build_counter_exception(expected: int) -> bytes:
    """exception-response to a replayed request, with the lowest invocation counter that is accepted."""
    return build_exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.INVOCATION_COUNTER_ERROR) + expected.to_bytes(4, "big")
