"""Real clients fight for one session: it is named, survived without a loss, and over when it is over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.archive.reader import ArchiveReader
from model.errors import StorageError
from model.messages import Alert
from model.timestamps import from_ms
from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import NODES, TOKEN, PipelineProcess, as_json_number, pipeline
from tests.contract.thingsboard_session import RunningSession, reading
from tests.torture.rival import Rival

IN_TIME = 10.0
"""Seconds from the second takeover to the alert that are promised."""

SLOW_MACHINE = 5.0
"""Seconds that a busy machine may add."""

both = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def takeovers(server: BackgroundStandIn, client_id: str) -> list[float]:
    """When this client was thrown out by another one, seconds since 1970."""
    sessions = server.snapshot().sessions
    return [record.closed for record in sessions if record.client_id == client_id and record.end == "taken over" and record.closed]


def host(folder: Path, name: str, url: str, protocol: str) -> PipelineProcess:
    """A pipeline as on a host of its own: another state_dir, another meter, and a spelling of the server that no other one locks."""
    (folder / name).mkdir()
    nodes = [
        {**node, "inputs": [*node["inputs"], "receipts.alerts"]} if node["type"] in ("archive-out", "thingsboard-out") else node
        for node in NODES
    ]
    configuration = pipeline(url, [{"id": name, "connect": "sim://three-phase"}], 0.5, protocol=protocol)
    return PipelineProcess(folder / name, {**configuration, "nodes": nodes})


def session_alerts(archive: Path) -> list[Alert]:
    with suppress(StorageError), ArchiveReader(archive) as reader:
        return [alert for alert in reader.alerts(from_ms(0), from_ms(4_000_000_000_000)) if alert.kind == "session"]
    return []


def standing(archive: Path) -> list[str]:
    with suppress(StorageError), ArchiveReader(archive) as reader:
        return [alert.evidence for alert in reader.standing_alerts() if alert.kind == "session"]
    return []


def in_time(raised: datetime, second_takeover: float) -> bool:
    return raised.timestamp() - second_takeover <= IN_TIME + SLOW_MACHINE


def client_id_of(running: PipelineProcess) -> str:
    return "dlms-tb-" + (running.folder / "state" / "client_id").read_text().strip()


def missing(running: PipelineProcess, server: BackgroundStandIn) -> set[Any]:
    """Archived readings that the server has not, or not as they were."""
    archived = running.archived()
    points = {meter: server.points(meter) for meter, _, _ in archived}
    return {row for row, value in archived.items() if points[row[0]].get((row[1], row[2])) != as_json_number(value)}


@both
def test_two_pipelines_on_two_hosts_both_tell_and_neither_loses_a_reading(tmp_path: Path, protocol: str) -> None:
    with BackgroundStandIn([Account("gateway", TOKEN, gateway=True)]) as server:
        first = host(tmp_path, "first", server.address, protocol)
        second = host(tmp_path, "second", server.address.replace("127.0.0.1", "localhost"), protocol)
        with first, second:
            for running in (first, second):
                wait_for(lambda running=running: session_alerts(running.archive), f"the alert of {running.folder.name}", 90)
                (alert, *_) = session_alerts(running.archive)
                assert "another client connected" in alert.evidence
                client = client_id_of(running)
                assert f"client {client}, pid " in alert.evidence
                thrown_out = takeovers(server, client)
                assert len(thrown_out) < 2 or in_time(alert.ts, thrown_out[1])
            assert second.stop() == [0]
            wait_for(lambda: not standing(first.archive), "the end of the alert", 90)
            wait_for(lambda: not missing(first, server), "delivery", 90)
            assert first.stop() == [0]
            second.start()  # what it had kept arrives when it has the session again
            wait_for(lambda: not missing(second, server), "delivery of what the second had kept", 90)
            wait_for(lambda: not standing(second.archive), "the end of the second one's alert", 90)
            assert second.stop() == [0]
        for running in (first, second):
            assert len(running.archived()) > 20
            assert not [event for event in running.events() if event["level"] == "critical"]


def test_a_second_pipeline_on_this_host_does_not_start_and_says_who_has_the_session(tmp_path: Path) -> None:
    with BackgroundStandIn([Account("gateway", TOKEN, gateway=True)]) as server:
        first, second = (host(tmp_path, name, server.address, "5") for name in ("first", "second"))
        with first, second:
            (process,) = second.processes
            (owner,) = first.processes
            # Which of the two comes first is up to the machine.
            wait_for(lambda: process.poll() is not None or owner.poll() is not None, "the end of one of them", 60)
            loser, winner = (second, owner) if process.poll() is not None else (first, process)
            assert loser.processes[0].returncode == 1
            text = loser.log.read_text()
            assert f"already belongs to another process: pid {winner.pid}" in text
            assert f"kill {winner.pid}" in text
            assert TOKEN not in text
            assert "Traceback" not in text
            os.kill(winner.pid, 9)
            winner.wait(10)
            loser.processes.clear()
            loser.start()  # a kill leaves nothing locked
            wait_for(lambda: server.points(loser.folder.name), "delivery by the one that had to wait", 60)


@both
@pytest.mark.parametrize("pause", [(1.0, 2.0), (5.0, 6.0)], ids=["every-1-to-2-s", "every-5-to-6-s"])
@pytest.mark.parametrize("backlog", [False, True], ids=["sparse", "backlog"])
def test_a_strangers_client_is_named_in_time(
    tmp_path: Path, protocol: str, pause: tuple[float, float], backlog: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.thingsboard.reconnect.STABLE_FACTOR", 0.5)
    with (
        BackgroundStandIn([Account("gateway", "gw-token", gateway=True)]) as server,
        RunningSession(tmp_path, server.address, protocol=protocol, reconnect_min=1.0, reconnect_max=4.0) as running,
    ):
        sent = 0

        def read_on(done: Callable[[], object]) -> bool:
            nonlocal sent
            count = 50 if backlog else 1
            running.deliver([reading(f"M{ts % 20}", ts, x=ts) for ts in range(sent + 1, sent + count + 1)])
            sent += count
            time.sleep(0.02 if backlog else 0.2)  # the pace of the readings
            return bool(done())

        wait_for(lambda: read_on(lambda: server.points("M1")), "the first delivery")
        server.misbehaviour.ack_delay = 0.2 if backlog else 0.0  # so that something is always on the way
        with Rival(server.port, protocol, pause):
            wait_for(lambda: read_on(running.alerts), "the alert", 60)
            ((evidence, ts), *_) = running.rows("alerts", "evidence, ts")
            thrown_out = takeovers(server, f"dlms-tb-{(tmp_path / 'client_id').read_text().strip()}")
        assert "another client connected" in evidence
        assert len(thrown_out) < 2 or in_time(from_ms(ts), thrown_out[1])
        server.misbehaviour.ack_delay = 0.0
        wait_for(lambda: read_on(lambda: running.alerts()[-1][1] is False), "the end of the alert", 60)
        wait_for(running.empty, "delivery", 60)
        assert running.rows("dead_letter", "id") == []
        assert sum(len(server.points(f"M{number}")) for number in range(20)) == sent
