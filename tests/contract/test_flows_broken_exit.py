"""The same broken files as in tests/unit/test_flows_broken_cases.py, through the entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"
BARE_ENVIRONMENT = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT)}


def run(module: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, "flows.main"]
    variables = {**BARE_ENVIRONMENT, **environment}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.parametrize("case", ["yaml-syntax", "many-mistakes", "meters-file-value", "two-values-under-one-key", "unknown-virtual-meter"])
def test_a_broken_file_ends_with_the_message_and_exit_code_2(case):
    result = run("bytewax.run", CASES / case)
    assert result.stderr == (CASES / case / "error.txt").read_text(encoding="utf-8")
    assert result.stdout == ""
    assert result.returncode == 2


def test_the_variable_selects_the_file_and_the_message_names_it(tmp_path):
    result = run("bytewax.run", tmp_path, PIPELINE=str(CASES / "unknown-key" / "pipeline.yaml"))
    assert result.returncode == 2
    assert f"{CASES / 'unknown-key' / 'pipeline.yaml'}:14: meter desk: unknown key 'pasword'" in result.stderr


def test_a_file_that_is_not_there_is_a_mistake_too(tmp_path):
    result = run("bytewax.run", tmp_path, PIPELINE="nowhere.yaml")
    assert result.returncode == 2
    assert "nowhere.yaml: the file does not exist" in result.stderr
    assert "Traceback" not in result.stderr


def test_visualize_says_the_same():
    result = run("bytewax.visualize", CASES / "unknown-input")
    assert result.returncode == 2
    assert result.stderr == (CASES / "unknown-input" / "error.txt").read_text(encoding="utf-8")
