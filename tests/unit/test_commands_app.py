"""What all commands have in common: a console script, JSON, and help that says how they end and gives an example."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.__main__ import app
from commands.configuration import progress

COMMANDS = [
    "check",
    "diagnose",
    "discover line",
    "discover meter",
    "discover net",
    "gaps",
    "plan",
    "probe",
    "recovery",
    "replay",
    "simulate",
]
ROOT = Path(__file__).parents[2]
runner = CliRunner()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_exit_codes_an_example_and_json(command: str) -> None:
    result = runner.invoke(app, [*command.split(), "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    assert "Exit code" in text
    assert "python -m" in text
    assert "--json" in text
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["gaps"],
        ["plan"],
        ["recovery"],
        ["replay"],
        ["probe"],
        ["probe", "--all", "--file"],
        ["discover", "meter", "m", "--file"],
    ],
)
def test_a_mistake_in_the_configuration_is_json_too(arguments: list[str]) -> None:
    broken = ROOT / "tests" / "cases" / "bad-obis" / "pipeline.yaml"
    result = runner.invoke(app, [*arguments, str(broken), "--json"], env={"TOKEN": None})
    assert result.exit_code == 2
    (problem, *_) = json.loads(result.stdout)["problems"]
    assert "is not an OBIS code" in problem["what"]
    assert problem["line"]


def test_the_console_script_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dlms-thingsboard = "commands.__main__:main"' in text
    assert callable(importlib.import_module("commands.__main__").main)


def test_a_terminal_is_needed_for_progress(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stderr.isatty()
    with progress() as bar:
        bar.add_task("work", total=1)
    assert capsys.readouterr().err == ""
