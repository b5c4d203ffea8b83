"""Missing intervals of load profiles in health reports and alerts, and what profile values mean to the other operators."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from model.messages import Cycle, Gap, GapState, HealthReport, Origin, Outcome, RawValue
from operators.alert_rules import AlertSettings, SubjectAlerts
from operators.health import summary
from operators.health_fleet import FleetWindows
from operators.health_window import MeterWindows, WindowGrid

GRID = WindowGrid(length=60_000, wait=5_000)
T0 = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
QUARTER = timedelta(minutes=15)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def gap(first: int, intervals: int, state: GapState, since: float = 0.0, profile: str = "load") -> Gap:
    start = T0 - timedelta(days=1) + first * QUARTER
    return Gap("m1", profile, start, start + (intervals - 1) * QUARTER, intervals, state, at(since), at(since), "no rows", 0, 0, 0)


def closed(windows: MeterWindows, now: float) -> list[HealthReport]:
    return windows.close(at(now))


def test_a_report_counts_open_gaps_and_what_was_lost_in_its_window() -> None:
    meter = MeterWindows("m1", GRID, T0)
    meter.add(gap(0, 4, GapState.OPEN, since=1), at(1))
    meter.add(gap(8, 2, GapState.OPEN, since=2), at(2))
    meter.add(gap(0, 1, GapState.OPEN, since=3, profile="daily"), at(3))
    first = closed(meter, 66)[-1]
    assert (first.gaps_open, first.gaps_lost, first.gap_since) == (7, 0, at(1))
    meter = MeterWindows.restored(meter.state(), GRID)
    meter.add(gap(0, 4, GapState.LOST), at(70))
    meter.add(gap(8, 2, GapState.CLOSED), at(70))
    second = closed(meter, 126)[-1]
    assert (second.gaps_open, second.gaps_lost, second.gap_reason) == (1, 4, "no rows")
    assert "gaps 1 open 4 lost" in summary(second)
    third = closed(meter, 186)[-1]
    assert (third.gaps_open, third.gaps_lost) == (1, 0)


def test_an_interval_of_the_meters_memory_is_no_attempt_to_read_it() -> None:
    meter = MeterWindows("m1", GRID, T0)
    values = (RawValue("energy", 1),)
    meter.add(Cycle("m1", T0, T0, 0.0, Outcome.OK, values, origin=Origin.PROFILE, received=at(1)), at(1))
    assert closed(meter, 66)[-1].cycles == 0


def test_the_fleets_report_adds_the_gaps_of_all_meters() -> None:
    fleet = FleetWindows(GRID, 2)
    for number, open_intervals in enumerate((3, 5)):
        meter = MeterWindows(f"m{number}", GRID, T0)
        meter.add(gap(0, open_intervals, GapState.OPEN, since=10 - number), at(10))
        meter.add(gap(20, 2, GapState.LOST), at(10))
        fleet.add(closed(meter, 66)[-1], at(66))
    (report,) = fleet.close(at(66))
    assert (report.gaps_open, report.gaps_lost, report.gap_since, report.gap_reason) == (8, 4, at(9), "m1: no rows")


def report(minute: int, **changes: Any) -> HealthReport:
    start = T0 + timedelta(minutes=minute)
    end = start + timedelta(minutes=1)
    return HealthReport("m1", start, end, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0, 1, 0, (), end, None, None, **changes)


def alerts_of(*reports: HealthReport, **limits: Any) -> list[tuple[str, bool, str]]:
    rules = SubjectAlerts("m1", AlertSettings(**limits))
    return [(alert.kind, alert.raised, alert.evidence) for one in reports for alert in rules.judge(one)]


def test_a_gap_that_stays_open_is_an_alert_until_none_is_open() -> None:
    gaps = {"gaps_open": 4, "gap_since": T0}
    found = alerts_of(report(1, **gaps), report(9, **gaps), report(10, **gaps), report(11, **gaps), report(12), gap_open_after=600)
    assert found == [
        ("gap-open", True, "4 load profile intervals missing, the first noticed 10 min ago"),
        ("gap-open", False, "no interval is missing"),
    ]


def test_a_loss_is_an_alert_that_ends_when_no_other_follows() -> None:
    lost = {"gaps_lost": 2, "gap_reason": "the meter's memory begins later"}
    found = alerts_of(report(1), report(2, **lost), report(3), report(8), report(13), gap_clear=600)
    assert found == [
        ("gap-permanent", True, "2 load profile intervals lost for good: the meter's memory begins later"),
        ("gap-permanent", False, "no further loss for 10 min"),
    ]
