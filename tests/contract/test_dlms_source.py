"""`dlms-in` in a running dataflow: the schedule, many meters of all kinds on one worker, and a clean stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main

from connectors.dlms.source import DlmsSource, dlms_in
from model.messages import Cycle, Outcome
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.sim_url import parse_sim_url
from tests.contract.collected import Collected

DEADLINE = 30.0


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def pipeline_of(meter_settings: list[dict[str, Any]], interval: float) -> PipelineSettings:
    return PipelineSettings.model_validate(
        {
            "thingsboard": {"url": "embedded", "token": "t"},
            "templates": {"five": {"interval": interval, "read": {"voltage": "1-0:32.7.0", "energy": "1-0:1.8.0"}}},
            "meters": [{"connect": "sim://three-phase", "template": "five", **m} for m in meter_settings],
            "nodes": [{"id": "meters", "type": "dlms-in"}],
        }
    )


def flow_of(
    pipeline: PipelineSettings, meters: BackgroundMeters, behaviours: dict[str, Behaviour], sink: Collected, stop: Stop, known: Path
) -> Dataflow:
    by_id = {meter.id: meter for meter in pipeline.meters}

    def resolve(meter_id: str, _connect: str) -> str:
        return meters.start(parse_sim_url(by_id[meter_id].connect, by_id[meter_id]).config, behaviours.get(meter_id))

    flow = Dataflow("test")
    op.output("out", dlms_in("meters", flow, DlmsSource(pipeline, pipeline.meters, known, resolve, stop)).cycles, sink)
    return flow


@pytest.fixture
def stop() -> Iterator[Stop]:
    """A stop that is requested at the deadline at the latest, so that a failing test ends."""
    stop = Stop()
    timer = threading.Timer(DEADLINE, stop.request)
    timer.start()
    yield stop
    timer.cancel()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_meter_is_read_once_per_interval_and_released_at_the_stop(
    meters: BackgroundMeters, stop: Stop, workers: int, tmp_path: Path
) -> None:
    pipeline = pipeline_of([{"id": f"m{number}"} for number in range(6)], interval=2.0)
    sink = Collected(stop, lambda cycles: len(cycles) == 6 and all(len(c) >= 4 for c in cycles.values()))
    flow = flow_of(pipeline, meters, {}, sink, stop, tmp_path / "known.json")
    if workers == 1:
        run_main(flow)
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)
    for number in range(6):
        cycles = sink.cycles[f"m{number}"]
        counters = meters.counters(f"m{number}")
        assert {cycle.outcome for cycle in cycles} == {Outcome.OK}
        dues = [cycle.due for cycle in cycles]
        assert all(1.0 < (later - earlier).total_seconds() < 3.0 for earlier, later in pairwise(dues))  # none left out, none twice
        assert (counters.associations, counters.releases, counters.disconnects) == (1, 1, 1)
        assert len(cycles) <= counters.requests["get-with-list"] <= len(cycles) + 1


@pytest.mark.slow
def test_silent_and_babbling_meters_cost_the_healthy_ones_nothing(meters: BackgroundMeters, stop: Stop, tmp_path: Path) -> None:
    healthy, silent, babbling = 160, 20, 20
    names = [f"healthy{n}" for n in range(healthy)] + [f"silent{n}" for n in range(silent)] + [f"babbling{n}" for n in range(babbling)]
    behaviours = {name: Behaviour(silent=True) for name in names if name.startswith("silent")}
    behaviours |= {name: Behaviour(babble=20_000.0) for name in names if name.startswith("babbling")}
    pipeline = pipeline_of(
        [{"id": name} | ({} if name.startswith("healthy") else {"exchange_timeout": 0.5}) for name in names], interval=3.0
    )
    sink = Collected(stop, lambda cycles: all(len(cycles[f"healthy{n}"]) >= 4 for n in range(healthy)))
    run_main(flow_of(pipeline, meters, behaviours, sink, stop, tmp_path / "known.json"))
    for name in names:
        outcomes = {cycle.outcome for cycle in sink.cycles[name]}
        assert outcomes == ({Outcome.OK} if name.startswith("healthy") else {Outcome.FAILED}), name
        assert not any("skipped" in error.detail for cycle in sink.cycles[name] for error in cycle.errors) or not name.startswith("healthy")


def test_a_stop_does_not_wait_for_a_meter_that_does_not_answer(meters: BackgroundMeters, stop: Stop, tmp_path: Path) -> None:
    pipeline = pipeline_of([{"id": "well"}, {"id": "silent", "exchange_timeout": 20.0}], interval=0.5)
    requested: list[float] = []

    def enough(cycles: dict[str, list[Cycle]]) -> bool:
        if len(cycles["well"]) >= 2 and not requested:
            requested.append(time.monotonic())
        return bool(requested)

    sink = Collected(stop, enough)
    run_main(flow_of(pipeline, meters, {"silent": Behaviour(silent=True)}, sink, stop, tmp_path / "known.json"))
    assert time.monotonic() - requested[0] < 5.0
    assert meters.counters("well").releases == 1


def test_a_meter_can_be_taken_out_and_put_back_between_two_runs_with_recovery(meters: BackgroundMeters, tmp_path: Path) -> None:
    store = tmp_path / "recovery"
    store.mkdir()
    init_db_dir(store, 1)
    for names in (["a", "b"], ["a"], ["a", "b", "c"]):
        stop = Stop()
        sink = Collected(stop, lambda cycles, names=names: all(len(cycles[name]) >= 2 for name in names))
        flow = flow_of(pipeline_of([{"id": name} for name in names], 0.3), meters, {}, sink, stop, tmp_path / "known.json")
        run_main(flow, epoch_interval=timedelta(seconds=0.2), recovery_config=RecoveryConfig(str(store)))
        assert {name for name, cycles in sink.cycles.items() if cycles} == set(names)
