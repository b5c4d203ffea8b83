"""How a meter is reached: its link, and how long to wait for what."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from model.settings.base import Duration, Settings

PUSH = "push"
"""`connect` of a meter that is never called: it only sends notifications by itself."""


class LinkSettings(Settings):
    """The part of a meter's entry that says where it is and how patient to be with it."""

    connect: str = Field(description="tcp://host:port, push for a meter that only calls in, or sim://profile for a virtual meter.")
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
    inactivity_timeout: Duration = Field(
        default=120.0,
        description="The association is released and opened anew after this long without an exchange; keep it below the meter's own limit.",
    )

    @field_validator("connect")
    @classmethod
    def _known_link(cls, connect: str) -> str:
        parts = urlsplit(connect)
        if parts.scheme == "sim" or connect == PUSH:
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
