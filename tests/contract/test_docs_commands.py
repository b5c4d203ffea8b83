"""The commands in README and the operators' documents, in both languages: each is one that the program knows, and those that need
neither root nor somebody else's meter are run.

docs/recovery.md has a test of its own, which runs all of it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from commands.__main__ import app as commands_app
from dashboard.__main__ import main as dashboard
from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import ROOT, PipelineProcess, pipeline

DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("quick-commands.md", "production-guide.md", "troubleshooting.md", "recovery.md", "cluster.md")),
    *sorted((ROOT / "docs" / "es").glob("*.md")),
]
TOOLS = ("python -m commands", "dlms-thingsboard")
HOST_TOOLS = {"systemctl", "journalctl", "apt-get", "tar", "ls", "ln", "cp", "mv", "mkdir", "install", "source", "git"}
"""Programs of the host: what they do there is not for a test to try. What is ours behind them is installed in test_deploy."""

RUN = {"check", "plan", "gaps", "health", "diagnose", "probe", "recovery", "replay"}
"""Commands that are run as they stand, beside the running pipeline of the test."""
OTHERS = {"discover", "simulate", "take-over"}
"""Commands that would ask somebody else's meter or line, need another host's file, or run until they are stopped: only parsed here,
run in their own tests."""
OF_HOSTS = "--elsewhere"
"""Only for a host of a cluster that has no recovery store; run in tests/torture/test_lost_host.py."""
MAY_SAY_NO = {"gaps", "health", "diagnose", "replay"}
"""Their exit code is about what they found."""


def commands_of(document: Path) -> list[str]:
    """The indented lines that begin like a command, without comments; a line of a configuration is none."""
    lines = re.findall(r"^ {4,}(\S.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"\s+#.*$", "", line).strip() for line in lines]
    return [
        line for line in plain if re.match(r"^(?:[A-Z_]+=\S+ )*(?:sudo )?(?:make|python|python3|dlms-thingsboard|source|\w+ctl) ?", line)
    ]


ALL = [(document, command) for document in DOCUMENTS for command in commands_of(document)]
IDS = [f"{document.relative_to(ROOT)}: {command}" for document, command in ALL]


def words(command: str) -> list[str]:
    """Without variables set before it, sudo, and what follows a pipe or &."""
    found = shlex.split(command, comments=True)
    while found and (found[0] == "sudo" or re.match(r"^[A-Z_]+=", found[0])):
        found.pop(0)
    return found[: found.index("&")] if "&" in found else found


def ours(command: str) -> list[str] | None:
    """The arguments where it is one of the operator's tools."""
    found = words(command)
    if found[:3] == ["python", "-m", "commands"]:
        return found[3:]
    return found[1:] if found[:1] == ["dlms-thingsboard"] else None


def dashboard_app() -> typer.Typer:
    """As `typer.run` makes it."""
    app = typer.Typer()
    app.command()(dashboard)
    return app


def parsed(tool: Any, arguments: list[str]) -> click.Context:
    """The innermost command with its options, not invoked.

    :raises click.UsageError: when it does not know them.
    """
    command: Any = typer.main.get_command(tool)
    context = command.make_context("x", list(arguments), resilient_parsing=False)
    while hasattr(command, "resolve_command") and (rest := [*context._protected_args, *context.args]):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return context


@pytest.mark.parametrize(("document", "command"), ALL, ids=IDS)
def test_a_command_in_a_document_is_one_that_exists(document: Path, command: str) -> None:
    found = words(command)
    arguments = ours(command)
    if arguments is not None:
        assert not arguments or arguments[0] in RUN | OTHERS
        parsed(commands_app, arguments)
    elif found[:3] == ["python", "-m", "dashboard"]:
        parsed(dashboard_app(), found[3:])
    elif found[0] == "make":
        targets = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in found[1:] if "=" not in word} <= targets
    elif found[0] in ("python", "python3"):
        assert found[2].partition(".")[0] in ("bytewax", "pip", "flows")
    else:
        assert found[0] in HOST_TOOLS


@pytest.mark.timeout(240)
def test_the_commands_say_what_they_promise_beside_a_running_pipeline(tmp_path: Path) -> None:
    meters = [{"id": "house-1", "connect": "sim://three-phase"}]
    described = pipeline("embedded", meters, 1.0)
    profile = {"obis": "1-0:99.1.0", "keys": {"1-0:1.8.0": "counter"}, "horizon": "1d"}
    described["templates"]["five"]["profiles"] = {"load": profile}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TB_TOKEN": "t", "COLUMNS": "100"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment.pop("PIPELINE", None)
    texts = {
        shlex.join(arguments) for _, command in ALL if (arguments := ours(command)) and arguments[0] in RUN and OF_HOSTS not in command
    }
    assert len(texts) >= 10
    with PipelineProcess(tmp_path, described) as running:
        wait_for(lambda: any(event["event"].startswith("cycles") for event in running.events()), "a report", 60)
        for text in sorted(texts):
            said = run(text, tmp_path, environment)
            kind = text.split()[0]
            assert "Traceback" not in said.stderr + said.stdout, (text, said.stderr)
            if kind in MAY_SAY_NO:
                assert said.returncode in (0, 1, 2) and said.stdout, (text, said.stderr)
            elif kind == "probe":
                assert said.returncode in (0, 3), (text, said.stderr)  # 3: the pipeline has the meter
            else:
                assert said.returncode == 0, (text, said.stdout, said.stderr)
        assert json.loads(run("check --json", tmp_path, environment).stdout)["ok"] is True
        assert running.stop() == [0]


def run(text: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command with the configuration of the test in place of that of the document."""
    text = re.sub(r"\b\S+\.yaml\b", "pipeline.yaml", text)
    text = text.replace("/var/lib/dlms-thingsboard/", "")
    command = f"{sys.executable} -m commands {text}"
    return subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
