"""What all settings share: unknown keys are errors, instances do not change, durations are written as people do."""

from __future__ import annotations

import re
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticKnownError

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$")
_DURATION_PATTERN = r"^\d+(\.\d+)?\s*(ms|s|m|h|d)?$"
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*(kB|MB|GB|TB|B)?$")
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, None: 1}
_SHORTEST_INTERVAL = 0.1
"""Seconds: a meter needs longer than this for one exchange."""


class Settings(BaseModel):
    """Base of every section of pipeline.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python takes true for the number 1, which nobody means who writes `retries: true`."""
        if isinstance(value, bool) and info.field_name is not None:
            kinds = _kinds(cls.model_fields[info.field_name].annotation)
            if kinds & {int, float, Decimal} and not kinds & {bool, str, Any}:
                raise PydanticKnownError("int_type" if int in kinds else "float_type")
        return value


def _kinds(annotation: Any) -> set[Any]:
    """The members of a union, without Annotated; what is not a union is its own only member."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {kind for member in get_args(annotation) for kind in _kinds(member)}
    return {annotation}


def _parse_duration(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    if isinstance(value, str):
        match = _DURATION.match(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a duration; write a number and a unit, such as 500ms, 30s, 15m, 6h or 7d")
        return float(match.group(1)) * _SECONDS[match.group(2)]
    return value


Duration = Annotated[
    float,
    BeforeValidator(_parse_duration),
    Field(gt=0, allow_inf_nan=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": _DURATION_PATTERN},
            ],
            "description": "A duration: seconds, or a number with ms, s, m, h or d.",
        }
    ),
]
"""Seconds as float; in YAML a number of seconds or text such as "30s"."""


def _parse_size(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("int_type")
    if isinstance(value, str):
        match = _SIZE.match(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a size; write a number and a unit, such as 500MB or 4GB")
        return int(Decimal(match.group(1)) * _BYTES[match.group(2)])
    return value


Size = Annotated[
    int,
    BeforeValidator(_parse_size),
    Field(ge=0),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(kB|MB|GB|TB|B)?$"}],
            "description": "A size: bytes, or a number with kB, MB, GB or TB (powers of 1,000).",
        }
    ),
]
"""Bytes as int; in YAML a number of bytes or text such as "4GB"."""


def _not_too_short(seconds: float) -> float:
    if seconds < _SHORTEST_INTERVAL:
        raise ValueError(f"an interval of {seconds:g} s is too short; write 100ms or more")
    return seconds


Interval = Annotated[
    Duration,
    AfterValidator(_not_too_short),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": _SHORTEST_INTERVAL}, {"type": "string", "pattern": _DURATION_PATTERN}],
            "description": "A duration of 100ms or more: seconds, or a number with ms, s, m, h or d.",
        }
    ),
]
"""Time from the start of one cycle to the start of the next, seconds as float; at least 100 ms."""

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]*$", max_length=100)]
"""Ids of meters, templates and nodes: letters, digits, dash and underscore (no dots: they separate a node and its port)."""
