"""State that another version of the program left in the recovery store: the owner says so and begins anew, the flow goes on."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from connectors.dlms.profile.ledger import Ledger
from connectors.dlms.push.source import DlmsPushInSettings, DlmsPushSource
from connectors.dlms.source import DlmsSource
from connectors.thingsboard.receipts import ReceiptsSource
from model.cluster import Place
from model.messages import Cycle, HealthReport, Origin, Outcome, Reading
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from model.timestamps import utc_now
from operators.alert import AlertLogic, AlertSettings
from operators.filter import ExceptionRule, ExceptionRules, MeterFilter
from operators.health import FleetHealth, MeterHealth
from operators.health_window import WindowGrid
from operators.validation.judge import MeterJudge, RuleBook
from operators.validation.rules import Rules

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=timezone.utc)
GRID = WindowGrid(60_000, 5_000)
READING = Reading("m", "energy", 5, "Wh", NOW, Origin.POLL, NOW)


def report() -> HealthReport:
    counts = dict.fromkeys(("ok", "partial", "with_values", "readings", "rejected", "published", "cycles_published", "published_late"), 0)
    return HealthReport(
        meter="m",
        start=NOW - timedelta(seconds=30),
        end=NOW + timedelta(seconds=30),
        cycles=20,
        failed=20,
        **counts,
        exchanges=20,
        associations=0,
        read_times=(0.1,),
        last_good=None,
        clock_offset=None,
        last_error="timeout: no answer",
    )


def meter_health(state: Any) -> MeterHealth:
    logic = MeterHealth(state, GRID, None, lambda: NOW)
    logic.on_batch([Cycle("m", NOW, NOW, 0.1, Outcome.OK, {}, (), 1, False)])
    return logic


def fleet_health(state: Any) -> FleetHealth:
    logic = FleetHealth(state, GRID, 2, lambda: NOW)
    logic.on_batch([report()])
    return logic


def alerts(state: Any) -> AlertLogic:
    logic = AlertLogic(state, AlertSettings(), None)
    logic.on_batch([report()])
    return logic


def meter_filter(state: Any) -> MeterFilter:
    logic = MeterFilter(ExceptionRules({"*": ExceptionRule()}), state)
    logic.passes(READING)
    return logic


def judge(state: Any) -> MeterJudge:
    logic = MeterJudge(RuleBook(Rules(monotonic=True), {}), lambda _reading, _what: None, state)
    logic.judge(READING)
    return logic


def grown(state: dict[str, Any]) -> dict[str, Any]:
    """The version stays, everything inside has become something else."""
    return {"version": state["version"], **{name: [["x"], 5] for name in state if name != "version"}}


def with_surplus_fields(state: Any) -> Any:
    """What a later version adds to a record without a new number."""
    if not isinstance(state, dict):
        return state
    return {name: with_surplus_fields(value) for name, value in state.items()} | ({} if "version" in state else {"surplus": 1})


@pytest.mark.parametrize("build", [meter_health, fleet_health, alerts, meter_filter, judge])
@pytest.mark.parametrize(
    "alter",
    [
        lambda state: {**state, "version": 99},
        lambda state: {**state, "version": 0},
        lambda state: {name: value for name, value in state.items() if name != "version"},
        lambda state: {"version": state["version"]},
        lambda _state: ["another", "shape"],
        grown,
    ],
    ids=["newer", "older", "unversioned", "emptied", "another-shape", "grown"],
)
def test_an_operator_begins_anew(build: Callable[[Any], Any], alter: Callable[[Any], Any]) -> None:
    fresh = build(None).snapshot()
    with capture_logs() as quiet:
        assert build(deepcopy(fresh)).snapshot() is not None
    assert not quiet
    with capture_logs() as logs:
        assert build(alter(fresh)).snapshot() == fresh
    assert len([entry for entry in logs if "begins anew" in entry["event"]]) == 1


@pytest.mark.parametrize("build", [meter_health, fleet_health, alerts])
def test_fields_that_a_later_version_added_do_not_end_the_flow(build: Callable[[Any], Any]) -> None:
    build(with_surplus_fields(build(None).snapshot()))


PIPELINE = {
    "thingsboard": {"url": "embedded", "token": "t"},
    "templates": {"t": {"read": {"energy": "1-0:1.8.0"}, "profiles": {"load": {"obis": "1-0:99.1.0"}}}},
    "meters": [{"id": "m", "connect": "tcp://127.0.0.1:1", "template": "t"}],
    "nodes": [{"id": "meters", "type": "dlms-in"}],
}


@pytest.mark.parametrize(
    "state",
    [
        {"version": 99, "profiles": {"load": {**Ledger(last=NOW).snapshot(), "last": "2026-03-01"}}},
        {"version": 99, "profiles": {"load": Ledger(last=NOW).snapshot()}},
        {"version": 2, "profiles": {"load": {"last": 5}}},
        {"version": 2, "profiles": {"load": [1, 2]}},
        {"version": 2, "profiles": [3]},
        {"version": 1},
        [4],
        None,
    ],
)
def test_a_load_profile_goes_on_from_the_archive(tmp_path: Path, state: Any) -> None:
    pipeline = PipelineSettings.model_validate({**PIPELINE, "state_dir": str(tmp_path)})
    kept = utc_now().replace(microsecond=0) - timedelta(hours=3)
    stop = Stop()
    stop.request()
    source = DlmsSource(pipeline, pipeline.meters, tmp_path / "known", lambda _, url: url, stop, bookmark=lambda _meter, _keys: kept)
    with capture_logs() as logs:
        partition = source.build_part("meters", "m", state)
    partition.close()
    assert any(entry["event"] == "load profile goes on from what was kept" for entry in logs)
    snapshot = partition.snapshot()
    ledger = Ledger.restore(snapshot["profiles"]["load"])
    assert ledger.last is not None
    assert kept - timedelta(days=2) <= ledger.last <= kept


def test_a_load_profile_goes_on_from_its_own_state(tmp_path: Path) -> None:
    pipeline = PipelineSettings.model_validate({**PIPELINE, "state_dir": str(tmp_path)})
    stop = Stop()
    stop.request()
    source = DlmsSource(pipeline, pipeline.meters, tmp_path / "known", lambda _, url: url, stop)
    partition = source.build_part("meters", "m", {"version": 2, "profiles": {"load": Ledger(last=NOW, read=7).snapshot()}})
    partition.close()
    assert Ledger.restore(partition.snapshot()["profiles"]["load"]) == Ledger(last=NOW, read=7)


def test_a_meter_that_is_remembered_only_by_the_store_stays_listed(tmp_path: Path) -> None:
    pipeline = PipelineSettings.model_validate({**PIPELINE, "state_dir": str(tmp_path)})
    source = DlmsSource(pipeline, pipeline.meters, tmp_path / "known", lambda _, url: url, Stop(), in_store=frozenset({"m", "removed"}))
    assert source.list_parts() == ["m", "removed"]
    parked = source.build_part("meters", "removed", {"version": 99, "of": "a later program"})
    assert parked.snapshot() == {"version": 99, "of": "a later program"}


def test_over_several_hosts_each_meter_is_listed_once_and_serial_ports_with_process_0(tmp_path: Path) -> None:
    meters = [{"id": f"m{number}", "connect": f"tcp://192.0.2.1:{4000 + number}", "template": "t"} for number in range(20)]
    serial = [{"id": f"s{number}", "connect": f"serial:///dev/ttyUSB{number}", "template": "t"} for number in range(9)]
    pipeline = PipelineSettings.model_validate({**PIPELINE, "meters": [*meters, *serial], "state_dir": str(tmp_path)})
    hosts = ("north:1", "south:1")
    listed = [
        DlmsSource(pipeline, pipeline.meters, tmp_path / str(index), lambda _, url: url, Stop(), Place(index, 2, hosts)).list_parts()
        for index in (0, 1)
    ]
    assert sorted(listed[0] + listed[1]) == sorted(meter.id for meter in pipeline.meters)
    assert {meter["id"] for meter in serial} <= set(listed[0]) and all(len(found) >= 5 for found in listed)


@pytest.mark.parametrize("state", [{"version": 99, "receipts": 5}, {"version": 1, "receipts": "five", "outbox": None}, {"version": 1}, 7])
def test_receipts_begin_at_the_end(tmp_path: Path, state: Any) -> None:
    partition = ReceiptsSource({"receipts": tmp_path / "outbox.sqlite"}, Stop()).build_part("receipts", "receipts", state)
    assert (
        partition.snapshot()
        == ReceiptsSource({"receipts": tmp_path / "outbox.sqlite"}, Stop()).build_part("receipts", "receipts", None).snapshot()
    )
    partition.close()


@pytest.mark.parametrize("state", [{"version": 99}, {"version": 1, "counters": 5}, {"version": 1, "counters": {"a": "b"}}, "x"])
def test_a_listener_has_the_counters_of_its_file(tmp_path: Path, state: Any) -> None:
    pipeline = PipelineSettings.model_validate({**PIPELINE, "state_dir": str(tmp_path)})
    settings = DlmsPushInSettings(listen="tcp://127.0.0.1:0")
    stop = Stop()
    stop.request()
    build = partial(DlmsPushSource("pushed", settings, pipeline, [], {}, stop).build_part, "pushed", "listener")
    with capture_logs() as logs:
        partition = build(state)
    partition.close()
    assert partition.snapshot() == {"version": 1, "counters": {}, "raised": []}
    assert any("begins anew" in entry["event"] for entry in logs)
