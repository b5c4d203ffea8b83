"""The entry point as an operator uses it: run, look at, stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from model.loading.document import read_yaml

ROOT = Path(__file__).parents[2]
DEADLINE = 40.0
LISTENING = "0A"

PIPELINE = """\
thingsboard: {url: embedded, token: demo-token}
templates: {basic: {interval: 500ms, read: {voltage: 1-0:32.7.0}}}
meters:
  - {id: plain, connect: "sim://three-phase", template: basic}
  - {id: low, connect: "sim://three-phase", template: basic, client_sap: 32, authentication: low, password: "${PASSWORD}"}
nodes:
  - {id: meters, type: dlms-in}
  - {id: mapped, type: map, inputs: [meters]}
  - {id: tap, type: debug, inputs: [mapped, mapped.rejected]}
log: {level: debug, format: json}
"""

WATCH = """\
import os, sys
log = open(os.environ["WATCH_LOG"], "a", buffering=1)
busy = ("socket.bind", "socket.connect", "sqlite3.connect", "fcntl.flock", "fcntl.lockf", "_thread.start_new_thread", "subprocess.Popen")
def watch(event, arguments):
    if event in busy or (event == "open" and str(arguments[1]).startswith(("w", "a", "x")) and "__pycache__" not in str(arguments[0])):
        log.write(f"{event} {arguments}\\n")
sys.addaudithook(watch)
"""
"""Notes whatever a process opens, locks or starts."""


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PASSWORD": "87654321", **more}


@pytest.fixture
def running(tmp_path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bytewax.run", "flows.main"],
            cwd=tmp_path,
            env=environment(BYTEWAX_DATAFLOW_API_ENABLED="0"),
            stdout=subprocess.DEVNULL,
            stderr=log,
            text=True,
        )
        yield process
        process.kill()
        process.wait()


def events(tmp_path: Path) -> list[dict]:
    complete = (tmp_path / "log").read_text().rpartition("\n")[0]
    return [json.loads(line) for line in complete.splitlines()]


def wait_for_readings(tmp_path: Path) -> None:
    """Until both meters have been read twice."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        readings = [event["meter"] for event in events(tmp_path) if event.get("type") == "Reading"]
        if min(readings.count("plain"), readings.count("low")) >= 2:
            return
        time.sleep(0.1)
    pytest.fail(f"no readings: {events(tmp_path)}")


def listening_addresses(pid: int) -> set[str]:
    """Local addresses on which a process listens, as /proc writes them."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            sockets.add(str(entry.readlink()))
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == LISTENING and f"socket:[{row[9]}]" in sockets}


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_reads_and_a_signal_ends_it_in_order(running, tmp_path, number):
    wait_for_readings(tmp_path)
    loopback = "0100007F"
    assert {address.partition(":")[0] for address in listening_addresses(running.pid)} == {loopback}
    running.send_signal(number)
    assert running.wait(DEADLINE) == 0
    said = events(tmp_path)
    assert [event["meter"] for event in said if event["event"] == "association released"]
    assert any(event.get("ignored") == "BYTEWAX_DATAFLOW_API_ENABLED" for event in said)
    text = (tmp_path / "log").read_text()
    assert "87654321" not in text
    assert b"87654321".hex() not in text.lower()
    assert "Traceback" not in text


def test_visualize_shows_the_file_and_starts_nothing(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    (tmp_path / "pipeline.yaml").write_text((ROOT / "pipeline.yaml").read_text())
    before = sorted(path.name for path in tmp_path.iterdir())
    watched = tmp_path.parent / f"{tmp_path.name}.watched"
    result = subprocess.run(
        [sys.executable, "-m", "bytewax.visualize", "flows.main"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}", WATCH_LOG=str(watched)),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert watched.read_text() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert edges_of(result.stdout) == wires_of(tmp_path / "pipeline.yaml")


def edges_of(mermaid: str) -> set[tuple[str, str]]:
    lines = [line.split() for line in mermaid.splitlines() if " -- " in line]
    return {(words[0].partition(".")[2], words[-1].partition(".")[2]) for words in lines}


def wires_of(path: Path) -> set[tuple[str, str]]:
    document, _ = read_yaml(path)
    return {(wire.partition(".")[0], node["id"]) for node in document.data["nodes"] for wire in node.get("inputs", [])}


LOSING = """\
import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSink
from flows.logs import configure_logs
from flows.process import explain_fatal_errors
from model.errors import OwnershipError
from model.settings.pipeline import LogSettings

class Source(FixedPartitionedSource):
    def list_parts(self):
        return ["only"]

    def build_part(self, step_id, for_part, resume_state):
        raise OwnershipError("process 42 owns the outbox", "stop process 42")

configure_logs(LogSettings(format="json"), [])
explain_fatal_errors()
flow = Dataflow("flow")
op.output("out", op.input("in", flow, Source()), TestingSink([]))
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_stops_the_flow_is_one_event_with_a_remedy_and_no_traceback(tmp_path, workers):
    (tmp_path / "losing.py").write_text(LOSING)
    command = [sys.executable, "-m", "bytewax.run", "losing", "-w", workers]
    result = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    event = json.loads(result.stderr.splitlines()[-1])
    assert (event["level"], event["error"], event["remedy"]) == ("critical", "process 42 owns the outbox", "stop process 42")
