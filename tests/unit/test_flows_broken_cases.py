"""Each folder of tests/cases is one kind of mistake: pipeline.yaml, and in error.txt the exact message for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.build import build
from flows.embedded import check_virtual_meter
from flows.registry import installed_node_types
from model.errors import ConfigurationError
from model.loading.load import load
from model.stop import Stop

CASES = sorted((Path(__file__).parents[1] / "cases").glob("*/error.txt"))
NODE_TYPES = installed_node_types()


def load_and_build(path: Path) -> None:
    loaded = load(path, NODE_TYPES, {}, check_virtual_meter)
    build(loaded, Stop(), lambda _meter, connect: connect, lambda url: url)


def test_there_are_at_least_twenty_four_kinds_of_mistake():
    assert len(CASES) >= 24


@pytest.mark.parametrize("expected", CASES, ids=[case.parent.name for case in CASES])
def test_the_message_names_file_line_and_remedy(expected, monkeypatch):
    monkeypatch.chdir(expected.parent)
    with pytest.raises(ConfigurationError) as caught:
        load_and_build(Path("pipeline.yaml"))
    assert f"{caught.value}\n" == expected.read_text(encoding="utf-8")
    for problem in caught.value.problems:
        assert Path(problem.file).exists()
        assert problem.line is not None
        assert problem.remedy
