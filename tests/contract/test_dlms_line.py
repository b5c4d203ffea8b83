"""Several meters on one line, over a pseudo terminal and over a converter: turns, dead meters, associations, the stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main, run_main

from connectors.dlms.source import DlmsSource, dlms_in
from connectors.dlms.turns import VAIN_SHARE
from model.messages import Cycle, ErrorKind, Outcome
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.line_timing import LineTiming
from tests.contract.collected import Collected

TIMING = LineTiming(baud=57_600, turnaround=0.005)
Start = Callable[[BackgroundMeters, list[tuple[MeterConfig, Behaviour]]], str]


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


@pytest.fixture
def stop() -> Iterator[Stop]:
    """A stop that is requested at the deadline at the latest, so that a failing test ends."""
    stop = Stop()
    timer = threading.Timer(40.0, stop.request)
    timer.start()
    yield stop
    timer.cancel()


def over_pty(meters: BackgroundMeters, configs: list[tuple[MeterConfig, Behaviour]]) -> str:
    return meters.start_line(configs, TIMING)


def over_tcp(meters: BackgroundMeters, configs: list[tuple[MeterConfig, Behaviour]]) -> str:
    return meters.start_converter(configs, TIMING)


def line_of(*behaviours: Behaviour) -> list[tuple[MeterConfig, Behaviour]]:
    return [(MeterConfig(f"m{n}", server_physical=17 + n, seed=n), behaviour) for n, behaviour in enumerate(behaviours)]


def pipeline_of(address: str, count: int, interval: float, **settings: Any) -> PipelineSettings:
    shared = {"connect": address, "template": "two", "exchange_timeout": 10.0, "retries": 0, **settings}
    return PipelineSettings.model_validate(
        {
            "thingsboard": {"url": "embedded", "token": "t"},
            "templates": {"two": {"interval": interval, "read": {"voltage": "1-0:32.7.0", "energy": "1-0:1.8.0"}}},
            "meters": [{"id": f"m{number}", "server_physical": 17 + number, **shared} for number in range(count)],
            "nodes": [{"id": "meters", "type": "dlms-in"}],
        }
    )


def run(pipeline: PipelineSettings, sink: Collected, stop: Stop, known: Path, workers: int = 1) -> None:
    flow = Dataflow("test")
    source = DlmsSource(pipeline, pipeline.meters, known, lambda _id, connect: connect, stop)
    op.output("out", dlms_in("meters", flow, source).cycles, sink)
    if workers == 1:
        run_main(flow)
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)


@pytest.mark.parametrize("start", [over_pty, over_tcp])
@pytest.mark.parametrize("workers", [1, 2])
def test_meters_of_a_line_are_read_in_turn_over_one_connection_and_all_are_released(
    meters: BackgroundMeters, stop: Stop, tmp_path: Path, start: Start, workers: int
) -> None:
    address = start(meters, line_of(*[Behaviour()] * 4))
    sink = Collected(stop, lambda cycles: len(cycles) == 4 and all(len(c) >= 3 for c in cycles.values()))
    run(pipeline_of(address, 4, 0.6), sink, stop, tmp_path / "known", workers)
    for number in range(4):
        counters = meters.counters(f"m{number}")
        assert {cycle.outcome for cycle in sink.cycles[f"m{number}"]} == {Outcome.OK}
        assert (counters.associations, counters.releases, counters.disconnects) == (1, 1, 1)
    assert meters.line(address).record.overlaps == 0
    if start is over_tcp:
        assert (meters.converter(address).connections, meters.converter(address).rejected) == (1, 0)
    turns = sorted((cycle.started.timestamp(), cycle.duration) for cycles in sink.cycles.values() for cycle in cycles)
    for (begun, duration), (next_begun, _) in pairwise(turns):
        assert next_begun >= begun + duration - 0.002  # wall clock against monotonic clock
    assert threading.active_count() < 50


@pytest.mark.parametrize("start", [over_pty, over_tcp])
def test_dead_meters_do_not_take_the_turns_of_the_others(meters: BackgroundMeters, stop: Stop, tmp_path: Path, start: Start) -> None:
    silent = Behaviour(silent=True)
    address = start(meters, line_of(silent, Behaviour(), silent, Behaviour()))
    sink = Collected(stop, lambda cycles: all(len([c for c in cycles[m] if c.values]) >= 12 for m in ("m1", "m3")))
    pipeline = pipeline_of(address, 4, 0.3, backoff_min=0.01, backoff_max=0.02, exchange_timeout=1.0)  # the dead would always want a turn
    begun = time.monotonic()
    run(pipeline, sink, stop, tmp_path / "known")
    elapsed = time.monotonic() - begun
    dead = [cycle for name in ("m0", "m2") for cycle in sink.cycles[name]]
    assert sum(cycle.duration for cycle in dead) <= VAIN_SHARE * elapsed + 5.0  # their first turns; every round would be 12 s
    assert {cycle.outcome for cycle in dead} <= {Outcome.FAILED}
    assert {error.kind for cycle in dead for error in cycle.errors} <= {ErrorKind.TIMEOUT}
    for name in ("m1", "m3"):
        assert meters.counters(name).associations <= 2


def test_a_meter_that_comes_back_is_read_again(meters: BackgroundMeters, stop: Stop, tmp_path: Path) -> None:
    address = over_pty(meters, line_of(Behaviour(silent=True), Behaviour()))

    def enough(cycles: dict[str, list[Cycle]]) -> bool:
        if any(cycle.outcome is Outcome.FAILED for cycle in cycles["m0"]):
            meters.behaviour("m0").silent = False
        return any(cycle.outcome is Outcome.OK for cycle in cycles["m0"])

    sink = Collected(stop, enough)
    run(pipeline_of(address, 2, 0.5, backoff_min=0.1, backoff_max=0.2, exchange_timeout=0.1), sink, stop, tmp_path / "known")
    assert sink.cycles["m0"][-1].outcome is Outcome.OK


def test_a_stop_does_not_wait_for_the_dead_and_releases_the_living(meters: BackgroundMeters, stop: Stop, tmp_path: Path) -> None:
    address = over_pty(meters, line_of(Behaviour(), *[Behaviour(silent=True)] * 3, Behaviour()))
    requested: list[float] = []

    def enough(cycles: dict[str, list[Cycle]]) -> bool:
        if len(cycles["m0"]) >= 1 and len(cycles["m4"]) >= 1 and not requested:
            requested.append(time.monotonic())
        return bool(requested)

    sink = Collected(stop, enough)
    settings = {"exchange_timeout": 20.0, "backoff_min": 0.01, "backoff_max": 0.02}
    run(pipeline_of(address, 5, 0.5, **settings), sink, stop, tmp_path / "known")
    assert time.monotonic() - requested[0] < 5.0
    for name in ("m0", "m4"):
        assert meters.counters(name).releases == 1


def test_associations_are_released_after_each_turn_where_the_meters_want_it(meters: BackgroundMeters, stop: Stop, tmp_path: Path) -> None:
    address = over_tcp(meters, line_of(Behaviour(), Behaviour()))
    sink = Collected(stop, lambda cycles: all(len(cycles[m]) >= 3 for m in ("m0", "m1")))
    run(pipeline_of(address, 2, 0.6, release_after_cycle=True), sink, stop, tmp_path / "known")
    for name in ("m0", "m1"):
        counters = meters.counters(name)
        assert counters.associations == counters.releases == counters.disconnects >= 3
        assert {cycle.outcome for cycle in sink.cycles[name]} == {Outcome.OK}
    assert meters.converter(address).connections == 1


def test_a_line_that_is_too_slow_says_so_and_counts_no_wait_as_a_cycle(meters: BackgroundMeters, stop: Stop, tmp_path: Path) -> None:
    """A turn takes half a second, a round of all meters longer than a cycle may take."""
    address = over_pty(meters, line_of(*[Behaviour(latency=0.4)] * 12))
    sink = Collected(stop, lambda cycles: all(len([c for c in cycles[f"m{n}"] if c.values]) >= 2 for n in range(12)))
    run(pipeline_of(address, 12, 0.2, cycle_timeout=4.0), sink, stop, tmp_path / "known")
    details = {error.detail for cycles in sink.cycles.values() for cycle in cycles for error in cycle.errors}
    assert not any("not finished within" in detail for detail in details)
    assert any(detail.startswith("skipped: ") for detail in details)
    assert all(cycle.duration <= 4.0 for cycles in sink.cycles.values() for cycle in cycles)


def test_a_converter_that_goes_away_and_comes_back_is_connected_to_again(meters: BackgroundMeters, stop: Stop, tmp_path: Path) -> None:
    address = over_tcp(meters, line_of(Behaviour(), Behaviour()))
    cut: list[float] = []

    def enough(cycles: dict[str, list[Cycle]]) -> bool:
        if not cut and all(cycles[m] for m in ("m0", "m1")):
            cut.append(time.monotonic())
            transport = meters.converter(address)._client
            assert transport is not None
            transport.get_extra_info("socket").shutdown(2)
        return all(len([c for c in cycles[m] if c.values]) >= 4 for m in ("m0", "m1"))

    sink = Collected(stop, enough)
    run(pipeline_of(address, 2, 0.4, backoff_min=0.05, backoff_max=0.1), sink, stop, tmp_path / "known")
    assert meters.converter(address).connections >= 2
    assert all(sink.cycles[name][-1].outcome is Outcome.OK for name in ("m0", "m1"))
