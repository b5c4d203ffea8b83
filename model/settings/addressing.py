"""How a meter is spoken to: framing, addresses, and the sizes of what it is sent."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from model.settings.base import Settings


class AddressingSettings(Settings):
    """The part of a meter's entry that says who speaks to whom, in which frames, and how much at once."""

    framing: Literal["hdlc", "wrapper"] = Field(default="hdlc", description="hdlc (IEC 62056-46) or wrapper (IEC 62056-47).")
    client_sap: int = Field(default=16, ge=1, le=127, description="Client SAP: 16 is the public client.")
    server_logical: int = Field(default=1, ge=0, le=16383, description="Logical device: upper HDLC address, or the wrapper's destination.")
    server_physical: int = Field(
        default=0, ge=0, le=16383, description="Physical HDLC address, often the last four digits of the serial number; 0 for none."
    )
    server_address_size: Literal[1, 2, 4] | None = Field(
        default=None, description="Bytes of the HDLC server address; the smallest that fits where left out."
    )
    with_list: bool = Field(default=True, description="Use GET-with-list where the meter offers it.")
    with_list_max: int = Field(default=32, ge=1, le=255, description="Most attributes in one GET-with-list.")
    max_pdu_size: int = Field(default=65535, ge=64, le=65535, description="Largest APDU we offer to receive.")
    hdlc_information_size: int = Field(default=128, ge=32, le=2030, description="Largest HDLC information field we offer.")

    @model_validator(mode="after")
    def _address_fits_its_size(self) -> AddressingSettings:
        """IEC 62056-46 clause 6.4.2: one byte holds the logical address only, two hold 7 bits of each, four 14 bits."""
        size = self.server_address_size
        if self.framing == "hdlc" and size == 1 and self.server_physical:
            raise ValueError("server_address_size 1 has no room for server_physical; write 2 or 4, or leave server_physical out")
        if self.framing == "hdlc" and size in (1, 2) and max(self.server_logical, self.server_physical) > 127:
            raise ValueError(f"server_address_size {size} holds addresses up to 127; write 4, or leave it out")
        return self
