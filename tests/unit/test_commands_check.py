from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.__main__ import app

ROOT = Path(__file__).parents[2]
CASES = sorted(folder.name for folder in (ROOT / "tests" / "cases").iterdir())
runner = CliRunner()


def test_the_default_configuration_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = runner.invoke(app, ["check"])
    assert result.exit_code == 0, result.output
    assert "no mistakes; 5 meters, 9 nodes" in result.stdout
    assert "12345678" not in result.stdout


def test_json_says_the_same() -> None:
    result = runner.invoke(app, ["check", str(ROOT / "pipeline.yaml"), "--json"])
    facts = json.loads(result.stdout)
    assert facts["ok"] is True
    assert [meter["authentication"] for meter in facts["meters"]] == ["none", "none", "none", "low", "low"]
    assert "meters" in {node["id"] for node in facts["nodes"]}
    assert "12345678" not in result.stdout


@pytest.mark.parametrize("case", CASES)
def test_every_broken_file_is_found_offline(case: str) -> None:
    file = ROOT / "tests" / "cases" / case / "pipeline.yaml"
    result = runner.invoke(app, ["check", str(file), "--json"], env={"TOKEN": None})
    assert result.exit_code == 2
    problems = json.loads(result.stdout)["problems"]
    assert problems
    assert all(problem["what"] and problem["remedy"] for problem in problems)


def test_mistakes_go_to_stderr() -> None:
    result = runner.invoke(app, ["check", str(ROOT / "tests" / "cases" / "bad-obis" / "pipeline.yaml")])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "is not an OBIS code" in result.stderr


def test_of_many_meters_only_the_counts_are_shown(tmp_path: Path) -> None:
    rows = "".join(f"m{number},tcp://192.0.2.1:{4000 + number},t\n" for number in range(200))
    (tmp_path / "meters.csv").write_text("id,connect,template\n" + rows)
    (tmp_path / "pipeline.yaml").write_text(
        "thingsboard: {url: embedded, token: t}\n"
        "templates: {t: {read: {energy: 1-0:1.8.0}}}\n"
        "meters_file: meters.csv\n"
        "nodes:\n"
        "  - {id: meters, type: dlms-in}\n"
        "  - {id: mapped, type: map, inputs: [meters]}\n"
        "  - {id: out, type: thingsboard-out, inputs: [mapped]}\n"
    )
    result = runner.invoke(app, ["check", str(tmp_path / "pipeline.yaml")])
    assert result.exit_code == 0, result.output
    assert "200 meters with framing hdlc, authentication none" in result.stdout
