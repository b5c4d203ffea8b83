"""Selective access to a profile's buffer: by range of its clock, or by entry (IEC 62056-6-2 clause 4.3.6).

Limits of a range are sent as the meter understands them: in UTC with deviation 0; with a time zone in its local time with
that zone's deviation; and where the meter knows nothing of deviations in its local time without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from connectors.dlms.profile.capture import Column
from model.settings.profile import ProfileSettings

_BY_RANGE, _BY_ENTRY = 1, 2
_STRUCTURE, _ARRAY, _OCTET_STRING, _INTEGER, _LONG_UNSIGNED, _DOUBLE_LONG_UNSIGNED = 2, 1, 9, 15, 18, 6
_NO_DEVIATION = b"\x80\x00"
_DAYLIGHT_SAVING = 0x80
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Range:
    """The rows from `start` to `end`, both meant to be included; aware UTC."""

    start: datetime
    end: datetime


def widened(wanted: Range, settings: ProfileSettings) -> Range:
    """`wanted` as it is asked for: rounded outwards to whole seconds, or to whole hours where the meter takes no others.

    Local time without a deviation is ambiguous when the clocks change: a limit in that hour is moved out of it.
    """
    unit = timedelta(hours=1) if settings.whole_hours else timedelta(seconds=1)
    start = wanted.start - _beyond(wanted.start, unit)
    end = wanted.end + (unit - _beyond(wanted.end, unit)) % unit
    if settings.deviation == "ignore" and settings.time_zone is not None:
        zone = ZoneInfo(settings.time_zone)
        start = start - _HOUR if _unclear(start, zone) else start
        end = end + _HOUR if _unclear(end, zone) else end
    return Range(start, end)


def _beyond(moment: datetime, unit: timedelta) -> timedelta:
    return (moment - datetime(2000, 1, 1, tzinfo=timezone.utc)) % unit


def _unclear(moment: datetime, zone: ZoneInfo) -> bool:
    local = moment.astimezone(zone)
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def by_range(clock: Column, wanted: Range, settings: ProfileSettings) -> bytes:
    """Selector and parameters for the rows of `wanted`, all columns."""
    restricting = (
        bytes([_STRUCTURE, 4, _LONG_UNSIGNED])
        + clock.class_id.to_bytes(2, "big")
        + bytes([_OCTET_STRING, 6])
        + clock.logical_name
        + bytes([_INTEGER, clock.attribute, _LONG_UNSIGNED, 0, 0])
    )
    encode = _unix if clock.class_id == 1 else _date_time
    start, end = encode(wanted.start, settings), encode(wanted.end, settings)
    return bytes([_BY_RANGE, _STRUCTURE, 4]) + restricting + start + end + bytes([_ARRAY, 0])


def by_entry(first: int, last: int) -> bytes:
    """Selector and parameters for entries `first` to `last`, counted from 1, all columns."""
    return (
        bytes([_BY_ENTRY, _STRUCTURE, 4, _DOUBLE_LONG_UNSIGNED])
        + first.to_bytes(4, "big")
        + bytes([_DOUBLE_LONG_UNSIGNED])
        + last.to_bytes(4, "big")
        + bytes([_LONG_UNSIGNED, 0, 1, _LONG_UNSIGNED, 0, 0])
    )


def _unix(moment: datetime, settings: ProfileSettings) -> bytes:
    return bytes([_DOUBLE_LONG_UNSIGNED]) + int(moment.timestamp()).to_bytes(4, "big")


def _date_time(moment: datetime, settings: ProfileSettings) -> bytes:
    zone = timezone.utc if settings.time_zone is None else ZoneInfo(settings.time_zone)
    local = moment.astimezone(zone)
    offset = (local.utcoffset() or timedelta()) // timedelta(minutes=1)
    sign = 1 if settings.deviation == "inverted" else -1
    deviation = _NO_DEVIATION if settings.deviation == "ignore" else (sign * offset).to_bytes(2, "big", signed=True)
    return (
        bytes([_OCTET_STRING, 12])
        + local.year.to_bytes(2, "big")
        + bytes([local.month, local.day, local.isoweekday(), local.hour, local.minute, local.second, 0])
        + deviation
        + bytes([_DAYLIGHT_SAVING if local.dst() else 0])
    )
