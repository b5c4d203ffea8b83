"""`simulate`: what it prints can be pasted and read, and it ends upon Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.__main__ import app
from commands.simulate import MISBEHAVIOURS
from simulator.meter.behaviour import NAMED
from tests.contract.pipeline_process import ROOT

runner = CliRunner()


def test_every_misbehaviour_is_explained() -> None:
    assert list(MISBEHAVIOURS) == list(NAMED)
    result = runner.invoke(app, ["simulate", "--list"])
    assert result.exit_code == 0
    assert "babbling" in result.output
    assert json.loads(runner.invoke(app, ["simulate", "--list", "--json"]).stdout)["misbehaviours"] == MISBEHAVIOURS


@pytest.mark.parametrize(
    "arguments",
    [
        ["2", "-m", "silent=3"],
        ["2", "-m", "nonsense=1"],
        ["2", "-m", "silent=x"],
        ["2", "--kind", "nonsense"],
        ["2", "--line", "pty", "--framing", "wrapper"],
        ["10", "--port", "65530"],
    ],
)
def test_mistakes_in_the_arguments_end_with_code_2(arguments: list[str]) -> None:
    result = runner.invoke(app, ["simulate", *arguments])
    assert result.exit_code == 2
    assert "->" in result.stderr


def test_what_it_prints_is_read_by_probe(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "commands", "simulate", "3", "--port", "0", "--framing", "wrapper", "-m", "silent=1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        assert lines[0] == "meters:\n"
        (tmp_path / "pipeline.yaml").write_text(
            "thingsboard: {url: embedded, token: t}\n"
            "templates: {three-phase: {read: {energy: 1-0:1.8.0}}}\n"
            + "".join(lines).replace("}", ", exchange_timeout: 0.3, retries: 0}")
            + "nodes: [{id: meters, type: dlms-in}, {id: tap, type: debug, inputs: [meters]}]\n"
        )
        result = runner.invoke(app, ["probe", str(tmp_path / "pipeline.yaml"), "--all", "--json"])
        facts = {meter["id"]: meter["ok"] for meter in json.loads(result.stdout)["meters"]}
        assert facts == {"sim-1": True, "sim-2": True, "sim-3-silent": False}
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
