"""`python -m dashboard` as an operator starts it: who may reach it, its streams, its end, and beside a running pipeline."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.messages import Alert, Severity
from tests.contract.api_client import HOUR, Site
from tests.contract.pipeline_process import ROOT, PipelineProcess

TOKEN = "a-token-of-the-test-0123456789"


def run(site: Site, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dashboard", str(site.file), "--port", "0", *arguments],
        env={**{name: value for name, value in os.environ.items() if name != "DASHBOARD_TOKEN"}, "PYTHONPATH": str(ROOT), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def dashboard(site: Site, *arguments: str, **environment: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A running one; its port, and its process."""
    with run(site, *arguments, **environment) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                event = json.loads(line)
                if event["event"] == "dashboard listens":
                    yield int(event["address"].rpartition(":")[2]), process
                    break
            else:
                raise AssertionError("it ended before it listened")
        finally:
            process.kill()


@contextmanager
def asked(port: int, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path, headers=headers)
        yield connection.getresponse()


def ask(port: int, path: str, **headers: str) -> Any:
    with asked(port, path, **headers) as answer:
        return json.loads(answer.read())


def until(condition: Callable[[], bool], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)


def next_event(stream: http.client.HTTPResponse, name: str) -> Any:
    """The data of the next event of that name."""
    for line in stream:
        if line == f"event: {name}\n".encode():
            return json.loads(stream.readline().removeprefix(b"data: "))
    raise AssertionError("the stream ended")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.fill()
    return site


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_without_a_token_it_listens_for_nobody_else(site: Site, host: str) -> None:
    with run(site, "--host", host) as process:
        _, said = process.communicate(timeout=40)
    assert process.returncode == 2
    assert "no token is set" in said and "DASHBOARD_TOKEN" in said and "-> " in said and "Traceback" not in said


def test_with_a_token_it_asks_for_it(site: Site) -> None:
    with dashboard(site, "--host", "0.0.0.0", DASHBOARD_TOKEN=TOKEN) as (port, _):
        with asked(port, "/overview") as refused:
            assert refused.status == 401
        assert ask(port, "/overview", Authorization=f"Bearer {TOKEN}")["meters"]["total"] == 5


def test_a_port_that_is_taken_is_said_and_is_no_success(site: Site) -> None:
    with dashboard(site) as (port, _), run(site, "--port", str(port)) as second:
        _, said = second.communicate(timeout=40)
    assert second.returncode != 0 and "address already in use" in said and "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_with_open_streams(site: Site, number: signal.Signals) -> None:
    with dashboard(site) as (port, process), asked(port, "/events") as first, asked(port, "/events") as second:
        next_event(first, "overview"), next_event(second, "overview")
        process.send_signal(number)
        process.wait(15)  # uvicorn would wait for ever
        assert process.returncode == 0


def test_a_stream_tells_what_changes_and_each_alarm_once(site: Site) -> None:
    with dashboard(site) as (port, _), asked(port, "/events") as stream:
        assert stream.getheader("Content-Type", "").startswith("text/event-stream")
        assert not next_event(stream, "overview")["flow"]["running"]
        site.run()
        assert next_event(stream, "overview")["flow"]["running"]
        site.keep(Alert("meter-failing", "good", Severity.WARNING, True, site.now, "half of its cycles fail", "check the line"))
        alarm = next_event(stream, "alarm")
        assert (alarm["kind"], alarm["raised"]) == ("meter-failing", True)
        site.keep(Alert("meter-failing", "good", Severity.WARNING, False, site.now + HOUR, "over", ""))
        alarm = next_event(stream, "alarm")
        assert (alarm["kind"], alarm["raised"]) == ("meter-failing", False)


def test_beside_a_running_pipeline(tmp_path: Path) -> None:
    """Before it, while it reads meters, and after it has stopped."""
    settings = yaml.safe_load((ROOT / "pipeline.yaml").read_text())
    settings["templates"]["three-phase"]["interval"] = "500ms"
    next(node for node in settings["nodes"] if node["id"] == "health")["settings"] = {"window": "2s", "wait": "1s"}
    flow = PipelineProcess(tmp_path, {**settings, "log": {"format": "json"}})
    site = Site(tmp_path, yaml.safe_dump(settings))
    with dashboard(site) as (port, _):
        assert ask(port, "/ready") == {"ready": False, "reasons": ["the flow does not run"]}
        with flow:
            until(lambda: bool(ask(port, "/ready")["ready"]))
            until(lambda: ask(port, "/overview")["meters"]["green"] == 5)
            overview = ask(port, "/overview")
            assert overview["session"]["state"] == "up" and overview["session"]["owner"]["pid"] == flow.processes[0].pid
            assert overview["rate"]["readings_per_second"] > 0
            nodes = {node["id"]: node for node in ask(port, "/flow")["nodes"]}
            assert nodes["meters"]["emitted"]["main"] > 0 and nodes["checked"]["rate"]["main"] > 0
            assert {node["state"] for node in nodes.values()} <= {"green", "unknown"}
            meter = ask(port, "/meters/school")
            assert (meter["name"], meter["state"], len(meter["values"])) == ("School, main building", "green", 7)
            assert ask(port, "/readings?meter=school&key=power")["unit"] == "W"
            assert flow.stop() == [0]
        until(lambda: not ask(port, "/overview")["flow"]["running"])
        assert "it was stopped at" in ask(port, "/health")["findings"][0]["what"]
