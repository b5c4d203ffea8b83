"""From buffers to intervals: any legal encoding of the same rows gives the same intervals, clock changes and oddities included."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.dlms.cosem import CosemError
from connectors.dlms.events import CosemData
from connectors.dlms.profile.row_times import _plain_times, _read, _sensible
from connectors.dlms.profile.rows import Buffer, arrange, decode_pieces
from model.settings.profile import ProfileSettings
from tests.unit.profile_buffers import CLOCK, ENERGY, QUARTER, array, compact_array, date_time, shape, utc

ZONES = ("UTC", "Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
AUTUMN, SPRING = utc(2026, 10, 25, 1), utc(2026, 3, 29, 1)
"""When the clocks change in Europe."""


def read(
    data: bytes, newest_first: bool = False, period: timedelta = QUARTER, before: datetime | None = None, **described: object
) -> Buffer:
    """The intervals of an encoded buffer."""
    profile = ProfileSettings.model_validate({"obis": "1-0:99.1.0", **described})
    rows = [row for piece in decode_pieces(data) for row in piece]
    return arrange(rows, shape(period=period, newest_first=newest_first), profile, before)


def plain(buffer: Buffer) -> list[tuple[datetime, object, object]]:
    """Time and values of each row."""
    return [(row.at, row.values[1], row.values[2]) for row in buffer.rows]


@st.composite
def rows_of_a_meter(draw: st.DrawFn) -> list[tuple[datetime, int, int]]:
    start = draw(st.sampled_from([AUTUMN, SPRING, utc(2026, 1, 1)])) - QUARTER * draw(st.integers(0, 20))
    count = draw(st.integers(1, 40))
    values = draw(st.lists(st.integers(0, 3), min_size=2 * count, max_size=2 * count))
    return [(start + n * QUARTER, values[2 * n], values[2 * n + 1]) for n in range(count)]


@settings(max_examples=150, deadline=None)
@given(
    rows=rows_of_a_meter(),
    zone=st.sampled_from(ZONES),
    deviation=st.sampled_from(["normal", "inverted", "none", "nonsense"]),
    newest_first=st.booleans(),
    encoding=st.sampled_from(["array", "compact", "null times", "null values"]),
    seed=st.integers(0, 5),
)
def test_any_encoding_of_the_same_rows_gives_the_same_intervals(
    rows: list[tuple[datetime, int, int]], zone: str, deviation: str, newest_first: bool, encoding: str, seed: int
) -> None:
    written = {"nonsense": "inverted"}.get(deviation, deviation)
    sent: list[list[object]] = [[date_time(at, zone, written), energy, power] for at, energy, power in rows]
    if newest_first:
        sent.reverse()
    if encoding in ("null times", "null values"):
        whole = [list(row) for row in sent]
        for n in range(1, len(sent)):
            sent[n][0] = None
            if encoding == "null values":
                sent[n][1:] = [None if new == old else new for new, old in zip(whole[n][1:], whole[n - 1][1:], strict=True)]
    data = compact_array(sent) if encoding == "compact" else array(sent)
    describe: dict[str, object] = {"deviation": {"nonsense": "ignore", "none": "normal"}.get(deviation, deviation)}
    if deviation in ("none", "nonsense"):
        describe["time_zone"] = zone
    if encoding == "null times":
        describe["nulls"] = "absent"
    assert plain(read(data, newest_first, **describe)) == rows


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("period", [timedelta(minutes=15), timedelta(minutes=30), timedelta(hours=1)])
def test_the_hour_that_comes_twice_is_told_apart_by_the_order_of_rows(newest_first: bool, period: timedelta) -> None:
    """A clock that knows no deviation and never sets its daylight saving bit."""
    rows = [(AUTUMN + n * period, n, 0) for n in range(-8, 9)]
    sent: list[list[object]] = [[date_time(at, "Europe/Madrid", "none", status=False), energy % 100, power] for at, energy, power in rows]
    data = array(list(reversed(sent)) if newest_first else sent)
    buffer = read(data, newest_first, period, time_zone="Europe/Madrid")
    assert [row.at for row in buffer.rows] == [at for at, _, _ in rows]


@pytest.mark.parametrize("first", range(8))
def test_a_buffer_that_begins_in_the_hour_that_comes_twice_goes_on_from_what_was_read_before(first: int) -> None:
    rows = [AUTUMN - timedelta(hours=1) + n * QUARTER for n in range(first, 12)]
    data = array([[date_time(at, "Europe/Madrid", "none", status=False), 1, 1] for at in rows])
    buffer = read(data, before=rows[0] - QUARTER, time_zone="Europe/Madrid")
    assert [row.at for row in buffer.rows] == rows


def test_the_daylight_saving_bit_tells_without_any_other_row() -> None:
    for at in (utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 1, 30)):
        (row,) = read(array([[date_time(at, "Europe/Madrid", "none"), 1, 1]]), time_zone="Europe/Madrid").rows
        assert row.at == at


def test_without_deviation_and_time_zone_rows_are_left_out_with_the_remedy() -> None:
    buffer = read(array([[date_time(AUTUMN, "UTC", "none"), 1, 1]]))
    assert buffer.rows == ()
    assert "1 rows left out" in buffer.faults[0] and "set time_zone" in buffer.faults[0]


def test_duplicates_and_reordered_rows() -> None:
    start = utc(2026, 1, 1)
    order = [2, 0, 1, 1, 4, 3, 0]
    data = array([[date_time(start + n * QUARTER), n, place] for place, n in enumerate(order)])
    assert plain(read(data)) == [(start, 0, 6), (start + QUARTER, 1, 3), *((start + n * QUARTER, n, order.index(n)) for n in (2, 3, 4))]


def test_rows_off_the_grid_keep_their_time() -> None:
    times = [utc(2026, 1, 1, 0, 0), utc(2026, 1, 1, 0, 7, 13), utc(2026, 1, 1, 0, 15)]
    assert [row.at for row in read(array([[date_time(at), 1, 1] for at in times])).rows] == times


def test_rows_of_another_width_cost_no_other_row() -> None:
    good, start = [date_time(utc(2026, 1, 1)), 1, 2], utc(2026, 1, 1)
    buffer = read(array([good[:2], good, [*good, 3]]))
    assert plain(buffer) == [(start, 1, 2)]
    assert buffer.faults == ("2 rows do not have the 3 columns that are captured",)


@pytest.mark.parametrize(
    ("stamp", "why"),
    [
        (None, "no timestamp, and none is before it"),
        (b"\xff" * 12, "is not complete"),
        (b"\x00" * 12, "is not complete"),
        (b"short", "is no time"),
        (date_time(utc(2026, 1, 1)).replace(b"\x07\xea", b"\x07\xb2"), "never set"),
    ],
)
def test_a_row_without_a_usable_time_is_reported(stamp: object, why: str) -> None:
    buffer = read(array([[stamp, 1, 1], [date_time(utc(2026, 1, 1)), 2, 2]]))
    assert plain(buffer) == [(utc(2026, 1, 1), 2, 2)]
    assert why in buffer.faults[0]


def test_a_clock_of_unix_time() -> None:
    buffer = read(array([[1_767_225_600, 1, 1]]))
    assert buffer.rows[0].at == utc(2026, 1, 1)


def test_null_values_are_absent_where_timestamps_are_there() -> None:
    start = utc(2026, 1, 1)
    data = array([[date_time(start), 5, 5], [date_time(start + QUARTER), None, 6]])
    assert plain(read(data))[1] == (start + QUARTER, None, 6)
    assert plain(read(data, nulls="repeat"))[1] == (start + QUARTER, 5, 6)


def test_events_of_one_second_are_set_apart_and_repeats_are_not() -> None:
    at = utc(2026, 1, 1)
    buffer = read(array([[date_time(at), 1, 1], [date_time(at), 2, 1], [date_time(at), 1, 1]]), period=timedelta())
    assert plain(buffer) == [(at, 1, 1), (at + timedelta(milliseconds=1), 2, 1)]


def test_an_empty_buffer_in_each_form() -> None:
    for data in (b"\x01\x00", b"\x00", b"\x13\x02\x03\x09\x06\x06\x00"):
        assert read(data).rows == ()


def test_what_is_no_buffer_raises() -> None:
    for data in (b"", b"\x06\x00\x00\x00\x01", b"\x01\x03\x02\x01\x00", b"\x01\x84\xff\xff\xff\xff"):
        with pytest.raises(CosemError):
            read(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_do_more_harm_than_an_error(data: bytes) -> None:
    try:
        buffer = read(b"\x01" + data)
    except CosemError:
        return
    assert all(len(row.values) == 3 for row in buffer.rows)


def test_pieces_are_small_and_together_everything() -> None:
    rows = [[date_time(utc(2026, 1, 1) + n * QUARTER), n, n if n % 2 else None] for n in range(1234)]
    pieces = list(decode_pieces(array(rows)))
    assert [len(piece) for piece in pieces] == [100] * 12 + [34]
    assert len(read(array(rows)).rows) == 1234
    assert (CLOCK.is_clock, ENERGY.is_clock) == (True, False)


@settings(max_examples=300, deadline=None)
@given(
    days=st.lists(st.binary(min_size=12, max_size=12) | st.just(date_time(AUTUMN, "Europe/Madrid", "normal")), min_size=1, max_size=3),
    times=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 26), st.integers(0, 62), st.sampled_from([0, 59, 60, 255])), max_size=8),
    deviation=st.sampled_from(["normal", "inverted", "ignore"]),
    zone=st.sampled_from([None, "Europe/Madrid"]),
)
def test_days_worked_out_once_give_the_times_that_each_stamp_gives_by_itself(
    days: list[bytes], times: list[tuple[int, int, int, int]], deviation: str, zone: str | None
) -> None:
    described = {"obis": "1-0:99.1.0", "deviation": deviation, **({} if zone is None else {"time_zone": zone})}
    if deviation == "ignore" and zone is None:
        return
    profile = ProfileSettings.model_validate(described)
    stamps: list[CosemData] = []
    for day, hour, minute, second in times:
        raw = days[day % len(days)]
        stamps.append(raw[:5] + bytes((hour, minute, second)) + raw[8:])
    together = _plain_times(stamps, profile)
    if together is not None:
        assert together == [_sensible(_read(stamp, profile)) for stamp in stamps]  # type: ignore[arg-type]
