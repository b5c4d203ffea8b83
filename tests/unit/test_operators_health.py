from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
import structlog
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main
from hypothesis import given, settings
from hypothesis import strategies as st

from model.messages import (
    FLEET,
    Cycle,
    ErrorKind,
    HealthReport,
    Origin,
    Outcome,
    ReadError,
    Reading,
    Receipt,
    Rejection,
    Violation,
    ViolationCount,
)
from model.percent import percent_text
from operators.health import FleetHealth, HealthSettings, MeterHealth, health, log_report, summary
from operators.health_fleet import FleetWindows
from operators.health_window import READ_TIMES_MAX, MeterWindows, Sample, WindowGrid

GRID = WindowGrid(length=60_000, wait=5_000)
FLEET_GRID = WindowGrid(length=60_000, wait=7_000)
T0 = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def cycle(seconds: float, outcome: Outcome = Outcome.OK, *, duration: float = 0.7, meter: str = "m1", **more: Any) -> Cycle:
    return Cycle(meter, at(seconds), at(seconds), duration, outcome, exchanges=5, **more)


def failed(seconds: float, detail: str = "no reply", **more: Any) -> Cycle:
    return cycle(seconds, Outcome.FAILED, errors=(ReadError(None, ErrorKind.TIMEOUT, detail),), **more)


def reading(seconds: float, origin: Origin = Origin.POLL, *, meter: str = "m1", read_at: float | None = None) -> Reading:
    return Reading(meter, "voltage", 230, "V", at(seconds), origin, at(seconds if read_at is None else read_at))


def rejection(seconds: float, origin: Origin = Origin.POLL) -> Rejection:
    return Rejection(reading(seconds, origin), "max", "too high")


def receipt(*seconds: float, readings: int | None = None, meter: str = "m1") -> Receipt:
    stamps = tuple(at(s) for s in seconds)
    count = len(seconds) if readings is None else readings
    first, last = (stamps[0], stamps[-1]) if stamps else (T0, T0)
    return Receipt(meter, count, first, last, T0, 0.2, stamps)


def windows(now: float = 0.0) -> MeterWindows:
    return MeterWindows("m1", GRID, at(now))


def test_a_window_is_reported_once_after_its_wait() -> None:
    meter = windows()
    meter.add(cycle(1), at(2))
    assert meter.close(at(5)) == []  # the window before, in which the meter was not known
    assert meter.due() == at(65)
    assert meter.close(at(64.999)) == []
    (report,) = meter.close(at(65))
    assert (report.start, report.end, report.cycles) == (at(0), at(60), 1)
    assert meter.close(at(65)) == []
    assert meter.due() == at(125)


def test_outcomes_readings_rejections_and_receipts_are_counted() -> None:
    meter = windows()
    meter.add(cycle(1, associated=True, clock_offset=3.0), at(2))
    meter.add(cycle(11, Outcome.PARTIAL, duration=0.9, errors=(ReadError("current", ErrorKind.ACCESS, "read-write-denied"),)), at(12))
    meter.add(failed(21), at(22))
    meter.add(cycle(31, duration=1.2), at(32))
    for second in (1, 1, 11, 31):
        meter.add(reading(second), at(second + 1))
    meter.add(rejection(31), at(32))
    meter.add(receipt(1, 11, readings=3), at(33))
    (report,) = meter.close(at(65))
    assert report == HealthReport(
        meter="m1",
        start=at(0),
        end=at(60),
        cycles=4,
        ok=2,
        partial=1,
        failed=1,
        with_values=3,
        readings=4,
        rejected=1,
        published=3,
        cycles_published=2,
        published_late=0,
        exchanges=20,
        associations=1,
        read_times=(0.7, 0.9, 1.2),
        last_good=at(31),
        clock_offset=3.0,
        last_error="timeout: no reply",
    )
    assert report.publish_rate == 0.5


def test_what_was_not_authentic_is_summed_by_kind_also_over_cycles_that_are_ok() -> None:
    meter = windows()
    tag, old = ViolationCount(Violation.WRONG_TAG, 2, "first"), ViolationCount(Violation.OLD_COUNTER, 1, "old")
    meter.add(replace(cycle(1), violations=(tag, old), invocation_counter=70), at(2))
    meter.add(replace(cycle(11), violations=(replace(tag, count=1, detail="last"),), invocation_counter=90), at(12))
    meter = MeterWindows.restored(pickle.loads(pickle.dumps(meter.state())), meter._grid)
    (report,) = meter.close(at(65))
    assert report.violations == (old, ViolationCount(Violation.WRONG_TAG, 3, "last"))
    assert report.invocation_counter == 90
    fleet = FleetWindows(meter._grid, 2)
    fleet.add(report, at(65))
    fleet.add(replace(report, meter="m2", invocation_counter=None), at(66))
    (whole,) = fleet.close(at(66))
    assert whole.violations == (ViolationCount(Violation.OLD_COUNTER, 2, "m2: old"), ViolationCount(Violation.WRONG_TAG, 6, "m2: last"))
    assert whole.invocation_counter == 90


def test_a_quiet_meter_is_reported_in_every_window() -> None:
    meter = windows()
    meter.add(cycle(1), at(2))
    meter.add(reading(1), at(2))
    meter.close(at(65))
    (report,) = meter.close(at(125))
    assert (report.start, report.cycles, report.readings, report.publish_rate) == (at(60), 0, 0, None)
    assert report.last_good == at(1)
    assert report.age() == 119.0


def test_a_cycle_belongs_to_the_window_in_which_it_started() -> None:
    meter = windows()
    meter.add(cycle(59.9, duration=4.0), at(63.9))
    meter.add(reading(59.9), at(64))
    meter.add(receipt(59.9), at(64.5))
    (report,) = meter.close(at(65))
    assert (report.cycles, report.readings, report.published, report.cycles_published) == (1, 1, 1, 1)


def test_a_cycle_that_just_came_in_gets_its_time_for_the_receipt() -> None:
    meter = windows()
    meter.add(cycle(1), at(2))
    meter.add(reading(1), at(2))
    meter.add(receipt(1), at(3))
    meter.add(cycle(59.9, duration=4.5), at(64.4))
    meter.add(reading(59.9), at(64.5))
    (first,) = meter.close(at(65))
    assert (first.cycles, first.publish_rate) == (1, 1.0)
    meter.add(receipt(59.9), at(65.2))
    (second,) = meter.close(at(125))
    assert (second.cycles, second.readings, second.published, second.cycles_published, second.published_late) == (1, 1, 1, 1, 0)


def test_a_cycle_that_was_never_acknowledged_is_counted_as_lost_once() -> None:
    meter = windows()
    meter.add(cycle(59.9), at(61))
    meter.add(reading(59.9), at(61))
    reports = [*meter.close(at(65)), *meter.close(at(125)), *meter.close(at(185))]
    assert [(r.cycles, r.with_values, r.cycles_published) for r in reports] == [(0, 0, 0), (1, 1, 0), (0, 0, 0)]


def test_a_cycle_after_its_window_was_reported_counts_in_the_current_one_with_its_readings() -> None:
    meter = windows()
    meter.add(cycle(1), at(2))
    meter.close(at(65))
    meter.add(cycle(50, duration=20), at(70))
    meter.add(reading(50), at(70))
    meter.add(receipt(50), at(71))
    (report,) = meter.close(at(125))
    assert (report.start, report.cycles, report.readings, report.published, report.cycles_published) == (at(60), 1, 1, 1, 1)
    assert report.published_late == 0


def test_a_late_receipt_counts_as_published_late() -> None:
    meter = windows()
    meter.add(cycle(1), at(2))
    meter.add(reading(1), at(2))
    (first,) = meter.close(at(65))
    assert (first.with_values, first.cycles_published, first.delivery_rate) == (1, 0, 0.0)
    meter.add(receipt(1, readings=5), at(66))
    (second,) = meter.close(at(125))
    assert (second.published, second.cycles_published, second.published_late) == (0, 0, 5)


def pushed(seconds: float, received: float, outcome: Outcome = Outcome.OK) -> Cycle:
    return Cycle("m1", at(received), at(seconds), 0.0, outcome, origin=Origin.PUSH, received=at(received))


def test_a_notification_counts_as_a_cycle_without_a_read_time() -> None:
    meter = windows()
    meter.add(pushed(10, 12), at(12))
    meter.add(reading(10, Origin.PUSH, read_at=12), at(12))
    meter.add(receipt(10), at(13))
    (report,) = meter.close(at(65))
    assert (report.cycles, report.ok, report.with_values, report.cycles_published, report.published) == (1, 1, 1, 1, 1)
    assert (report.read_times, report.last_good) == ((), at(12))


def test_a_notification_with_the_time_of_yesterday_counts_when_it_comes() -> None:
    meter = windows()
    meter.add(pushed(-86_400, 12), at(12))
    meter.add(reading(-86_400, Origin.PUSH, read_at=12), at(12))
    meter.add(receipt(-86_400), at(13))
    (report,) = meter.close(at(65))
    assert (report.cycles, report.cycles_published, report.published, report.published_late) == (1, 1, 1, 0)
    assert report.last_good == at(12)


def test_a_rejected_value_of_a_notification_counts_with_it() -> None:
    meter = windows()
    meter.add(rejection(10, Origin.PUSH), at(12))
    meter.add(pushed(10, 12), at(12))
    (report,) = meter.close(at(65))
    assert (report.cycles, report.rejected, report.with_values) == (1, 1, 0)


def test_profile_and_push_values_count_when_they_come() -> None:
    meter = windows()
    meter.add(reading(-86_400, Origin.PROFILE, read_at=10), at(10))
    meter.add(rejection(-86_400, Origin.PROFILE), at(10))
    meter.add(receipt(readings=7), at(12))
    (report,) = meter.close(at(65))
    assert (report.readings, report.rejected, report.published, report.published_late) == (1, 1, 7, 0)
    assert report.last_good == at(10)


def test_times_in_the_future_do_no_harm() -> None:
    meter = windows()
    meter.add(cycle(86_400), at(2))
    meter.add(reading(86_400 * 2, Origin.PUSH, read_at=86_400), at(2))
    (report,) = meter.close(at(65))
    assert (report.cycles, report.readings, report.last_good) == (1, 1, at(2))
    assert meter.due() == at(125)


def test_a_clock_set_back_does_not_stop_the_reports() -> None:
    meter = windows(3600)
    meter.add(cycle(3601), at(3602))
    meter.add(cycle(1), at(2))
    assert meter.close(at(5)) == []  # the window before, in which the meter was not known
    assert meter.due() == at(65)
    (report,) = meter.close(at(65))
    assert (report.start, report.cycles) == (at(0), 2)


def test_a_clock_set_forward_does_not_flood() -> None:
    meter = windows()
    meter.add(cycle(1), at(2))
    reports = meter.close(at(86_400 * 365))
    assert len(reports) == 4
    assert sum(report.cycles for report in reports) == 1
    assert meter.close(at(86_400 * 365)) == []


def test_the_state_is_small_plain_and_complete() -> None:
    meter = windows()
    for second in range(0, 60, 5):
        meter.add(cycle(second), at(second + 1))
        meter.add(reading(second), at(second + 1))
    saved = pickle.dumps(meter.state())
    assert b"operators" not in saved
    assert len(saved) < 2000
    again = MeterWindows.restored(pickle.loads(saved), GRID)
    again.add(receipt(0), at(30))
    meter.add(receipt(0), at(30))
    assert again.state() == meter.state()
    assert again.close(at(65)) == meter.close(at(65))


def test_the_snapshot_does_not_change_afterwards() -> None:
    meter = windows()
    meter.add(cycle(1), at(2))
    before = meter.state()
    copy = pickle.loads(pickle.dumps(before))
    meter.add(reading(1), at(3))
    assert before == copy


@st.composite
def _stories(draw: st.DrawFn) -> list[Any]:
    """What one window brings: cycles, their readings and receipts that name one or two cycles, in any order."""
    seconds = draw(st.lists(st.integers(0, 59), min_size=1, max_size=8, unique=True))
    messages: list[Any] = []
    acknowledged: list[int] = []
    for second in seconds:
        outcome = draw(st.sampled_from(list(Outcome)))
        messages.append(cycle(second, outcome))
        if outcome is not Outcome.FAILED:
            messages += [reading(second)] * draw(st.integers(1, 3))
            if draw(st.booleans()):
                acknowledged.append(second)
    while acknowledged:
        stamps = [acknowledged.pop() for _ in range(min(len(acknowledged), draw(st.integers(1, 2))))]
        messages.append(receipt(*stamps, readings=len(stamps) * 2))
    return messages


@given(_stories(), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_any_order_of_arrival_gives_the_same_report(messages: list[Any], random: Any) -> None:
    def report_of(order: list[Any]) -> HealthReport:
        meter = windows()
        for message in order:
            meter.add(message, at(59))
        (report,) = meter.close(at(65))
        return report

    shuffled = list(messages)
    random.shuffle(shuffled)
    assert report_of(shuffled) == report_of(messages)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=12, unique=True), st.data())
@settings(max_examples=80, deadline=None)
def test_totals_over_time_are_right_whatever_comes_late(seconds: list[int], data: st.DataObject) -> None:
    """Each message arrives at or after its cycle, in causal order, with any delay; recovery may happen at any time."""
    arrivals: list[tuple[float, int, Any]] = []
    for second in seconds:
        delays = [data.draw(st.integers(0, 200)) for _ in range(3)]
        done = second + delays[0]
        arrivals += [(done, 0, cycle(second)), (done + delays[1], 1, reading(second)), (done + delays[1] + delays[2], 2, receipt(second))]
    arrivals.sort(key=lambda arrival: arrival[:2])
    meter = windows()
    reports: list[HealthReport] = []
    for when, _, message in arrivals:
        meter.add(message, at(when))
        reports += meter.close(at(when))
        if data.draw(st.booleans()):
            meter = MeterWindows.restored(meter.state(), GRID)
    reports += meter.close(at(5000))
    assert sum(r.cycles for r in reports) == len(seconds)
    assert sum(r.readings for r in reports) == len(seconds)
    assert sum(r.published + r.published_late for r in reports) == len(seconds)
    starts = [r.start for r in reports]
    assert starts == sorted(set(starts))
    for r in reports:
        assert r.cycles_published <= r.with_values <= r.cycles


def report(meter: str, start: float = 0.0, **changes: Any) -> HealthReport:
    plain = HealthReport(
        meter=meter,
        start=at(start),
        end=at(start + 60),
        cycles=10,
        ok=8,
        partial=1,
        failed=1,
        with_values=9,
        readings=45,
        rejected=1,
        published=40,
        cycles_published=8,
        published_late=2,
        exchanges=50,
        associations=1,
        read_times=(0.5, 0.7),
        last_good=at(start + 55),
        clock_offset=None,
        last_error=None,
    )
    return replace(plain, **changes)


def test_the_fleet_is_reported_when_all_meters_have_reported() -> None:
    fleet = FleetWindows(FLEET_GRID, 2)
    fleet.add(report("m1", last_good=at(20), clock_offset=2.0, last_error="timeout: slow"), at(65))
    assert fleet.close(at(65)) == []
    assert fleet.due() == at(67)
    fleet.add(report("m2", failed=3, clock_offset=-30.0, last_error="connect: refused"), at(65))
    (total,) = fleet.close(at(65))
    assert total == replace(
        report(FLEET),
        cycles=20,
        ok=16,
        partial=2,
        failed=4,
        with_values=18,
        readings=90,
        rejected=2,
        published=80,
        cycles_published=16,
        published_late=4,
        exchanges=100,
        associations=2,
        read_times=(0.5, 0.7, 0.5, 0.7),
        last_good=at(20),
        clock_offset=-30.0,
        last_error="m2: connect: refused",
    )
    assert fleet.due() is None


def test_the_fleet_does_not_wait_for_ever_and_loses_nothing() -> None:
    fleet = FleetWindows(GRID, 3)
    fleet.add(report("m1"), at(65))
    assert fleet.due() == at(65)
    (first,) = fleet.close(at(65))
    fleet.add(report("m2"), at(66))
    fleet.add(report("m1", 60), at(125))
    (second,) = fleet.close(at(125))
    assert (first.cycles, second.cycles) == (10, 20)
    assert second.start == at(60)


def test_the_fleet_follows_a_clock_set_back() -> None:
    fleet = FleetWindows(GRID, 1)
    fleet.add(report("m1", 3600), at(3665))
    assert len(fleet.close(at(3665))) == 1
    fleet.add(report("m1", 0), at(65))
    (total,) = fleet.close(at(65))
    assert total.start == at(0)


def test_the_fleet_state_survives() -> None:
    fleet = FleetWindows(GRID, 2)
    fleet.add(report("m1", clock_offset=1.0, last_error="x"), at(65))
    saved = pickle.dumps(fleet.state())
    assert b"operators" not in saved
    again = FleetWindows.restored(pickle.loads(saved), GRID, 2)
    for each in (fleet, again):
        each.add(report("m2"), at(65))
    assert again.close(at(65)) == fleet.close(at(65))


def test_read_times_are_bounded() -> None:
    sample = Sample()
    for number in range(3 * READ_TIMES_MAX):
        sample.add(float(number))
    assert len(sample.kept) == READ_TIMES_MAX
    assert sample.seen == 3 * READ_TIMES_MAX
    assert abs(sum(sample.kept) / READ_TIMES_MAX - 1.5 * READ_TIMES_MAX) < 0.05 * READ_TIMES_MAX


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def test_the_logic_reports_at_the_windows_end_but_not_at_the_end_of_input() -> None:
    clock = Clock(at(2))
    logic = MeterHealth(None, GRID, None, clock)
    assert logic.notify_at() is None
    assert logic.on_batch([cycle(1)]) == ([], False)
    assert list(logic.on_eof()[0]) == []
    emitted: list[HealthReport] = []
    while clock.now < at(65):
        due = logic.notify_at()
        assert due is not None
        clock.now = due
        reports, discard = logic.on_notify()
        emitted += reports
        assert not discard
    assert [(r.start, r.cycles) for r in emitted] == [(at(0), 1)]


def test_a_meter_taken_out_of_the_configuration_is_forgotten() -> None:
    clock = Clock(at(2))
    logic = MeterHealth(None, GRID, None, clock)
    logic.on_batch([cycle(1)])
    assert MeterHealth(logic.snapshot(), GRID, frozenset({"m1"}), clock).notify_at() == logic.notify_at()
    again = MeterHealth(logic.snapshot(), GRID, frozenset({"other"}), clock)
    assert again.notify_at() == clock.now
    assert again.on_notify() == ([], True)
    assert MeterHealth(None, GRID, frozenset({"other"}), clock).on_batch([receipt(1)]) == ([], True)


def test_state_of_another_version_is_dropped_with_a_warning() -> None:
    with structlog.testing.capture_logs() as logs:
        logic = MeterHealth({"version": 99}, GRID, None, Clock(at(0)))
        fleet = FleetHealth({"version": 99}, GRID, None, Clock(at(0)))
    assert logic.snapshot() is None
    assert fleet.notify_at() is None
    assert [entry["log_level"] for entry in logs] == ["warning", "warning"]


def test_the_log_line() -> None:
    fleet = report(FLEET, cycles=100, ok=98, partial=0, failed=2, cycles_published=98, readings=490, rejected=0)
    fleet = replace(fleet, read_times=tuple(0.70 + i / 100 for i in range(52)), last_good=at(56))
    line = (
        "cycles 100 | published 98 (98 %) | ok 98 partial 0 failed 2 | readings 490 | rejected 0"
        " | read p50 0.95 s p95 1.19 s | oldest good 4 s"
    )
    assert summary(fleet) == line
    with structlog.testing.capture_logs() as logs:
        log_report("health.log", (FLEET, fleet))
        log_report("health.log", ("m1", report("m1")))
    assert [(entry["log_level"], entry["meter"]) for entry in logs] == [("info", FLEET), ("debug", "m1")]
    assert logs[0]["event"] == line
    assert logs[0]["details"]["cycles"] == 100


def test_a_window_without_anything_has_a_line_too() -> None:
    empty = replace(report("m1"), cycles=0, cycles_published=0, read_times=(), last_good=None)
    assert "published 0 (-)" in summary(empty)
    assert "p50 - p95 - | last good -" in summary(empty)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(1, 1, "100 %"), (9999, 10000, "99.9 %"), (0, 7, "0 %"), (96, 10900, "0.8 %"), (0, 0, "-")],
)
def test_percent_never_rounds_up(part: int, whole: int, text: str) -> None:
    assert percent_text(part, whole) == text


@pytest.mark.parametrize("bad", [{"window": "0s"}, {"window": "500ms"}, {"window": "2d"}, {"wait": 0}, {"windows": "60s"}])
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        HealthSettings.model_validate(bad)


class _Live(StatelessSourcePartition[Any]):
    """Cycles of `meters` at the present time, until `enough` says so or half a minute has passed."""

    def __init__(self, meters: list[str], enough: Any) -> None:
        self._meters = meters
        self._enough = enough
        self._give_up = datetime.now(timezone.utc) + timedelta(seconds=30)
        self._next = datetime.now(timezone.utc)

    def next_batch(self) -> list[Any]:
        now = datetime.now(timezone.utc)
        self._next = now + timedelta(milliseconds=50)
        if self._enough() or now > self._give_up:
            raise StopIteration
        return [(meter, Cycle(meter, now, now, 0.1, Outcome.OK)) for meter in self._meters]

    def next_awake(self) -> datetime:
        return self._next


class _LiveSource(DynamicSource[Any]):
    def __init__(self, meters: list[str], enough: Any) -> None:
        self._meters = meters
        self._enough = enough

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Live:
        return _Live(self._meters[worker_index::worker_count], self._enough)


def _short() -> HealthSettings:
    return HealthSettings.model_construct(window=0.5, wait=0.1)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_flow_reports_each_meter_and_the_fleet_once_per_window(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.health.GRACE", timedelta(seconds=30))  # a loaded machine must not split a window
    meters = ["m1", "m2", "m3"]
    out: list[tuple[str, HealthReport]] = []
    flow = Dataflow("health_flow")
    live = op.input("live", flow, _LiveSource(meters, lambda: sum(key == FLEET for key, _ in out) >= 3))
    reports = health("health", live, settings=_short(), meters=frozenset(meters))
    op.output("out", reports, TestingSink(out))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    fleet = [r for key, r in out if key == FLEET]
    assert len(fleet) >= 3
    assert len({(r.meter, r.start) for _, r in out}) == len(out)
    for total in fleet[1:]:  # in the first a meter may not have been seen yet
        parts = [r for key, r in out if key != FLEET and r.start == total.start]
        assert len(parts) == 3
        assert total.cycles == sum(r.cycles for r in parts)
    assert all(total.cycles > 0 for total in fleet)


@pytest.fixture
def recovery(tmp_path: Path) -> Iterator[RecoveryConfig]:
    init_db_dir(tmp_path, 1)
    yield RecoveryConfig(str(tmp_path))


def test_an_open_window_survives_an_abort_and_is_reported_once(recovery: RecoveryConfig) -> None:
    now = datetime.now(timezone.utc)
    message = Cycle("m1", now, now, 0.1, Outcome.OK)
    out: list[tuple[str, HealthReport]] = []
    flow = Dataflow("health_recovery")
    tail = op.input("live", flow, _LiveSource([], lambda: resumed and sum(r.cycles for _, r in out) > 0))
    once = op.input("in", flow, TestingSource([("m1", message), ("m1", message), TestingSource.ABORT()]))
    reports = health("health", once, tail, settings=_short())
    op.output("out", reports, TestingSink(out))
    resumed = False
    run_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)
    assert out == []
    resumed = True
    run_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)
    mine = [r for key, r in out if key == "m1" and r.cycles]
    assert len(mine) == 1
    assert mine[0].cycles == 1  # the same cycle twice is one cycle
