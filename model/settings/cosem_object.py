"""An object of a meter, named by its OBIS code; in YAML the settings of it, or just the code."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from model.obis import parse_logical_name
from model.settings.base import Settings


class CosemObjectSettings(Settings):
    """Base of what is read from an object."""

    obis: str = Field(description="Logical name, A-B:C.D.E*F; F is 255 where left out.")
    base_name: int | None = Field(
        default=None,
        ge=8,
        le=0xFFF8,
        multiple_of=8,
        description="Short name of the object, for meters read with referencing short; found in the meter's object list where left out.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        return {"obis": data} if isinstance(data, str) else data

    @field_validator("obis")
    @classmethod
    def _valid_obis(cls, text: str) -> str:
        parse_logical_name(text)
        return text

    @property
    def logical_name(self) -> bytes:
        """The six bytes of `obis`."""
        return parse_logical_name(self.obis)
