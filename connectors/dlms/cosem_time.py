"""COSEM date-time, date and time, IEC 62056-6-2 clause 4.1.6.1: any part may be "not specified" (all bits set)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Union

_NO_DEVIATION = -0x8000
_DAY_MINUTES = 24 * 60


def date_time(raw: bytes) -> Union[datetime, str]:
    """The moment in 12 bytes, aware when the deviation is specified; its text when a part is open or impossible."""
    hundredths = 0 if raw[8] == 0xFF else raw[8]
    try:
        return datetime(
            int.from_bytes(raw[:2], "big"),
            raw[2],
            raw[3],
            raw[5],
            raw[6],
            0 if raw[7] == 0xFF else raw[7],
            hundredths * 10_000,
            tzinfo=_offset(raw),
        )
    except ValueError:
        return date_time_text(raw)


def utc(moment: datetime) -> datetime | None:
    """`moment` in UTC; None when its deviation is not specified."""
    if moment.tzinfo is None:
        return None
    if moment.tzinfo is timezone.utc:
        return moment
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        return None


def date_time_text(raw: bytes) -> str:
    """12 bytes as ISO 8601, with the offset where the deviation is specified and `**` for what is not."""
    offset = _offset(raw)
    suffix = "" if offset is None else datetime(2000, 1, 1, tzinfo=offset).isoformat()[19:]
    return f"{date_text(raw[:5])}T{time_text(raw[5:9])}{suffix}"


def date_text(raw: bytes) -> str:
    """5 bytes (year, month, day, day of week) as YYYY-MM-DD; the day of the week follows from them."""
    year = int.from_bytes(raw[:2], "big")
    return f"{'****' if year == 0xFFFF else f'{year:04d}'}-{_two(raw[2])}-{_two(raw[3])}"


def time_text(raw: bytes) -> str:
    """4 bytes (hour, minute, second, hundredths) as hh:mm:ss, with hundredths where there are any."""
    text = ":".join(_two(part) for part in raw[:3])
    return text if raw[3] in (0, 0xFF) else f"{text}.{raw[3]:02d}"


def _two(part: int) -> str:
    return "**" if part == 0xFF else f"{part:02d}"


def _offset(raw: bytes) -> timezone | None:
    return _offset_of(raw[9:11])


@lru_cache(maxsize=256)
def _offset_of(raw: bytes) -> timezone | None:
    """The deviation counts minutes from local time to UTC, so the offset of ISO 8601 is its negative."""
    deviation = int.from_bytes(raw, "big", signed=True)
    if deviation == _NO_DEVIATION or abs(deviation) >= _DAY_MINUTES:
        return None
    return timezone(timedelta(minutes=-deviation))
