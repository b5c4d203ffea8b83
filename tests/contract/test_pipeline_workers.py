"""However many workers: one MQTT session, and every meter read exactly once per interval."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import PipelineProcess, cycles_of, pipeline, simulator

INTERVAL = 2.0
METERS = 8
CYCLES = 4


@pytest.mark.parametrize(
    ("arguments", "processes"), [((), 1), (("-w", "2"), 1), ((), 2)], ids=["one-worker", "two-threads", "two-processes"]
)
def test_one_session_and_every_meter_once_per_interval(tmp_path: Path, arguments: tuple[str, ...], processes: int) -> None:
    with (
        simulator("simulator.meter", tmp_path, METERS, "--count", str(METERS), "--port", "0") as (lines, meter_file, meters),
        simulator("simulator.thingsboard", tmp_path, 1, "--port", "0") as ((url,), board_file, board),
    ):
        settings: list[dict[str, Any]] = [{"id": line.split()[0], "connect": line.split()[1]} for line in lines]
        configuration = pipeline(url.split()[-1], settings, INTERVAL)
        with PipelineProcess(tmp_path, configuration, *arguments, processes=processes) as running:
            wait_for(lambda: len(running.archived()) >= METERS * 5 * CYCLES, "enough cycles", 45)
            assert running.stop() == [0] * processes
            archived = running.archived()
            cycles = cycles_of(running.archive)
        for process in (meters, board):
            process.terminate()
            process.wait(10)
    sessions = json.loads(board_file.read_text())
    assert len(sessions["statistics"]["sessions"]) == 1
    assert sessions["statistics"]["takeovers"] == 0
    stored = Counter(device for device, data in sessions["devices"].items() for key in data["points"] if key == "voltage")
    assert stored == Counter({meter["id"]: 1 for meter in settings})
    for meter, seen in json.loads(meter_file.read_text()).items():
        polls = [exchange for exchange in seen["exchanges"] if len(exchange["attributes"]) >= 5]
        assert (seen["associations"], seen["releases"]) == (1, 1), meter
        dues = [cycle["due"] / 1000 for cycle in cycles if cycle["meter"] == meter]
        assert all(0.5 * INTERVAL < later - earlier < 1.5 * INTERVAL for earlier, later in pairwise(dues)), meter
        assert len(dues) <= len(polls) <= len(dues) + 1, meter
        in_archive = {ts for name, _, ts in archived if name == meter}
        in_store = {ts for ts, _ in sessions["devices"][meter]["points"]["voltage"]}
        assert in_store == in_archive


def test_a_process_that_waits_for_the_others_says_so_and_can_be_stopped(tmp_path: Path) -> None:
    configuration = pipeline("embedded", [{"id": "m", "connect": "sim://three-phase"}], INTERVAL)
    with PipelineProcess(tmp_path, configuration, processes=2) as running:
        other = running.processes.pop()
        other.kill()
        other.wait()
        wait_for(lambda: any("waits for the others" in event["event"] for event in running.events()), "the warning", 45)
        assert running.stop() == [0]
