"""The `templates` section: what to read from a kind of meter, and how often."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, TypeVar, Union

from pydantic import AfterValidator, Field, model_validator

from model.settings.base import Identifier, Interval, Settings
from model.settings.cosem_object import CosemObjectSettings
from model.settings.notification import NotificationSettings
from model.settings.profile import ProfileSettings

REGISTER = 3


class ReadSettings(CosemObjectSettings):
    """One attribute to read. In YAML either this mapping or just the OBIS code."""

    class_id: int = Field(
        default=REGISTER,
        alias="class",
        ge=1,
        le=65535,
        description="Interface class: 1 Data, 3 Register, 4 Extended Register, 5 Demand Register, 8 Clock.",
    )
    attribute: int = Field(default=2, ge=1, le=127, description="Attribute index; 2 is the value (of a Demand Register: current average).")
    unit: str | None = Field(
        default=None,
        description="Unit wanted, such as kWh; converted from the meter's unit, or the unit's name where the meter states none.",
    )
    scale: Decimal | None = Field(default=None, description="Exact factor applied after the meter's scaler, such as a transformer ratio.")
    rename: str | None = Field(default=None, min_length=1, description="Key under which the value is published.")


_Read = TypeVar("_Read", bound="ReadSettings | None")


def _named(reads: dict[str, _Read]) -> dict[str, _Read]:
    if not all(key.strip() for key in reads):
        raise ValueError("a key is empty; give every value a name, such as voltage_l1")
    return reads


Reads = Annotated[dict[str, ReadSettings], AfterValidator(_named)]
"""Key -> what to read."""

Overrides = Annotated[dict[str, Union[ReadSettings, None]], AfterValidator(_named)]
"""Key -> what to read, or None to leave the key out."""


class TemplateSettings(Settings):
    """What to read from meters of one kind."""

    interval: Interval = Field(default=60.0, description="Time from the start of one cycle to the start of the next.")
    read: Reads = Field(min_length=1, description="Key -> what to read.")
    push: NotificationSettings = Field(
        default=NotificationSettings(), description="What notifications hold that meters of this kind send by themselves."
    )
    profiles: dict[Identifier, ProfileSettings] = Field(
        default_factory=dict, description="Name -> load profile or event log to read from the meter's memory."
    )

    @model_validator(mode="after")
    def _pushed_keys_are_read(self) -> TemplateSettings:
        """A key's OBIS code, unit and scale stand under read, also where the meter is never polled."""
        unknown = sorted(self.push.keys() - set(self.read))
        if unknown:
            raise ValueError(f"push names {', '.join(unknown)}, which read does not; add each under read with its OBIS code")
        return self

    @model_validator(mode="after")
    def _each_profile_once(self) -> TemplateSettings:
        names: dict[bytes, str] = {}
        for name, profile in self.profiles.items():
            if profile.logical_name in names:
                raise ValueError(f"profiles {names[profile.logical_name]} and {name} are the same object {profile.obis}; keep one of them")
            names[profile.logical_name] = name
        return self
