"""The `meters` section: one entry per meter, in pipeline.yaml or as a row of `meters_file`."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from model.settings.base import Duration, Identifier, Interval, Settings
from model.settings.template import Overrides

LONGEST_PASSWORD = 128
"""Bytes: what fits into an AARQ together with everything else."""


_HEX = "hex:"


def password_octets(text: str) -> bytes:
    """What goes over the wire for a password: the text in UTF-8, or of hex:0102 the bytes it stands for.

    :raises ValueError: when hex: is not followed by pairs of hexadecimal digits, or the text is not Unicode; the
        message does not show it.
    """
    if not text.startswith(_HEX):
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise ValueError("the password is not valid UTF-8; write it as hex: and the bytes in hexadecimal") from None
    try:
        return bytes.fromhex(text.removeprefix(_HEX))
    except ValueError:
        raise ValueError("a password that begins with hex: must go on with pairs of hexadecimal digits") from None


class MeterSettings(Settings):
    """One meter: where it is, how to speak to it, what to read, and its device in ThingsBoard.

    All fields are flat, so that a row of a CSV file says the same as an entry in YAML.
    """

    id: Identifier = Field(description="Unique name of the meter; the key of everything about it.")
    connect: str = Field(description="tcp://host:port, or sim://profile for a virtual meter.")
    framing: Literal["hdlc", "wrapper"] = Field(default="hdlc", description="hdlc (IEC 62056-46) or wrapper (IEC 62056-47).")
    client_sap: int = Field(default=16, ge=1, le=127, description="Client SAP: 16 is the public client.")
    server_logical: int = Field(default=1, ge=0, le=16383, description="Logical device: upper HDLC address, or the wrapper's destination.")
    server_physical: int = Field(
        default=0, ge=0, le=16383, description="Physical HDLC address, often the last four digits of the serial number; 0 for none."
    )
    server_address_size: Literal[1, 2, 4] | None = Field(
        default=None, description="Bytes of the HDLC server address; the smallest that fits where left out."
    )
    authentication: Literal["none", "low"] = Field(default="none", description="none, or low with a password.")
    password: SecretStr | None = Field(
        default=None, description="Password for low; write ${METER_PASSWORD} or file:/path. hex:0102 for bytes."
    )
    template: Identifier = Field(description="What to read, a name from `templates`.")
    interval: Interval | None = Field(default=None, description="Overrides the template's interval.")
    overrides: Overrides = Field(
        default_factory=dict, description="Keys to read besides or instead of the template's; null leaves one out."
    )
    device_name: str | None = Field(default=None, min_length=1, description="Device in ThingsBoard; the id where left out.")
    device_type: str = Field(default="default", min_length=1, description="Device profile in ThingsBoard.")
    tags: dict[str, str] = Field(default_factory=dict, description="Facts that become attributes of the device.")
    connect_timeout: Duration = Field(default=10.0, description="Longest time to open the link.")
    exchange_timeout: Duration = Field(
        default=5.0, description="Longest time from a request to its reply; less is waited where the usual reply time is known."
    )
    retries: int = Field(default=1, ge=0, le=10, description="How often a request is sent again before the link is opened anew.")
    cycle_timeout: Duration | None = Field(
        default=None, description="Longest time for one cycle; the interval, but at least 30 s, where left out."
    )
    backoff_min: Duration = Field(default=5.0, description="First wait before connecting again after a failure.")
    backoff_max: Duration = Field(default=300.0, description="Longest wait before connecting again.")
    with_list: bool = Field(default=True, description="Use GET-with-list where the meter offers it.")
    with_list_max: int = Field(default=32, ge=1, le=255, description="Most attributes in one GET-with-list.")
    max_pdu_size: int = Field(default=65535, ge=64, le=65535, description="Largest APDU we offer to receive.")
    hdlc_information_size: int = Field(default=128, ge=32, le=2030, description="Largest HDLC information field we offer.")
    inactivity_timeout: Duration = Field(
        default=120.0,
        description="The association is released and opened anew after this long without an exchange; keep it below the meter's own limit.",
    )

    @field_validator("connect")
    @classmethod
    def _known_link(cls, connect: str) -> str:
        parts = urlsplit(connect)
        if parts.scheme == "sim":
            return connect
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme != "tcp" or not parts.hostname or not port:
            raise ValueError(
                f"{connect!r} is not a link; write tcp://host:port (port 1 to 65535), or sim://three-phase for a virtual meter"
            )
        return connect

    @model_validator(mode="after")
    def _address_fits_its_size(self) -> MeterSettings:
        """IEC 62056-46 clause 6.4.2: one byte holds the logical address only, two hold 7 bits of each, four 14 bits."""
        size = self.server_address_size
        if self.framing == "hdlc" and size == 1 and self.server_physical:
            raise ValueError("server_address_size 1 has no room for server_physical; write 2 or 4, or leave server_physical out")
        if self.framing == "hdlc" and size in (1, 2) and max(self.server_logical, self.server_physical) > 127:
            raise ValueError(f"server_address_size {size} holds addresses up to 127; write 4, or leave it out")
        return self

    @field_validator("password")
    @classmethod
    def _usable_password(cls, password: SecretStr | None) -> SecretStr | None:
        if password is None:
            return None
        if len(password_octets(password.get_secret_value())) > LONGEST_PASSWORD:
            raise ValueError(f"the password is longer than {LONGEST_PASSWORD} bytes")
        return password

    @model_validator(mode="after")
    def _password_with_low(self) -> MeterSettings:
        if self.authentication == "low" and self.password is None:
            raise ValueError("authentication low needs a password; add password: ${METER_PASSWORD}")
        if self.authentication == "none" and self.password is not None:
            raise ValueError("a password is given but authentication is none; write authentication: low, or remove the password")
        return self

    def password_bytes(self) -> bytes | None:
        """The password as it goes over the wire; None without one."""
        return None if self.password is None else password_octets(self.password.get_secret_value())

    @property
    def device(self) -> str:
        """Name of the meter's device in ThingsBoard."""
        return self.device_name or self.id
