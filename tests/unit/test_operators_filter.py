from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
import yaml
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.messages import Origin, Reading, Value
from model.node import MAIN, BuildContext
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from operators.filter import NODE, ExceptionRules, FilterSettings, MeterFilter

START = datetime(2024, 3, 1, tzinfo=timezone.utc)


def reading(value: Value, seconds: float = 0, key: str = "x", meter: str = "m1") -> Reading:
    ts = START + timedelta(seconds=seconds)
    return Reading(meter, key, value, "V", ts, Origin.POLL, ts)


def meter_filter(rule: dict[str, Any], state: dict[str, Any] | None = None) -> MeterFilter:
    return MeterFilter(ExceptionRules(FilterSettings.model_validate({"rules": {"x": rule}}).rules), state)


def passed(rule: dict[str, Any], *values: Value, every: float = 60) -> list[Value]:
    chosen = meter_filter(rule)
    return [value for index, value in enumerate(values) if chosen.passes(reading(value, index * every))]


def test_without_a_deadband_every_change_passes() -> None:
    assert passed({}, 1, 1, 2, 2, Decimal("2.0"), Decimal("2.1"), 1) == [1, 2, Decimal("2.1"), 1]


def test_deadband_is_measured_from_the_last_value_passed() -> None:
    assert passed({"deadband": 0.5}, *map(Decimal, ["230.0", "230.5", "230.4", "230.6", "230.9", "230.0"])) == [
        Decimal("230.0"),
        Decimal("230.6"),
        Decimal("230.0"),
    ]


def test_creeping_value_is_reported_once_it_has_gone_far_enough() -> None:
    assert passed({"deadband": 3}, *range(100, 112)) == [100, 104, 108]


def test_percentage_is_of_the_last_value_passed() -> None:
    assert passed({"deadband": "10%"}, 100, 110, 111, 122, 123, -123) == [100, 111, 123, -123]
    assert passed({"deadband": "10%"}, 0, 0, 1, 0) == [0, 1, 0]
    assert passed({"deadband": "2.5 %"}, -100, -102, -103) == [-100, -103]


def test_unchanged_value_passes_every_so_often() -> None:
    chosen = meter_filter({"at_least_every": "5m"})
    assert [seconds for seconds in range(0, 900, 60) if chosen.passes(reading(7, seconds))] == [0, 300, 600]


def test_reported_change_starts_the_time_anew() -> None:
    chosen = meter_filter({"at_least_every": "5m"})
    values = {0: 1, 240: 2, 300: 2, 480: 2, 540: 2}
    assert [seconds for seconds, value in values.items() if chosen.passes(reading(value, seconds))] == [0, 240, 540]


def test_text_and_flags_pass_on_change() -> None:
    assert passed({"deadband": 100}, "on", "on", "off", True, True, False, 0, 1) == ["on", "off", True, False, 0]


def test_not_a_number_is_never_suppressed() -> None:
    assert len(passed({"deadband": 1}, Decimal("NaN"), Decimal("NaN"), 1, Decimal("Infinity"))) == 4


def test_key_without_a_rule_passes_always() -> None:
    chosen = meter_filter({})
    assert [chosen.passes(reading(1, seconds, key="other")) for seconds in range(3)] == [True] * 3
    assert chosen.snapshot()["passed"] == {}


def test_first_pattern_that_fits_holds() -> None:
    rules = ExceptionRules(FilterSettings.model_validate({"rules": {"power_*": {"deadband": 5}, "*": {"deadband": "1%"}}}).rules)
    power, other = rules["power_active"], rules["energy"]
    assert power is not None and power.deadband == 5
    assert other is not None and other.deadband == "1%"


def test_late_reading_passes_and_is_not_compared_with() -> None:
    chosen = meter_filter({"deadband": 5})
    assert chosen.passes(reading(100, 600))
    assert chosen.passes(reading(100, 300))
    assert chosen.passes(reading(100, 600))
    assert not chosen.passes(reading(104, 660))


@pytest.mark.parametrize("deadband", [-1, "-2%", "two", "5%%", "%", float("inf"), float("nan"), "NaN%"])
def test_deadband_is_checked(deadband: Any) -> None:
    with pytest.raises(ValidationError, match=r"write a number such as 0\.5, or a percentage such as 2%|finite"):
        FilterSettings.model_validate({"rules": {"x": {"deadband": deadband}}})


def test_filter_without_rules_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        FilterSettings.model_validate({"rules": {}})


@given(st.lists(st.integers(-50, 50), min_size=1), st.integers(0, 20))
def test_what_is_passed_stays_within_the_deadband_of_what_was_measured(values: list[int], deadband: int) -> None:
    chosen = meter_filter({"deadband": deadband})
    shown = 0
    for index, value in enumerate(values):
        if chosen.passes(reading(value, index)):
            shown = value
        assert abs(value - shown) <= deadband


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 30))), st.integers(0, 30))
def test_stored_state_goes_on_as_if_nothing_had_happened(values: list[tuple[int, int]], cut: int) -> None:
    rule = {"deadband": 10, "at_least_every": "7s"}
    whole, first = meter_filter(rule), meter_filter(rule)
    expected = [whole.passes(reading(value, seconds)) for value, seconds in values]
    before = [first.passes(reading(value, seconds)) for value, seconds in values[:cut]]
    second = meter_filter(rule, pickle.loads(pickle.dumps(first.snapshot())))
    assert before + [second.passes(reading(value, seconds)) for value, seconds in values[cut:]] == expected


def test_state_of_another_version_is_not_used() -> None:
    assert meter_filter({}, {"version": 0, "passed": {"x": 1}}).passes(reading(1))


PIPELINE = PipelineSettings.model_validate(
    {
        "thingsboard": {"url": "embedded", "token": "a-token"},
        "templates": {"t": {"read": {"x": "1-0:1.8.0"}}},
        "meters": [{"id": "m1", "connect": "sim://three-phase", "template": "t"}],
        "nodes": [{"id": "changes", "type": "filter"}],
    }
)


class Flow:
    def __init__(self, settings: dict[str, Any], source: TestingSource[tuple[str, Reading]]) -> None:
        self.flow = Dataflow("test")
        ctx = BuildContext(
            self.flow, "changes", NODE.settings.model_validate(settings), PIPELINE, Stop(), lambda meter, connect: connect, lambda url: url
        )
        ports = NODE.build(ctx, [op.input("in", self.flow, source)])
        assert set(ports) == set(NODE.emits) == {MAIN, "suppressed"}
        self.passed: list[tuple[str, Reading]] = []
        self.suppressed: list[tuple[str, Reading]] = []
        op.output("passed", ports[MAIN], TestingSink(self.passed))
        op.output("suppressed", ports["suppressed"], TestingSink(self.suppressed))


def _one_worker(flow: Dataflow) -> None:
    run_main(flow)


def _two_workers(flow: Dataflow) -> None:
    cluster_main(flow, [], 0, worker_count_per_proc=2)


@pytest.mark.parametrize("run", [_one_worker, _two_workers])
def test_flow_loses_nothing_and_keeps_meters_apart(run: Callable[[Dataflow], None]) -> None:
    meters = [f"m{n}" for n in range(10)]
    items = [(meter, reading(value, index, meter=meter)) for index, value in enumerate([1, 1, 2]) for meter in meters]
    test = Flow({"rules": {"*": {}}}, TestingSource(items, batch_size=7))
    run(test.flow)
    assert sorted((meter, message.value) for meter, message in test.passed) == sorted(
        (meter, value) for value in (1, 2) for meter in meters
    )
    assert sorted((meter, message.value) for meter, message in test.suppressed) == [(meter, 1) for meter in meters]
    assert all(isinstance(message, Reading) and message.meter == meter for meter, message in [*test.passed, *test.suppressed])


def test_state_survives_a_crash(tmp_path: Path) -> None:
    init_db_dir(tmp_path, 1)
    recovery = RecoveryConfig(str(tmp_path))
    items: list[Any] = [("m1", reading(1, 0)), TestingSource.ABORT(), ("m1", reading(1, 1)), ("m1", reading(2, 2))]
    test = Flow({"rules": {"x": {}}}, TestingSource(items))
    run_main(test.flow, epoch_interval=timedelta(0), recovery_config=recovery)
    run_main(test.flow, epoch_interval=timedelta(0), recovery_config=recovery)
    assert {message.value for _, message in test.passed} == {1, 2}
    assert [message.ts for _, message in test.suppressed] == [START + timedelta(seconds=1)]


def test_example_is_valid() -> None:
    (node,) = yaml.safe_load(NODE.example)
    assert node["type"] == NODE.name
    NODE.settings.model_validate(node["settings"])
