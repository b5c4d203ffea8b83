"""Profile Generic, class 7: the load profile, whose rows are computed when they are asked for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.meter.axdr import (
    NULL,
    Tag,
    TypedValue,
    array,
    double_long_unsigned,
    enum,
    integer,
    long_unsigned,
    octet_string,
    structure,
    unsigned,
)
from simulator.meter.config import ORIGIN
from simulator.meter.date_time import decode_date_time
from simulator.meter.interface_class import InterfaceObject, Reading
from simulator.meter.load_curve import fraction
from simulator.meter.xdlms import AccessError, AccessResult, Selection

_BY_RANGE, _BY_ENTRY = 1, 2
_EVENT_SPACING = 6 * 3600
_EVENT_CHANNEL = 70
_FIRST_IN_FIRST_OUT, _LAST_IN_FIRST_OUT = 1, 2


@dataclass(frozen=True)
class ProfileGeneric(InterfaceObject):
    """A load profile: a row at the end of each capture period, the oldest first.

    :arg columns: the objects whose attribute 2 is captured; the first one is the clock.
    """

    columns: tuple[InterfaceObject, ...]

    class_id = 7
    version = 1
    attribute_count = 8
    method_count = 2
    selectors = (_BY_RANGE, _BY_ENTRY)

    def _attribute(self, index: int, reading: Reading, selection: Selection | None) -> TypedValue:
        if index == 2:
            return self._buffer(reading, selection)
        if index == 3:
            return array([_capture_object(column) for column in self.columns])
        if index == 4:
            return double_long_unsigned(self._capture_period(reading))
        if index == 5:
            return enum(_LAST_IN_FIRST_OUT if reading.behaviour.newest_first else _FIRST_IN_FIRST_OUT)
        if index == 6:
            return _capture_object(self.columns[0])
        if index == 7:
            return double_long_unsigned(len(self.row_times(reading)))
        return double_long_unsigned(reading.config.profile_entries)

    def _capture_period(self, reading: Reading) -> int:
        return reading.config.capture_period

    def row_times(self, reading: Reading) -> Sequence[int]:
        """When the rows now in memory were captured, Unix seconds, the oldest first."""
        period = reading.config.capture_period
        newest = int(reading.at // period * period)
        oldest = max(newest - (reading.config.profile_entries - 1) * period, -(-int(ORIGIN) // period) * period)
        times = range(oldest, newest + 1, period)
        return [at for at in times if not power_failed(reading, at)] if reading.behaviour.power_fail_period else times

    def _buffer(self, reading: Reading, selection: Selection | None) -> TypedValue:
        times, columns = self.row_times(reading), self.columns
        if selection is not None:
            _check_access(selection, reading)
            times, columns = self._select(times, reading, selection)
        behaviour = reading.behaviour
        times = _disordered(times, behaviour.duplicated_rows, behaviour.swapped_rows)
        rows = [tuple(column.attribute(2, Reading(reading.device, at)) for column in columns) for at in times]
        if behaviour.newest_first:
            rows.reverse()
        if behaviour.compact_profile:
            rows = _compacted(rows, behaviour.profile_nulls == "all")
        return array([structure(*row) for row in rows])

    def _select(self, times: Sequence[int], reading: Reading, selection: Selection) -> tuple[Sequence[int], tuple[InterfaceObject, ...]]:
        parameters = selection.parameters.value
        if selection.parameters.tag != Tag.STRUCTURE or len(parameters) != 4:
            raise AccessError(AccessResult.TYPE_UNMATCHED)
        if selection.selector == _BY_RANGE:
            return _by_range(times, reading, parameters), self._selected_columns(parameters[3])
        return _by_entry(times, parameters, reading.behaviour.newest_first), self._column_range(parameters)

    def _selected_columns(self, selected: TypedValue) -> tuple[InterfaceObject, ...]:
        if selected.tag != Tag.ARRAY:
            raise AccessError(AccessResult.TYPE_UNMATCHED)
        if not selected.value:
            return self.columns
        known = {_capture_object(column): column for column in self.columns}
        if any(item not in known for item in selected.value):
            raise AccessError(AccessResult.OBJECT_UNDEFINED)
        return tuple(known[item] for item in selected.value)

    def _column_range(self, parameters: Sequence[TypedValue]) -> tuple[InterfaceObject, ...]:
        first, last = _integer(parameters[2]), _integer(parameters[3])
        return self.columns[max(0, first - 1) : last or None]


@dataclass(frozen=True)
class EventLog(ProfileGeneric):
    """An event log: a row for each event, at irregular times."""

    def _capture_period(self, reading: Reading) -> int:
        return 0

    def row_times(self, reading: Reading) -> Sequence[int]:
        """When the events now in memory happened: one in each stretch of `_EVENT_SPACING`, somewhere in it."""
        newest = int(reading.at // _EVENT_SPACING)
        oldest = max(newest - reading.config.profile_entries, -(-int(ORIGIN) // _EVENT_SPACING))
        seed = reading.config.chance_seed
        times = (int((slot + fraction(seed, _EVENT_CHANNEL, slot)) * _EVENT_SPACING) for slot in range(oldest, newest + 1))
        return [at for at in times if at <= reading.at]


def event_code(reading: Reading) -> TypedValue:
    """The code of the event that happened at the time of reading, 1 to 6."""
    return unsigned(1 + int(6 * fraction(reading.config.chance_seed, _EVENT_CHANNEL, int(reading.at))))


def profile_status(reading: Reading) -> TypedValue:
    """The status word of a row: 0x08 daylight saving, 0x80 the power failed in its interval."""
    failed = any(power_failed(reading, reading.at - back) for back in range(0, reading.config.capture_period, 60))
    daylight = 0x08 if reading.local(reading.at).dst() else 0
    return unsigned(daylight | (0x80 if failed else 0))


def _capture_object(column: InterfaceObject) -> TypedValue:
    return structure(long_unsigned(column.class_id), octet_string(column.logical_name), integer(2), long_unsigned(0))


def _check_access(selection: Selection, reading: Reading) -> None:
    manner = reading.behaviour.profile_access
    if manner == "whole" or (manner == "by-entry" and selection.selector == _BY_RANGE):
        raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED)


def power_failed(reading: Reading, at: float) -> bool:
    """Whether the meter was without power at a time."""
    period, length = reading.behaviour.power_fail_period, reading.behaviour.power_fail_length
    return period > 0 and at % period < length


def _disordered(times: Sequence[int], duplicated: int, swapped: int) -> Sequence[int]:
    """The rows as a confused meter sends them: some twice, some in the wrong order."""
    if not (duplicated or swapped):
        return times
    result = list(times)
    for place in range(swapped, len(result), swapped) if swapped else ():
        result[place - 1], result[place] = result[place], result[place - 1]
    for place in reversed(range(0, len(result), duplicated) if duplicated else ()):
        result.insert(place, result[place])
    return result


def _by_range(times: Sequence[int], reading: Reading, parameters: Sequence[TypedValue]) -> Sequence[int]:
    """The times within from_value and to_value, both included unless the meter thinks otherwise."""
    start, end = _time(parameters[1], reading), _time(parameters[2], reading)
    if reading.behaviour.clock_lost_period:
        return [at for at in times if start <= at + reading.behaviour.clock_error(at) <= end]
    start, end = start - reading.behaviour.clock_offset, end - reading.behaviour.clock_offset
    first = (bisect_right if reading.behaviour.start_excluded else bisect_left)(times, start)
    last = (bisect_left if reading.behaviour.end_excluded else bisect_right)(times, end)
    return times[first:last]


def _by_entry(times: Sequence[int], parameters: Sequence[TypedValue], newest_first: bool) -> Sequence[int]:
    """The times of from_entry to to_entry, counted from 1 in the order of the buffer, both included; to_entry 0 means the last."""
    first, last = _integer(parameters[0]), _integer(parameters[1]) or len(times)
    if newest_first:
        first, last = len(times) - last + 1, len(times) - first + 1
    return times[max(0, first - 1) : max(0, last)]


def _integer(parameter: TypedValue) -> int:
    if not isinstance(parameter.value, int):
        raise AccessError(AccessResult.TYPE_UNMATCHED)
    return parameter.value


def _time(parameter: TypedValue, reading: Reading) -> float:
    """A date-time as the meter's clock shows it, as Unix seconds."""
    if not isinstance(parameter.value, bytes):
        raise AccessError(AccessResult.TYPE_UNMATCHED)
    try:
        return decode_date_time(parameter.value, reading.zone)
    except (ValueError, OverflowError):
        raise AccessError(AccessResult.TYPE_UNMATCHED) from None


def _compacted(rows: Sequence[tuple[TypedValue, ...]], values: bool) -> list[tuple[TypedValue, ...]]:
    compacted = list(rows[:1])
    for position in range(1, len(rows)):
        before, row = rows[position - 1], rows[position]
        compacted.append((NULL, *(NULL if values and value == old else value for value, old in zip(row[1:], before[1:], strict=True))))
    return compacted
