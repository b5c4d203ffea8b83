"""The pure parts of the API: meters at a glance, rates, refreshing, exact JSON."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.archive.survey import LatestCycle, LatestReport
from dashboard.answers import ValueShown
from dashboard.configuration import ConfigurationWatch, Configured
from dashboard.fleet import Fleet, MeterGlance, state_of
from dashboard.json_answer import encode
from dashboard.meter_views import period_of
from dashboard.node_rates import NodeRates
from dashboard.refreshed import PATIENCE, Refreshed
from model.status import NodeStatus, ProcessStatus

MINUTE = 60_000
NOW = 1_800_000_000_000
T0 = datetime(2026, 6, 1, tzinfo=timezone.utc)
GOOD = LatestReport("m", NOW - 2 * MINUTE, NOW - MINUTE, 6, 6, 0, 0, NOW - MINUTE, 0.5, 0.9, None, 0)


@pytest.mark.parametrize(
    ("report", "gaps", "interval", "state"),
    [
        (GOOD, 0, 10, "green"),
        (GOOD, 1, 10, "yellow"),
        (GOOD._replace(ok=5, partial=1), 0, 10, "yellow"),
        (GOOD._replace(ok=5, failed=1), 0, 10, "yellow"),
        (GOOD._replace(ok=0, failed=6), 0, 10, "red"),
        (GOOD._replace(start=NOW - 3_600_000, end=NOW - 3_540_000), 0, 10, "unknown"),  # the flow stopped an hour ago
        (GOOD._replace(cycles=0, ok=0), 0, 900, "green"),  # read every quarter of an hour
        (GOOD._replace(cycles=0, ok=0), 2, 900, "yellow"),
        (GOOD._replace(cycles=0, ok=0, last_good=NOW - 3_600_000), 0, 900, "red"),
        (GOOD._replace(cycles=0, ok=0, last_good=None), 0, 900, "unknown"),
        (None, 0, 10, "unknown"),
    ],
)
def test_the_state_of_a_meter_with_reports(report: LatestReport | None, gaps: int, interval: float, state: str) -> None:
    assert state_of(report, None, gaps, interval, NOW) == state


@pytest.mark.parametrize(
    ("outcome", "age", "state"),
    [("ok", 10, "green"), ("partial", 10, "yellow"), ("failed", 10, "red"), ("ok", 3_600, "unknown"), ("failed", 3_600, "unknown")],
)
def test_the_state_of_a_meter_without_a_health_node(outcome: str, age: int, state: str) -> None:
    cycle = LatestCycle("m", NOW - age * 1000, NOW - age * 1000, 0.5, outcome)
    assert state_of(None, cycle, 0, 10, NOW) == state


def test_each_order_begins_with_the_worst() -> None:
    bad = GOOD._replace(ok=0, failed=6, last_good=NOW - 9_000_000, read_p95=9.0)
    fleet = Fleet(
        {
            "a": MeterGlance("a", "green", None, GOOD),
            "b": MeterGlance("b", "red", None, bad, gaps_lost=1),
            "c": MeterGlance("c", "yellow", None, GOOD._replace(ok=3), gaps_open=2),
            "d": MeterGlance("d", "unknown", None),
        }
    )

    def order(sort: str) -> str:
        return "".join(meter.id for meter in fleet.select("", "", sort))

    assert order("id") == "abcd" and order("-id") == "dcba"
    assert order("state") == "bcda" and order("success") == "bcad" and order("last_good")[:2] == "db"
    assert order("read_time")[0] == "b" and order("gaps")[:2] == "cb"
    assert [meter.id for meter in fleet.select("B", "red", "id")] == ["b"] and not fleet.select("b", "green", "id")


def process(seconds: float, count: int, number: int = 0, pid: int = 7) -> ProcessStatus:
    nodes = {"n": NodeStatus("map", {"main": count}, T0)}
    return ProcessStatus(pid, "h", number, 2, T0, T0 + timedelta(seconds=seconds), "p", nodes=nodes)


def test_a_rate_is_taken_over_the_last_seconds_of_all_processes() -> None:
    rates = NodeRates()
    rates.observe([process(100, 1000), process(100, 500, 1)])
    assert rates.counts()["n"].rate["main"] == 15  # since their start
    for second in range(102, 140, 2):
        rates.observe([process(second, 1000 + 20 * (second - 100)), process(second, 500, 1)])
    counted = rates.counts()["n"]
    assert (counted.emitted["main"], counted.rate["main"]) == (1000 + 20 * 38 + 500, 20)


def test_a_process_that_started_anew_counts_from_nothing() -> None:
    rates = NodeRates()
    rates.observe([process(100, 1000)])
    rates.observe([process(10, 50, pid=8)])
    assert rates.counts()["n"].rate["main"] == 5
    rates.observe([])
    assert rates.counts() == {}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_result_is_shared_until_it_is_old() -> None:
    clock = Clock()
    results = iter(range(10))
    refreshed = Refreshed(lambda: next(results), 1.0, clock)
    assert (refreshed.get(), refreshed.get()) == (0, 0)
    clock.now = 1.0 + PATIENCE
    assert refreshed.get() == 1  # too old to be shown


def test_who_asks_does_not_wait_for_what_is_only_a_little_old() -> None:
    clock = Clock()
    computed = threading.Event()
    threads: list[threading.Thread] = []

    def compute() -> int:
        threads.append(threading.current_thread())
        computed.set()
        return len(threads)

    refreshed = Refreshed(compute, 1.0, clock)
    assert refreshed.get() == 1
    computed.clear()
    clock.now = 1.5
    assert refreshed.get() == 1 and computed.wait(10)
    threads[-1].join(10)
    assert refreshed.get() == 2 and threads[-1] is not threading.current_thread()


def test_many_who_wait_cause_one_computation() -> None:
    begun, go_on = threading.Event(), threading.Event()
    count = []

    def compute() -> int:
        count.append(1)
        begun.set()
        assert go_on.wait(10)
        return 5

    refreshed = Refreshed(compute, 100.0)
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(refreshed.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert got == [5] * 8 and len(count) == 1


def test_a_failure_is_told_and_tried_again() -> None:
    answers: list[Any] = [ValueError("no"), 3]

    def compute() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    refreshed = Refreshed(compute, 1.0)
    with pytest.raises(ValueError, match="no"):
        refreshed.get()
    assert refreshed.get() == 3


@settings(deadline=None)
@given(st.one_of(st.integers(), st.decimals(allow_nan=False, allow_infinity=False), st.booleans(), st.text(st.characters(codec="utf-8"))))
def test_every_value_comes_through_json_exactly(value: int | Decimal | bool | str) -> None:
    text = encode(ValueShown(key="k", value=value, unit=None, ts=T0))
    back = json.loads(text, parse_float=Decimal, parse_int=lambda digits: Decimal(digits) if isinstance(value, Decimal) else int(digits))
    assert back["value"] == value and isinstance(back["value"], type(value)) and back["ts"] == "2026-06-01T00:00:00Z"


def test_a_value_that_is_no_number_does_not_break_the_answer() -> None:
    assert b'"value":"NaN"' in encode(ValueShown(key="k", value=Decimal("NaN"), unit=None, ts=T0))


def test_a_period_is_the_step_that_comes_most_often() -> None:
    assert period_of([7200_000, 5400_000, 4500_000, 3600_000]) == 900
    assert period_of([1]) is None and period_of([]) is None
    assert replace(MeterGlance("m", "red", None), state="green").success is None


def test_files_that_did_not_change_are_not_read_again_and_a_changed_file_of_meters_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.configuration.LOOK_EVERY", 0.0)
    rows = "id,connect,framing,template\nfirst,tcp://192.0.2.1:4059,wrapper,one\n"
    (tmp_path / "meters.csv").write_text(rows)
    (tmp_path / "pipeline.yaml").write_text("meters_file: meters.csv\ntemplates: {one: {interval: 10s, read: {energy: 1-0:1.8.0}}}\n")
    reads: list[str] = []
    watch = ConfigurationWatch(tmp_path / "pipeline.yaml", {}, lambda meter: reads.append(meter.id))

    def settled() -> Configured:
        watch.current()
        for thread in threading.enumerate():
            if thread.name == "configuration":
                thread.join()
        return watch.current()

    assert list(settled().meters) == ["first"]
    assert reads == ["first"]
    (tmp_path / "meters.csv").write_text(rows + "second,tcp://192.0.2.2:4059,wrapper,one\n")
    assert list(settled().meters) == ["first", "second"]
