"""Load profiles in a running dataflow: polls go on, other meters are not held up, and a restart goes on where the snapshot says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from connectors.dlms.profile.recalls import Recalls
from connectors.dlms.source import DlmsSource, dlms_in
from model.messages import Cycle, Origin, Outcome
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from simulator.meter.background import BackgroundMeters
from simulator.meter.sim_url import parse_sim_url
from tests.contract.collected import Collected, Cycles

DEADLINE = 45.0


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def pipeline_of(tmp_path: Path, described: list[dict[str, Any]], interval: float, **profile: Any) -> PipelineSettings:
    read = {"voltage": "1-0:32.7.0", "energy": "1-0:1.8.0"}
    return PipelineSettings.model_validate(
        {
            "thingsboard": {"url": "embedded", "token": "t"},
            "templates": {
                "plain": {"interval": interval, "read": read},
                "profiled": {"interval": interval, "read": read, "profiles": {"load": {"obis": "1-0:99.1.0", **profile}}},
            },
            "meters": [{"connect": "sim://three-phase", "template": "plain", **meter} for meter in described],
            "nodes": [{"id": "meters", "type": "dlms-in"}],
            "state_dir": tmp_path,
        }
    )


def run(pipeline: PipelineSettings, meters: BackgroundMeters, enough: Callable[[Cycles], bool], **engine: Any) -> Cycles:
    stop = Stop()
    timer = threading.Timer(DEADLINE, stop.request)
    timer.start()
    by_id = {meter.id: meter for meter in pipeline.meters}

    def resolve(meter_id: str, _connect: str) -> str:
        return meters.start(parse_sim_url(by_id[meter_id].connect, by_id[meter_id]).config)

    sink = Collected(stop, enough)
    flow = Dataflow("test")
    recalls = Recalls(pipeline.state_dir / "recalls.sqlite")
    source = DlmsSource(pipeline, pipeline.meters, pipeline.state_dir / "known.json", resolve, stop, recalls=recalls)
    op.output("out", dlms_in("meters", flow, source).cycles, sink)
    run_main(flow, **engine)
    timer.cancel()
    return sink.cycles


def intervals(cycles: list[Cycle]) -> list[datetime]:
    return [cycle.started for cycle in cycles if cycle.origin is Origin.PROFILE]


def polls(cycles: list[Cycle]) -> list[Cycle]:
    return [cycle for cycle in cycles if cycle.origin is Origin.POLL]


def test_polls_go_on_while_ten_thousand_rows_are_read_and_other_meters_keep_their_schedule(
    meters: BackgroundMeters, tmp_path: Path
) -> None:
    """One meter gives its whole buffer in one block transfer, one in chunks; four have nothing to do with it."""
    whole = "sim://three-phase?capture_period=60&profile_entries=10000&profile_access=whole"
    chunks = "sim://three-phase?capture_period=60&profile_entries=10000&latency=0.002"
    described = [
        {"id": "whole", "connect": whole, "template": "profiled"},
        {"id": "chunks", "connect": chunks, "template": "profiled"},
        *({"id": f"m{number}"} for number in range(4)),
    ]
    pipeline = pipeline_of(tmp_path, described, 1.5, horizon="30d")

    def enough(cycles: Cycles) -> bool:
        done = all(len(intervals(cycles[name])) >= 9_990 for name in ("whole", "chunks"))
        return done and all(len(cycles[f"m{number}"]) >= 5 for number in range(4))

    cycles = run(pipeline, meters, enough)
    for name in ("whole", "chunks"):
        read = intervals(cycles[name])
        assert len(set(read)) == len(read) >= 9_990
        assert all(later - earlier == timedelta(minutes=1) for earlier, later in pairwise(sorted(read)))
    assert len(polls(cycles["chunks"])) >= 3
    for number in range(4):
        assert {cycle.outcome for cycle in cycles[f"m{number}"]} == {Outcome.OK}
        dues = [cycle.due for cycle in cycles[f"m{number}"]]
        assert all(1.4 < (later - earlier).total_seconds() < 1.6 for earlier, later in pairwise(dues))


def test_a_run_with_recovery_goes_on_where_the_last_one_ended(meters: BackgroundMeters, tmp_path: Path) -> None:
    store = tmp_path / "recovery"
    store.mkdir()
    init_db_dir(store, 1)
    pipeline = pipeline_of(tmp_path, [{"id": "m", "template": "profiled"}], 0.2, horizon="10d", chunk="12h")
    engine = {"epoch_interval": timedelta(seconds=0), "recovery_config": RecoveryConfig(str(store))}
    read: list[datetime] = []
    for least in (200, 200, 500):
        wanted = min(least, 960 - len(read))
        cycles = run(pipeline, meters, lambda cycles, wanted=wanted: len(intervals(cycles["m"])) >= wanted, **engine)
        read += intervals(cycles["m"])
    assert len(read) == len(set(read)) >= 900
    assert all(later - earlier == timedelta(minutes=15) for earlier, later in pairwise(read))
    again = run(pipeline, meters, lambda cycles: len(polls(cycles["m"])) >= 3, **engine)
    assert not set(intervals(again["m"])) & set(read)


def test_what_was_recalled_is_read_once_more(meters: BackgroundMeters, tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path, [{"id": "m", "template": "profiled"}], 0.2, horizon="2d", every="1s")
    recalled: list[datetime] = []

    def enough(cycles: Cycles) -> bool:
        read = intervals(cycles["m"])
        if len(read) >= 190 and not recalled:
            recalled.extend(read[50:60])
            Recalls(tmp_path / "recalls.sqlite").note("m", recalled)
        return bool(recalled) and len(read) >= len(set(read)) + 10

    read = intervals(run(pipeline, meters, enough)["m"])
    assert sorted(moment for moment in set(read) if read.count(moment) == 2) == sorted(recalled)
