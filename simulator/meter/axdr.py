"""COSEM data in A-XDR: the type tags of IEC 62056-5-3 (Data) and their encoding by IEC 61334-6."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Tag(IntEnum):
    """Type tags of the Data type."""

    NULL = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    DOUBLE_LONG = 5
    DOUBLE_LONG_UNSIGNED = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INTEGER = 15
    LONG = 16
    UNSIGNED = 17
    LONG_UNSIGNED = 18
    LONG64 = 20
    LONG64_UNSIGNED = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27


@dataclass(frozen=True, slots=True)
class TypedValue:
    """A value with the type it has on the wire.

    `value` is None, bool, int, float, str (visible, UTF-8 and bit strings, the last as 0s and 1s), bytes, or a tuple of
    TypedValues for array and structure.
    """

    tag: Tag
    value: Any


class DataError(ValueError):
    """The bytes are not the encoding of a Data value."""


_NUMBER_FORMATS = {
    Tag.BOOLEAN: ">?",
    Tag.DOUBLE_LONG: ">i",
    Tag.DOUBLE_LONG_UNSIGNED: ">I",
    Tag.BCD: ">b",
    Tag.INTEGER: ">b",
    Tag.LONG: ">h",
    Tag.UNSIGNED: ">B",
    Tag.LONG_UNSIGNED: ">H",
    Tag.LONG64: ">q",
    Tag.LONG64_UNSIGNED: ">Q",
    Tag.ENUM: ">B",
    Tag.FLOAT32: ">f",
    Tag.FLOAT64: ">d",
}
_DEEPEST = 16
_FIXED_BYTES = {Tag.DATE_TIME: 12, Tag.DATE: 5, Tag.TIME: 4}
_TEXT_ENCODINGS = {Tag.VISIBLE_STRING: "latin-1", Tag.UTF8_STRING: "utf-8"}

NULL = TypedValue(Tag.NULL, None)


def unsigned(value: int) -> TypedValue:
    """An 8-bit unsigned."""
    return TypedValue(Tag.UNSIGNED, value)


def long_unsigned(value: int) -> TypedValue:
    """A 16-bit unsigned."""
    return TypedValue(Tag.LONG_UNSIGNED, value)


def double_long_unsigned(value: int) -> TypedValue:
    """A 32-bit unsigned."""
    return TypedValue(Tag.DOUBLE_LONG_UNSIGNED, value)


def integer(value: int) -> TypedValue:
    """An 8-bit signed."""
    return TypedValue(Tag.INTEGER, value)


def long(value: int) -> TypedValue:
    """A 16-bit signed."""
    return TypedValue(Tag.LONG, value)


def enum(value: int) -> TypedValue:
    """An enumerated value."""
    return TypedValue(Tag.ENUM, value)


def boolean(value: bool) -> TypedValue:
    """A boolean."""
    return TypedValue(Tag.BOOLEAN, value)


def octet_string(value: bytes) -> TypedValue:
    """An octet-string."""
    return TypedValue(Tag.OCTET_STRING, value)


def visible_string(value: str) -> TypedValue:
    """A visible-string."""
    return TypedValue(Tag.VISIBLE_STRING, value)


def bit_string(value: str) -> TypedValue:
    """A bit-string, written as 0s and 1s."""
    return TypedValue(Tag.BIT_STRING, value)


def array(items: Sequence[TypedValue]) -> TypedValue:
    """An array."""
    return TypedValue(Tag.ARRAY, tuple(items))


def structure(*items: TypedValue) -> TypedValue:
    """A structure."""
    return TypedValue(Tag.STRUCTURE, items)


def plain(data: TypedValue) -> Any:
    """The value without its types: array and structure as list, everything else as Python has it."""
    return [plain(item) for item in data.value] if isinstance(data.value, tuple) else data.value


def encode_length(length: int) -> bytes:
    """A length in the short form below 128, else in the long form."""
    if length < 0x80:
        return bytes((length,))
    octets = (length.bit_length() + 7) // 8
    return bytes((0x80 | octets,)) + length.to_bytes(octets, "big")


def decode_length(data: bytes, offset: int) -> tuple[int, int]:
    """The length at `offset` and the offset behind it.

    :raises DataError: when the bytes end too soon.
    """
    if offset >= len(data):
        raise DataError("a length is missing")
    first = data[offset]
    if first < 0x80:
        return first, offset + 1
    end = offset + 1 + (first & 0x7F)
    if end > len(data):
        raise DataError("a length is cut short")
    return int.from_bytes(data[offset + 1 : end], "big"), end


def encode(data: TypedValue) -> bytes:
    """The bytes of a value, tag first."""
    output = bytearray()
    _encode_into(output, data)
    return bytes(output)


def _encode_into(output: bytearray, data: TypedValue) -> None:
    tag, value = data.tag, data.value
    output.append(tag)
    if (form := _NUMBER_FORMATS.get(tag)) is not None:
        output += struct.pack(form, value)
    elif tag in (Tag.ARRAY, Tag.STRUCTURE):
        output += encode_length(len(value))
        for item in value:
            _encode_into(output, item)
    elif tag == Tag.BIT_STRING:
        octets = (len(value) + 7) // 8
        output += encode_length(len(value)) + int(value.ljust(octets * 8, "0") or "0", 2).to_bytes(octets, "big")
    elif tag in _FIXED_BYTES:
        output += value
    elif tag != Tag.NULL:
        content = value.encode(_TEXT_ENCODINGS[tag]) if tag in _TEXT_ENCODINGS else value
        output += encode_length(len(content)) + content


def decode(data: bytes, offset: int = 0, depth: int = 0) -> tuple[TypedValue, int]:
    """The value that starts at `offset` and the offset behind it.

    :arg depth: how many arrays and structures are around it.
    :raises DataError: when the bytes end too soon, the tag is unknown or the nesting is too deep.
    """
    if depth > _DEEPEST:
        raise DataError(f"more than {_DEEPEST} arrays and structures in each other")
    if offset >= len(data):
        raise DataError("a type tag is missing")
    try:
        tag = Tag(data[offset])
    except ValueError:
        raise DataError(f"type tag {data[offset]} is unknown") from None
    offset += 1
    if tag == Tag.NULL:
        return NULL, offset
    if tag in (Tag.ARRAY, Tag.STRUCTURE):
        return _decode_items(tag, data, offset, depth)
    if (form := _NUMBER_FORMATS.get(tag)) is not None:
        content, offset = _take(data, offset, struct.calcsize(form))
        return TypedValue(tag, struct.unpack(form, content)[0]), offset
    if tag in _FIXED_BYTES:
        content, offset = _take(data, offset, _FIXED_BYTES[tag])
        return TypedValue(tag, content), offset
    length, offset = decode_length(data, offset)
    if tag == Tag.BIT_STRING:
        content, offset = _take(data, offset, (length + 7) // 8)
        return TypedValue(tag, "".join(f"{octet:08b}" for octet in content)[:length]), offset
    content, offset = _take(data, offset, length)
    return TypedValue(tag, content.decode(_TEXT_ENCODINGS[tag], "replace") if tag in _TEXT_ENCODINGS else content), offset


def _decode_items(tag: Tag, data: bytes, offset: int, depth: int) -> tuple[TypedValue, int]:
    count, offset = decode_length(data, offset)
    if count > len(data) - offset:
        raise DataError(f"{count} items are announced but {len(data) - offset} bytes are left")
    items = []
    for _ in range(count):
        item, offset = decode(data, offset, depth + 1)
        items.append(item)
    return TypedValue(tag, tuple(items)), offset


def _take(data: bytes, offset: int, count: int) -> tuple[bytes, int]:
    end = offset + count
    if end > len(data):
        raise DataError(f"{count} bytes are announced but {len(data) - offset} are left")
    return data[offset:end], end
