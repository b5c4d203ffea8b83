"""Values that a node's settings name: constants, allowed values."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Union

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr, WithJsonSchema

from model.messages import Value


def _exact(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value


SettingValue = Annotated[
    Union[StrictBool, StrictInt, Annotated[Decimal, Field(strict=True, allow_inf_nan=False)], StrictStr],
    BeforeValidator(_exact),
    WithJsonSchema({"type": ["boolean", "integer", "number", "string"]}),
]
"""A `Value` as YAML writes it; a number with a point becomes the Decimal that was written."""


def quantity(value: Value, unit: str | None = None) -> str:
    """`value` as people read it, for evidence and logs: "230.10 V", "'text'"."""
    text = format(value, "f") if isinstance(value, Decimal) else repr(value)
    return f"{text} {unit}" if unit else text
