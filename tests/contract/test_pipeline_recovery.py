"""Stopped or killed, changed, and started again with the recovery store, as `make run` does it; and a store that is none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import NODES, ROOT, PipelineProcess, cycles_of, pipeline, simulator

METERS: list[dict[str, Any]] = [{"id": name, "connect": "sim://three-phase"} for name in ("a", "b", "c")]
FAULTS = ("error", "critical")


def recovery(folder: Path, *options: str) -> str:
    """What `commands recovery` prints."""
    command = [sys.executable, "-m", "commands", "recovery", str(folder / "pipeline.yaml"), *options]
    environment = {"PYTHONPATH": str(ROOT), "TB_TOKEN": "t", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT).stdout.strip()


def prepared(folder: Path, configuration: dict[str, Any], *arguments: str, processes: int = 1) -> PipelineProcess:
    """The pipeline with the store that `commands recovery` makes or leaves as it is."""
    store = str(folder / "state" / "recovery")
    running = PipelineProcess(folder, configuration, "-r", store, "-s", "1", "-b", "0", *arguments, processes=processes)
    assert recovery(folder) == store
    return running


def readings(running: PipelineProcess) -> Counter[str]:
    return Counter(meter for meter, _, _ in running.archived())


def log_of(running: PipelineProcess) -> list[dict[str, Any]]:
    """All that was logged so far."""
    return running.events() if running.log.exists() else []


def faults(running: PipelineProcess, since: int = 0) -> list[dict[str, Any]]:
    return [event for event in log_of(running)[since:] if event["level"] in FAULTS]


def run_until_more(running: PipelineProcess, *meters: str) -> None:
    before, since = readings(running), len(log_of(running))
    with running:
        wait_for(lambda: all(readings(running)[meter] > before[meter] + 10 for meter in meters), f"readings of {meters}", 45)
        assert set(running.stop()) == {0}
    assert not faults(running, since)
    assert not [event for event in running.events() if "begins anew" in event["event"]]


def grown(running: PipelineProcess, before: Counter[str], by: int) -> bool:
    """Whether each of METERS has so many readings more."""
    now = readings(running)
    return all(now[meter["id"]] > before[meter["id"]] + by for meter in METERS)


def with_meters(configuration: dict[str, Any], meters: list[dict[str, Any]]) -> dict[str, Any]:
    return {**configuration, "meters": [{"template": "five", **meter} for meter in meters]}


def with_nodes(configuration: dict[str, Any], *nodes: dict[str, Any], without: str = "") -> dict[str, Any]:
    """Nodes added or put in the place of those with the same id; one left out, with the wires from it."""
    ids = {node["id"] for node in nodes}
    kept = [node for node in configuration["nodes"] if node["id"] not in ids and node["id"] != without]
    cut = [
        {**node, "inputs": [wire for wire in node["inputs"] if wire.partition(".")[0] != without]} if "inputs" in node else node
        for node in (*kept, *nodes)
    ]
    return {**configuration, "nodes": cut}


def renamed(configuration: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Another id for a node, in all wires too."""
    described = json.dumps(configuration["nodes"])
    return {**configuration, "nodes": json.loads(described.replace(f'"{old}"', f'"{new}"').replace(f'"{old}.', f'"{new}.'))}


@pytest.mark.timeout(300)
def test_meters_may_come_and_go_and_workers_too(tmp_path: Path) -> None:
    with simulator("simulator.thingsboard", tmp_path, 1, "--port", "0") as ((url,), _, _):
        three = pipeline(url.split()[-1], METERS, 0.5)
        run_until_more(prepared(tmp_path, with_meters(three, METERS[:2])), "a", "b")
        run_until_more(prepared(tmp_path, three, "-w", "2"), "a", "b", "c")
        run_until_more(prepared(tmp_path, with_meters(three, METERS[1:]), processes=2), "b", "c")
        gone = readings(prepared(tmp_path, three))["a"]
        (tmp_path / "state" / "meters-meters.json").unlink()  # the store remembers them, too
        run_until_more(prepared(tmp_path, with_meters(three, METERS[2:])), "c")
        assert readings(prepared(tmp_path, three))["a"] == gone
        run_until_more(prepared(tmp_path, three, "-w", "3"), "a", "b", "c")


@pytest.mark.timeout(300)
def test_nodes_may_come_and_go_and_be_renamed(tmp_path: Path) -> None:
    with simulator("simulator.thingsboard", tmp_path, 1, "--port", "0") as ((url,), _, _):
        usual = pipeline(url.split()[-1], METERS[:2], 0.5)
        second = {"id": "second", "type": "dlms-in", "settings": {"meters": ["b"]}}
        split = with_nodes(usual, {"id": "meters", "type": "dlms-in", "settings": {"meters": ["a"]}}, second)
        split["nodes"] = [{**node, "inputs": ["meters", "second"]} if node["id"] == "mapped" else node for node in split["nodes"]]
        changes = {"id": "changes", "type": "filter", "inputs": ["mapped"], "settings": {"rules": {"*": {}}}}
        judged_by_exception = with_nodes(usual, {"id": "checked", "type": "filter", "inputs": ["mapped"], "settings": {"rules": {"*": {}}}})
        judged_by_exception["nodes"] = [
            {**node, "inputs": [wire for wire in node["inputs"] if wire != "checked.rejected"]} if "inputs" in node else node
            for node in judged_by_exception["nodes"]
        ]
        run_until_more(prepared(tmp_path, usual), "a", "b")
        run_until_more(prepared(tmp_path, with_nodes(usual, {"id": "tap", "type": "debug", "inputs": ["checked"]}, changes)), "a", "b")
        run_until_more(prepared(tmp_path, with_nodes(usual, without="alerts")), "a", "b")
        run_until_more(prepared(tmp_path, renamed(usual, "meters", "house-meters")), "a", "b")
        run_until_more(prepared(tmp_path, split), "a", "b")
        run_until_more(prepared(tmp_path, judged_by_exception), "a", "b")
        run_until_more(prepared(tmp_path, with_nodes(usual, without="receipts")), "a", "b")
        run_until_more(prepared(tmp_path, renamed(usual, "archive", "history")), "a", "b")
        run_until_more(prepared(tmp_path, usual), "a", "b")


@pytest.mark.timeout(300)
def test_windows_of_two_lengths_never_mix(tmp_path: Path) -> None:
    def with_window(seconds: int) -> dict[str, Any]:
        health = next(node for node in NODES if node["id"] == "health")
        return with_nodes(configuration, {**health, "settings": {"window": f"{seconds}s", "wait": "1s"}})

    def reports(length: int) -> list[tuple[str, int, int, int]]:
        return [row for row in all_reports() if row[2] - row[1] == length * 1000 and row[3]]

    def all_reports() -> list[tuple[str, int, int, int]]:
        try:
            with closing(sqlite3.connect(f"file:{tmp_path}/state/archive.sqlite?mode=ro", uri=True)) as database:
                return database.execute('SELECT meter, start, "end", cycles FROM reports').fetchall()
        except sqlite3.OperationalError:  # not there yet
            return []

    with simulator("simulator.thingsboard", tmp_path, 1, "--port", "0") as ((url,), _, _):
        configuration = pipeline(url.split()[-1], METERS[:2], 0.5)
        for length in (5, 3, 5):
            running = prepared(tmp_path, with_window(length))
            before = len(reports(length))
            with running:
                wait_for(lambda length=length, before=before: len(reports(length)) > before, "a report", 90)  # type: ignore[misc]
                assert running.stop() == [0]
            assert not faults(running)
    windows = all_reports()
    assert {end - start for _, start, end, _ in windows} == {5000, 3000}
    starts = [row["started"] for row in cycles_of(tmp_path / "state" / "archive.sqlite") if row["meter"] == "a"]
    for meter, start, end, cycles in windows:
        assert start % (end - start) == 0
        if meter == "a":
            assert cycles <= len([started for started in starts if start <= started < end])


@pytest.mark.timeout(240)
def test_a_clean_stop_takes_nothing_away(tmp_path: Path) -> None:
    """What the meters answered is in ThingsBoard and in the archive, every single cycle, over four starts and stops."""
    with (
        simulator("simulator.meter", tmp_path, 4, "--count", "4", "--port", "0") as (lines, meter_file, meters),
        simulator("simulator.thingsboard", tmp_path, 1, "--port", "0") as ((url,), board_file, board),
    ):
        settings: list[dict[str, Any]] = [{"id": line.split()[0], "connect": line.split()[1]} for line in lines]
        configuration = pipeline(url.split()[-1], settings, 0.5)
        names = [meter["id"] for meter in settings]
        for arguments, processes in (((), 1), (("-w", "2"), 1), ((), 2), ((), 1)):
            run_until_more(prepared(tmp_path, configuration, *arguments, processes=processes), *names)
        running = prepared(tmp_path, configuration)
        for process in (meters, board):
            process.terminate()
            process.wait(10)
    stored = json.loads(board_file.read_text())["devices"]
    archived = running.archived()
    for meter, seen in json.loads(meter_file.read_text()).items():
        answered = [exchange for exchange in seen["exchanges"] if len(exchange["attributes"]) >= 5]
        in_store = {ts for ts, _ in stored[meter]["points"]["voltage"]}
        assert in_store == {ts for name, key, ts in archived if (name, key) == (meter, "voltage")}
        assert len(in_store) == len(answered), meter
        assert seen["associations"] == seen["releases"] == 4
    assert [event["waiting"] for event in running.events() if event["event"] == "outbox closed"] == [0, 0, 0, 0]


@pytest.mark.timeout(240)
def test_kill_9_takes_nothing_away_that_was_acknowledged(tmp_path: Path) -> None:
    """Nor does the death of one process of a cluster; the others say why they end."""
    with simulator("simulator.thingsboard", tmp_path, 1, "--port", "0") as ((url,), board_file, board):
        configuration = pipeline(url.split()[-1], METERS, 0.3)
        for processes in (1, 2, 2, 1):
            running = prepared(tmp_path, configuration, processes=processes)
            before = readings(running)
            with running:
                wait_for(partial(grown, running, before, 20), "readings", 45)
                os.kill(running.processes[-1].pid, signal.SIGKILL)
                codes = sorted(process.wait(30) for process in running.processes)
                assert codes == [-signal.SIGKILL, 1][:processes]
            if processes == 2:
                assert [event["error"] for event in faults(running)][-1:] == ["another process of the cluster has ended"]
        killed = {(meter, key, ts) for meter, key, ts in running.archived()}
        run_until_more(prepared(tmp_path, configuration), "a", "b", "c")
        board.terminate()
        board.wait(10)
    devices = json.loads(board_file.read_text())["devices"]
    stored = {(m["id"], key, ts): value for m in METERS for key, points in devices[m["id"]]["points"].items() for ts, value in points}
    with closing(sqlite3.connect(running.archive)) as database:
        acknowledged = database.execute("SELECT meter, polls, oldest FROM receipts WHERE polls = 1").fetchall()
    assert acknowledged
    assert all((meter, "voltage", oldest) in stored for meter, _, oldest in acknowledged)
    assert len(killed - stored.keys()) <= 5 * 5 * len(METERS)  # in the archive, but cut off before the outbox: a batch per kill


@pytest.mark.timeout(240)
@pytest.mark.parametrize("harm", ["deleted", "damaged"])
@pytest.mark.parametrize("name", ["archive.sqlite", "outbox.sqlite"])
def test_a_lost_file_beside_a_whole_store_is_told_and_the_flow_goes_on(tmp_path: Path, name: str, harm: str) -> None:
    with simulator("simulator.thingsboard", tmp_path, 1, "--port", "0") as ((url,), _, _):
        configuration = pipeline(url.split()[-1], METERS, 0.5)
        run_until_more(prepared(tmp_path, configuration), "a", "b", "c")
        file = tmp_path / "state" / name
        for companion in tmp_path.glob(f"state/{name}-*"):
            companion.unlink()
        if harm == "deleted":
            file.unlink()
        else:
            file.write_bytes(b"not what it was" * 4000)
        running = prepared(tmp_path, configuration)
        lines = len(running.events())
        with running:
            wait_for(lambda: all(readings(running)[meter["id"]] > 10 for meter in METERS), "readings", 45)
            wait_for(lambda: any(event.get("cycles_published") for event in running.events()[lines:]), "receipts", 45)
            assert running.stop() == [0]
        new = running.events()[lines:]
        if harm == "damaged":
            assert [event for event in new if event["level"] in ("warning", "error") and "damaged" in str(event) and event.get("remedy")]
            assert list(tmp_path.glob(f"state/{name}.damaged-*"))
        assert not [event for event in new if event["level"] == "critical" or "Traceback" in event["event"]]


def test_a_store_in_use_is_not_moved(tmp_path: Path) -> None:
    running = prepared(tmp_path, pipeline("embedded", METERS[:1], 0.5))
    with running:
        wait_for(lambda: bool(running.archived()), "readings", 45)
        command = [sys.executable, "-m", "commands", "recovery", str(tmp_path / "pipeline.yaml"), "--set-aside"]
        refused = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "TB_TOKEN": "t"})
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "is in use\n  -> stop the pipeline first" in refused.stderr
        assert running.stop() == [0]
    recovery(tmp_path, "--set-aside")
    assert len(list(tmp_path.glob("state/recovery.aside-*/part-0.sqlite3"))) == 1
    run_until_more(running, "a")


def refusal(running: PipelineProcess) -> dict[str, Any]:
    """The one event with which the pipeline gives up."""
    running.start()
    (process,) = running.processes
    assert process.wait(30) == 1
    running.processes.clear()
    event = [event for event in running.events() if event["level"] == "critical"][-1]
    assert "python -m commands recovery" in event["remedy"]
    text = running.log.read_text()
    assert "Traceback" not in text
    return event


@pytest.mark.parametrize("folder", ["empty", "nowhere"])
def test_a_store_that_was_never_made_is_told_with_the_remedy(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    running = PipelineProcess(tmp_path, pipeline("embedded", METERS, 0.5), "-r", str(tmp_path / folder), "-s", "1", "-b", "0")
    assert str(tmp_path / folder) in refusal(running)["error"]
    assert "panicked" not in running.log.read_text()
    assert not running.archive.exists()


@pytest.mark.timeout(120)
def test_a_store_that_lost_a_file_or_came_from_a_backup_in_part_is_told(tmp_path: Path) -> None:
    configuration = pipeline("embedded", METERS, 0.5)
    store = tmp_path / "state" / "recovery"
    running = PipelineProcess(tmp_path, configuration, "-r", str(store), "-s", "1", "-b", "0")
    recovery(tmp_path, "--partitions", "2")
    run_until_more(running, "a", "b", "c")
    backup = shutil.copytree(store, tmp_path / "backup")
    run_until_more(running, "a", "b", "c")
    whole = shutil.copytree(store, tmp_path / "whole")
    (store / "part-1.sqlite3").unlink()
    assert "has lost part-1.sqlite3 of its 2 files" in refusal(running)["error"]
    assert "panicked" not in running.log.read_text()
    shutil.copy(backup / "part-1.sqlite3", store)
    assert refusal(running)["error"].startswith("the recovery store cannot be used")  # only Bytewax can tell, with a panic before
    shutil.rmtree(store)
    shutil.copytree(whole, store)
    run_until_more(running, "a", "b", "c")
