from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.__main__ import app

runner = CliRunner()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "thingsboard: {url: embedded, token: t}\n"
        "templates: {t: {read: {energy: 1-0:1.8.0}}}\n"
        "meters: [{id: m, connect: 'sim://three-phase', template: t}]\n"
        "nodes:\n"
        "  - {id: meters, type: dlms-in}\n"
        "  - {id: mapped, type: map, inputs: [meters]}\n"
        "  - {id: out, type: thingsboard-out, inputs: [mapped]}\n"
    )
    return path


def test_a_store_is_made_once_and_then_left_as_it_is(file: Path) -> None:
    store = file.parent / "state" / "recovery"
    first = runner.invoke(app, ["recovery", str(file)])
    assert (first.exit_code, first.stdout.strip()) == (0, str(store)), first.output
    before = {part: part.read_bytes() for part in store.iterdir()}
    again = runner.invoke(app, ["recovery", str(file), "--partitions", "3", "--json"])
    told = json.loads(again.stdout)
    assert {key: told[key] for key in ("store", "partitions", "made")} == {"store": str(store), "partitions": 1, "made": False}
    assert told["bytes"] == sum(len(content) for content in before.values())
    assert {part: part.read_bytes() for part in store.iterdir()} == before


def test_a_new_store_may_have_several_partitions(file: Path) -> None:
    result = runner.invoke(app, ["recovery", str(file), "--partitions", "3", "--json"])
    assert json.loads(result.stdout)["partitions"] == 3


def test_mistakes_of_the_configuration_come_first(file: Path) -> None:
    file.write_text(file.read_text().replace("embedded", "nowhere"))
    result = runner.invoke(app, ["recovery", str(file)])
    assert result.exit_code == 2
    assert "pipeline.yaml:1" in result.stderr
    assert not (file.parent / "state").exists()


def test_a_place_that_cannot_be_written_is_told_with_a_remedy(file: Path) -> None:
    (file.parent / "state").write_text("a file")
    result = runner.invoke(app, ["recovery", str(file)])
    assert result.exit_code == 1
    assert "state_dir" in result.stderr


def test_a_damaged_store_is_told_and_can_be_set_aside(file: Path) -> None:
    store = file.parent / "state" / "recovery"
    runner.invoke(app, ["recovery", str(file), "--partitions", "2"])
    (store / "part-0.sqlite3").write_text("something else")
    result = runner.invoke(app, ["recovery", str(file)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "part-0.sqlite3 of the recovery store is damaged" in result.stderr
    assert "--set-aside" in result.stderr
    result = runner.invoke(app, ["recovery", str(file), "--set-aside"])
    assert (result.exit_code, result.stdout.strip()) == (0, str(store))
    (aside,) = store.parent.glob("recovery.aside-*")
    assert (aside / "part-0.sqlite3").read_text() == "something else"
    assert str(aside) in result.stderr
    assert runner.invoke(app, ["recovery", str(file)]).exit_code == 0


def test_where_another_host_has_the_store_only_a_folder_is_made(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = file.parent / "state" / "recovery"
    for options in (["--elsewhere"], ["--elsewhere", "--json"]):
        result = runner.invoke(app, ["recovery", str(file), *options])
        assert result.exit_code == 0 and str(store) in result.stdout
        assert list(store.iterdir()) == []
    monkeypatch.setenv("BYTEWAX_ADDRESSES", "north:2101;south:2101")
    monkeypatch.setenv("BYTEWAX_PROCESS_ID", "1")
    assert runner.invoke(app, ["recovery", str(file), "--partitions", "2"]).exit_code == 0
    assert list(store.iterdir()) == []
    monkeypatch.setenv("BYTEWAX_PROCESS_ID", "0")
    assert runner.invoke(app, ["recovery", str(file)]).exit_code == 0
    assert len(list(store.iterdir())) == 1


def test_a_store_that_was_here_before_is_kept_aside(file: Path) -> None:
    store = file.parent / "state" / "recovery"
    runner.invoke(app, ["recovery", str(file)])
    refused = runner.invoke(app, ["recovery", str(file), "--elsewhere"])
    assert refused.exit_code == 1 and "--set-aside --elsewhere" in refused.stderr
    moved = runner.invoke(app, ["recovery", str(file), "--set-aside", "--elsewhere"])
    assert moved.exit_code == 0 and list(store.iterdir()) == []
    (aside,) = store.parent.glob("recovery.aside-*")
    assert len(list(aside.iterdir())) == 1
