from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from simulator.meter.axdr import TypedValue, array, double_long_unsigned, integer, long_unsigned, octet_string, plain, structure, unsigned
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import ORIGIN, MeterConfig
from simulator.meter.date_time import decode_date_time, encode_date_time, zone
from simulator.meter.logical_device import LogicalDevice
from simulator.meter.xdlms import AccessError, AccessResult, AttributeDescriptor, Selection

PROFILE = bytes((1, 0, 99, 1, 0, 255))
CLOCK = bytes((0, 0, 1, 0, 0, 255))
ENERGY = bytes((1, 0, 1, 8, 0, 255))
NOW = datetime(2026, 3, 1, 12, 7, 30, tzinfo=timezone.utc)


def device(behaviour: Behaviour | None = None, **config: Any) -> LogicalDevice:
    return LogicalDevice(MeterConfig("meter", seed=7, **config), behaviour or Behaviour())


def captured(class_id: int, name: bytes) -> TypedValue:
    return structure(long_unsigned(class_id), octet_string(name), integer(2), long_unsigned(0))


def by_range(start: datetime, end: datetime, *columns: TypedValue) -> Selection:
    times = [octet_string(encode_date_time(at)) for at in (start, end)]
    return Selection(1, structure(captured(8, CLOCK), *times, array(columns)))


def by_entry(first: int, last: int, first_column: int = 1, last_column: int = 0) -> Selection:
    entries = double_long_unsigned(first), double_long_unsigned(last)
    return Selection(2, structure(*entries, long_unsigned(first_column), long_unsigned(last_column)))


def rows(meter: LogicalDevice, selection: Selection | None, at: datetime = NOW) -> list[list[Any]]:
    return plain(meter.read(AttributeDescriptor(7, PROFILE, 2, selection), at.timestamp()))


def times(found: list[list[Any]], name: str = "UTC") -> list[datetime]:
    return [datetime.fromtimestamp(decode_date_time(row[0], zone(name)), timezone.utc) for row in found]


def quarter(hour: int, minute: int) -> datetime:
    return NOW.replace(hour=hour, minute=minute, second=0)


def test_both_ends_of_a_range_are_included() -> None:
    found = rows(device(), by_range(quarter(10, 0), quarter(10, 30)))
    assert times(found) == [quarter(10, 0), quarter(10, 15), quarter(10, 30)]


def test_a_range_between_rows_is_rounded_inwards() -> None:
    assert times(rows(device(), by_range(quarter(10, 1), quarter(10, 29)))) == [quarter(10, 15)]
    assert rows(device(), by_range(quarter(10, 1), quarter(10, 2))) == []


def test_the_future_and_the_reverse_are_empty() -> None:
    assert times(rows(device(), by_range(quarter(11, 50), quarter(23, 0)))) == [quarter(12, 0)]
    assert rows(device(), by_range(quarter(13, 0), quarter(14, 0))) == []
    assert rows(device(), by_range(quarter(11, 0), quarter(10, 0))) == []


def test_a_row_holds_what_the_registers_held_then() -> None:
    meter = device()
    (row,) = rows(meter, by_range(quarter(10, 0), quarter(10, 0)))
    names = [bytes(item[1]) for item in meter.truth(PROFILE, 3)]
    assert row[1:] == [meter.truth(name, 2, quarter(10, 0)) for name in names[1:]]
    assert ENERGY in names


def test_energy_rises_from_row_to_row() -> None:
    energy = [row[1] for row in rows(device(), by_range(quarter(0, 0), quarter(12, 0)))]
    assert energy == sorted(energy)
    assert energy[0] < energy[-1]


def test_columns_can_be_chosen_by_object_and_by_position() -> None:
    meter, when = device(), (quarter(10, 0), quarter(10, 0))
    (whole,) = rows(meter, by_range(*when))
    assert rows(meter, by_range(*when, captured(3, ENERGY))) == [[whole[1]]]
    entry = len(range(0, int((quarter(10, 0) - rows_start(meter)).total_seconds()), 900)) + 1
    assert rows(meter, by_entry(entry, entry, 2, 3)) == [whole[1:3]]


def rows_start(meter: LogicalDevice) -> datetime:
    return times(rows(meter, by_entry(1, 1)))[0]


def test_entries_count_from_the_oldest_and_zero_is_the_newest() -> None:
    meter = device(profile_entries=8)
    whole = rows(meter, None)
    assert times(whole) == [quarter(12, 0) - timedelta(minutes=15 * back) for back in range(7, -1, -1)]
    assert rows(meter, by_entry(1, 2)) == whole[:2]
    assert rows(meter, by_entry(7, 0)) == whole[6:]
    assert rows(meter, by_entry(9, 12)) == []
    assert meter.truth(PROFILE, 7, NOW) == meter.truth(PROFILE, 8, NOW) == 8


@pytest.mark.parametrize("period", [15, 60, 900, 3600])
def test_the_capture_period_sets_the_rows(period: int) -> None:
    found = times(rows(device(capture_period=period), by_range(quarter(8, 0), quarter(10, 0))))
    assert len(found) == 7200 // period + 1
    assert device(capture_period=period).truth(PROFILE, 4) == period


def test_history_begins_when_the_meter_was_put_in_place() -> None:
    early = datetime.fromtimestamp(ORIGIN, timezone.utc) + timedelta(minutes=31)
    assert len(rows(device(), None, early)) == 3
    assert rows(device(), None, early - timedelta(days=1)) == []


def test_a_restart_does_not_change_history_and_time_only_adds_to_it() -> None:
    selection = by_range(quarter(6, 0), quarter(9, 0))
    assert rows(device(), selection) == rows(device(), selection, NOW + timedelta(days=1))


def test_both_wall_clock_hours_of_the_autumn_night_are_there() -> None:
    start = datetime(2025, 10, 25, 23, 0, tzinfo=timezone.utc)
    found = rows(device(time_zone="Europe/Madrid"), by_range(start, start + timedelta(hours=3)), start + timedelta(days=1))
    assert times(found, "Europe/Madrid") == [start + timedelta(minutes=15 * number) for number in range(13)]
    wall_clock = [bytes(row[0][5:7]) for row in found]
    assert len(wall_clock) - len(set(wall_clock)) == 4


def test_rows_may_come_compacted() -> None:
    full = rows(device(), by_range(quarter(8, 0), quarter(10, 0)))
    compact = rows(device(Behaviour(compact_profile=True)), by_range(quarter(8, 0), quarter(10, 0)))
    assert compact[0] == full[0]
    assert all(row[0] is None for row in compact[1:])
    restored = [list(full[0])]
    for row in compact[1:]:
        restored.append([old if value is None else value for value, old in zip(row, restored[-1], strict=True)])
    assert [row[1:] for row in restored] == [row[1:] for row in full]


def test_the_start_may_be_left_out() -> None:
    meter = device(Behaviour(start_excluded=True))
    assert times(rows(meter, by_range(quarter(10, 0), quarter(10, 30)))) == [quarter(10, 15), quarter(10, 30)]
    assert times(rows(meter, by_range(quarter(10, 1), quarter(10, 30)))) == [quarter(10, 15), quarter(10, 30)]


def test_a_clock_that_is_off_shifts_what_the_meter_says_and_understands() -> None:
    behaviour = Behaviour(clock_offset=3600.0)
    found = rows(device(behaviour), by_range(quarter(11, 0), quarter(11, 15)))
    assert times(found) == [quarter(11, 0), quarter(11, 15)]
    assert [row[1:] for row in found] == [row[1:] for row in rows(device(), by_range(quarter(10, 0), quarter(10, 15)))]


@pytest.mark.parametrize(
    ("selection", "result"),
    [
        (Selection(3, unsigned(0)), AccessResult.SCOPE_OF_ACCESS_VIOLATED),
        (Selection(1, unsigned(0)), AccessResult.TYPE_UNMATCHED),
        (Selection(1, structure(unsigned(0))), AccessResult.TYPE_UNMATCHED),
        (Selection(1, structure(unsigned(0), unsigned(0), unsigned(0), array([]))), AccessResult.TYPE_UNMATCHED),
        (Selection(1, structure(*[octet_string(bytes(12))] * 3, array([]))), AccessResult.TYPE_UNMATCHED),
        (by_range(NOW, NOW, captured(3, CLOCK)), AccessResult.OBJECT_UNDEFINED),
        (Selection(2, structure(*[octet_string(b"")] * 4)), AccessResult.TYPE_UNMATCHED),
    ],
)
def test_an_impossible_selection_is_refused(selection: Selection, result: AccessResult) -> None:
    with pytest.raises(AccessError) as refusal:
        rows(device(), selection)
    assert refusal.value.result is result


def test_rows_captured_without_the_time_are_dated_from_the_start_of_the_clock() -> None:
    meter = device(Behaviour(clock_lost_period=86400.0, clock_lost_length=1800.0))
    midnight = NOW.replace(hour=0, minute=0, second=0)
    shown = [decode_date_time(row[0], timezone.utc) for row in rows(meter, by_entry(0, 0), midnight + timedelta(hours=1))[-5:]]
    start = datetime(2000, 1, 1, tzinfo=timezone.utc).timestamp()
    quarter = 900.0
    assert shown == [start, start + quarter, *(midnight.timestamp() + number * quarter for number in (2, 3, 4))]
    found = rows(meter, by_range(midnight - timedelta(minutes=15), midnight + timedelta(minutes=30)), NOW)
    assert [decode_date_time(row[0], timezone.utc) for row in found] == [midnight.timestamp() - quarter, midnight.timestamp() + 2 * quarter]
