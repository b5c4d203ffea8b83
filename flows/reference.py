"""The reference of pipeline.yaml, generated from the models: `python -m flows.reference FILE` writes it as Markdown.

It says of every setting what the models say: type, default, bounds and description; and of every node type of this
project what it takes and gives. Node types of other packages are left out, so that the file is the same everywhere.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flows.reference_words import bounds_of, cell, default_of, type_of
from flows.registry import OWN_NODE_TYPES, NodeTypes
from flows.schema import ExactNumbers
from model.messages import Message
from model.node import MAIN, NodeType
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings

DEFAULT_FILE = Path("docs/pipeline-reference.md")

_ENTRY = "<name>"
_OPENING = """\
# Reference of pipeline.yaml

Every section and every setting, generated from the settings models by `make reference`; do not edit. What the parts are
for is told in the [README](../README.md); `pipeline.yaml` and `examples/` show them at work. Editors complete and check
by `pipeline.schema.json`, and `python -m commands check FILE` says all that is wrong with a file at once.

- **Values from the environment**: any value may be `${VAR}`, `${VAR:-default}` or `${VAR:?message}`.
- **Secrets** (type *secret*) are written `${VAR}` or `file:/path`, never in the file itself; they have no default.
- A **duration** is a number of seconds, or a number with `ms`, `s`, `m`, `h` or `d`: `500ms`, `15m`.
- A **size** is a number of bytes, or a number with `kB`, `MB`, `GB` or `TB` (powers of 1,000): `4GB`.
- A **name** has letters, digits, `-` and `_`, begins with a letter or a digit, and has at most 100 characters.
- `<name>` in a heading stands for a key that you choose, `[]` for each entry of a list.
- A default of – means that the setting is not set; where the type is another section, its own defaults hold.
- Unknown keys are errors.
"""
_COLUMNS = "| key | type or allowed values | default | bounds | what it is |\n|---|---|---|---|---|\n"


@dataclass(frozen=True)
class Section:
    """One table: the settings that a model has at one place.

    :arg path: where they are written, such as `thingsboard.outbox`; empty for the whole file.
    :arg model: what they are called and may be.
    :arg origin: the class that declares those of this table; None for all of the model.
    """

    path: str
    model: type[BaseModel]
    origin: type[BaseModel] | None = None

    @property
    def title(self) -> str:
        """The heading."""
        if self.origin is None or self.origin is self.model:
            return self.path or "The whole file"
        return f"{self.path}: {self.origin.__name__.removesuffix('Settings').lower()}"

    @property
    def anchor(self) -> str:
        """What a link to the heading says, as GitHub makes it from the title."""
        return re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """The settings of this table by the name they have in pipeline.yaml."""
        own = None if self.origin is None else inspect.get_annotations(self.origin)
        return {field.alias or name: field for name, field in self.model.model_fields.items() if own is None or name in own}


def reference(node_types: Mapping[str, NodeType]) -> str:
    """The reference as Markdown, of a pipeline.yaml that may use `node_types`."""
    sections = list(sections_of("", PipelineSettings))
    parts = [_OPENING, _contents(sections, node_types), *(_section(section, sections, level=2) for section in sections)]
    parts.append("## Node types\n\nWhat `type:` may say in an entry of `nodes`, and what `settings:` then holds.\n")
    parts.extend(_node_type(node_type) for node_type in node_types.values())
    parts.append(_messages(node_types))
    return "\n".join(parts)


def sections_of(path: str, model: type[BaseModel]) -> Iterator[Section]:
    """The section of `model` and those of all models in it, each model once, in the order in which they are declared."""
    seen: set[type[BaseModel]] = set()

    def walk(path: str, model: type[BaseModel]) -> Iterator[Section]:
        if model in seen:
            return
        seen.add(model)
        origins = _origins(model)
        yield from (Section(path, model, origin) for origin in origins) if len(origins) > 1 else (Section(path, model),)
        for name, field in model.model_fields.items():
            for suffix, inner in _models_in(field.annotation):
                yield from walk(f"{path}.{field.alias or name}{suffix}".removeprefix("."), inner)

    return walk(path, model)


def _origins(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model that is put together from several ones, itself first; nothing for others."""
    if len(model.__bases__) < 2:
        return []
    return [model, *(base for base in model.__bases__ if issubclass(base, BaseModel))]


def _models_in(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """The models in a field's type, each with how its place is written behind the field's name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
        return
    suffix = {dict: f".{_ENTRY}", list: "[]"}.get(get_origin(annotation), "")
    for member in get_args(annotation):
        yield from ((suffix + behind, model) for behind, model in _models_in(member))


def _contents(sections: list[Section], node_types: Mapping[str, NodeType]) -> str:
    lines = [f"- [{cell(section.title)}](#{section.anchor})" for section in sections]
    types = ", ".join(f"[{name}](#{name})" for name in node_types)
    return "\n".join([*lines, f"- [Node types](#node-types): {types}", "- [Messages](#messages)", ""])


def _section(section: Section, among: list[Section], level: int) -> str:
    about = "" if section.model is PipelineSettings else f"{_summary(section.origin or section.model)}\n\n"
    return f"{'#' * level} {cell(section.title)}\n\n{about}{_table(section, among)}"


def _table(section: Section, among: list[Section]) -> str:
    places = {other.model.__name__: f"[{cell(other.path)}](#{other.anchor})" for other in reversed(among)}
    schema = section.model.model_json_schema(by_alias=True, schema_generator=ExactNumbers)["properties"]
    rows = []
    for key, field in section.fields.items():
        said = type_of(schema[key], places), default_of(schema[key], field), bounds_of(schema[key], field), cell(field.description or "")
        rows.append(f"| `{key}` | " + " | ".join(said) + " |\n")
    return _COLUMNS + "".join(rows)


def _node_type(node_type: NodeType) -> str:
    ports = [
        f"- `{'id' if port == MAIN else f'id.{port}'}`: {_message_link(message)}{' (the main output)' if port == MAIN else ''}"
        for port, message in node_type.emits.items()
    ]
    accepts = ", ".join(map(_message_link, node_type.accepts)) or "none, it is a source"
    parts = [
        f"### {node_type.name}\n\n{cell(node_type.summary)}\n",
        f"Inputs: {accepts}.\n",
        "Outputs, as `inputs` of other nodes name them:\n\n" + "\n".join(ports) + "\n" if ports else "Outputs: none, it is a sink.\n",
        _node_settings(node_type),
        f"```yaml\n{node_type.example.strip()}\n```\n",
    ]
    return "\n".join(parts)


def _node_settings(node_type: NodeType) -> str:
    if node_type.settings is NodeSettings or not node_type.settings.model_fields:
        return "It has no settings.\n"
    first, *others = sections = list(sections_of(node_type.name, node_type.settings))
    return "\n".join([_table(first, sections), *(_section(section, sections, level=4) for section in others)])


def _messages(node_types: Mapping[str, NodeType]) -> str:
    used = dict.fromkeys(message for each in node_types.values() for message in (*each.emits.values(), *each.accepts))
    rows = [f"| {message.__name__} | {cell(_summary(message))} |\n" for message in used]
    return "## Messages\n\nWhat nodes pass to each other.\n\n| message | what it is |\n|---|---|\n" + "".join(rows)


def _message_link(message: type[Message]) -> str:
    return f"[{message.__name__}](#messages)"


def _summary(described: type) -> str:
    """The first paragraph of a class's docstring, on one line."""
    return " ".join((inspect.getdoc(described) or "").partition("\n\n")[0].split())


def main(arguments: list[str]) -> None:
    """Write the reference to the file named, docs/pipeline-reference.md where none is."""
    target = Path(arguments[0]) if arguments else DEFAULT_FILE
    target.write_text(reference(NodeTypes(OWN_NODE_TYPES, ())), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
