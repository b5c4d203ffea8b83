"""How a meter is reached: its link, how it shares it, and how long to wait for what."""

from __future__ import annotations

import ipaddress
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from model.settings.base import Duration, Settings
from model.settings.link_address import LinkAddress, parse_link

_PATIENCE: dict[str, dict[str, float]] = {
    "meter": {},
    "converter": {"settle_time": 0.3},
    "modem": {"connect_timeout": 120.0, "exchange_timeout": 20.0, "reconnect_pause": 20.0, "backoff_min": 60.0, "backoff_max": 1800.0},
}
"""What the settings below are where they are left out, by `via`. A modem dials for up to two minutes and is engaged for
some seconds after it hung up; a large head-end that reads GPRS meters waits 20 s between two connections to one meter."""


class LinkSettings(Settings):
    """The part of a meter's entry that says where it is and how patient to be with it."""

    connect: str = Field(
        description="tcp://host:port, udp://host:port (wrapper only), serial:///dev/ttyUSB0?baud=9600&parity=none&data_bits=8&stop_bits=1, "
        "rfc2217://host:port?baud=9600, push for a meter that only calls in, or sim://profile for a virtual meter. "
        "A serial port also takes rs485=rts-high or rts-low, and for an optical head handshake=mode-e with max_baud and address."
    )
    via: Literal["meter", "converter", "modem"] = Field(
        default="meter",
        description="What answers at the address: the meter itself, a serial converter that may deliver stale bytes "
        "(settle_time 300ms), or a modem (connect_timeout 2m, exchange_timeout 20s, reconnect_pause 20s, backoff_min 1m, backoff_max 30m).",
    )
    line: Literal["shared", "separate"] | None = Field(
        default=None,
        description="How meters with the same address use it: shared, one connection and one conversation at a time, or a "
        "separate connection each. Shared where left out with framing hdlc, separate with wrapper; a serial port is always shared.",
    )
    source_address: str | None = Field(
        default=None, description="IP address of this host to connect from, where it has several; tcp, udp and rfc2217 only."
    )
    connect_timeout: Duration = Field(default=10.0, description="Longest time to open the link; 30s with handshake=mode-e.")
    settle_time: Duration | None = Field(
        default=None, description="Bytes that arrive this soon after the link was opened are thrown away; none where left out."
    )
    reconnect_pause: Duration | None = Field(
        default=None, description="Shortest time from closing the link to opening it again; none where left out."
    )
    exchange_timeout: Duration = Field(
        default=5.0, description="Longest time from a request to its reply; less is waited where the usual reply time is known."
    )
    retries: int = Field(default=1, ge=0, le=10, description="How often a request is sent again before the link is opened anew.")
    cycle_timeout: Duration | None = Field(
        default=None,
        description="Longest time for one cycle; the interval (on a shared line divided by its meters), but at least 30 s "
        "and twice connect_timeout, where left out.",
    )
    backoff_min: Duration = Field(default=5.0, description="First wait before connecting again after a failure.")
    backoff_max: Duration = Field(default=300.0, description="Longest wait before connecting again.")
    inactivity_timeout: Duration = Field(
        default=120.0,
        description="The association is released and opened anew after this long without an exchange; keep it below the meter's own limit.",
    )
    release_after_cycle: bool = Field(
        default=False,
        description="Release the association after each cycle: for meters on one line that do not tolerate each other's associations, "
        "and for meters that others read as well.",
    )

    @property
    def address(self) -> LinkAddress:
        """`connect`, taken apart."""
        return parse_link(self.connect)

    @model_validator(mode="before")
    @classmethod
    def _patience_by_kind(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        defaults = dict(_PATIENCE.get(data["via"], {})) if isinstance(data.get("via"), str) else {}
        if "handshake=mode-e" in str(data.get("connect")):
            defaults.setdefault("connect_timeout", 30.0)
        return {**defaults, **data}

    @field_validator("connect")
    @classmethod
    def _known_link(cls, connect: str) -> str:
        parse_link(connect)
        return connect

    @field_validator("source_address")
    @classmethod
    def _ip_address(cls, source_address: str | None) -> str | None:
        if source_address is not None:
            try:
                ipaddress.ip_address(source_address)
            except ValueError:
                raise ValueError(f"{source_address!r} is not an IP address; write one of this host, such as 192.0.2.7") from None
        return source_address

    @model_validator(mode="after")
    def _source_has_a_network(self) -> LinkSettings:
        if self.source_address is None:
            return self
        address = self.address
        if not address.host or not address.can_be_shared:
            raise ValueError(f"source_address means nothing with connect: {self.connect}; remove it")
        if ":" in address.host and ":" not in self.source_address:
            raise ValueError("source_address is IPv4 and connect is IPv6; write an IPv6 address, or remove it")
        return self
