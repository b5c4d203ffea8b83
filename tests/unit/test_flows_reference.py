"""docs/pipeline-reference.md is what the models say today, and says it of every setting."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field, SecretStr

from flows.reference import Section, main, reference, sections_of
from flows.reference_words import bounds_of, cell, default_of, type_of
from flows.registry import OWN_NODE_TYPES, NodeTypes
from model.settings.base import Duration, Identifier, Interval, Settings, Size
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings

ROOT = Path(__file__).parents[2]
COMMITTED = (ROOT / "docs/pipeline-reference.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def node_types():
    return NodeTypes(OWN_NODE_TYPES, ())


@pytest.fixture(scope="module")
def written(node_types) -> str:
    return reference(node_types)


def subclasses(model: type[BaseModel]) -> set[type[BaseModel]]:
    return {inner for child in model.__subclasses__() for inner in (child, *subclasses(child))}


def models(node_types) -> set[type[BaseModel]]:
    """Every settings model of the project, also one that no section shows."""
    for name in node_types:
        assert node_types[name]
    rooms = ("model.", "operators.", "connectors.")
    return {model for model in subclasses(Settings) if model.__module__.startswith(rooms)}


def part(text: str, title: str) -> str:
    """What stands under a heading, up to the next one."""
    _, found, rest = text.partition(f" {title}\n\n")
    assert found, title
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def all_sections(node_types) -> list[Section]:
    own = [section for name in node_types for section in sections_of(name, node_types[name].settings)]
    return [*sections_of("", PipelineSettings), *own]


class Words(Settings):
    """A model with one setting of each kind."""

    wait: Duration = Field(default=90.0, le=3600)
    pause: Duration | None = None
    every: Interval = 0.25
    room: Size = 4_000_000_000
    name: Identifier
    mode: Literal["a", "b"] = "a"
    level: Literal[1, 2] | None = None
    secret: SecretStr = SecretStr("open-sesame")
    few: list[str] = Field(default=["*"], min_length=1)
    share: float = Field(default=0.5, gt=0, lt=1)
    step: int = Field(default=8, ge=8, le=64, multiple_of=8)


def words(key: str) -> tuple[str, str, str]:
    schema, field = Words.model_json_schema()["properties"][key], Words.model_fields[key]
    return type_of(schema, {}), default_of(schema, field), bounds_of(schema, field)


def test_the_committed_file_is_up_to_date(written):
    assert written == COMMITTED, "run make reference"


def test_every_settings_model_has_a_section(node_types):
    shown = {section.origin or section.model for section in all_sections(node_types)}
    inherited = {base for model in shown for base in model.__mro__}
    assert {model.__name__ for model in models(node_types) - shown - inherited} == set()


def test_every_field_of_every_model_is_in_its_table(node_types, written):
    missing = []
    for section in all_sections(node_types):
        if section.model is NodeSettings:
            continue
        table = part(written, cell(section.title))
        missing += [f"{section.title}.{key}" for key in section.fields if f"\n| `{key}` | " not in table]
    assert missing == []


def test_the_tables_of_a_model_made_of_several_show_all_its_fields():
    for model in {section.model for section in sections_of("", PipelineSettings)}:
        shown = [key for section in sections_of("", PipelineSettings) if section.model is model for key in section.fields]
        assert sorted(shown) == sorted(field.alias or name for name, field in model.model_fields.items()), model


def test_every_setting_and_every_model_is_described(node_types):
    sections = all_sections(node_types)
    assert [f"{section.title}.{key}" for section in sections for key, field in section.fields.items() if not field.description] == []
    assert [section.title for section in sections if not inspect.getdoc(section.origin or section.model)] == []


def test_every_node_type_has_its_summary_ports_and_example(node_types, written):
    for name, node_type in node_types.items():
        own = written.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        assert cell(node_type.summary) in own
        assert node_type.example.strip() in own
        assert all(f"[{message.__name__}](#messages)" in own for message in (*node_type.accepts, *node_type.emits.values()))
        assert all(f"- `id.{port}`: " in own for port in node_type.emits if port)


def test_every_link_has_its_heading(written):
    titles = [title.replace("\\", "") for title in re.findall(r"^#+ (.+)$", written, flags=re.MULTILINE)]
    anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\]\(#([^)]*)\)", written)) <= set(anchors)


def test_every_row_has_five_cells(written):
    settings = re.findall(r"^\| `.*$", written, flags=re.MULTILINE)
    assert settings
    assert [row for row in settings if len(re.findall(r"(?<!\\)\|", row)) != 6] == []


def test_nothing_of_the_machine_is_in_it(written):
    assert str(ROOT) not in written
    assert str(Path.home()) + "/" not in written


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("wait", ("duration", "`90s`", "more than `0`, at most `1h`")),
        ("pause", ("duration", "–", "more than `0`")),
        ("every", ("duration", "`250ms`", "at least `100ms`")),
        ("room", ("size", "`4GB`", "at least `0`")),
        ("name", ("name", "**required**", "")),
        ("mode", ("`a` or `b`", "`a`", "")),
        ("level", ("`1` or `2`", "–", "")),
        ("few", ("list of text", '`["*"]`', "not empty")),
        ("share", ("number", "`0.5`", "more than `0`, less than `1`")),
        ("step", ("whole number", "`8`", "`8` to `64`, a multiple of 8")),
    ],
)
def test_a_setting_is_worded(key, said):
    assert words(key) == said


def test_a_secret_is_never_shown():
    assert words("secret") == ("*secret*", "–", "")


def test_text_is_no_markup_in_a_cell():
    assert cell("a|b, lab-*, mqtt://host[:1883], <x> and `c*`") == r"a\|b, lab-\*, mqtt://host\[:1883\], \<x> and `c*`"


def test_the_command_writes_the_file_named(written, tmp_path):
    main([str(tmp_path / "reference.md")])
    assert (tmp_path / "reference.md").read_text(encoding="utf-8") == written
