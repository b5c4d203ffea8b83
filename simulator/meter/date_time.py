"""The 12-byte date-time of IEC 62056-6-2: local time with its deviation from UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

_DEVIATION_NOT_SPECIFIED = -0x8000
_DAYLIGHT_SAVING = 0x80


@lru_cache
def zone(name: str) -> tzinfo:
    """The time zone of an IANA name.

    :raises ValueError: when there is no such zone.
    """
    if name == "UTC":
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"{name!r} is not a time zone; write an IANA name such as UTC or Europe/Madrid") from None


def local_time(at: float, local_zone: tzinfo) -> datetime:
    """Unix seconds `at` as the wall clock of `local_zone`."""
    return datetime.fromtimestamp(at, local_zone)


def deviation_minutes(local: datetime) -> int:
    """Minutes from local time to UTC, as the standard counts them: -60 for Central European winter."""
    offset = local.utcoffset() or timedelta()
    return -int(offset.total_seconds() // 60)


def clock_status(local: datetime) -> int:
    """The clock status byte: 0x80 while daylight saving time is active."""
    return _DAYLIGHT_SAVING if local.dst() else 0


def encode_date_time(local: datetime, deviation_sign: int = 1) -> bytes:
    """The 12 bytes of an aware local time.

    :arg deviation_sign: -1 gives the deviation the sign that some makers give it; 0 says that it is not specified.
    """
    deviation = deviation_sign * deviation_minutes(local) if deviation_sign else _DEVIATION_NOT_SPECIFIED
    return (
        local.year.to_bytes(2, "big")
        + bytes((local.month, local.day, local.isoweekday(), local.hour, local.minute, local.second, local.microsecond // 10_000))
        + deviation.to_bytes(2, "big", signed=True)
        + bytes((clock_status(local),))
    )


def decode_date_time(data: bytes, local_zone: tzinfo) -> float:
    """Unix seconds of 12 bytes; without a deviation they are wall-clock time of `local_zone`.

    :raises ValueError: when the length is wrong or year, month or day are not specified.
    """
    if len(data) != 12:
        raise ValueError(f"a date-time has 12 bytes, not {len(data)}")
    hour, minute, second = (0 if field == 0xFF else field for field in data[5:8])
    naive = datetime(int.from_bytes(data[0:2], "big"), data[2], data[3], hour, minute, second)
    deviation = int.from_bytes(data[9:11], "big", signed=True)
    if deviation == _DEVIATION_NOT_SPECIFIED:
        return naive.replace(tzinfo=local_zone).timestamp()
    return (naive.replace(tzinfo=timezone.utc) + timedelta(minutes=deviation)).timestamp()
