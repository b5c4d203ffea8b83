"""The `push` part of a template: what the notifications of this kind of meter hold, as far as they do not say it themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field, field_validator, model_validator

from model.settings.base import Settings
from model.units import unit_code


class ScaleSettings(Settings):
    """Scaler and unit of a value whose notification does not state them."""

    scaler: int = Field(default=0, ge=-128, le=127, description="Power of ten that the raw number is multiplied by.")
    unit: str | None = Field(default=None, description="The meter's unit, such as W, Wh, V or A.")

    @field_validator("unit")
    @classmethod
    def _of_the_standard(cls, unit: str | None) -> str | None:
        if unit is not None and unit_code(unit) is None:
            raise ValueError(f"{unit!r} is not a unit of DLMS meters; write the unit before scaling, such as W, Wh, V, A or Hz")
        return unit

    @property
    def unit_code(self) -> int | None:
        """The DLMS code of `unit`."""
        return None if self.unit is None else unit_code(self.unit)


class NotificationSettings(Settings):
    """What the notifications of a kind of meter hold. Values with OBIS codes need no pattern."""

    patterns: list[list[Any]] = Field(
        default_factory=list,
        description="For bodies without OBIS codes: per list the meter sends, the key at each position, null for others, a list inside.",
    )
    units: dict[str, ScaleSettings] = Field(
        default_factory=dict, description="Key -> scaler and unit, for values whose notification does not state them."
    )

    @field_validator("patterns")
    @classmethod
    def _keys_and_nulls(cls, patterns: list[list[Any]]) -> list[list[Any]]:
        for number, pattern in enumerate(patterns, start=1):
            wrong = next((item for item in _leaves(pattern) if not (item is None or (isinstance(item, str) and item))), None)
            if wrong is not None:
                raise ValueError(f"pattern {number} holds {wrong!r}; write a key, null (~) for what is not wanted, or a list")
            if not any(isinstance(item, str) for item in _leaves(pattern)):
                raise ValueError(f"pattern {number} names no key")
        return patterns

    @model_validator(mode="after")
    def _different_shapes(self) -> NotificationSettings:
        shapes = [_shape(pattern) for pattern in self.patterns]
        for number, shape in enumerate(shapes):
            if shape in shapes[:number]:
                raise ValueError(
                    f"patterns {shapes.index(shape) + 1} and {number + 1} have one shape, so no body tells which is meant; take one out"
                )
        return self

    def keys(self) -> set[str]:
        """All keys that patterns and units name."""
        return {item for pattern in self.patterns for item in _leaves(pattern) if isinstance(item, str)} | set(self.units)


def _leaves(pattern: list[Any]) -> Iterator[Any]:
    for item in pattern:
        if isinstance(item, list):
            yield from _leaves(item)
        else:
            yield item


def _shape(pattern: list[Any]) -> list[Any]:
    return [_shape(item) if isinstance(item, list) else None for item in pattern]
