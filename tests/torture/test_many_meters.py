"""Two hundred meters on one worker, twenty silent and twenty babbling: the healthy ones do not notice."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import PipelineProcess, cycles_of, pipeline, simulator

INTERVAL = 5.0
HEALTHY, SILENT, BABBLING = 160, 20, 20
CROWDS = {"honest": HEALTHY, "silent": SILENT, "babbling": BABBLING}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_silent_and_babbling_meters_cost_the_others_nothing(tmp_path: Path, long: bool) -> None:
    cycles_wanted = 60 if long else 8
    with (
        simulator("simulator.meter", tmp_path, HEALTHY, "--count", str(HEALTHY), "--port", "0") as (healthy, meter_file, meters),
        simulator("simulator.meter", tmp_path, SILENT, "--count", str(SILENT), "--port", "0", "--behaviour", "silent") as (silent, _, _),
        simulator("simulator.meter", tmp_path, BABBLING, "--count", str(BABBLING), "--port", "0", "--behaviour", "babbling") as (
            babbling,
            _,
            _,
        ),
        simulator("simulator.thingsboard", tmp_path, 1, "--port", "0") as ((url,), _, _),
    ):
        settings: list[dict[str, Any]] = [
            {"id": f"{crowd}-{number}", "connect": line.split()[1]}
            for crowd, lines in zip(CROWDS, (healthy, silent, babbling), strict=True)
            for number, line in enumerate(lines)
        ]
        with PipelineProcess(tmp_path, pipeline(url.split()[-1], settings, INTERVAL)) as running:
            enough = HEALTHY * 5 * cycles_wanted
            wait_for(lambda: archived_readings(running) >= enough, f"{cycles_wanted} cycles of each", INTERVAL * cycles_wanted + 60)
            assert running.stop() == [0]
        meters.terminate()
        meters.wait(10)
        seen = json.loads(meter_file.read_text())
    by_meter = defaultdict(list)
    for cycle in cycles_of(running.archive):
        by_meter[str(cycle["meter"])].append(cycle)
    assert set(by_meter) == {meter["id"] for meter in settings}
    for meter, cycles in by_meter.items():
        expected = {"ok"} if meter.startswith("honest") else {"failed"}
        assert {cycle["outcome"] for cycle in cycles} == expected, (meter, cycles)
        # None left out: each due time follows the one before by one interval.
        steps = [later["due"] - earlier["due"] for earlier, later in pairwise(cycles)]
        assert all(abs(step - INTERVAL * 1000) < INTERVAL * 500 for step in steps), (meter, steps)
    for statistics in seen.values():
        assert (statistics["associations"], statistics["releases"]) == (1, 1)


def archived_readings(running: PipelineProcess) -> int:
    if not running.archive.exists():
        return 0
    with closing(sqlite3.connect(running.archive)) as database:
        try:
            return int(database.execute("SELECT count(*) FROM readings").fetchone()[0])
        except sqlite3.OperationalError:  # the tables are not there yet
            return 0
