"""How a meter is spoken to: framing, addresses, names, and the sizes of what it is sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from model.settings.base import Settings
from model.settings.serial_address import address_from_serial, is_rule

LONGEST_GATEWAY_ADDRESS = 127
"""Bytes of a device's address behind a gateway; its length is one byte."""

_LARGEST_ADDRESS = 0x3FFF
_CALLING, _ALL_STATIONS = 0x7E, 0x7F
_CALLING_WIDE, _ALL_STATIONS_WIDE = 0x3FFE, 0x3FFF
"""Reserved HDLC addresses of seven and of fourteen bits (IEC 62056-46 clause 6.4.2.3)."""

PhysicalAddress = Annotated[
    int,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": _LARGEST_ADDRESS},
                {"type": "string", "description": "serial, or a formula over SN such as SN % 10000 + 1000."},
            ]
        }
    ),
]


class AddressingSettings(Settings):
    """The part of a meter's entry that says who speaks to whom, in which frames, and how much at once."""

    framing: Literal["hdlc", "wrapper"] = Field(default="hdlc", description="hdlc (IEC 62056-46) or wrapper (IEC 62056-47).")
    client_sap: int = Field(
        default=16, ge=1, le=65535, description="Client SAP: 16 is the public client; up to 126 with hdlc, 65535 with wrapper."
    )
    server_logical: int = Field(
        default=1,
        ge=0,
        le=65535,
        description="Logical device: upper HDLC address, up to 16383, or the wrapper's destination.",
    )
    serial_number: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Serial number on the meter's plate, for a server_physical that follows from it.",
    )
    server_physical: PhysicalAddress = Field(
        default=0,
        ge=0,
        le=_LARGEST_ADDRESS,
        description="Physical HDLC address, 0 for none; serial for the last four digits of serial_number, or a formula over SN.",
    )
    server_address_size: Literal[1, 2, 4] | None = Field(
        default=None, description="Bytes of the HDLC server address; the smallest that fits where left out."
    )
    gateway_address: str | None = Field(
        default=None, description="Address of the meter behind a gateway (IEC 62056-5-3, E6/E7): text, or hex:0102 for bytes."
    )
    gateway_network: int = Field(default=0, ge=0, le=255, description="Network behind the gateway; used with gateway_address.")
    referencing: Literal["logical", "short"] = Field(
        default="logical", description="How the meter names its objects: logical names, or short names in older meters."
    )
    association: Literal["negotiated", "pre-established"] = Field(
        default="negotiated",
        description="negotiated (AARQ), or pre-established: requests at once, limits as with_list and max_pdu_size say.",
    )
    with_list: bool = Field(default=True, description="Ask for several values in one request where the meter offers it.")
    with_list_max: int = Field(default=32, ge=1, le=255, description="Most attributes in one request.")
    max_pdu_size: int = Field(
        default=65535, ge=64, le=65535, description="Largest APDU we offer to receive; with association pre-established in both directions."
    )
    hdlc_information_size: int = Field(default=128, ge=32, le=2030, description="Largest HDLC information field we offer.")
    hdlc_window: int = Field(default=1, ge=1, le=7, description="HDLC frames that we offer to receive before an acknowledgement.")

    @field_validator("server_physical", mode="before")
    @classmethod
    def _by_serial_number(cls, value: Any, info: ValidationInfo) -> Any:
        """A rule over the serial number becomes the address that it gives."""
        if not isinstance(value, str) or not is_rule(value):
            return value
        if "serial_number" not in info.data:
            return 0  # it has a mistake of its own, which is reported
        serial_number = info.data["serial_number"]
        if serial_number is None:
            raise ValueError(f"{value!r} needs serial_number; add serial_number: as it is on the meter's plate")
        return address_from_serial(value, serial_number)

    @field_validator("gateway_address")
    @classmethod
    def _usable_gateway_address(cls, address: str | None) -> str | None:
        if address is not None and not 1 <= len(_octets(address)) <= LONGEST_GATEWAY_ADDRESS:
            raise ValueError(
                f"gateway_address must have 1 to {LONGEST_GATEWAY_ADDRESS} bytes; write text, or hex: and the bytes in hexadecimal"
            )
        return address

    @model_validator(mode="after")
    def _gateway_is_whole(self) -> AddressingSettings:
        if self.gateway_network and self.gateway_address is None:
            raise ValueError("gateway_network needs gateway_address; add the address of the meter behind the gateway, or remove it")
        return self

    @model_validator(mode="after")
    def _address_fits_its_size(self) -> AddressingSettings:
        """IEC 62056-46 clause 6.4.2: one byte holds the logical address only, two hold 7 bits of each, four 14 bits."""
        size = self.server_address_size
        if self.framing == "hdlc" and size == 1 and self.server_physical:
            raise ValueError("server_address_size 1 has no room for server_physical; write 2 or 4, or leave server_physical out")
        if self.framing == "hdlc" and size in (1, 2) and max(self.server_logical, self.server_physical) > 127:
            raise ValueError(f"server_address_size {size} holds addresses up to 127; write 4, or leave it out")
        return self

    @model_validator(mode="after")
    def _addresses_one_station(self) -> AddressingSettings:
        """Addresses that every meter or none takes for its own are refused: with them, anybody's answer could be a reading."""
        if self.framing == "wrapper":
            if self.server_logical == _ALL_STATIONS:
                raise ValueError(f"server_logical {_ALL_STATIONS} is the broadcast address; write the logical device, mostly 1")
            return self
        if self.client_sap == _ALL_STATIONS:
            raise ValueError(f"client_sap {_ALL_STATIONS} is the broadcast address; write the client's own, such as 16")
        if self.client_sap > _ALL_STATIONS:
            raise ValueError(f"client_sap {self.client_sap} does not fit: it has one byte with framing hdlc; write 1 to {_CALLING}")
        if self.server_logical > _LARGEST_ADDRESS:
            raise ValueError(f"server_logical {self.server_logical} does not fit: it has 14 bits with framing hdlc; write 0 to 16381")
        reserved = self._reserved()
        for name in ("server_logical", "server_physical"):
            meaning = reserved.get(getattr(self, name))
            if meaning is not None:
                raise ValueError(f"{name} {getattr(self, name)} is {meaning}; write the meter's own address")
        return self

    def _reserved(self) -> dict[int, str]:
        """What no station has for an address. Without a given size, 126 and 127 are sent in four bytes, where anybody may have them."""
        everybody, calling = "the broadcast address", "reserved for a meter that calls"
        if self.server_address_size in (1, 2):
            return {_CALLING: calling, _ALL_STATIONS: f"{everybody} in {self.server_address_size} bytes"}
        return {_CALLING_WIDE: calling, _ALL_STATIONS_WIDE: everybody}

    def gateway_octets(self) -> bytes | None:
        """The meter's address behind a gateway as it goes over the wire; None where there is no gateway."""
        return None if self.gateway_address is None else _octets(self.gateway_address)


def _octets(text: str) -> bytes:
    """What goes over the wire for an address: the text in UTF-8, or of hex:0102 the bytes it stands for.

    :raises ValueError: when hex: is not followed by pairs of hexadecimal digits, or the text is not Unicode.
    """
    try:
        return bytes.fromhex(text.removeprefix("hex:")) if text.startswith("hex:") else text.encode()
    except (ValueError, UnicodeEncodeError):
        raise ValueError(f"{text!r} is no gateway_address; write text, or hex: and pairs of hexadecimal digits") from None
