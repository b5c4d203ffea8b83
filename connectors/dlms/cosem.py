"""COSEM data: from A-XDR to Python values (IEC 62056-5-3, type Data), and from those to what people read.

gurux-dlms is not used for this: it forgets whether a number was an enum, makes 0.10000000149 of a float32 that says
0.1, and cannot tell null-data inside a list from an error.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Any, Union

from connectors.dlms.axdr import CosemError, Reader
from connectors.dlms.cosem_time import date_text, date_time, date_time_text, time_text, utc
from connectors.dlms.events import Attribute, CosemData
from model.messages import Value
from model.obis import format_logical_name

__all__ = ["CosemError", "clock_time", "decode", "decode_from", "elements", "render", "scaler_unit"]

MAX_DEPTH = 16
"""Arrays and structures inside each other; real objects stay below 6."""
MAX_VALUES = 500_000
"""Values in one answer, so that a few bytes of compact-array cannot fill the memory."""

ARRAY, STRUCTURE, BIT_STRING, BCD, COMPACT_ARRAY = 1, 2, 4, 13, 19
_INTEGERS = {
    5: (4, True),
    6: (4, False),
    15: (1, True),
    16: (2, True),
    17: (1, False),
    18: (2, False),
    20: (8, True),
    21: (8, False),
    22: (1, False),
}
"""Type tag -> bytes and whether signed: double-long(-unsigned), integer, long, unsigned, long-unsigned, long64(-unsigned), enum."""
_DATE_TIMES = {(8, 2), (4, 5), (5, 6), (5, 7)}
"""(class, attribute) whose octet-string is a date-time: Clock time, Extended and Demand Register times (IEC 62056-6-2)."""

TypeDescription = Union[int, tuple[int, "list[TypeDescription]", int]]
"""What one element of a compact-array is: a simple type's tag, or (array or structure, element types, number of repetitions)."""


def decode(data: bytes) -> CosemData:
    """The value that `data` encodes.

    :raises CosemError: when the bytes are not one value of a known type, or nest or repeat without end.
    """
    reader = Reader(data)
    value = decode_from(reader)
    reader.finish()
    return value


def decode_from(reader: Reader) -> CosemData:
    """The next value in `reader`.

    :raises CosemError: as `decode`.
    """
    return _Decoder(reader).value(0)


def elements(reader: Reader) -> Iterator[CosemData]:
    """The elements of the array or compact-array in `reader`, one by one, so that a long one need not be decoded at a stretch.

    Nothing where it is null-data, which some meters send for an empty array.

    :raises CosemError: as `decode`; elements already given stand.
    """
    tag = reader.byte()
    if tag == 0:
        return
    if tag == COMPACT_ARRAY:
        yield from _Decoder(reader).compact_elements(0)
        return
    if tag != ARRAY:
        raise CosemError(f"an array is expected, but data type {tag} is there")
    decoder = _Decoder(reader)
    for _ in range(reader.length()):
        yield decoder.value(1)


class _Decoder:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._values = 0

    def value(self, depth: int) -> CosemData:
        tag = self._reader.byte()
        if tag in (ARRAY, STRUCTURE):
            count = self._reader.length()
            if count > self._reader.remaining:
                raise CosemError(f"{count} elements are announced but only {self._reader.remaining} bytes are there")
            _check_depth(depth)
            return [self.value(depth + 1) for _ in range(count)]
        if tag == COMPACT_ARRAY:
            return self._compact_array(depth)
        return self._simple(tag)

    def _simple(self, tag: int) -> CosemData:
        self._count()
        if tag in _INTEGERS:
            size, signed = _INTEGERS[tag]
            return int.from_bytes(self._reader.take(size), "big", signed=signed)
        read = _SIMPLE.get(tag)
        if read is None:
            raise CosemError(f"data type {tag} is unknown")
        return read(self._reader)

    def _count(self) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise CosemError(f"more than {MAX_VALUES} values")

    def _compact_array(self, depth: int) -> CosemData:
        return list(self.compact_elements(depth))

    def compact_elements(self, depth: int) -> Iterator[CosemData]:
        """The elements of a compact-array whose tag has been read."""
        description = self._description(depth)
        contents = _Decoder(Reader(self._reader.take(self._reader.length())))
        contents._values = self._values
        while before := contents._reader.remaining:
            yield contents._described(description)
            if contents._reader.remaining == before:
                raise CosemError("the elements of a compact-array have no size")
        self._values = contents._values

    def _description(self, depth: int) -> TypeDescription:
        _check_depth(depth)
        tag = self._reader.byte()
        if tag == ARRAY:
            count = self._reader.unsigned(2)
            return tag, [self._description(depth + 1)], count
        if tag == STRUCTURE:
            return tag, [self._description(depth + 1) for _ in range(self._reader.length())], 1
        return tag

    def _described(self, description: TypeDescription) -> CosemData:
        if isinstance(description, int):
            return self._simple(description)
        _, types, count = description
        self._count()
        return [self._described(element) for _ in range(count) for element in types]


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise CosemError(f"values nest deeper than {MAX_DEPTH}")


def _bit_string(reader: Reader) -> str:
    count = reader.length()
    raw = reader.take((count + 7) // 8)
    return "".join(f"{byte:08b}" for byte in raw)[:count]


def _text(reader: Reader) -> str:
    raw = reader.take(reader.length())
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _bcd(reader: Reader) -> int:
    digits = reader.take(1).hex()
    if not digits.isdecimal():
        raise CosemError(f"{digits} is not a BCD number")
    return int(digits)


def _float32(reader: Reader) -> Decimal | None:
    """The shortest number that is this float32. Not-a-number and infinity are no value, like null-data."""
    raw = reader.take(4)
    exact: float = struct.unpack(">f", raw)[0]
    for digits in range(1, 10):
        shorter = float(f"{exact:.{digits}g}")
        try:
            if struct.pack(">f", shorter) == raw:
                return _decimal(shorter)
        except OverflowError:  # rounded up beyond the largest float32
            continue
    return _decimal(exact)


def _float64(reader: Reader) -> Decimal | None:
    return _decimal(struct.unpack(">d", reader.take(8))[0])


def _decimal(number: float) -> Decimal | None:
    if not isfinite(number):
        return None
    text = repr(number)
    return Decimal(text[:-2] if text.endswith(".0") else text)


_SIMPLE: dict[int, Callable[[Reader], CosemData]] = {
    0: lambda _: None,  # null-data
    3: lambda reader: reader.byte() != 0,  # boolean
    BIT_STRING: _bit_string,
    7: _float32,  # floating-point, the older name of float32
    9: lambda reader: reader.take(reader.length()),  # octet-string
    10: _text,  # visible-string
    12: _text,  # utf8-string
    BCD: _bcd,
    23: _float32,
    24: _float64,
    25: lambda reader: date_time(reader.take(12)),
    26: lambda reader: date_text(reader.take(5)),
    27: lambda reader: time_text(reader.take(4)),
    255: lambda _: None,  # dont-care
}


def render(data: CosemData, attribute: Attribute) -> Value:
    """What `data` of `attribute` is for people and for ThingsBoard.

    Numbers and booleans stay what they are. An octet-string becomes a logical name or an ISO 8601 time where the attribute
    is one, else text if it is printable ASCII, else lower-case hex. Arrays and structures become compact JSON.

    :raises CosemError: for null-data, which shows nothing.
    """
    if data is None:
        raise CosemError("null-data")
    if isinstance(data, bytes):
        if attribute.index == 1 and len(data) == 6:
            return format_logical_name(data)
        if (attribute.class_id, attribute.index) in _DATE_TIMES and len(moment := _date_time_octets(data)) == 12:
            return date_time_text(moment)
    return _plain(data)


def _plain(data: Union[int, Decimal, bool, str, bytes, datetime, list[CosemData]]) -> Value:
    if isinstance(data, bytes):
        text = data.rstrip(b"\0")
        printable = all(0x20 <= byte < 0x7F for byte in text) and (text or not data)
        return text.decode("ascii") if printable else data.hex()
    if isinstance(data, str):
        return data.replace("\0", "")
    if isinstance(data, datetime):
        return data.isoformat()
    if isinstance(data, list):
        return json.dumps([_jsonable(item) for item in data], separators=(",", ":"), ensure_ascii=False)
    return data


def _jsonable(data: CosemData) -> Any:
    if isinstance(data, list):
        return [_jsonable(item) for item in data]
    if isinstance(data, Decimal):
        # The Decimal came from a float, so the float's shortest text is the same number.
        return int(data) if data == data.to_integral_value() else float(data)
    return None if data is None else _plain(data)


def clock_time(data: CosemData) -> datetime | None:
    """The time a clock shows, in UTC; None when the deviation or a part of date and time is not specified."""
    octets = _date_time_octets(data) if isinstance(data, bytes) else b""
    moment = date_time(octets) if len(octets) == 12 else data
    return utc(moment) if isinstance(moment, datetime) else None


def _date_time_octets(data: bytes) -> bytes:
    """The 12 bytes of a date-time; some meters encode it twice, as an octet-string inside an octet-string."""
    return data[2:] if len(data) == 14 and data.startswith(b"\x09\x0c") else data


def scaler_unit(data: CosemData) -> tuple[int, int]:
    """The power of ten and the unit code in a scaler_unit attribute (IEC 62056-6-2, class Register attribute 3).

    :raises CosemError: when `data` is not a structure of these two.
    """
    if isinstance(data, list) and len(data) == 2:
        scaler, unit = data
        if type(scaler) is int and type(unit) is int and -128 <= scaler <= 127 and 0 <= unit <= 255:
            return scaler, unit
    raise CosemError(f"{data!r:.80} is not a scaler and a unit")
