"""Columns and their keys, what they become in cycles, how ranges are written, and the file of recalled intervals."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from connectors.dlms.cosem import CosemError
from connectors.dlms.profile.capture import Column, capture_objects, name_columns, possible_keys
from connectors.dlms.profile.intervals import interval_cycles
from connectors.dlms.profile.recalls import Recalls
from connectors.dlms.profile.rows import Row
from connectors.dlms.profile.selection import Range, by_entry, by_range, widened
from model.messages import ErrorKind, Outcome, ReadError
from model.settings.profile import ProfileSettings
from model.settings.template import ReadSettings
from tests.unit.profile_buffers import CLOCK, ENERGY, POWER, STATUS, shape, utc

T0 = utc(2026, 1, 1, 0, 15)
READS = {"energy": ReadSettings.model_validate("1-0:1.8.0"), "peak": ReadSettings.model_validate({"obis": "1-0:1.6.0", "class": 4})}


def profile(**described: object) -> ProfileSettings:
    return ProfileSettings.model_validate({"obis": "1-0:99.1.0", **described})


def test_capture_objects_with_and_without_data_index() -> None:
    assert capture_objects([[8, CLOCK.logical_name, 2, 0], [3, ENERGY.logical_name, 2]]) == (CLOCK, ENERGY)
    for data in (None, [], 5, [[3, b"short", 2, 0]], [["3", ENERGY.logical_name, 2, 0]], [[3]]):
        with pytest.raises(CosemError):
            capture_objects(data)  # type: ignore[arg-type]


def test_keys_are_given_or_those_of_read_or_obis_codes() -> None:
    peak_time = Column(4, bytes([1, 0, 1, 6, 0, 255]), 5)
    element = Column(3, POWER.logical_name, 2, 3)
    columns = (CLOCK, STATUS, ENERGY, POWER, peak_time, element)
    named = name_columns(columns, profile(status={"key": "quality"}), READS)
    assert named.keys == (None, "quality", "energy", "1.0.1.7.0.255", "1.0.1.6.0.255@5", "1.0.1.7.0.255[3]")
    assert named.status == 1
    keys = {"1-0:1.8.0": "counter", "1-0:1.7.0": None, "1-0:1.6.0@5": "peak_at", "0-0:1.0.0": "time"}
    given = name_columns(columns, profile(keys=keys), READS)
    assert given.keys == ("time", "0.0.96.10.1.255", "counter", None, "peak_at", None)
    assert given.status is None


def test_possible_keys_are_known_before_the_meter_is_asked() -> None:
    assert possible_keys(profile(keys={"1-0:1.8.0": "counter", "1-0:1.7.0": None}), READS) == ["counter"]
    assert possible_keys(profile(), READS) == ["energy", "peak"]


def cycles(row: tuple[object, ...], **described: object) -> dict[str, object]:
    columns = (CLOCK, STATUS, ENERGY)
    settings = profile(**described)
    (cycle,) = interval_cycles("m", [Row(T0, row)], shape(columns), name_columns(columns, settings, READS), settings, T0)  # type: ignore[arg-type]
    return {raw.key: raw.value for raw in cycle.values}


@pytest.mark.parametrize(
    ("word", "status", "expected"),
    [
        (0x88, {"bits": {3: "dst", 7: "power-down"}}, {"profile_status": 0x88, "profile_flags": "dst,power-down"}),
        (0x02, {"bits": {3: "dst"}}, {"profile_status": 2, "profile_flags": "bit 1"}),
        (0, {"bits": {3: "dst"}}, {"profile_status": 0, "profile_flags": "ok"}),
        ("01000000", {"bits": {1: "clock-set"}}, {"profile_status": "01000000", "profile_flags": "clock-set"}),
        (b"\x00\x80", {"bits": {7: "power-down"}}, {"profile_status": 128, "profile_flags": "power-down"}),
        (3, {"values": {3: "estimated"}}, {"profile_status": 3, "profile_flags": "estimated"}),
        (4, {"values": {3: "estimated"}}, {"profile_status": 4, "profile_flags": "code 4"}),
        (4, {}, {"profile_status": 4}),
        (None, {"bits": {1: "x"}}, {}),
    ],
)
def test_the_status_word_travels_along_and_is_translated(word: object, status: dict[str, object], expected: dict[str, object]) -> None:
    assert cycles((b"", word, 7), status=status) == {**expected, "energy": 7}


def test_event_codes_get_their_text_where_the_table_knows_it() -> None:
    assert cycles((b"", 3, 7), events={3: "cover opened"}, keys={"0-0:96.10.1": "event"}) == {
        "event": 3,
        "event_text": "cover opened",
        "energy": 7,
    }


def test_a_row_without_values_gives_no_cycle_and_errors_make_it_partial() -> None:
    columns = (CLOCK, ENERGY)
    named = name_columns(columns, profile(), READS)
    assert list(interval_cycles("m", [Row(T0, (b"", None))], shape(columns), named, profile(), T0)) == []
    error = ReadError("power", ErrorKind.ACCESS, "no scaler")
    (cycle,) = interval_cycles("m", [Row(T0, (b"", 5))], shape(columns), named, profile(), T0, (error,))
    assert (cycle.outcome, cycle.errors, cycle.values[0].scaler, cycle.values[0].unit) == (Outcome.PARTIAL, (error,), 0, 30)


def test_a_range_in_utc_as_captured_bytes_show_it() -> None:
    asked = Range(utc(2026, 11, 23, 11, 20), utc(2026, 11, 24, 12, 20))
    assert by_range(CLOCK, asked, profile()).hex(" ") == (
        "01 02 04 02 04 12 00 08 09 06 00 00 01 00 00 ff 0f 02 12 00 00"
        " 09 0c 07 ea 0b 17 01 0b 14 00 00 00 00 00 09 0c 07 ea 0b 18 02 0c 14 00 00 00 00 00 01 00"
    )


@pytest.mark.parametrize(
    ("described", "written"),
    [
        ({"time_zone": "Europe/Madrid"}, "07 ea 07 01 03 02 00 00 00 ff 88 80"),
        ({"time_zone": "Europe/Madrid", "deviation": "inverted"}, "07 ea 07 01 03 02 00 00 00 00 78 80"),
        ({"time_zone": "Europe/Madrid", "deviation": "ignore"}, "07 ea 07 01 03 02 00 00 00 80 00 80"),
    ],
)
def test_limits_are_written_as_the_meter_reads_them(described: dict[str, object], written: str) -> None:
    moment = utc(2026, 7, 1)
    assert written in by_range(CLOCK, Range(moment, moment), profile(**described)).hex(" ")


def test_entries_are_numbers_of_four_bytes() -> None:
    assert by_entry(1, 3).hex(" ") == "02 02 04 06 00 00 00 01 06 00 00 00 03 12 00 01 12 00 00"


def test_limits_are_rounded_outwards() -> None:
    asked = Range(utc(2026, 1, 1, 10, 20, 30), utc(2026, 1, 1, 11, 0, 1))
    assert widened(asked, profile(whole_hours=True)) == Range(utc(2026, 1, 1, 10), utc(2026, 1, 1, 12))
    whole = Range(utc(2026, 1, 1, 10), utc(2026, 1, 1, 11))
    assert widened(whole, profile(whole_hours=True)) == whole
    local = profile(deviation="ignore", time_zone="Europe/Madrid")
    twice = utc(2026, 10, 25, 1, 15)
    assert widened(Range(twice, twice), local) == Range(twice - timedelta(hours=1), twice + timedelta(hours=1))


def test_recalled_intervals_are_told_once_per_run_and_kept_for_the_next(tmp_path: Path) -> None:
    recalls = Recalls(tmp_path / "state" / "recalls.sqlite")
    ask = recalls.asker("m")
    assert list(ask()) == []
    wanted = [datetime.fromtimestamp(900 * n, T0.tzinfo) for n in range(3)]
    recalls.note("m", wanted)
    recalls.note("other", wanted[:1])
    assert list(ask()) == wanted
    assert list(ask()) == []
    assert list(recalls.asker("m")()) == wanted


def test_a_damaged_file_of_recalls_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "recalls.sqlite").write_bytes(b"not a database" * 100)
    assert list(Recalls(tmp_path / "recalls.sqlite").asker("m")()) == []
