"""The `thingsboard` section: the one MQTT session, owned once and referred to by everything that publishes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from model.settings.base import Duration, Settings

EMBEDDED = "embedded"


class OutboxSettings(Settings):
    """How readings wait on disk until ThingsBoard has acknowledged them."""

    batch_bytes: int = Field(default=0, ge=0, description="Upper limit of one packet; 0 asks the server (65,536 unless it says otherwise).")
    keep_receipts: Duration = Field(default=86400.0, description="How long acknowledgements are kept for receipts-in.")


class ThingsBoardSettings(Settings):
    """Where and how readings are delivered."""

    url: str = Field(description="mqtt://host[:1883], mqtts://host[:8883], or embedded for the built-in stand-in.")
    api: Literal["gateway", "device"] = Field(
        default="gateway", description="gateway: one token for many devices; device: one token is one device."
    )
    token: SecretStr = Field(description="Access token; write ${TB_TOKEN} or file:/path, never the token itself.")
    username: str | None = Field(default=None, description="MQTT user name; the token where absent (basic credentials otherwise).")
    password: SecretStr | None = Field(default=None, description="MQTT password, for basic credentials only.")
    protocol: Literal["5", "3.1.1"] = Field(default="5", description="MQTT version; 5 states why a session ended, 3.1.1 does not.")
    client_id: str | None = Field(default=None, description="Prefix of the client id; a unique part per installation is always added.")
    keep_alive: Duration = Field(default=60.0, description="MQTT keep-alive; at most 600 s, ThingsBoard's idle limit.")
    ack_timeout: Duration = Field(
        default=30.0, description="Without a PUBACK for this long the connection is renewed and the message sent again."
    )
    inflight: int = Field(default=20, ge=1, le=1000, description="Unacknowledged messages at a time, unless the server allows fewer.")
    reconnect_min: Duration = Field(default=1.0, description="First wait before connecting again.")
    reconnect_max: Duration = Field(default=120.0, description="Longest wait before connecting again.")
    ca_file: Path | None = Field(default=None, description="PEM file of a private certificate authority, for mqtts.")
    client_cert: Path | None = Field(default=None, description="PEM file of the client certificate, for mutual TLS.")
    client_key: Path | None = Field(default=None, description="PEM file of the client certificate's key.")
    gateway_device: str = Field(default="gateway", description="Name under which fleet reports and alerts are shown in logs.")
    outbox: OutboxSettings = OutboxSettings()

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if url == EMBEDDED:
            return url
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError(f"{url!r} is not a ThingsBoard address; write mqtt://host:1883, mqtts://host:8883 or embedded")
        if parts.username or parts.password:
            raise ValueError("the url must not carry credentials; put the access token in `token`")
        _ = parts.port  # raises ValueError when out of range
        return url

    @model_validator(mode="after")
    def _certificate_and_key(self) -> ThingsBoardSettings:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key belong together; give both or neither")
        if self.keep_alive > 600:
            raise ValueError("keep_alive exceeds 600 s, after which ThingsBoard closes idle sessions")
        if self.reconnect_max < self.reconnect_min:
            raise ValueError("reconnect_max is less than reconnect_min")
        return self
