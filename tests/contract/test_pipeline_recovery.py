"""Stopped and started again with the recovery store, as `make run` does it; and what is said of a store that is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import ROOT, PipelineProcess, pipeline, simulator

METERS: list[dict[str, Any]] = [{"id": name, "connect": "sim://three-phase"} for name in ("a", "b", "c")]


def prepared(folder: Path, configuration: dict[str, Any], *arguments: str, processes: int = 1) -> PipelineProcess:
    """The pipeline with the store that `commands recovery` makes or leaves as it is."""
    store = str(folder / "state" / "recovery")
    running = PipelineProcess(folder, configuration, "-r", store, "-s", "1", "-b", "0", *arguments, processes=processes)
    command = [sys.executable, "-m", "commands", "recovery", str(folder / "pipeline.yaml")]
    environment = {"PYTHONPATH": str(ROOT), "TB_TOKEN": "t", "PATH": "/usr/bin:/bin"}
    made = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
    assert made.stdout.strip() == store
    return running


def readings(running: PipelineProcess) -> dict[str, int]:
    counts = {"a": 0, "b": 0, "c": 0}
    for meter, _, _ in running.archived():
        counts[meter] += 1
    return counts


def run_until_more(running: PipelineProcess, *meters: str) -> None:
    before = readings(running)
    with running:
        wait_for(lambda: all(readings(running)[meter] > before[meter] + 10 for meter in meters), f"readings of {meters}", 45)
        assert set(running.stop()) == {0}
    assert not [event for event in running.events() if event["level"] in ("error", "critical")]


@pytest.mark.timeout(300)
def test_meters_nodes_and_workers_may_change_between_two_runs(tmp_path: Path) -> None:
    with simulator("simulator.thingsboard", tmp_path, 1, "--port", "0") as ((url,), _, _):
        configuration = pipeline(url.split()[-1], METERS[:2], 0.5)
        run_until_more(prepared(tmp_path, configuration), "a", "b")
        one_more = {**configuration, "meters": [{"template": "five", **meter} for meter in METERS]}
        run_until_more(prepared(tmp_path, one_more), "a", "b", "c")
        one_less = {**configuration, "meters": [{"template": "five", **meter} for meter in METERS[1:]]}
        run_until_more(prepared(tmp_path, one_less, "-w", "2"), "b", "c")
        another_node = {**one_more, "nodes": [*one_more["nodes"], {"id": "tap", "type": "debug", "inputs": ["checked"]}]}
        run_until_more(prepared(tmp_path, another_node, processes=2), "a", "b", "c")
        longer = {"window": "10s", "wait": "2s"}
        nodes = [{**node, "settings": longer} if node["id"] == "health" else node for node in one_more["nodes"]]
        run_until_more(prepared(tmp_path, {**one_more, "nodes": nodes}), "a", "b", "c")


def test_a_clean_stop_takes_nothing_away(tmp_path: Path) -> None:
    with simulator("simulator.thingsboard", tmp_path, 1, "--port", "0") as ((url,), _, _):
        configuration = pipeline(url.split()[-1], METERS, 0.5)
        for _ in range(3):
            run_until_more(prepared(tmp_path, configuration), "a", "b", "c")
        running = prepared(tmp_path, configuration)
    assert [event["waiting"] for event in running.events() if event["event"] == "outbox closed"] == [0, 0, 0]


def test_a_store_that_was_never_made_is_told_with_the_remedy(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    running = PipelineProcess(tmp_path, pipeline("embedded", METERS, 0.5), "-r", str(empty), "-s", "1", "-b", "0")
    running.start()
    (process,) = running.processes
    assert process.wait(30) == 1
    (event,) = [event for event in running.events() if event["level"] == "critical"]
    assert "python -m commands recovery" in event["remedy"]
    assert "Traceback" not in running.log.read_text()
