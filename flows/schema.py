"""The JSON Schema of pipeline.yaml, generated from the models: `python -m flows.schema [FILE]` writes it.

Editors complete and check by it. It covers the node types that are installed where it is generated. What a schema
cannot say (wires, cycles, unique ids) is checked when the file is loaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core.core_schema import DecimalSchema

from flows.registry import installed_node_types
from model.node import NodeType
from model.settings.pipeline import PipelineSettings

DEFAULT_FILE = Path("pipeline.schema.json")

_DIALECT = "http://json-schema.org/draft-07/schema#"
_REFERENCE = "#/$defs/{model}"
_SUBSTITUTION = "Substitution"
_OBIS = r"^\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}([*.]\d{1,3})?$|^\d{1,3}(\.\d{1,3}){5}$"
_NUMBER = r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"
_SHORT_READ = {"type": "string", "pattern": _OBIS, "description": "The OBIS code of a register, A-B:C.D.E."}
_ANNOTATIONS = ("title", "description", "default", "examples")

Schema = dict[str, Any]


class ExactNumbers(GenerateJsonSchema):
    """Says of exact numbers that text for them must be a number, also where pydantic leaves that out."""

    def decimal_schema(self, schema: DecimalSchema) -> JsonSchemaValue:
        """The schema of an exact number, or of text that is one."""
        described = super().decimal_schema(schema)
        for member in described.get("anyOf", []):
            if member.get("type") == "string":
                member["pattern"] = _NUMBER
        return described


def pipeline_schema(node_types: Mapping[str, NodeType]) -> Schema:
    """The schema of a pipeline.yaml that may use `node_types`."""
    models: list[type[BaseModel]] = [PipelineSettings, *dict.fromkeys(node_type.settings for node_type in node_types.values())]
    references, generated = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REFERENCE, schema_generator=ExactNumbers
    )
    definitions: dict[str, Schema] = generated["$defs"]
    root = definitions.pop(_name(references[(PipelineSettings, "validation")]))
    _add_short_forms(definitions)
    definitions = {name: _loosened(definition) for name, definition in definitions.items()}
    settings = {name: references[(node_type.settings, "validation")] for name, node_type in node_types.items()}
    _describe_nodes(definitions["NodeEntry"], node_types, settings)
    definitions[_SUBSTITUTION] = {
        "type": "string",
        "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:[-?].*)?\}",
        "description": "A value from the environment: ${VAR}, ${VAR:-default} or ${VAR:?message}.",
    }
    return {"$schema": _DIALECT, **_loosened(root), "title": "pipeline.yaml", "$defs": dict(sorted(definitions.items()))}


def _add_short_forms(definitions: dict[str, Schema]) -> None:
    """What may be written instead of a mapping, which the models' validators know but their types do not say."""
    read = definitions["ReadSettings"]
    read["properties"]["obis"]["pattern"] = _OBIS
    definitions["ReadSettings"] = {"anyOf": [_SHORT_READ, read]}
    if "MonotonicRule" in definitions:
        definitions["MonotonicRule"] = {"anyOf": [{"type": "boolean"}, definitions["MonotonicRule"]]}


def _describe_nodes(entry: Schema, node_types: Mapping[str, NodeType], settings: Mapping[str, Schema]) -> None:
    """Say which types there are, and what the settings and inputs of each may be."""
    names = sorted(node_types)
    entry["properties"]["type"].update(enum=names, enumDescriptions=[node_types[name].summary for name in names])
    entry["allOf"] = [
        {
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": {
                "properties": {"settings": settings[name], "inputs": {"minItems": 1} if node_types[name].accepts else {"maxItems": 0}},
                "required": ["inputs"] if node_types[name].accepts else [],
            },
        }
        for name in names
    ]


def _loosened(schema: Schema) -> Schema:
    """The same schema, but every value that is not free text may also come from the environment."""
    if _is_strict_scalar(schema):
        kept = {key: schema[key] for key in _ANNOTATIONS if key in schema}
        return {**kept, "anyOf": [{key: value for key, value in schema.items() if key not in kept}, _substitution()]}
    result = dict(schema)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            members = schema[keyword]
            result[keyword] = [member if _is_strict_scalar(member) else _loosened(member) for member in members]
            if any(map(_is_strict_scalar, members)):
                result[keyword].append(_substitution())
    for keyword in ("properties", "patternProperties"):
        if keyword in schema:
            result[keyword] = {name: _loosened(inner) for name, inner in schema[keyword].items()}
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            result[keyword] = _loosened(schema[keyword])
    return result


def _is_strict_scalar(schema: Schema) -> bool:
    if "enum" in schema or "const" in schema:
        return True
    kinds = schema.get("type")
    return kinds in ("integer", "number", "boolean") or (kinds == "string" and "pattern" in schema)


def _substitution() -> Schema:
    return {"$ref": _REFERENCE.format(model=_SUBSTITUTION)}


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def main(arguments: list[str]) -> None:
    """Write the schema to the file named, pipeline.schema.json where none is."""
    target = Path(arguments[0]) if arguments else DEFAULT_FILE
    target.write_text(json.dumps(pipeline_schema(installed_node_types().usable()), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
