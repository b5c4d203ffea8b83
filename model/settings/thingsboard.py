"""The `thingsboard` section: one MQTT session, or several with a token each; every one has one owner.

Several sessions are for fleets beyond the rate limit of one gateway, and for meters that are devices with tokens of their own. Which
meter belongs to which is told by `model.assignment`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from model.settings.base import Duration, Identifier, Settings, Size

EMBEDDED = "embedded"

SINGLE = "thingsboard"
"""The name of the session where `token` gives the only one. One of several that has it goes on with the only one's outbox."""

LEAST_BATCH = 1_024
"""Bytes: a packet of less hardly holds a device name and one reading."""

LEAST_OUTBOX = 1_000_000
"""Bytes: less does not hold what one packet takes away."""


def _no_truth_value(value: Any) -> Any:
    """Refuses true and false (yes, no, on, off in YAML), which Python would take for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("true and false are not numbers; write a number")
    return value


class OutboxSettings(Settings):
    """How readings wait on disk until ThingsBoard has acknowledged them."""

    batch_bytes: int = Field(
        default=0,
        ge=0,
        description="Bytes up to which records are packed together, at least 1,024; 0 asks the server (65,536 unless it says otherwise).",
    )
    keep_receipts: Duration = Field(default=86400.0, description="How long acknowledgements are kept for receipts-in.")

    max_size: Size = Field(
        default=4_000_000_000,
        description="Most bytes on the disk that may wait; 0 for no bound. 4GB hold what 1,000 meters with 20 values a minute give "
        "in 4 days, or 50 meters in 80 days (about 0.7 kB per meter and cycle).",
    )
    max_readings: int = Field(default=0, ge=0, description="Most readings (values) that may wait; 0 for no bound.")
    max_age: Duration | None = Field(
        default=None, description="What has waited longer than this since it was read is dropped; left out, nothing is too old."
    )
    when_full: Literal["drop-oldest", "drop-newest", "block"] = Field(
        default="drop-oldest",
        description="What gives way when max_size or max_readings is reached, or the disk refuses and memory is full: what has waited "
        "longest, what comes, or neither: then what comes waits in memory, and when that is full the flow stands still. "
        "What is dropped is counted, alarmed and told by receipts-in on its port `dropped`.",
    )
    memory_readings: int = Field(
        default=100_000,
        ge=1_000,
        description="Most readings that wait in memory (100 to 500 bytes each) while the disk is full or read-only, or when_full blocks.",
    )
    block_at_most: Duration = Field(
        default=3600.0,
        description="With when_full: block, how long the flow may stand still; after that what comes is dropped until there is room again.",
    )
    backlog: Literal["oldest-first", "newest-first"] = Field(
        default="oldest-first",
        description="In which order what waited is delivered after an outage. What is read meanwhile has a lane of its own either way.",
    )

    @field_validator("batch_bytes", "max_size", "max_readings", "keep_receipts", "memory_readings", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return _no_truth_value(value)

    @field_validator("max_size")
    @classmethod
    def _holds_an_outage(cls, size: int) -> int:
        if 0 < size < LEAST_OUTBOX:
            raise ValueError(f"an outbox of {size} bytes is too small for an outage; write 1MB or more, or 0 for no bound")
        return size

    @model_validator(mode="after")
    def _blocking_drops_nothing(self) -> OutboxSettings:
        if self.when_full == "block" and self.max_age is not None:
            raise ValueError("when_full: block drops nothing and max_age drops what is old; remove one of both")
        if self.when_full == "block" and not self.max_size and not self.max_readings:
            raise ValueError("when_full: block without a bound never blocks; give max_size or max_readings")
        return self

    @field_validator("batch_bytes")
    @classmethod
    def _holds_a_record(cls, size: int) -> int:
        if 0 < size < LEAST_BATCH:
            raise ValueError(f"batch_bytes {size} is too small for a packet; write 0 to ask the server, or at least {LEAST_BATCH}")
        return size


class SessionSettings(Settings):
    """One of several sessions: a token of its own, and its meters. Everything else they share, and each has an outbox of its own."""

    name: Identifier = Field(
        description="Unique and lasting: its outbox is named after it (outbox-NAME.sqlite). The name thingsboard goes on with "
        "outbox.sqlite, the outbox of a pipeline with `token`."
    )
    token: SecretStr = Field(description="Access token of a device of its own; write ${TB_NORTH} or file:/path, never the token itself.")
    meters: list[str] | None = Field(
        default=None,
        description="Patterns of the ids of its meters, such as north-*. Left out, it shares the meters that no pattern fits with the "
        "others that leave it out, by a stable hash of meter and session. [] takes no meter: it delivers what waits, and can be "
        "removed then.",
    )


class ThingsBoardSettings(Settings):
    """Where and how readings are delivered."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["token"]}, {"required": ["sessions"]}]})

    url: str = Field(description="mqtt://host[:1883], mqtts://host[:8883], or embedded for the built-in stand-in.")
    api: Literal["gateway", "device"] = Field(
        default="gateway", description="gateway: one token for many devices; device: one token is one device, and each session one meter."
    )
    token: SecretStr | None = Field(
        default=None, description="Access token of the only session; write ${TB_TOKEN} or file:/path, never the token itself."
    )
    sessions: list[SessionSettings] | None = Field(
        default=None,
        min_length=1,
        description="Several sessions with a token each, in place of token. Reports on all meters, and alerts about sessions, go to the "
        "first that takes meters.",
    )
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
    gateway_device: str = Field(
        default="gateway", description="Name of the gateway's own device in the built-in stand-in; elsewhere the token says it."
    )
    outbox: OutboxSettings = Field(
        default=OutboxSettings(),
        description="How readings wait on disk until they are acknowledged; of several sessions each has an outbox with these bounds.",
    )

    @property
    def session_names(self) -> tuple[str, ...]:
        """The sessions, in the order of the file; `SINGLE` where there is one."""
        return (SINGLE,) if self.sessions is None else tuple(session.name for session in self.sessions)

    def of_session(self, name: str) -> ThingsBoardSettings:
        """The settings of one session, as they would be were it the only one.

        :raises LookupError: when there is none of this name.
        """
        if self.sessions is None and name == SINGLE:
            return self
        for session in self.sessions or ():
            if session.name == name:
                return self.model_copy(update={"token": session.token, "sessions": None})
        raise LookupError(name)

    @property
    def access_token(self) -> SecretStr:
        """The token of the only session.

        :raises LookupError: when there are several: ask for the settings `of_session`.
        """
        if self.token is None:
            raise LookupError("several sessions have no token in common")
        return self.token

    def session_credentials(self) -> tuple[str, str]:
        """User name, empty where there is none, and token: with the server's address they say which session it is. Secret.

        :raises LookupError: see `access_token`.
        """
        return self.username or "", self.access_token.get_secret_value()

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
        if parts.port == 0:  # `port` raises ValueError when out of range
            raise ValueError("port 0 cannot be connected to; MQTT is usually at 1883, or at 8883 with mqtts://")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f"the url names a host and a port only; remove everything behind {parts.scheme}://{parts.netloc}")
        return url

    @field_validator("keep_alive", "ack_timeout", "inflight", "reconnect_min", "reconnect_max", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return _no_truth_value(value)

    @model_validator(mode="after")
    def _one_session_or_several(self) -> ThingsBoardSettings:
        if self.token is None and self.sessions is None:
            raise ValueError("token is missing; add token: ${TB_TOKEN}, or sessions: with a name and a token each")
        if self.token is not None and self.sessions is not None:
            raise ValueError(
                "sessions and token exclude each other; move the token into sessions, as {name: thingsboard, token: ...}, which goes on "
                "with the outbox that there is"
            )
        return self

    @model_validator(mode="after")
    def _each_session_has_its_own_credentials(self) -> ThingsBoardSettings:
        if self.sessions is not None and (self.username is not None or self.password is not None):
            raise ValueError("username and password are those of one device; remove them, and give each of the sessions a token of its own")
        if self.sessions is not None and self.client_cert is not None:
            raise ValueError(
                "client_cert is one device to ThingsBoard, whatever the token, so the sessions would end each other; remove client_cert "
                "and client_key, or use one session"
            )
        return self

    @model_validator(mode="after")
    def _encrypted_if_it_looks_so(self) -> ThingsBoardSettings:
        files = [name for name in ("ca_file", "client_cert", "client_key") if getattr(self, name) is not None]
        if files and self.url.startswith("mqtt://"):
            raise ValueError(f"mqtt:// is not encrypted; write mqtts://, or remove {' and '.join(files)}")
        if self.password is not None and self.username is None:
            raise ValueError("password without username; add username, or remove password to use the token alone")
        return self

    @model_validator(mode="after")
    def _certificate_and_key(self) -> ThingsBoardSettings:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key belong together; give both or neither")
        if self.keep_alive > 600:
            raise ValueError("keep_alive exceeds 600 s, after which ThingsBoard closes idle sessions")
        if self.reconnect_max < self.reconnect_min:
            raise ValueError("reconnect_max is less than reconnect_min")
        return self
