"""Short-name referencing on the server side: Association SN, base names, READ and its answers (IEC 62056-5-3, IEC 62056-6-2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Union

from simulator.meter.axdr import (
    DataError,
    TypedValue,
    array,
    decode,
    decode_length,
    encode_length,
    long,
    long_unsigned,
    octet_string,
    structure,
    unsigned,
)
from simulator.meter.interface_class import AssociationLn, InterfaceObject, Reading
from simulator.meter.xdlms import AccessError, AccessResult, GetResult, Selection

READ_REQUEST = 0x05
_READ_RESPONSE, _CONFIRMED_SERVICE_ERROR = 0x0C, 0x0E
_VARIABLE_NAME, _PARAMETERIZED_ACCESS, _BLOCK_NUMBER_ACCESS = 2, 4, 5
_SERVICE_ERROR_CLASS = 3
PDU_SIZE, SERVICE_UNSUPPORTED = 1, 2
_BLOCK_OVERHEAD = 9

ASSOCIATION_BASE = 0xFA00
_FIRST_BASE = 0x7F00
"""Base names of the other objects begin here and soon pass 8000, where the integer that carries them turns negative."""
_DISTANCE = 8


@dataclass(frozen=True)
class AssociationSn(InterfaceObject):
    """Association SN, class 12: the object list and nothing that a reading client needs besides."""

    class_id = 12
    version = 2
    attribute_count = 4
    method_count = 8

    def _attribute(self, index: int, reading: Reading, selection: Selection | None) -> TypedValue:
        if index > 2:
            raise AccessError(AccessResult.READ_WRITE_DENIED)
        return array([_entry(base, item) for base, item in base_names(reading.device.objects).items()])


def _entry(base: int, item: InterfaceObject) -> TypedValue:
    signed = base - 0x10000 if base >= 0x8000 else base
    return structure(long(signed), long_unsigned(item.class_id), unsigned(item.version), octet_string(item.logical_name))


@lru_cache
def with_association_sn(objects: tuple[InterfaceObject, ...]) -> tuple[InterfaceObject, ...]:
    """The objects of a meter that is read by short names: its association is one of class 12."""
    return tuple(AssociationSn(item.logical_name) if isinstance(item, AssociationLn) else item for item in objects)


@lru_cache
def base_names(objects: tuple[InterfaceObject, ...]) -> dict[int, InterfaceObject]:
    """Base name -> object; an object takes as many names as it has attributes and methods."""
    bases: dict[int, InterfaceObject] = {}
    free = _FIRST_BASE
    for item in objects:
        if isinstance(item, AssociationSn):
            bases[ASSOCIATION_BASE] = item
            continue
        bases[free] = item
        free += _DISTANCE * (item.attribute_count + item.method_count)
    return bases


def find_attribute(objects: tuple[InterfaceObject, ...], name: int) -> tuple[InterfaceObject, int]:
    """The object and the attribute index that a short name stands for.

    :raises AccessError: when it stands for nothing.
    """
    for base, item in base_names(objects).items():
        index, rest = divmod(name - base, _DISTANCE)
        if 0 <= index < item.attribute_count and not rest:
            return item, index + 1
    raise AccessError(AccessResult.OBJECT_UNDEFINED)


@dataclass(frozen=True, slots=True)
class Read:
    """read-request for attributes by their short names."""

    names: tuple[int, ...]
    selections: tuple[Selection | None, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadNext:
    """read-request for the block behind `block`."""

    block: int


def parse_read(apdu: bytes) -> Union[Read, ReadNext]:
    """The READ that an APDU asks for.

    :raises DataError: when the bytes are not a read-request of these kinds.
    """
    if apdu[:1] != bytes((READ_REQUEST,)):
        raise DataError("not a read-request")
    count, offset = decode_length(apdu, 1)
    items: list[tuple[int, int, Selection | None]] = []
    for _ in range(count):
        if len(apdu) < offset + 3:
            raise DataError("the read-request is cut short")
        choice, name, selection = apdu[offset], int.from_bytes(apdu[offset + 1 : offset + 3], "big"), None
        offset += 3
        if choice == _PARAMETERIZED_ACCESS and offset < len(apdu):
            parameters, end = decode(apdu, offset + 1)
            selection, offset = Selection(apdu[offset], parameters), end
        items.append((choice, name, selection))
    if offset != len(apdu) or not items:
        raise DataError("the read-request is too long")
    if count == 1 and items[0][0] == _BLOCK_NUMBER_ACCESS:
        return ReadNext(items[0][1])
    if any(choice not in (_VARIABLE_NAME, _PARAMETERIZED_ACCESS) for choice, _, _ in items):
        raise DataError("a read-request in a way that is not known")
    return Read(tuple(name for _, name, _ in items), tuple(selection for _, _, selection in items))


def encode_results(results: Sequence[GetResult]) -> bytes:
    """The results with their number, as in one APDU and as spread over blocks."""
    encoded = (bytes((1, result)) if isinstance(result, AccessResult) else b"\x00" + result for result in results)
    return encode_length(len(results)) + b"".join(encoded)


def build_read_response(results: bytes) -> bytes:
    """read-response with results that are encoded."""
    return bytes((_READ_RESPONSE,)) + results


def build_read_error(result: AccessResult) -> bytes:
    """read-response with an access result alone."""
    return build_read_response(bytes((1, 1, result)))


def build_read_refused(error: int) -> bytes:
    """confirmed-service-error to a READ: service, and what about it."""
    return bytes((_CONFIRMED_SERVICE_ERROR, READ_REQUEST, _SERVICE_ERROR_CLASS, error))


class ReadTransfer:
    """The results of one READ spread over blocks that fit the client's PDU size; a repeated request repeats its block."""

    def __init__(self, results: bytes, max_pdu_size: int) -> None:
        self._results = results
        self._size = max_pdu_size - _BLOCK_OVERHEAD

    def block(self, number: int) -> bytes | None:
        """read-response with data-block-result number `number` (from 1), None when there is no such block."""
        start = (number - 1) * self._size
        if number < 1 or start >= len(self._results):
            return None
        content = self._results[start : start + self._size]
        last = start + self._size >= len(self._results)
        return bytes((_READ_RESPONSE, 1, 2, last)) + number.to_bytes(2, "big") + encode_length(len(content)) + content
