"""Profile Generic, class 7: the load profile, whose rows are computed when they are asked for."""

from __future__ import annotations

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
)
from simulator.meter.config import ORIGIN
from simulator.meter.date_time import decode_date_time
from simulator.meter.interface_class import InterfaceObject, Reading
from simulator.meter.xdlms import AccessError, AccessResult, Selection

_BY_RANGE, _BY_ENTRY = 1, 2
_FIRST_IN_FIRST_OUT = 1


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
        period = reading.config.capture_period
        if index == 2:
            return self._buffer(reading, selection)
        if index == 3:
            return array([_capture_object(column) for column in self.columns])
        if index == 4:
            return double_long_unsigned(period)
        if index == 5:
            return enum(_FIRST_IN_FIRST_OUT)
        if index == 6:
            return _capture_object(self.columns[0])
        if index == 7:
            return double_long_unsigned(len(self.row_times(reading)))
        return double_long_unsigned(reading.config.profile_entries)

    def row_times(self, reading: Reading) -> range:
        """When the rows now in memory were captured, Unix seconds."""
        period = reading.config.capture_period
        newest = int(reading.at // period * period)
        oldest = max(newest - (reading.config.profile_entries - 1) * period, -(-int(ORIGIN) // period) * period)
        return range(oldest, newest + 1, period)

    def _buffer(self, reading: Reading, selection: Selection | None) -> TypedValue:
        times, columns = self.row_times(reading), self.columns
        if selection is not None:
            times, columns = self._select(times, reading, selection)
        rows = [tuple(column.attribute(2, Reading(reading.device, at)) for column in columns) for at in times]
        if reading.behaviour.compact_profile:
            rows = _compacted(rows)
        return array([structure(*row) for row in rows])

    def _select(self, times: range, reading: Reading, selection: Selection) -> tuple[range, tuple[InterfaceObject, ...]]:
        parameters = selection.parameters.value
        if selection.parameters.tag != Tag.STRUCTURE or len(parameters) != 4:
            raise AccessError(AccessResult.TYPE_UNMATCHED)
        if selection.selector == _BY_RANGE:
            return _by_range(times, reading, parameters), self._selected_columns(parameters[3])
        return _by_entry(times, parameters), self._column_range(parameters)

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


def _capture_object(column: InterfaceObject) -> TypedValue:
    return structure(long_unsigned(column.class_id), octet_string(column.logical_name), integer(2), long_unsigned(0))


def _by_range(times: range, reading: Reading, parameters: Sequence[TypedValue]) -> range:
    """The times within from_value and to_value, both included."""
    start = _time(parameters[1], reading)
    end = _time(parameters[2], reading)
    first = -(-int(start - times.start) // times.step)
    if reading.behaviour.start_excluded and first * times.step == start - times.start:
        first += 1
    last = int((end - times.start) // times.step)
    return times[max(0, first) : max(0, last + 1)]


def _by_entry(times: range, parameters: Sequence[TypedValue]) -> range:
    """The times of from_entry to to_entry, counted from 1, both included; to_entry 0 means the newest."""
    first, last = _integer(parameters[0]), _integer(parameters[1])
    return times[max(0, first - 1) : last or None]


def _integer(parameter: TypedValue) -> int:
    if not isinstance(parameter.value, int):
        raise AccessError(AccessResult.TYPE_UNMATCHED)
    return parameter.value


def _time(parameter: TypedValue, reading: Reading) -> float:
    """A date-time of the meter's clock as true Unix seconds."""
    if not isinstance(parameter.value, bytes):
        raise AccessError(AccessResult.TYPE_UNMATCHED)
    try:
        return decode_date_time(parameter.value, reading.zone) - reading.behaviour.clock_offset
    except (ValueError, OverflowError):
        raise AccessError(AccessResult.TYPE_UNMATCHED) from None


def _compacted(rows: Sequence[tuple[TypedValue, ...]]) -> list[tuple[TypedValue, ...]]:
    compacted = list(rows[:1])
    for position in range(1, len(rows)):
        before, row = rows[position - 1], rows[position]
        compacted.append((NULL, *(NULL if value == old else value for value, old in zip(row[1:], before[1:], strict=True))))
    return compacted
