from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
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
from structlog.testing import capture_logs

from model.messages import Origin, Reading, Rejection, Value
from model.node import MAIN, BuildContext
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from operators.validate import NODE, ValidateSettings
from operators.validation.judge import REMEMBERED, MeterJudge, RuleBook
from operators.verdicts import Verdict

START = datetime(2024, 3, 1, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def reading(value: Value, seconds: float = 0, key: str = "x", meter: str = "m1", read_at: float | None = None) -> Reading:
    return Reading(meter, key, value, "V", at(seconds), Origin.POLL, at(seconds + 1 if read_at is None else read_at))


class Court:
    """A judge with the rules of a YAML-like mapping for the key x, and what it noted."""

    def __init__(self, rules: dict[str, Any], state: dict[str, Any] | None = None) -> None:
        self.settings = ValidateSettings.model_validate({"rules": {"x": rules}})
        self.notes: list[str] = []
        self.judge = MeterJudge(RuleBook(self.settings.defaults, self.settings.rules), lambda _, what: self.notes.append(what), state)

    def rule(self, value: Value, seconds: float = 0, **more: Any) -> str | None:
        verdict = self.judge.judge(reading(value, seconds, **more))
        return verdict.rule if isinstance(verdict, Rejection) else None

    def rules(self, *values: Value, every: float = 60) -> list[str | None]:
        return [self.rule(value, index * every) for index, value in enumerate(values)]

    def reason(self, value: Value, seconds: float = 0, **more: Any) -> str:
        verdict = self.judge.judge(reading(value, seconds, **more))
        assert isinstance(verdict, Rejection)
        return verdict.reason


def test_limits() -> None:
    court = Court({"min": 180, "max": 260.5})
    assert court.rules(180, 260, Decimal("260.5"), Decimal("179.9"), Decimal("260.51")) == [None, None, None, "min", "max"]
    assert court.reason(Decimal("1E+3")) == "1000 V is above the maximum 260.5"
    assert court.reason(-5) == "-5 V is below the minimum 180"


@pytest.mark.parametrize("value", ["230", True, Decimal("NaN"), Decimal("Infinity")])
def test_rule_that_needs_a_number_rejects_what_is_none(value: Value) -> None:
    assert Court({"min": 0}).rule(value) == "number"
    assert Court({"monotonic": True}).rule(value) == "number"
    assert Court({"stale": "1d"}).rule(value) is None


def test_allowed_values_keep_numbers_flags_and_text_apart() -> None:
    court = Court({"allowed": [0, 1.5, "on", False]})
    assert court.rules(0, Decimal("1.50"), "on", False, True, 1, "0") == [None, None, None, None, "allowed", "allowed", "allowed"]
    assert court.reason(7) == "7 V is not one of 0, 1.5, 'on', False"


def test_timestamps_are_compared_with_the_moment_of_reading() -> None:
    court = Court({"stale": "1h", "future": "5m"})
    assert court.rule(1, 0, read_at=3600) is None
    assert court.rule(1, 0, read_at=3601) == "stale"
    assert court.rule(1, 300, read_at=0) is None
    assert court.rule(1, 301, read_at=0) == "future"
    assert court.reason(1, 301, read_at=0) == "the timestamp 2024-03-01T00:05:01+00:00 was 301 s ahead when read, limit 300 s"


def test_what_a_meter_remembers_is_old_by_nature() -> None:
    court = Court({"stale": "1h"})
    remembered = replace(reading(1, 0), origin=Origin.PROFILE, read_at=reading(1, 86_400).ts)
    assert court.judge.judge(remembered) is remembered


def test_step_is_allowed_at_once_and_in_proportion_over_longer_gaps() -> None:
    court = Court({"max_step": {"change": 50, "per": "10s"}})
    assert court.rule(100, 0) is None
    assert court.rule(150, 0.5) is None
    assert court.rule(201, 5) == "max_step"
    assert court.rule(151, 6) is None
    assert court.rule(51, 26) is None
    assert court.reason(Decimal("251.5"), 46) == "251.5 V after 51 is a step of 200.5, limit 100 in 20 s"


def test_bad_value_does_not_make_the_next_good_one_look_bad() -> None:
    court = Court({"max_step": {"change": 5, "per": "1m"}})
    assert court.rules(230, 9999, 231, 230) == [None, "max_step", None, None]


def test_lasting_new_level_is_reached_as_time_goes_by() -> None:
    court = Court({"max_step": {"change": 5, "per": "1m"}})
    assert court.rules(230, 240, 240, 240) == [None, "max_step", None, None]


def test_counter_must_not_fall() -> None:
    court = Court({"monotonic": True})
    assert court.rules(100, 100, 101, Decimal("100.9"), 101, 102) == [None, None, None, "monotonic", None, None]
    assert court.reason(50, 1000) == "50 V is less than 102 before"
    assert court.notes == []


@pytest.mark.parametrize("rule", [{"digits": 5}, {"rollover": 100000}])
def test_rollover_is_accepted_near_the_ends_of_the_range(rule: dict[str, Any]) -> None:
    court = Court({"monotonic": rule})
    assert court.rules(99990, 99999, 3, 4) == [None, None, None, None]
    assert court.notes == ["counter rolled over from 99999 to 3 V"]


def test_rollover_in_the_middle_of_the_range_is_none() -> None:
    assert Court({"monotonic": {"digits": 5}}).rules(50000, 3) == [None, "monotonic"]
    assert Court({"monotonic": {"digits": 5}}).rules(99999, 50000) == [None, "monotonic"]
    assert Court({"monotonic": {"digits": 5}}).rules(100001, 3) == [None, "monotonic"]


def test_rollover_is_judged_by_the_step_where_there_is_one() -> None:
    rules = {"monotonic": {"digits": 5}, "max_step": {"change": 20, "per": "1m"}}
    assert Court(rules).rules(99990, 5) == [None, None]
    assert Court(rules).rules(99990, 15) == [None, "monotonic"]


def test_exchanged_meter_is_believed_after_three_rising_readings() -> None:
    court = Court({"monotonic": True})
    assert court.rules(54321, 0, 1, 3, 4) == [None, "monotonic", "monotonic", None, None]
    assert court.notes == ["meter exchanged or counter reset: 3 readings rise from a new level, 3 V is the baseline after 54321"]


def test_equal_readings_neither_prove_nor_disprove_an_exchange() -> None:
    court = Court({"monotonic": True})
    assert court.rules(54321, 0, 0, 0, 0, 0, 54322) == [None, *["monotonic"] * 5, None]
    assert court.rule(1, 1000) == "monotonic"
    assert court.rule(2, 1060) == "monotonic"
    assert court.rule(2, 1120) == "monotonic"
    assert court.rule(3, 1180) is None


def test_level_that_goes_back_starts_anew() -> None:
    assert Court({"monotonic": True}).rules(500, 10, 11, 5, 6, 7) == [None, *["monotonic"] * 4, None]


def test_exchange_can_be_ruled_out() -> None:
    assert Court({"monotonic": {"exchange_after": 0}}).rules(500, *range(50)) == [None, *["monotonic"] * 50]


def test_exchange_for_a_meter_that_shows_more_is_believed_too() -> None:
    court = Court({"monotonic": True, "max_step": {"change": 10, "per": "1m"}})
    assert court.rules(100, 90000, 90001, 90002, 90003) == [None, "max_step", "max_step", None, None]
    assert len(court.notes) == 1


def test_random_values_are_not_taken_for_an_exchange_where_a_step_is_known() -> None:
    court = Court({"monotonic": True, "max_step": {"change": 10, "per": "1m"}})
    assert court.rules(1000, 10, 200, 400, 600, 1001) == [None, "monotonic", "monotonic", "monotonic", "monotonic", None]


def test_frozen_value_is_rejected_until_it_moves() -> None:
    court = Court({"frozen": "2m"})
    assert court.rules(7, 7, 7, 7, 8, 8) == [None, None, None, "frozen", None, None]
    assert Court({"frozen": "2m"}).rules("a", "a", "a", "a") == [None, None, None, "frozen"]


def test_two_equal_readings_after_a_long_gap_are_not_frozen() -> None:
    court = Court({"frozen": "1h"})
    assert court.rules(7, 7, 7, every=86400) == [None, None, "frozen"]


def test_rejected_by_a_limit_leaves_no_trace() -> None:
    court = Court({"max": 100, "max_step": {"change": 5, "per": "1m"}, "monotonic": True})
    assert court.rules(10, 5000, 11) == [None, "max", None]


def test_repeat_gets_the_verdict_it_had_and_disturbs_nothing() -> None:
    court = Court({"monotonic": True, "max": 1000})
    values = [100, 101, 50, 102, 2000, 103]
    first = court.rules(*values)
    before = court.judge.snapshot()
    assert court.rules(*values) == first == [None, None, "monotonic", None, "max", None]
    assert court.judge.snapshot() == before


def test_late_reading_is_judged_by_itself_only() -> None:
    court = Court({"monotonic": True, "max": 1000})
    assert court.rule(100, 600) is None
    assert court.rule(40, 300) is None
    assert court.rule(4000, 360) == "max"
    assert court.rule(101, 660) is None


def test_remembered_rejections_are_bounded() -> None:
    court = Court({"monotonic": {"exchange_after": 0}})
    court.rules(100, *([1] * (REMEMBERED * 3)))
    (_, _, rejected) = court.judge.snapshot()["keys"]["x"]
    assert len(rejected) == REMEMBERED
    assert court.rule(1, REMEMBERED * 3 * 60) == "monotonic"


def test_keys_do_not_disturb_each_other() -> None:
    settings = ValidateSettings.model_validate({"defaults": {"monotonic": True}})
    judge = MeterJudge(RuleBook(settings.defaults, settings.rules), lambda *_: None)
    verdicts = [
        judge.judge(reading(value, seconds, key=key)) for key, value, seconds in [("a", 100, 0), ("b", 5, 0), ("a", 101, 1), ("b", 6, 1)]
    ]
    assert all(isinstance(verdict, Reading) for verdict in verdicts)


def test_later_patterns_replace_earlier_ones_rule_by_rule() -> None:
    settings = ValidateSettings.model_validate(
        {"defaults": {"min": 0, "stale": "1d"}, "rules": {"power_*": {"min": -1000, "max": 1000}, "power_reactive": {"max": None}}}
    )
    book = RuleBook(settings.defaults, settings.rules)

    def rule(key: str, value: Value) -> str | None:
        verdict = MeterJudge(book, lambda *_: None).judge(reading(value, key=key))
        return verdict.rule if isinstance(verdict, Rejection) else None

    assert [rule("voltage", value) for value in (-1, 5000)] == ["min", None]
    assert [rule("power_active", value) for value in (-1, -1001, 1001)] == [None, "min", "max"]
    assert [rule("power_reactive", value) for value in (-1, -1001, 1001)] == [None, "min", None]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "there is no rule; give rules or defaults"),
        ({"rules": {"x": {"min": 5, "max": 4}}}, "min 5 is greater than max 4"),
        ({"rules": {"x": {"monotonic": {"digits": 5, "rollover": 10}}}}, "rollover and digits say the same"),
        ({"rules": {"x": {"allowed": []}}}, "at least 1 item"),
        ({"rules": {"x": {"max_step": {"change": 0, "per": "1s"}}}}, "greater than 0"),
        ({"rules": {"x": {"max_step": {"change": 1, "per": "soon"}}}}, "'soon' is not a duration"),
        ({"rules": {"x": {"maximum": 5}}}, "Extra inputs are not permitted"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ValidateSettings.model_validate(settings)
    assert message in str(caught.value)


ALL_RULES: dict[str, Any] = {
    "min": -50,
    "max": 900,
    "monotonic": {"digits": 2, "exchange_after": 2},
    "max_step": {"change": 30, "per": "2s"},
    "frozen": "3s",
    "allowed": [*range(-60, 200), "text"],
}
VALUES = st.lists(st.tuples(st.integers(-60, 1000), st.integers(0, 20)), max_size=40)


@given(VALUES, st.integers(0, 40))
def test_stored_state_goes_on_as_if_nothing_had_happened(values: list[tuple[int, int]], cut: int) -> None:
    whole, first = Court(ALL_RULES), Court(ALL_RULES)
    expected = [whole.rule(value, seconds) for value, seconds in values]
    before = [first.rule(value, seconds) for value, seconds in values[:cut]]
    second = Court(ALL_RULES, pickle.loads(pickle.dumps(first.judge.snapshot())))
    after = [second.rule(value, seconds) for value, seconds in values[cut:]]
    assert before + after == expected
    assert second.judge.snapshot() == whole.judge.snapshot()


@given(st.lists(st.integers(-60, 1000), max_size=REMEMBERED))
def test_every_repeat_gets_the_same_verdict(values: list[int]) -> None:
    court = Court(ALL_RULES)
    first = court.rules(*values, every=1)
    state = court.judge.snapshot()
    assert court.rules(*values, every=1) == first
    assert court.judge.snapshot() == state


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_accepted_counter_readings_rise_unless_it_was_said(values: list[int]) -> None:
    court = Court({"monotonic": {"exchange_after": 3}})
    last: int | None = None
    for index, value in enumerate(values):
        noted = len(court.notes)
        if court.rule(value, index) is None:
            assert last is None or value >= last or len(court.notes) == noted + 1
            last = value


def test_state_of_another_version_is_not_used() -> None:
    court = Court({"monotonic": True}, {"version": 0, "keys": "something else"})
    assert court.rule(1) is None


def test_snapshot_does_not_change_afterwards() -> None:
    court = Court({"monotonic": True})
    court.rules(100, 50)
    snapshot = court.judge.snapshot()
    copy = pickle.dumps(snapshot)
    court.rule(10, 5000)
    assert pickle.dumps(snapshot) == copy


PIPELINE = PipelineSettings.model_validate(
    {
        "thingsboard": {"url": "embedded", "token": "a-token"},
        "templates": {"t": {"read": {"x": "1-0:1.8.0"}}},
        "meters": [{"id": "m1", "connect": "sim://three-phase", "template": "t"}],
        "nodes": [{"id": "checked", "type": "validate"}],
    }
)


class Flow:
    """A flow of one validate node between test sources and lists."""

    def __init__(self, settings: dict[str, Any], *sources: TestingSource[tuple[str, Reading]]) -> None:
        self.flow = Dataflow("test")
        inputs = [op.input(f"in{index}", self.flow, source) for index, source in enumerate(sources)]
        ctx = BuildContext(
            self.flow, "checked", NODE.settings.model_validate(settings), PIPELINE, Stop(), lambda meter, connect: connect, lambda url: url
        )
        ports = NODE.build(ctx, inputs)
        assert set(ports) == set(NODE.emits) == {MAIN, "rejected"}
        self.accepted: list[tuple[str, Reading]] = []
        self.rejected: list[tuple[str, Rejection]] = []
        op.output("accepted", ports[MAIN], TestingSink(self.accepted))
        op.output("rejected", ports["rejected"], TestingSink(self.rejected))


def _one_worker(flow: Dataflow) -> None:
    run_main(flow)


def _two_workers(flow: Dataflow) -> None:
    cluster_main(flow, [], 0, worker_count_per_proc=2)


@pytest.mark.parametrize("run", [_one_worker, _two_workers])
def test_flow_keeps_meters_apart_on_any_number_of_workers(run: Callable[[Dataflow], None]) -> None:
    meters = [f"m{n}" for n in range(10)]
    values = [100, 101, 50, 102]
    items = [(meter, reading(value + 1000 * n, index, meter=meter)) for index, value in enumerate(values) for n, meter in enumerate(meters)]
    test = Flow({"rules": {"*": {"monotonic": True}}}, TestingSource(items, batch_size=7))
    run(test.flow)
    assert sorted((meter, verdict.reading.value) for meter, verdict in test.rejected) == sorted(
        (m, 50 + 1000 * n) for n, m in enumerate(meters)
    )
    assert len(test.accepted) == 30
    assert all(meter == message.meter for meter, message in [*test.accepted, *test.rejected])


def test_flow_merges_its_inputs_and_orders_a_batch_by_timestamp() -> None:
    items = [("m1", reading(value, seconds)) for value, seconds in [(103, 3), (101, 1), (102, 2), (99, 0)]]
    test = Flow(
        {"rules": {"x": {"monotonic": True}}}, TestingSource(items, batch_size=10), TestingSource([("m2", reading(1, 0, meter="m2"))])
    )
    run_main(test.flow)
    assert test.rejected == []
    assert [message.value for meter, message in test.accepted if meter == "m1"] == [99, 101, 102, 103]
    assert [message.value for meter, message in test.accepted if meter == "m2"] == [1]


def test_accepted_exchange_is_in_the_log() -> None:
    items = [("m1", reading(value, index)) for index, value in enumerate([500, 1, 2, 3])]
    test = Flow({"rules": {"x": {"monotonic": True}}}, TestingSource(items))
    with capture_logs() as logs:
        run_main(test.flow)
    (entry,) = logs
    assert (entry["event"], entry["log_level"], entry["meter"], entry["key"]) == ("unusual reading accepted", "warning", "m1", "x")
    assert "meter exchanged" in entry["what"]


@pytest.mark.parametrize("epoch", [timedelta(0), timedelta(hours=1)])
def test_state_survives_a_crash_and_repeats_get_the_same_verdict(tmp_path: Path, epoch: timedelta) -> None:
    init_db_dir(tmp_path, 1)
    recovery = RecoveryConfig(str(tmp_path))
    before = [("m1", reading(value, index)) for index, value in enumerate([1000, 1001, 5])]
    after = [("m1", reading(value, 10 + index)) for index, value in enumerate([6, 1002])]
    test = Flow({"rules": {"x": {"monotonic": True}}}, TestingSource([*before, TestingSource.ABORT(), *after, TestingSource.EOF()]))
    run_main(test.flow, epoch_interval=epoch, recovery_config=recovery)
    assert [verdict.reading.value for _, verdict in test.rejected] == [5]
    run_main(test.flow, epoch_interval=epoch, recovery_config=recovery)

    def verdicts(items: list[tuple[str, Any]]) -> set[int]:
        return {(item.reading if isinstance(item, Rejection) else item).value for _, item in items}

    assert verdicts(test.accepted) == {1000, 1001, 1002}
    assert verdicts(test.rejected) == {5, 6}


def test_baseline_survives_a_restart(tmp_path: Path) -> None:
    init_db_dir(tmp_path, 1)
    recovery = RecoveryConfig(str(tmp_path))
    items: list[Any] = [("m1", reading(1000, 0)), TestingSource.EOF(), ("m1", reading(5, 10)), ("m1", reading(1001, 20))]
    test = Flow({"rules": {"x": {"monotonic": True}}}, TestingSource(items))
    run_main(test.flow, epoch_interval=timedelta(0), recovery_config=recovery)
    run_main(test.flow, epoch_interval=timedelta(0), recovery_config=recovery)
    assert [verdict.reading.value for _, verdict in test.rejected] == [5]
    assert [message.value for _, message in test.accepted] == [1000, 1001]


def test_example_is_valid() -> None:
    (node,) = yaml.safe_load(NODE.example)
    assert node["type"] == NODE.name
    NODE.settings.model_validate(node["settings"])


def test_verdict_carries_the_reading_unchanged() -> None:
    court = Court({"min": 0})
    given_reading = reading(-1)
    verdict: Verdict = court.judge.judge(given_reading)
    assert isinstance(verdict, Rejection)
    assert verdict.reading is given_reading
