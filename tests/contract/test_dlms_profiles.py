"""Load profiles and event logs of virtual meters, read over real sockets: cell by cell what the meter holds, whatever it does wrong."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from model.messages import Cycle, GapState, Origin
from model.timestamps import to_ms
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.sim_url import parse_sim_url
from tests.contract.cutting_relay import CuttingRelay
from tests.contract.profiled_meter import Taken, cells, meter_settings, read_profile

FULL = {"obis": "1-0:99.2.0", "status": {"bits": {3: "daylight-saving", 7: "power-failure"}}}
QUARTER = timedelta(minutes=15)


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def start(meters: BackgroundMeters, query: str = "", behaviour: Behaviour | None = None, **settings: object) -> tuple[Any, str]:
    """A virtual meter, as settings and as address."""
    meter = meter_settings(connect=f"sim://three-phase{query}", **settings)
    config, described = parse_sim_url(meter.connect, meter)
    return meter, meters.start(config, behaviour or described)


def buffer_of(meters: BackgroundMeters, obis: str, since: datetime, until: datetime) -> dict[datetime, tuple[object, ...]]:
    """What the meter holds, column by column, without the clock."""
    device = meters.meter("m").device
    columns = [bytes(item[1]) for item in device.truth(obis, 3)]
    item = next(item for item in device.objects if item.logical_name == _name(obis))
    from simulator.meter.interface_class import Reading

    times = item.row_times(Reading(device, until.timestamp()))
    held = {}
    for at in times:
        moment = datetime.fromtimestamp(at, timezone.utc)
        if since <= moment <= until:
            held[moment] = tuple(device.truth(column, 2, at) for column in columns[1:])
    return held


def _name(obis: str) -> bytes:
    from model.obis import parse_logical_name

    return parse_logical_name(obis)


def rows_of(taken: Taken) -> dict[datetime, tuple[object, ...]]:
    """What was read, in the order of the columns; the flags, which are ours, left out."""
    assert len({cycle.started for cycle in taken.cycles}) == len(taken.cycles), "an interval came twice"
    return {cycle.started: tuple(raw.value for raw in cycle.values if not raw.key.endswith(("_flags", "_text"))) for cycle in taken.cycles}


def equal_to_the_meter(meters: BackgroundMeters, taken: Taken, obis: str, least: int) -> None:
    """The meter's buffer and what was read are the same, cell by cell; a row captured meanwhile may be in one of them only."""
    mine = rows_of(taken)
    assert len(mine) >= least
    assert mine == buffer_of(meters, obis, min(mine), max(mine))


def test_thirty_days_of_eight_columns_equal_the_meters_buffer(meters: BackgroundMeters) -> None:
    meter, address = start(meters)
    taken = read_profile(meter, address, {**FULL, "horizon": "30d"}, {"energy": "1-0:1.8.0"})
    equal_to_the_meter(meters, taken, "1-0:99.2.0", 30 * 96)
    first = taken.cycles[0]
    assert [raw.key for raw in first.values][:4] == ["profile_status", "profile_flags", "energy", "1.0.2.8.0.255"]
    assert {raw.key: (raw.scaler, raw.unit) for raw in first.values}["1.0.32.7.0.255"] == (-2, 35)
    assert (first.origin, first.duration, first.due) == (Origin.PROFILE, 0.0, first.started)
    assert first.received is not None and first.received > first.started
    assert taken.gaps == []


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ("?start_excluded=true", {}),
        ("?end_excluded=true", {}),
        ("?start_excluded=true&end_excluded=true", {}),
        ("", {"whole_hours": True}),
        ("?compact_profile=true", {}),
        ("?compact_profile=true&profile_nulls=timestamps", {"nulls": "absent"}),
        ("?newest_first=true", {}),
        ("?newest_first=true&compact_profile=true", {}),
        ("?duplicated_rows=7", {}),
        ("?swapped_rows=5", {}),
        ("?profile_access=by-entry", {}),
        ("?profile_access=by-entry&newest_first=true", {}),
        ("?profile_access=whole&profile_entries=400", {}),
        ("?time_zone=Europe/Madrid", {}),
        ("?time_zone=Europe/Madrid&inverted_deviation=true", {"deviation": "inverted"}),
        ("?time_zone=Europe/Madrid&no_deviation=true", {"time_zone": "Europe/Madrid"}),
        ("?time_zone=Europe/Madrid&inverted_deviation=true&compact_profile=true", {"deviation": "ignore", "time_zone": "Europe/Madrid"}),
        ("?time_zone=America/New_York&no_deviation=true&profile_access=by-entry", {"deviation": "ignore", "time_zone": "America/New_York"}),
        ("?clock_offset=-7000", {}),
        ("?capture_period=3600", {}),
    ],
)
@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
def test_every_manner_of_a_meter_gives_the_same_intervals(
    meters: BackgroundMeters, query: str, settings: dict[str, object], framing: str
) -> None:
    meter, address = start(meters, query, framing=framing)
    taken = read_profile(meter, address, {**FULL, "horizon": "4d", **settings})
    if "clock_offset" in query:
        taken.cycles = [_shifted(cycle, 7000) for cycle in taken.cycles]
    least = 4 * 24 - 4 if "3600" in query else 4 * 96 - 10
    equal_to_the_meter(meters, taken, "1-0:99.2.0", least)
    assert taken.gaps == []


def _shifted(cycle: Cycle, seconds: float) -> Cycle:
    from dataclasses import replace

    return replace(cycle, started=cycle.started + timedelta(seconds=seconds))


def test_profiles_are_read_by_short_names_too(meters: BackgroundMeters) -> None:
    meter, address = start(meters, referencing="short")
    taken = read_profile(meter, address, {**FULL, "horizon": "4d"})
    equal_to_the_meter(meters, taken, "1-0:99.2.0", 4 * 96 - 10)


@pytest.mark.parametrize("query", ["", "?profile_access=by-entry"])
def test_ten_cuts_lose_and_double_nothing(meters: BackgroundMeters, query: str) -> None:
    meter, address = start(meters, query)
    with CuttingRelay(address, after=9_000, cuts=10) as relay:
        taken = read_profile(meter, relay.address, {**FULL, "horizon": "30d", "chunk": "2d"})
        assert relay.left == 0
    assert len(taken.faults) >= 10
    equal_to_the_meter(meters, taken, "1-0:99.2.0", 30 * 96)


def test_a_restart_goes_on_from_the_state_that_was_handed_over_last(meters: BackgroundMeters) -> None:
    meter, address = start(meters)

    class Killed(Exception):
        pass

    def killer(at: int) -> Any:
        def between(step: int) -> None:
            if step == at:
                raise Killed

        return between

    both = Taken()
    state: dict[str, Any] | None = None
    for at in (6, 9, 12, 10_000):
        part = Taken()
        with contextlib.suppress(Killed):
            read_profile(meter, address, {**FULL, "horizon": "30d"}, state=state, between=killer(at), into=part)
        both.cycles += part.cycles
        state = part.state
    equal_to_the_meter(meters, both, "1-0:99.2.0", 30 * 96)


def test_power_failures_are_gaps_that_are_asked_for_again_and_then_lost(meters: BackgroundMeters) -> None:
    meter, address = start(meters, "?power_fail_period=172800&power_fail_length=10800")
    taken = read_profile(meter, address, {**FULL, "horizon": "5d"}, rounds=3)
    equal_to_the_meter(meters, taken, "1-0:99.2.0", 4 * 96 - 40)
    lost = [gap for gap in taken.gaps if gap.state is GapState.LOST]
    opened = [gap for gap in taken.gaps if gap.state is GapState.OPEN]
    assert {gap.start for gap in lost} == {gap.start for gap in opened} and len(lost) in (2, 3)
    for gap in lost:
        assert (gap.intervals, gap.end - gap.start, to_ms(gap.start) % 172_800_000) == (12, 11 * QUARTER, 0)
        assert "answered 2 requests" in gap.reason
    after = cells(taken.cycles)[lost[0].end + QUARTER]
    assert after["profile_flags"] == "power-failure"
    assert taken.state is not None and taken.state["lost"] == 12 * len(lost) and taken.state["gaps"] == []


def test_what_a_short_memory_no_longer_holds_is_lost_with_the_reason(meters: BackgroundMeters) -> None:
    meter, address = start(meters, "?profile_entries=200")
    before = datetime.now(timezone.utc) - timedelta(days=20)
    known = {"last": to_ms(before) // 900_000 * 900_000, "gaps": [], "period": 900.0, "phase": 0.0, "read": 1, "lost": 0}
    taken = read_profile(meter, address, {**FULL}, state=known, rounds=3)
    equal_to_the_meter(meters, taken, "1-0:99.2.0", 195)
    (lost,) = [gap for gap in taken.gaps if gap.state is GapState.LOST]
    assert "memory begins at" in lost.reason
    assert lost.end + QUARTER == min(rows_of(taken))
    assert to_ms(lost.start) == known["last"] + 900_000  # type: ignore[operator]


def test_a_meter_that_stopped_recording_has_an_open_gap_until_it_goes_on(meters: BackgroundMeters) -> None:
    meter, address = start(meters)
    behaviour = meters.meter("m").device.behaviour
    behaviour.power_fail_period = float((time.time() - 2 * 86400) // 900 * 900)
    behaviour.power_fail_length = 1e6  # the power failed two days ago, and has not come back
    first = read_profile(meter, address, {**FULL, "horizon": "4d"}, rounds=2)
    stalled = [gap for gap in first.gaps if gap.state is GapState.OPEN][-1]
    assert to_ms(stalled.start) == 1000 * behaviour.power_fail_period
    assert stalled.intervals in (192, 193) and "recorded nothing since" in stalled.reason
    behaviour.power_fail_period = 0.0
    second = read_profile(meter, address, {**FULL}, state=first.state)
    told = [(gap.start, gap.state) for gap in second.gaps]
    assert told == [(stalled.start, GapState.OPEN), (stalled.start, GapState.CLOSED)]  # what was open is told again after a start
    first.cycles += second.cycles
    equal_to_the_meter(meters, first, "1-0:99.2.0", 4 * 96)


def test_an_event_log_gives_codes_and_texts(meters: BackgroundMeters) -> None:
    meter, address = start(meters)
    log = {"obis": "0-0:99.98.0", "horizon": "30d", "events": {1: "power up", 2: "power down"}, "keys": {"0-0:96.11.0": "event"}}
    taken = read_profile(meter, address, log, rounds=2)
    equal_to_the_meter(meters, taken, "0-0:99.98.0", 100)
    for cycle in taken.cycles:
        values = {raw.key: raw.value for raw in cycle.values}
        assert values.get("event_text") == {1: "power up", 2: "power down"}.get(values["event"])  # type: ignore[call-overload]


def test_a_profile_that_the_client_may_not_read_is_reported_once(meters: BackgroundMeters) -> None:
    meter, address = start(meters, behaviour=Behaviour(denied=frozenset([bytes((1, 0, 99, 2, 0, 255))])))
    taken = read_profile(meter, address, {**FULL}, rounds=3)
    (failed,) = taken.cycles
    assert failed.errors[0].detail == "profile 1-0:99.2.0: the capture objects cannot be read: read-write-denied"


def test_columns_without_a_readable_scaler_are_left_out_and_named(meters: BackgroundMeters) -> None:
    meter, address = start(meters, behaviour=Behaviour(denied=frozenset([bytes((1, 0, 14, 7, 0, 255))])))
    taken = read_profile(meter, address, {**FULL, "horizon": "1d"})
    assert {raw.key for raw in taken.cycles[0].values} == {
        "profile_status",
        "profile_flags",
        "1.0.1.8.0.255",
        "1.0.2.8.0.255",
        "1.0.1.7.0.255",
        "1.0.32.7.0.255",
        "1.0.31.7.0.255",
        "1.0.13.7.0.255",
    }
    assert [error.key for error in taken.cycles[0].errors] == ["1.0.14.7.0.255"]
