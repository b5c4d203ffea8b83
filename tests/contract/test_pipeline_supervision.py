"""What systemd hears from a running pipeline, on a real datagram socket."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import PipelineProcess, pipeline

METERS = [{"id": name, "connect": "sim://three-phase"} for name in ("a", "b")]
WATCHDOG = 2.0
DEADLINE = 60.0
HANGING = """\
import os, time

def hang(reading):
    while reading.meter == "b" and os.path.exists("hang"):
        time.sleep(0.05)
    return reading
"""

pytestmark = pytest.mark.timeout(180)


class Systemd:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.heard: list[str] = []

    def hear(self, wanted: Callable[[str], bool], what: str) -> None:
        """Listen until `wanted` comes."""
        deadline = time.monotonic() + DEADLINE
        while not (self.heard and wanted(self.heard[-1])):
            ready, _, _ = select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{what} did not come: {self.heard}"
            self._take()

    def drain(self) -> None:
        """Take what has come, and forget it."""
        while select.select([self._socket], [], [], 0.0)[0]:
            self._take()
        self.heard.clear()

    def close(self) -> None:
        self._socket.close()

    def _take(self) -> None:
        self.heard += self._socket.recv(65_536).decode().splitlines()


@pytest.fixture
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@dlms-thingsboard-test-{os.getpid()}"
    systemd = Systemd(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG * 1e6)))
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield systemd
    systemd.close()


def watchdog(line: str) -> bool:
    return line == "WATCHDOG=1"


def stuck(running: PipelineProcess) -> list[Any]:
    return [event for event in running.events() if "stands still" in event["event"]]


def said(line: str) -> bool:
    return line.startswith("STATUS=")


@pytest.mark.parametrize("systemd", ["abstract"], indirect=True)
def test_a_pipeline_is_ready_alive_and_stopping(systemd: Systemd, tmp_path: Path) -> None:
    with PipelineProcess(tmp_path, pipeline("embedded", METERS, 0.5)) as running:
        systemd.hear(watchdog, "the first sign of life")
        assert systemd.heard[0] == "READY=1"
        systemd.hear(lambda line: said(line) and "session up since" in line, "a summary")
        systemd.drain()
        systemd.hear(watchdog, "a further sign of life")
        systemd.drain()
        assert running.stop() == [0]
        systemd.hear(lambda line: line == "STATUS=stopping", "the stop")
        assert "STOPPING=1" in systemd.heard


@pytest.mark.parametrize("systemd", ["path"], indirect=True)
def test_one_worker_that_stands_still_ends_the_signs_of_life(systemd: Systemd, tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    configuration: dict[str, Any] = pipeline("embedded", METERS, 0.5)
    configuration["nodes"] = [
        {**node, "settings": {"call": "hanging:hang"}} if node["id"] == "mapped" else node for node in configuration["nodes"]
    ]
    with PipelineProcess(tmp_path, configuration, "-w", "2") as running:
        systemd.hear(watchdog, "the first sign of life")
        known = len(stuck(running))  # a very slow machine may have been one before
        (tmp_path / "hang").touch()
        wait_for(lambda: len(stuck(running)) > known, "the log line", DEADLINE)
        assert stuck(running)[-1]["where"].startswith("hang (")  # the worker's own place, not another one's
        systemd.drain()
        for _ in range(2):  # the supervision itself goes on
            systemd.hear(said, "a summary")
            systemd.heard.append("")
        assert not list(filter(watchdog, systemd.heard))
        (tmp_path / "hang").unlink()
        systemd.hear(watchdog, "signs of life of a flow that goes on again")
        assert running.stop() == [0]
