"""Imports go one way: model <- operators, connectors <- flows; simulator, commands and dashboard stand outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"model", "operators", "connectors", "flows", "simulator", "commands", "dashboard", "bench", "tests"}
MAY_IMPORT = {
    "model": set(),
    "operators": {"model"},
    "connectors": {"model"},
    "flows": {"model", "operators", "connectors"},
    "simulator": {"model"},
}
EXCEPTIONS = {("flows/embedded.py", "simulator")}
LIBRARY_FENCES = {
    "gurux_dlms": {"connectors/dlms/apdu"},
    "paho": {"connectors/thingsboard"},
    "serial": {"connectors/dlms/link"},
    "sqlite3": {"connectors", "flows/recovery_store", "simulator/thingsboard"},
}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_one_way(room: str) -> None:
    found = {
        (file.relative_to(ROOT).as_posix(), module.partition(".")[0])
        for file in files(room)
        for module in imports(file)
        if module.partition(".")[0] in ROOMS - {room} - MAY_IMPORT[room]
    }
    assert found <= EXCEPTIONS


def test_connectors_do_not_know_each_other() -> None:
    for file in files("connectors"):
        package = file.relative_to(ROOT).parts[1]
        known = {module.split(".")[1] for module in imports(file) if module.startswith("connectors.")}
        others = {name for name in known if name != package and (ROOT / "connectors" / name).is_dir()}
        assert not others, file


@pytest.mark.parametrize("library", LIBRARY_FENCES)
def test_a_library_with_quirks_stays_behind_its_fence(library: str) -> None:
    fences = LIBRARY_FENCES[library]
    for room in MAY_IMPORT:
        for file in files(room):
            if library in {module.partition(".")[0] for module in imports(file)}:
                place = file.relative_to(ROOT).as_posix()
                assert any(place.startswith(fence) for fence in fences), place
