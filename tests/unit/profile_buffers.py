"""Buffers of profiles as meters of all kinds encode them, written without the client's code."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from connectors.dlms.profile.capture import Column, Shape

CLOCK = Column(8, bytes([0, 0, 1, 0, 0, 255]), 2)
ENERGY = Column(3, bytes([1, 0, 1, 8, 0, 255]), 2)
POWER = Column(3, bytes([1, 0, 1, 7, 0, 255]), 2)
STATUS = Column(1, bytes([0, 0, 96, 10, 1, 255]), 2)
QUARTER = timedelta(minutes=15)


def shape(columns: Sequence[Column] = (CLOCK, ENERGY, POWER), period: timedelta = QUARTER, newest_first: bool = False) -> Shape:
    """A profile of these columns, with scalers."""
    scalers = {column: (0, 30) for column in columns if column.scaler_unit is not None}
    return Shape(tuple(columns), period, newest_first, None, None, scalers)


def date_time(moment: datetime, zone: str = "UTC", deviation: str = "normal", status: bool = True) -> bytes:
    """12 bytes of a clock in `zone`; deviation normal, inverted or none; without `status` the daylight saving bit is never set."""
    local = moment.astimezone(ZoneInfo(zone))
    minutes = int((local.utcoffset() or timedelta()).total_seconds()) // 60
    written = {"normal": -minutes, "inverted": minutes, "none": -0x8000}[deviation]
    daylight = 0x80 if status and local.dst() else 0
    day = struct.pack(">HBBB", local.year, local.month, local.day, local.isoweekday())
    return day + struct.pack(">BBBBhB", local.hour, local.minute, local.second, 0, written, daylight)


def cell(value: object, tagged: bool = True) -> bytes:
    """A value as null-data, double-long-unsigned, or octet-string, with or without its type tag."""
    if value is None:
        return b"\x00"
    if isinstance(value, bytes):
        return (b"\x09" if tagged else b"") + bytes([len(value)]) + value
    assert isinstance(value, int)
    return (b"\x06" if tagged else b"") + value.to_bytes(4, "big")


def length(count: int) -> bytes:
    """A BER length."""
    return bytes([count]) if count < 0x80 else bytes([0x82]) + count.to_bytes(2, "big")


def array(rows: Sequence[Sequence[object]]) -> bytes:
    """An array of structures."""
    return b"\x01" + length(len(rows)) + b"".join(b"\x02" + length(len(row)) + b"".join(cell(value) for value in row) for row in rows)


def compact_array(rows: Sequence[Sequence[object]]) -> bytes:
    """A compact-array of structures of one octet-string and numbers; no row may hold null-data."""
    width = len(rows[0])
    description = b"\x02" + length(width) + b"\x09" + b"\x06" * (width - 1)
    contents = b"".join(cell(value, tagged=False) for row in rows for value in row)
    return b"\x13" + description + length(len(contents)) + contents


def utc(*parts: int) -> datetime:
    """A time in UTC."""
    return datetime(*parts, tzinfo=timezone.utc)  # type: ignore[misc, arg-type]
