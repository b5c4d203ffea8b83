"""Real clients fight for one session: it is named, survived without a loss, and over when it is over."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
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


@pytest.fixture(scope="module")
def two_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """Two pairs of pipelines, each pair with a server of its own, at once."""
    with ThreadPoolExecutor(2) as pool:
        yield {protocol: pool.submit(on_two_hosts, tmp_path_factory.mktemp("hosts"), protocol) for protocol in ("5", "3.1.1")}


@both
def test_two_pipelines_on_two_hosts_both_tell_and_neither_loses_a_reading(two_hosts: dict[str, Future[None]], protocol: str) -> None:
    two_hosts[protocol].result()


def on_two_hosts(tmp_path: Path, protocol: str) -> None:
    """The whole story: fight, alerts, one is stopped, the other's alert ends, then what the first one kept arrives."""
    with BackgroundStandIn([Account("gateway", TOKEN, gateway=True)]) as server:
        first = host(tmp_path, "first", server.address, protocol)
        second = host(tmp_path, "second", server.address.replace("127.0.0.1", "localhost"), protocol)
        with first, second:
            for running in (first, second):
                wait_for(lambda archive=running.archive: session_alerts(archive), f"the alert of {running.folder.name}", 90)
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
            assert [alert.raised for alert in session_alerts(running.archive)] == [True, False]
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


@dataclass(frozen=True)
class Fight:
    """How a stranger's client fights, and whether something is always on the way while it does."""

    protocol: str
    pause: tuple[float, float]
    backlog: bool

    def __str__(self) -> str:
        return f"{self.protocol}-every-{self.pause[0]:.0f}-to-{self.pause[1]:.0f}-s-{'backlog' if self.backlog else 'sparse'}"


FIGHTS = [Fight(*how) for how in itertools.product(("5", "3.1.1"), ((1.0, 2.0), (5.0, 6.0)), (False, True))]


@dataclass(frozen=True)
class Outcome:
    """What came of a fight: the alert, how many were raised, seconds from the second takeover to it, dead letters, readings sent
    and stored."""

    evidence: str
    raised: int
    seconds: float
    dead: int
    sent: int
    stored: int


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Fight, Future[Outcome]]]:
    """All fights, fought at once; at full length for two minutes after the alert."""
    # A fight that goes on needs a time of peace that is longer than the other client stays away.
    seconds, factor = (120.0, 5.0) if request.config.getoption("--long") else (0.0, 0.5)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(FIGHTS)) as pool:
        patch.setattr("connectors.thingsboard.reconnect.STABLE_FACTOR", factor)
        yield {fight: pool.submit(fought, fight, tmp_path_factory.mktemp("fight"), seconds) for fight in FIGHTS}


@pytest.mark.parametrize("fight", FIGHTS, ids=str)
def test_a_strangers_client_is_named_in_time_and_costs_nothing(outcomes: dict[Fight, Future[Outcome]], fight: Fight) -> None:
    outcome = outcomes[fight].result()
    assert "another client connected" in outcome.evidence
    assert outcome.seconds <= IN_TIME + SLOW_MACHINE
    assert outcome.raised == 1
    assert outcome.dead == 0
    assert outcome.stored == outcome.sent


def fought(fight: Fight, folder: Path, length: float) -> Outcome:
    """One fight, from peace to peace; it goes on for `length` seconds after the alert."""
    with (
        BackgroundStandIn([Account("gateway", "gw-token", gateway=True)]) as server,
        RunningSession(folder, server.address, protocol=fight.protocol, reconnect_min=1.0, reconnect_max=4.0) as running,
    ):
        sent = 0

        def read_on(done: Callable[[], object]) -> bool:
            nonlocal sent
            count = 20 if fight.backlog else 1
            running.deliver([reading(f"M{ts % 20}", ts, x=ts) for ts in range(sent + 1, sent + count + 1)])
            sent += count
            time.sleep(0.05 if fight.backlog else 0.2)  # the pace of the readings
            return bool(done())

        wait_for(lambda: read_on(lambda: server.points("M1")), f"{fight}: the first delivery", 60)
        server.misbehaviour.ack_delay = 0.2 if fight.backlog else 0.0  # so that something is always on the way
        with Rival(server.port, fight.protocol, fight.pause):
            wait_for(lambda: read_on(running.alerts), f"{fight}: the alert", 90)
            ((evidence, ts), *_) = running.rows("alerts", "evidence, ts")
            end = time.monotonic() + length
            wait_for(lambda: read_on(lambda: time.monotonic() >= end), f"{fight}: its length", length + 90)
            thrown_out = takeovers(server, f"dlms-tb-{(folder / 'client_id').read_text().strip()}")
        seconds = from_ms(ts).timestamp() - thrown_out[1] if len(thrown_out) > 1 else 0.0
        server.misbehaviour.ack_delay = 0.0
        wait_for(lambda: read_on(lambda: running.alerts()[-1][1] is False), f"{fight}: the end of the alert", 90)
        wait_for(running.empty, f"{fight}: delivery", 90)
        stored = sum(len(server.points(f"M{number}")) for number in range(20))
        raised = sum(up for _, up in running.alerts())
        return Outcome(str(evidence), raised, seconds, len(running.rows("dead_letter", "id")), sent, stored)
