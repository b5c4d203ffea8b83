"""The `meters` section: one entry per meter, in pipeline.yaml or as a row of `meters_file`."""

from __future__ import annotations

from pydantic import Field, model_validator

from model.settings.addressing import AddressingSettings
from model.settings.base import Identifier, Interval
from model.settings.link import LinkSettings
from model.settings.push import PushSettings
from model.settings.security import SecuritySettings
from model.settings.template import Overrides


class MeterSettings(LinkSettings, AddressingSettings, SecuritySettings, PushSettings):
    """One meter: where it is, how to speak to it, what to read, and its device in ThingsBoard.

    All fields are flat, so that a row of a CSV file says the same as an entry in YAML.
    """

    id: Identifier = Field(description="Unique name of the meter; the key of everything about it.")
    template: Identifier = Field(description="What to read, a name from `templates`.")
    interval: Interval | None = Field(default=None, description="Overrides the template's interval.")
    overrides: Overrides = Field(
        default_factory=dict, description="Keys to read besides or instead of the template's; null leaves one out."
    )
    device_name: str | None = Field(default=None, min_length=1, description="Device in ThingsBoard; the id where left out.")
    device_type: str = Field(default="default", min_length=1, description="Device profile in ThingsBoard.")
    tags: dict[str, str] = Field(default_factory=dict, description="Facts that become attributes of the device.")

    @model_validator(mode="after")
    def _nothing_proves_itself_beforehand(self) -> MeterSettings:
        if self.association == "pre-established" and self.authentication != "none":
            raise ValueError(
                f"association pre-established has no authentication, but {self.authentication} is asked for; "
                "write authentication: none, or association: negotiated"
            )
        return self

    @model_validator(mode="after")
    def _framing_fits_link(self) -> MeterSettings:
        """HDLC needs an ordered stream of bytes; the wrapper is defined over TCP and UDP (IEC 62056-47 clause 7)."""
        scheme = self.address.scheme
        if scheme == "udp" and self.framing == "hdlc":
            raise ValueError("udp:// carries the wrapper only; write framing: wrapper, or tcp:// for a converter in front of an HDLC meter")
        if scheme in ("serial", "rfc2217") and self.framing == "wrapper":
            raise ValueError(f"{scheme}:// carries HDLC only; write framing: hdlc, or tcp:// or udp:// for a meter that speaks the wrapper")
        if scheme == "udp" and self.referencing == "short":
            raise ValueError("a READ by short names does not tell which answer is whose, and datagrams may come twice; write tcp://")
        if scheme == "serial" and self.line == "separate":
            raise ValueError("a serial port cannot be opened once per meter; write line: shared, or leave it out")
        return self

    @model_validator(mode="after")
    def _nothing_is_negotiated_beforehand(self) -> MeterSettings:
        if self.association == "pre-established" and self.dedicated_key:
            raise ValueError("dedicated_key is agreed in an AARQ, which association pre-established has not; remove one of them")
        if self.association == "pre-established" and self.is_ciphered and self.server_system_title is None:
            raise ValueError("association pre-established does not tell the meter's title; add server_system_title: as in its papers")
        return self

    @model_validator(mode="after")
    def _proves_itself_by_logical_names(self) -> MeterSettings:
        if self.referencing == "short" and self.is_high:
            raise ValueError(
                f"authentication {self.authentication} is not supported with referencing short; write none or low, "
                "or referencing: logical where the meter knows it"
            )
        return self

    @property
    def shared_line(self) -> str | None:
        """The line that the meter shares with all others that name the same one; None for a connection of its own."""
        if not self.address.can_be_shared:
            return None
        shared = self.line == "shared" or (self.line is None and self.framing == "hdlc")
        return self.address.line if shared else None

    @property
    def device(self) -> str:
        """Name of the meter's device in ThingsBoard."""
        return self.device_name or self.id

    @property
    def is_polled(self) -> bool:
        """Whether the meter is called; one that is not only sends notifications."""
        return self.address.scheme != "push"

    @property
    def is_associated_with(self) -> bool:
        """See `SecuritySettings`."""
        return self.is_polled

    def push_selectors(self) -> dict[str, str]:
        """What a notification of this meter must carry: the name of each setting that is given, and its value."""
        title = self.server_system_title
        selectors = {
            "server_system_title": None if title is None else title.upper(),
            "push_identity": self.push_identity,
            "push_address": self.push_address,
            "push_station": self.push_station,
        }
        return {name: value for name, value in selectors.items() if value is not None}

    @model_validator(mode="after")
    def _recognisable_if_it_only_pushes(self) -> MeterSettings:
        if not self.is_polled and not self.push_selectors():
            raise ValueError(
                "connect: push needs something to recognise the meter by; "
                "add server_system_title, push_identity, push_address or push_station"
            )
        return self
