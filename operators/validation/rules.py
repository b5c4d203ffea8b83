"""What the rules of a `validate` node may say, and which of them hold for a key."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import Field, field_validator, model_validator

from model.settings.base import Duration, Settings
from operators.patterns import matches
from operators.values import SettingValue


class StepRule(Settings):
    """The largest plausible change: `change` at once and within `per`, proportionally more over a longer time."""

    change: Decimal = Field(gt=0, allow_inf_nan=False, description="Largest change, in the reading's unit.")
    per: Duration = Field(description="Time in which so much may change.")


class MonotonicRule(Settings):
    """A counter that only rises, except when it rolls over or the meter is exchanged. In YAML also just `true`."""

    rollover: Decimal | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Where the counter starts at 0 again, in the reading's unit: 100000."
    )
    digits: int | None = Field(default=None, ge=1, le=30, description="The same as a number of digits before the point: 5.")
    exchange_after: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Accept a new level after so many readings that rise from it without going back; 0 for never.",
    )

    @model_validator(mode="after")
    def _one_size(self) -> MonotonicRule:
        if self.rollover is not None and self.digits is not None:
            raise ValueError("rollover and digits say the same; give one of them")
        return self

    @property
    def size(self) -> Decimal | None:
        """Where the counter starts at 0 again; None if that is not known."""
        return Decimal(10**self.digits) if self.digits is not None else self.rollover


class Rules(Settings):
    """The rules for the keys of one pattern; what is left out does not apply."""

    min: Decimal | None = Field(default=None, allow_inf_nan=False, description="Smallest plausible value, in the reading's unit.")
    max: Decimal | None = Field(default=None, allow_inf_nan=False, description="Largest plausible value, in the reading's unit.")
    max_step: StepRule | None = Field(default=None, description="Largest plausible change: {change: 50, per: 1s}.")
    monotonic: MonotonicRule | None = Field(default=None, description="The value only rises: true, or {digits: 6}.")
    allowed: list[SettingValue] | None = Field(default=None, min_length=1, description="The only values that are right.")
    stale: Duration | None = Field(default=None, description="Oldest timestamp, before the moment the value was read.")
    future: Duration | None = Field(default=None, description="How far a timestamp may be ahead of the moment the value was read.")
    frozen: Duration | None = Field(default=None, description="Longest time an unchanged value is believed, for values that always move.")

    @field_validator("monotonic", mode="before")
    @classmethod
    def _from_flag(cls, data: Any) -> Any:
        return ({} if data else None) if isinstance(data, bool) else data

    @model_validator(mode="after")
    def _min_below_max(self) -> Rules:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is greater than max {self.max}")
        return self

    @property
    def numeric(self) -> bool:
        """Whether a rule needs a number to judge."""
        return any(rule is not None for rule in (self.min, self.max, self.max_step, self.monotonic))


def rules_for(key: str, defaults: Rules, rules: Mapping[str, Rules]) -> Rules:
    """What holds for `key`: `defaults`, then every pattern that fits, in order, a later one replacing rule by rule."""
    fitting = [given for pattern, given in rules.items() if matches(pattern, key)]
    replaced = {name: getattr(given, name) for given in fitting for name in given.model_fields_set}
    return defaults.model_copy(update=replaced)
