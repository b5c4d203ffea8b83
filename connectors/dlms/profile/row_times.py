"""When each row of a profile was captured, in UTC, whatever the meter writes.

A date-time is local time with its deviation. Some makers give the deviation the wrong sign, some write
"not specified" (0x8000) or nonsense; then only the time zone tells what the local time means, and in autumn one hour comes twice. Which of
the two it is follows from the daylight saving bit of the clock status (IEC 62056-6-2 clause 4.1.6.1) where it is set, else from
the order of the rows. A null timestamp is the row before plus the capture period.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import cast
from zoneinfo import ZoneInfo

from connectors.dlms.cosem import CosemError
from connectors.dlms.cosem_time import date_time, utc
from connectors.dlms.events import CosemData
from model.settings.profile import ProfileSettings

_DAYLIGHT_SAVING = 0x80
_STATUS_NOT_SPECIFIED = 0xFF
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_EARLIEST, _LATEST = datetime(1990, 1, 1, tzinfo=timezone.utc), datetime(2130, 1, 1, tzinfo=timezone.utc)
"""A clock outside of these was never set; its rows belong to no interval."""

_PARTS = struct.Struct(">5s3s4s")
"""A date-time: its date, its time of day, and hundredths, deviation and status."""

RowTime = datetime | CosemError
"""When a row was captured, or why that cannot be told."""


@dataclass(frozen=True, slots=True)
class _Wall:
    """A local time of which only the zone tells what it means; `summer`: the clock status says that daylight saving is active."""

    local: datetime
    summer: bool


def row_times(
    stamps: Sequence[CosemData], settings: ProfileSettings, period: timedelta, newest_first: bool, before: datetime | None = None
) -> list[RowTime]:
    """The time of each row, in the order of `stamps`, which is that of the buffer.

    :arg period: the capture period, zero where rows are captured upon events.
    :arg newest_first: the order of the buffer.
    :arg before: the newest row known to be older than all of these; helps in the hour that comes twice.
    """
    step = -period if newest_first else period
    plain = _plain_times(stamps, settings)
    if plain is not None:
        return plain
    read = [_read(stamp, settings) for stamp in stamps]
    ordered = list(range(len(read)))
    if newest_first:
        ordered.reverse()
    steps_back = _steps_back([read[n] for n in ordered], period)
    zone = ZoneInfo(settings.time_zone) if settings.time_zone is not None else None
    times: list[RowTime | None] = [None] * len(read)
    previous = before
    for place, n in enumerate(ordered):
        item = read[n]
        if isinstance(item, _Wall):
            times[n] = previous = _from_wall(item, zone, period, previous, steps_back[place])
        elif isinstance(item, datetime):
            times[n] = previous = item
        elif isinstance(item, CosemError):
            times[n] = item
        elif not newest_first and place and period:
            above = times[n - 1]
            times[n] = above + period if isinstance(above, datetime) else None
            previous = above + period if isinstance(above, datetime) else previous
    return _without_nulls(times, step)


def _without_nulls(times: Sequence[RowTime | None], step: timedelta) -> list[RowTime]:
    """Null timestamps filled in, in the order in which the meter sent the rows."""
    filled: list[RowTime] = []
    for time in times:
        if time is not None:
            filled.append(_sensible(time))
        elif not step:
            filled.append(CosemError("the row has no timestamp, and no capture period to work it out from"))
        elif filled and isinstance(filled[-1], datetime):
            filled.append(filled[-1] + step)
        else:
            filled.append(CosemError("the row has no timestamp, and none is before it"))
    return filled


def _sensible(time: RowTime) -> RowTime:
    if isinstance(time, datetime) and not _EARLIEST <= time <= _LATEST:
        return CosemError(f"the row's time {time.isoformat()} is that of a clock that was never set")
    return time


def _plain_times(stamps: Sequence[CosemData], settings: ProfileSettings) -> list[RowTime] | None:
    """The times where all stamps are date-times that say all of it themselves, as in most buffers; None elsewhere.

    Those of one day differ in the time of day only: the day is worked out once.
    """
    raw = cast(Sequence[bytes], stamps)
    if set(map(type, stamps)) != {bytes} or set(map(len, raw)) != {_PARTS.size}:
        return None
    days, since = _Days(settings), _TIMES_OF_DAY
    try:
        return [days[rest][date] + since[time] for date, time, rest in _PARTS.iter_unpack(b"".join(raw))]
    except _SaysLess:
        return None


class _SaysLess(Exception):
    """A date-time does not say all of it."""


class _Midnights(dict[bytes, datetime]):
    """The beginning of a day, UTC, by its date; hundredths, deviation and status are the same in all of them."""

    def __init__(self, rest: bytes, settings: ProfileSettings) -> None:
        super().__init__()
        self._rest = rest
        self._settings = settings

    def __missing__(self, date: bytes) -> datetime:
        begin = _read(date + b"\0\0\0" + self._rest, self._settings)
        if not isinstance(begin, datetime) or not _EARLIEST <= begin < _LATEST - _DAY:
            raise _SaysLess
        self[date] = begin
        return begin


class _Days(dict[bytes, _Midnights]):
    """Days by what their date-times have in common besides the date."""

    def __init__(self, settings: ProfileSettings) -> None:
        super().__init__()
        self._settings = settings

    def __missing__(self, rest: bytes) -> _Midnights:
        self[rest] = midnights = _Midnights(rest, self._settings)
        return midnights


class _TimesOfDay(dict[bytes, timedelta]):
    """What has passed since midnight, by hour, minute and second; it cannot grow beyond the seconds of a day."""

    def __missing__(self, raw: bytes) -> timedelta:
        hour, minute, second = raw
        if hour >= 24 or minute >= 60 or second >= 60:
            raise _SaysLess
        self[raw] = since = timedelta(0, hour * 3600 + minute * 60 + second)
        return since


_TIMES_OF_DAY = _TimesOfDay()


def _read(stamp: CosemData, settings: ProfileSettings) -> datetime | _Wall | CosemError | None:
    if stamp is None:
        return None
    if isinstance(stamp, bytes) and len(stamp) == 12:
        return _date_time(stamp, settings)
    if isinstance(stamp, datetime):
        return _typed(stamp, settings)
    if type(stamp) is int and 0 <= stamp <= 0xFFFFFFFF:
        return datetime.fromtimestamp(stamp, timezone.utc)
    return CosemError(f"{stamp!r:.40} is no time")


def _date_time(raw: bytes, settings: ProfileSettings) -> datetime | _Wall | CosemError:
    moment = date_time(raw)
    if not isinstance(moment, datetime):
        return CosemError(f"the row's time {moment} is not complete")
    if settings.deviation == "ignore" or moment.tzinfo is None:
        status = 0 if raw[11] == _STATUS_NOT_SPECIFIED else raw[11]
        return _wall(moment, bool(status & _DAYLIGHT_SAVING), settings)
    return _typed(moment, settings)


def _typed(moment: datetime, settings: ProfileSettings) -> datetime | _Wall | CosemError:
    if settings.deviation == "ignore" or moment.tzinfo is None:
        return _wall(moment, False, settings)
    if settings.deviation == "inverted":
        moment = moment.replace(tzinfo=timezone(-(moment.utcoffset() or timedelta())))
    return utc(moment) or CosemError(f"the row's time {moment.isoformat()} is out of range")


def _wall(moment: datetime, summer: bool, settings: ProfileSettings) -> _Wall | CosemError:
    if settings.time_zone is None:
        return CosemError(f"the row's time {moment.replace(tzinfo=None).isoformat()} has no deviation; set time_zone of the profile")
    return _Wall(moment.replace(tzinfo=None), summer)


def _from_wall(wall: _Wall, zone: ZoneInfo | None, period: timedelta, previous: datetime | None, steps_back: bool) -> datetime | None:
    """The one of the (at most two) moments of a local time that fits; `steps_back`: the clock goes back after this row."""
    first, second = (wall.local.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1))
    if first >= second:  # not ambiguous; in the hour that spring leaves out, winter time went on
        return first
    if wall.summer or steps_back:
        return first
    if previous is None:
        return second
    if previous < first and not period:
        return first
    return min(first, second, key=lambda moment: abs(moment - previous - period))


def _steps_back(walls: Sequence[datetime | _Wall | CosemError | None], period: timedelta) -> list[bool]:
    """For each row whether local time steps back later on, as in autumn, so that its own local time comes again.

    From one row to the next local time then steps back by an hour less the capture period; longer periods show nothing.
    """
    result = [False] * len(walls)
    if period > _HOUR:
        return result
    least = max(_HOUR - period - timedelta(minutes=1), timedelta(seconds=1)) if period < _HOUR else timedelta()
    following: datetime | None = None
    repeated: datetime | None = None
    for n in range(len(walls) - 1, -1, -1):
        wall = walls[n]
        if not isinstance(wall, _Wall):
            continue
        if following is not None and wall.local - following >= (least if period else timedelta(seconds=1)):
            repeated = following
        result[n] = repeated is not None and repeated - wall.local < _HOUR
        following = wall.local
    return result
