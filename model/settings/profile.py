"""The `profiles` of a template: which of the meter's own memories to read, and what its columns are called."""

from __future__ import annotations

import re
from typing import Literal, Union
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from model.obis import parse_logical_name
from model.settings.base import Duration, Interval, Settings
from model.settings.cosem_object import CosemObjectSettings

_OBJECT = re.compile(r"^(?P<obis>[^@]+?)(?:@(?P<attribute>\d{1,3}))?$")


def parse_captured_object(text: str) -> tuple[bytes, int]:
    """The logical name and attribute index of a captured object as settings write it: "1-0:1.8.0", or "1-0:1.6.0@5".

    :raises ValueError: when it is neither; the message says how to write it.
    """
    match = _OBJECT.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a captured object; write an OBIS code such as 1-0:1.8.0, or with the attribute 1-0:1.6.0@5")
    return parse_logical_name(match["obis"]), int(match["attribute"] or 2)


class StatusSettings(Settings):
    """The column that says how far each row can be trusted."""

    object: str | None = Field(
        default=None, description="OBIS code of the status column; a captured Data object of group 96.5 or 96.10 where left out."
    )
    key: str = Field(default="profile_status", min_length=1, description="Key of the status word as the meter gave it, a number or bits.")
    flags_key: str = Field(default="profile_flags", min_length=1, description="Key of its meaning: flags joined by commas, or the text.")
    bits: dict[int, str] = Field(default_factory=dict, description="Bit number, 0 for the lowest (of a bit-string: the first) -> flag.")
    values: dict[int, str] = Field(default_factory=dict, description="Whole value -> text, where the status is a code and no set of bits.")

    @field_validator("object")
    @classmethod
    def _valid_object(cls, text: str | None) -> str | None:
        if text is not None:
            parse_captured_object(text)
        return text

    @model_validator(mode="after")
    def _one_table(self) -> StatusSettings:
        if self.bits and self.values:
            raise ValueError("status has both bits and values; a status word is either a set of bits or a code, keep one of the tables")
        if any(not 0 <= bit <= 63 for bit in self.bits):
            raise ValueError(f"status has no bit {next(bit for bit in self.bits if not 0 <= bit <= 63)}; write 0 to 63")
        if self.key == self.flags_key:
            raise ValueError(f"status has key and flags_key both {self.key!r}; give them two names")
        return self


class ProfileSettings(CosemObjectSettings):
    """One Profile Generic object (class 7): a load profile, or an event log. In YAML this mapping or just the OBIS code."""

    obis: str = Field(description="Logical name of the profile, such as 1-0:99.1.0.")
    keys: dict[str, Union[str, None]] = Field(
        default_factory=dict,
        description="Captured object (OBIS code, or OBIS@attribute) -> key; null leaves a column out. Others get the key that `read` "
        "gives to the same object, else their OBIS code.",
    )
    horizon: Duration = Field(default=30 * 86400.0, description="How far back to read when nothing is known yet of what was read.")
    chunk: Duration = Field(default=86400.0, description="Length of one request; polls go in between.")
    overlap: Duration | None = Field(default=None, description="Asked for again before what is known; one capture period where left out.")
    every: Interval | None = Field(default=None, description="How often new rows are asked for; the capture period where left out.")
    whole_hours: bool = Field(default=False, description="Round the limits of requests to whole hours, for meters that take no others.")
    deviation: Literal["normal", "inverted", "ignore"] = Field(
        default="normal",
        description="The deviation of the meter's timestamps: as the standard says, with the wrong sign, or not to be believed at all.",
    )
    time_zone: str | None = Field(
        default=None,
        description="IANA name of the meter's local time, such as Europe/Madrid; needed where timestamps have no deviation to believe.",
    )
    nulls: Literal["auto", "repeat", "absent"] = Field(
        default="auto",
        description="What null-data is in a row: the value of the row before, or no value; auto: the former where timestamps are null too.",
    )
    status: StatusSettings | None = Field(default=None, description="The column with the status word, and what it means.")
    events: dict[int, str] | None = Field(
        default=None, description="Event code -> text, for event logs; each row then gives its code and, where the table knows it, a text."
    )

    @field_validator("keys")
    @classmethod
    def _valid_keys(cls, keys: dict[str, str | None]) -> dict[str, str | None]:
        named: dict[tuple[bytes, int], str] = {}
        for text, key in keys.items():
            captured = parse_captured_object(text)
            if captured in named:
                raise ValueError(f"{named[captured]} and {text} are the same captured object; keep one of them")
            if key is not None and not key.strip():
                raise ValueError(f"the key of {text} is empty; write a name, or null to leave the column out")
            named[captured] = text
        twice = [key for key in keys.values() if key is not None and list(keys.values()).count(key) > 1]
        if twice:
            raise ValueError(f"two captured objects get the key {twice[0]!r}; give each a key of its own")
        return keys

    @field_validator("time_zone")
    @classmethod
    def _valid_zone(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (KeyError, OSError, ValueError):
                raise ValueError(f"{name!r} is not a time zone; write an IANA name such as Europe/Madrid, or UTC") from None
        return name

    @model_validator(mode="after")
    def _makes_sense(self) -> ProfileSettings:
        if self.deviation == "ignore" and self.time_zone is None:
            raise ValueError(
                "deviation: ignore leaves open what timestamps mean; set time_zone to the meter's local time, such as Europe/Madrid"
            )
        if self.chunk > self.horizon:
            raise ValueError(f"chunk {self.chunk:g} s is longer than horizon {self.horizon:g} s; shorten chunk or lengthen horizon")
        return self

    def captured_keys(self) -> dict[tuple[bytes, int], str | None]:
        """(logical name, attribute) of a captured object -> its key, None to leave it out."""
        return {parse_captured_object(text): key for text, key in self.keys.items()}
