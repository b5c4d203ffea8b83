"""What a running pipeline tells about itself agrees with what it did."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from model.status import DamagedStatus, ProcessStatus, SessionEnd, read_files, read_session_ends, status_directory
from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import TOKEN, PipelineProcess, cycles_of, pipeline
from tests.torture.rival import Rival

METERS = [{"id": f"m{number}", "connect": "sim://three-phase"} for number in range(3)]

pytestmark = pytest.mark.timeout(120)


def statuses(running: PipelineProcess) -> list[ProcessStatus]:
    found = read_files(running.folder / "state")
    assert found.damaged == ()  # however often they are read while they are written
    return list(found.processes)


def emitted(status: list[ProcessStatus], node: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for process in status:
        total.update(process.nodes[node].emitted)
    return total


def agrees_with_the_archive(running: PipelineProcess) -> None:
    told = statuses(running)
    assert emitted(told, "meters")["main"] == len(cycles_of(running.archive)) > 0
    assert emitted(told, "checked")["main"] == len(running.archived()) > 0
    assert emitted(told, "mapped")["main"] == sum(emitted(told, "checked").values())
    assert emitted(told, "thingsboard") == {}


def test_the_counts_of_both_workers_are_those_of_the_archive(tmp_path: Path) -> None:
    with PipelineProcess(tmp_path, pipeline("embedded", METERS, 0.2), "-w", "2") as running:
        wait_for(lambda: emitted(statuses(running), "checked")["main"] > 40, "counts in the status file", 60)
        wait_for(lambda: (told := statuses(running)[0].sessions) and told[0].acknowledged > 0, "acknowledgements", 60)
        (status,) = statuses(running)
        (process,) = running.processes
        assert (status.pid, status.process, status.processes, status.pipeline) == (process.pid, 0, 1, "pipeline.yaml")
        assert status.is_running()
        assert status.progressed is not None
        assert len(status.sessions) == 1
        assert status.sessions[0].server.startswith("mqtt://127.0.0.1:")
        assert (status.sessions[0].state, status.sessions[0].protocol) == ("up", "5")
        assert TOKEN not in (status_directory(tmp_path / "state") / "process-0.json").read_text()
        assert running.stop() == [0]
    (status,) = statuses(running)
    assert status.ended is not None
    assert not status.is_running()
    assert len(status.sessions) == 1
    assert status.sessions[0].state == "closed"
    assert 0 < status.sessions[0].acknowledged <= status.sessions[0].sent
    agrees_with_the_archive(running)


def test_each_process_of_a_cluster_tells_its_share(tmp_path: Path) -> None:
    with PipelineProcess(tmp_path, pipeline("embedded", METERS, 0.2), processes=2) as running:
        wait_for(lambda: len(statuses(running)) == 2, "two status files", 60)
        wait_for(lambda: emitted(statuses(running), "checked")["main"] > 40, "counts in the status files", 60)
        assert {(status.process, status.processes) for status in statuses(running)} == {(0, 2), (1, 2)}
        assert {status.pid for status in statuses(running)} == {process.pid for process in running.processes}
        wait_for(lambda: any(status.sessions for status in statuses(running)), "the session in one of them", 60)
        assert sum(bool(status.sessions) for status in statuses(running)) == 1
        wait_for(lambda: all(status.nodes["meters"].emitted["main"] for status in statuses(running)), "counts of both", 60)
        assert running.stop() == [0, 0]
    agrees_with_the_archive(running)


def test_a_takeover_is_an_end_with_its_cause_and_outlives_the_process(tmp_path: Path) -> None:
    with BackgroundStandIn([Account("gateway", TOKEN, gateway=True)]) as server:
        with PipelineProcess(tmp_path, pipeline(server.address, METERS[:1], 0.5)) as running:
            wait_for(lambda: (told := statuses(running)) and told[0].sessions and told[0].sessions[0].state == "up", "the session", 60)
            with Rival(server.port, "5", (1.0, 2.0), token=TOKEN):
                wait_for(lambda: takeovers(statuses(running)), "the takeover in the status", 60)
                wait_for(lambda: read_session_ends(tmp_path / "state"), "the takeover in the journal", 60)
            (status,) = statuses(running)
            assert len(status.sessions) == 1
            assert status.sessions[0].ends_by_cause["taken-over"] >= 1
            running.kill()
        end = next(end for end in read_session_ends(tmp_path / "state") if end.cause == "taken-over")
        assert end.code == 0x8E
        assert end.lasted is not None
        assert "reason code 0x8e" in end.detail
        (status,) = read_files(tmp_path / "state").processes
        assert status.ended is None  # killed
        assert not status.is_running()


def takeovers(told: list[ProcessStatus]) -> list[SessionEnd]:
    return [end for status in told for session in status.sessions for end in session.ends if end.cause == "taken-over"]


def test_a_server_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    with PipelineProcess(tmp_path, pipeline("mqtt://127.0.0.1:1", METERS[:1], 0.5)) as running:
        wait_for(lambda: (told := statuses(running)) and told[0].sessions and told[0].sessions[0].ends_by_cause, "a failed attempt", 60)
        wait_for(lambda: statuses(running)[0].sessions[0].ends_by_cause["refused"] > 2, "more failed attempts", 60)
        (status,) = statuses(running)
        assert len(status.sessions) == 1
        (end,) = status.sessions[0].ends
        assert (end.cause, end.code, end.lasted) == ("refused", None, None)
        assert end.times == status.sessions[0].ends_by_cause["refused"]
        assert status.sessions[0].state in ("backing-off", "connecting")


def test_a_second_process_that_must_not_run_leaves_the_status_of_the_first_alone(tmp_path: Path) -> None:
    with BackgroundStandIn([Account("gateway", TOKEN, gateway=True)]) as server:
        configuration = pipeline(server.address, METERS[:1], 0.5)
        with PipelineProcess(tmp_path, configuration) as first:
            wait_for(lambda: statuses(first), "the status of the first", 60)
            with PipelineProcess(tmp_path, configuration) as second:
                (process,) = second.processes
                assert process.wait(60) == 1
            (status,) = statuses(first)
            assert status.pid == first.processes[0].pid
            assert status.ended is None


def test_a_disk_that_refuses_the_status_costs_no_reading(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "status").write_text("in the way")
    with PipelineProcess(tmp_path, pipeline("embedded", METERS[:1], 0.2)) as running:
        wait_for(lambda: len(running.archived()) > 40, "readings", 60)
        said = [event for event in running.events() if event["event"] == "the status file cannot be written"]
        assert len(said) == 1
        assert running.stop() == [0]
    assert read_files(tmp_path / "state").processes == ()
    assert not any(isinstance(found, DamagedStatus) for found in read_files(tmp_path / "state").damaged)
