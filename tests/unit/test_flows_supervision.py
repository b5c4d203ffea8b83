from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from flows.supervision import LEAST, SAY, UNKNOWN, Notifier, Supervised, summary, tell_systemd, watchdog_seconds
from model.progress import Progress
from model.status import NodeStatus
from model.stop import Stop
from tests.unit.test_model_status import STATUS


class Process:
    """A process whose clock the test moves."""

    def __init__(self, watchdog: float | None = 20.0) -> None:
        self.now = 100.0
        self.stop = Stop()
        self.progress = Progress(lambda: self.now)
        self.sent: list[str] = []
        self._supervised = Supervised(lambda *lines: self.sent.extend(lines), self.stop, self.progress, lambda: "fine", watchdog)

    def look(self, seconds: float = 0.0) -> list[str]:
        """What is sent, so many seconds later."""
        self.now += seconds
        self.sent.clear()
        self._supervised.look(self.now)
        return list(self.sent)


@pytest.fixture
def process() -> Process:
    return Process()


def test_nothing_is_said_before_the_flow_begins(process: Process) -> None:
    assert process.look() == []
    process.stop.attend()
    assert process.look(1) == []
    process.progress.woke()
    assert process.look(1) == ["READY=1", "WATCHDOG=1", "STATUS=fine"]
    assert process.look(0.5) == []


def test_a_sign_of_life_comes_twice_per_watchdog_while_sources_wake(process: Process) -> None:
    process.stop.attend()
    signs = []
    for _ in range(60):
        process.progress.woke()
        signs += [process.now for line in process.look(1) if line == "WATCHDOG=1"]
    assert signs == [101.0, 111.0, 121.0, 131.0, 141.0, 151.0]


def test_a_worker_that_stands_still_ends_them_and_is_logged_once(process: Process) -> None:
    process.stop.attend()
    process.progress.woke()
    process.look()
    with structlog.testing.capture_logs() as events:
        assert "WATCHDOG=1" in process.look(10.0)
        assert "WATCHDOG=1" not in process.look(1.0)
        assert "WATCHDOG=1" not in process.look(10.0)
        assert "WATCHDOG=1" not in process.look(10.0)
    (event,) = events
    assert event["log_level"] == "critical"
    assert event["remedy"]
    assert event["where"].startswith("standing_at (flows/supervision.py:")
    process.progress.woke()
    assert "WATCHDOG=1" in process.look()


def test_who_holds_the_flow_on_purpose_is_alive(process: Process) -> None:
    process.stop.attend()
    process.progress.woke()
    process.look()
    for _ in range(5):
        process.now += 9.0
        process.progress.holds()
        process.look()
        assert "WATCHDOG=1" in process.look(1.0)


def test_a_short_watchdog_leaves_a_worker_its_second() -> None:
    process = Process(1.0)
    process.stop.attend()
    process.progress.woke()
    assert "WATCHDOG=1" in process.look(1.2)
    assert "WATCHDOG=1" in process.look(LEAST - 1.3)
    assert "WATCHDOG=1" not in process.look(1.0)


def test_sources_that_do_not_tell_cannot_be_judged(process: Process) -> None:
    process.stop.attend()
    process.look()
    assert "READY=1" in process.look(UNKNOWN)
    assert "WATCHDOG=1" in process.look(1000.0)


def test_a_stop_is_told_once_and_is_no_standstill(process: Process) -> None:
    process.stop.attend()
    process.progress.woke()
    process.look()
    process.stop.request()
    assert process.look(0.1) == ["STOPPING=1", "STATUS=stopping"]
    assert process.look(30.0) == ["WATCHDOG=1"]


def test_without_a_watchdog_there_is_a_line_now_and_then() -> None:
    process = Process(None)
    process.stop.attend()
    process.progress.woke()
    assert process.look() == ["READY=1", "STATUS=fine"]
    assert process.look(SAY) == ["STATUS=fine"]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_the_one_of_this_process(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment) == seconds


def test_without_systemd_nothing_is_started() -> None:
    tell_systemd(Stop(), Progress(), lambda: STATUS, {"NOTIFY_SOCKET": ""})


def test_a_socket_that_is_full_or_gone_holds_nothing_up(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        notifier = Notifier(address)
        for _ in range(10_000):
            notifier.send("WATCHDOG=1")
        assert systemd.recv(100) == b"WATCHDOG=1"
    notifier.send("WATCHDOG=1")
    notifier.close()


def test_the_summary_is_one_line() -> None:
    assert summary(STATUS) == "1236 items; session up since 2026-11-01 12:00:00 UTC, 10 sent, 9 acknowledged; last end: taken-over"
    assert summary(replace(STATUS, sessions=(), nodes={"x": NodeStatus("map")})) == "0 items; the session is not in this process"


def test_the_summary_names_the_sessions_that_are_not_up() -> None:
    (session,) = STATUS.sessions
    north, south = replace(session, name="north"), replace(session, name="south", state="backing-off")
    assert summary(replace(STATUS, sessions=(north, south))) == (
        "1236 items; 1 of 2 sessions up, 20 sent, 18 acknowledged; south backing-off (taken-over)"
    )
    assert summary(replace(STATUS, sessions=(north,))).startswith("1236 items; session north up since")
