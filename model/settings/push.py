"""How a meter is recognised that calls in by itself."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from model.settings.base import Settings

_STATION = re.compile(r"^\d{1,5}(/\d{1,5})?$")


def _as_text(value: object) -> object:
    """A station is written as a number where it has only one part."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class PushSettings(Settings):
    """The part of a meter's entry by which its notifications are recognised, together with `server_system_title`. All that
    are given must fit.

    A sender can claim anything but a system title whose key it does not have: only ciphered notifications prove who sent
    them.
    """

    push_identity: str | None = Field(
        default=None, min_length=1, description="Serial number or device name that stands as text in the body of every notification."
    )
    push_address: str | None = Field(default=None, description="IP address it calls from, or the serial device of its customer port.")
    push_station: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        default=None,
        description="Its address in the frames: HDLC upper or upper/lower, wrapper port, or M-Bus address/SAP.",
    )

    @field_validator("push_address")
    @classmethod
    def _numeric(cls, address: str | None) -> str | None:
        if address is None or address.startswith("/"):
            return address
        try:
            return str(ip_address(address))
        except ValueError:
            raise ValueError(
                f"{address!r} is not an IP address; write it in numbers, such as 192.0.2.7, or the serial device, such as /dev/ttyUSB0"
            ) from None

    @field_validator("push_station")
    @classmethod
    def _numbers(cls, station: str | None) -> str | None:
        if station is not None and not _STATION.match(station):
            raise ValueError(f"{station!r} is not the address of a station; write a number, or two as in 1/17")
        return station
