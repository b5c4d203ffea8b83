"""`health` over real installations: what it prints, its exit codes, and who else uses the token. Faults one by one: tests/torture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.__main__ import app
from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.outbox_schema import FILE_NAME
from tests.contract.pipeline_process import ROOT, TOKEN
from tests.contract.thingsboard_session import reading
from tests.torture.faults import PLAIN, Ground

_USER = """
import os, socket, sys, time
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("connected", flush=True)
time.sleep(600)
"""


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with ExitStack() as stack:
        yield Ground(tmp_path, stack)


def printed(ground: Ground) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["health", str(ground.write())], env={"TB_TOKEN": TOKEN, **ground.environment})
    return result.exit_code, result.stdout


def test_before_the_first_start_it_says_so_and_what_to_do(ground: Ground) -> None:
    ground.meter(PLAIN)
    code, text = printed(ground)
    assert code == 2
    first, second, *more = text.splitlines()
    assert first.startswith("CRITICAL  1 problem")
    assert second.split()[:2] == ["critical", "flow"]
    assert "-> start it:" in "".join(more[:2])
    assert not (ground.folder / "state").exists()  # it only looks


@pytest.mark.slow
def test_a_running_pipeline_is_healthy_and_is_left_alone(ground: Ground) -> None:
    ground.meter(PLAIN)
    server = ground.server()
    running = ground.start_healthy()
    before = ground.meters.counters("lab").connections
    code, text = printed(ground)
    assert (code, text.split()[0]) == (0, "healthy"), text
    assert f"one owner: pid {running.processes[0].pid}" in text
    assert "1 of 1 meter gave all values" in text
    assert ground.meters.counters("lab").connections == before
    assert server.snapshot().sessions_opened == 1
    assert TOKEN not in text
    answer = ground.invoke("health")
    assert answer["verdict"] == "healthy"
    assert answer["findings"] == []
    assert {"area", "verdict", "facts", "unseen"} == set(answer["areas"][0])


def test_whoever_has_the_token_and_a_connection_is_named(ground: Ground) -> None:
    ground.meter(PLAIN)
    server = ground.server()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    quiet = {**environment, "TB_TOKEN": "something else"}
    with user(server.port, {**environment, "TB_TOKEN": TOKEN}) as same, user(server.port, quiet) as other:
        found = [finding for finding in ground.invoke("health")["findings"] if finding["subject"] == "neighbours"]
        same.kill()
        other.kill()
    assert [(one["severity"], f"pid {process.pid} " in one["what"]) for one, process in zip(found, (same, other), strict=True)] == [
        ("critical", True),
        ("minor", True),
    ]
    assert "holds the pipeline's token and is connected" in found[0]["what"]
    assert "cannot be seen from here" in found[1]["what"]


def user(port: int, environment: dict[str, str]) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", _USER, str(port)], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "connected"
    return process


def test_the_token_in_somebodys_arguments(ground: Ground) -> None:
    ground.meter(PLAIN)
    ground.server()
    command = [sys.executable, "-c", "print('here', flush=True); import time; time.sleep(600)", TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = [finding for finding in ground.invoke("health")["findings"] if finding["subject"] == "neighbours"]
        process.kill()
    assert [f"pid {process.pid} " in one["what"] and "in its arguments" in one["what"] for one in found] == [True]


def test_what_waits_too_long_in_the_outbox(ground: Ground) -> None:
    ground.meter(PLAIN)
    outbox = Outbox(ground.state / FILE_NAME)
    outbox.append([reading("lab", 1_000, x=1)])
    outbox.close()
    found = {finding["subject"]: finding for finding in ground.invoke("health")["findings"]}
    assert "1 records wait, the oldest read at 1970-01-01" in found["outbox"]["what"]


def test_a_broken_file_still_tells_of_its_state_dir(ground: Ground) -> None:
    ground.meter(PLAIN)
    ground.configuration["state_dir"] = "elsewhere"
    ground.configuration["nodez"] = []
    answer = ground.invoke("health")
    assert answer["verdict"] == "critical"
    assert "elsewhere/status" in next(finding["what"] for finding in answer["findings"] if finding["subject"] == "flow")
    (ground.folder / "pipeline.yaml").write_text("a: [")
    ground.file = ground.folder / "pipeline.yaml"
    assert ground.invoke("health")["findings"][0]["subject"] == "configuration"
    assert json.dumps(answer)
