"""How the reference of pipeline.yaml words a setting: its type, default and bounds, as Markdown for a table's cell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from model.settings.base import Duration, Identifier, Size

NOTHING = "–"

Schema = Mapping[str, Any]

_TEXT_BEHIND_A_NUMBER = {
    TypeAdapter(Duration).json_schema()["anyOf"][1]["pattern"]: "duration",
    TypeAdapter(Size).json_schema()["anyOf"][1]["pattern"]: "size",
}
_NAME = TypeAdapter(Identifier).json_schema()["pattern"]
_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`", "null": "null"}
_METADATA = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_DURATIONS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SIZES = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3}


def type_of(schema: Schema, places: Mapping[str, str]) -> str:
    """What may be written: "duration", "`hdlc` or `wrapper`", "list of text".

    :arg schema: the JSON schema of the setting.
    :arg places: model name -> a link to its section.
    """
    members = list(_members(schema))
    if "default" in schema and schema["default"] is None:
        members = [member for member in members if member.get("type") != "null"]
    exact = any(member.get("type") == "number" for member in members)
    words = [_word(member, places) for member in members if not (exact and _is_number_as_text(member))]
    kinds = [word for word in words if word in _TEXT_BEHIND_A_NUMBER.values()]
    if kinds:
        words = [word for word in words if word not in ("number", "whole number")]
    return " or ".join(dict.fromkeys(words))


def default_of(schema: Schema, field: FieldInfo) -> str:
    """What holds where the setting is left out. Of a secret nothing is shown."""
    if field.is_required():
        return "**required**"
    value = schema.get("default", field.get_default(call_default_factory=True))
    if value is None or value in ([], {}) or "$ref" in schema or _is_secret(schema):
        return NOTHING
    if isinstance(value, str):
        return f"`{value}`"
    return _quantity(value, schema) if isinstance(value, (int, float)) and not isinstance(value, bool) else f"`{json.dumps(value)}`"


def bounds_of(schema: Schema, field: FieldInfo) -> str:
    """Between what a number, a length or a count must be; empty where there is no bound."""
    limits: dict[str, Any] = {}
    for member in _members(schema):
        limits.update({key: value for key, value in member.items() if not isinstance(value, (dict, list))})
    for constraint in field.metadata:  # a type that describes itself in the schema hides what the field adds
        limits.update({keyword: getattr(constraint, name) for name, keyword in _METADATA.items() if hasattr(constraint, name)})
    return ", ".join([*_range(limits, schema), *_counts(limits)])


def cell(text: str) -> str:
    """`text` as it may stand in a table, with nothing in it that Markdown takes for markup, except code."""
    parts = re.split(r"(`[^`]*`)", text)
    escaped = [part if part.startswith("`") else re.sub(r"([*<\[\]])", r"\\\1", part) for part in parts]
    return "".join(escaped).replace("|", r"\|")


def _members(schema: Schema) -> Iterator[Schema]:
    if "anyOf" in schema:
        for member in schema["anyOf"]:
            yield from _members(member)
    elif isinstance(schema.get("type"), list):
        yield from ({**schema, "type": kind} for kind in schema["type"])
    else:
        yield schema


def _word(member: Schema, places: Mapping[str, str]) -> str:
    if "$ref" in member:
        return places[str(member["$ref"]).rpartition("/")[2]]
    if "enum" in member or "const" in member:
        return " or ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in member.get("enum", [member.get("const")]))
    if member.get("type") == "array":
        inner = type_of(member["items"], places)
        return f"list of {re.sub('^list of', 'lists of', inner)}"
    if member.get("type") == "object":
        value = next(iter(member.get("patternProperties", {}).values()), member.get("additionalProperties"))
        return f"mapping to {type_of(value, places)}" if isinstance(value, dict) else "mapping"
    if member.get("format") in ("password", "path"):
        return {"password": "*secret*", "path": "path"}[member["format"]]
    if member.get("pattern") == _NAME:
        return "name"
    return _TEXT_BEHIND_A_NUMBER.get(member.get("pattern", ""), _KINDS.get(member.get("type", ""), "anything"))


def _is_number_as_text(member: Schema) -> bool:
    return member.get("type") == "string" and "pattern" in member and member["pattern"] not in _TEXT_BEHIND_A_NUMBER


def _is_secret(schema: Schema) -> bool:
    return any(member.get("format") == "password" for member in _members(schema))


def _range(limits: Mapping[str, Any], schema: Schema) -> Iterator[str]:
    low, high = limits.get("minimum"), limits.get("maximum")
    if low is not None and high is not None:
        yield f"{_quantity(low, schema)} to {_quantity(high, schema)}"
    elif low is not None:
        yield f"at least {_quantity(low, schema)}"
    elif "exclusiveMinimum" in limits:
        yield f"more than {_quantity(limits['exclusiveMinimum'], schema)}"
    if low is None and high is not None:
        yield f"at most {_quantity(high, schema)}"
    if "exclusiveMaximum" in limits:
        yield f"less than {_quantity(limits['exclusiveMaximum'], schema)}"
    if "multipleOf" in limits:
        yield f"a multiple of {limits['multipleOf']}"


def _counts(limits: Mapping[str, Any]) -> Iterator[str]:
    if limits.get("pattern") == _NAME:
        return
    if limits.get("minLength") or limits.get("minItems") or limits.get("minProperties"):
        yield "not empty"
    if "maxLength" in limits:
        yield f"at most {limits['maxLength']} characters"


def _quantity(value: float, schema: Schema) -> str:
    """A number with its unit where the setting is a duration or a size."""
    kind = next((word for member in _members(schema) if (word := _TEXT_BEHIND_A_NUMBER.get(member.get("pattern", "")))), None)
    units = {"duration": _DURATIONS, "size": _SIZES}.get(kind or "", {})
    if value:
        for unit, amount in units.items():
            if value % amount == 0:
                return f"`{value / amount:.0f}{unit}`"
        if kind == "duration":
            return f"`{value * 1000:.0f}ms`"
    return f"`{value:.0f}`" if value == int(value) else f"`{value:g}`"
