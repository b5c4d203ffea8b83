"""MQTT control packets as plain data, for versions 3.1.1 and 5 (OASIS MQTT Version 3.1.1 and Version 5.0, chapter 3).

Only what a server for QoS 0 and 1 needs. Reason codes exist on the wire in version 5 only; in 3.1.1 they are ignored
when a packet is encoded and 0 when it is decoded, except CONNACK and SUBACK, which have return codes of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Union

MQTT_311 = 4
"""Protocol level of MQTT 3.1.1 in CONNECT."""
MQTT_5 = 5
"""Protocol level of MQTT 5."""

PropertyValue = Union[int, bytes, str, "list[tuple[str, str]]"]
Properties = Mapping[int, PropertyValue]
"""Property identifier (MQTT 5, 2.2.2.2) to value; user properties (0x26) are a list of pairs."""


class Reason(IntEnum):
    """Reason codes of MQTT 5, 2.4."""

    SUCCESS = 0x00
    GRANTED_QOS_1 = 0x01
    NO_SUBSCRIPTION_EXISTED = 0x11
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    SERVER_SHUTTING_DOWN = 0x8B
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    QOS_NOT_SUPPORTED = 0x9B
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0


class ReturnCode(IntEnum):
    """CONNACK return codes of MQTT 3.1.1, 3.2.2.3."""

    ACCEPTED = 0
    UNACCEPTABLE_PROTOCOL_VERSION = 1
    IDENTIFIER_REJECTED = 2
    SERVER_UNAVAILABLE = 3
    BAD_USER_NAME_OR_PASSWORD = 4
    NOT_AUTHORIZED = 5


class PacketType(IntEnum):
    """Control packet types, MQTT 5, 2.1.2."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


@dataclass(frozen=True)
class Connect:
    """A client asks for a session. The will is not kept: ThingsBoard ignores it too."""

    client_id: str
    version: int = MQTT_5
    clean_start: bool = True
    keep_alive: int = 0
    user_name: str | None = None
    password: bytes | None = field(default=None, repr=False)
    properties: Properties = field(default_factory=dict)

    def __repr__(self) -> str:
        """Without the user name, which is an access token."""
        return f"Connect(client_id={self.client_id!r}, version={self.version}, keep_alive={self.keep_alive})"


@dataclass(frozen=True)
class ConnAck:
    """The server's answer; `reason` is a reason code in version 5, a return code in 3.1.1."""

    reason: int = 0
    session_present: bool = False
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True)
class Publish:
    """A message; `packet_id` is 0 for QoS 0."""

    topic: str
    payload: bytes
    qos: int = 1
    packet_id: int = 0
    retain: bool = False
    duplicate: bool = False
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True)
class PubAck:
    """A message of QoS 1 has been received, and in version 5 what became of it."""

    packet_id: int
    reason: int = 0
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True)
class Subscribe:
    """Topic filters with the highest QoS wanted for each."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True)
class SubAck:
    """One granted QoS or failure code per filter."""

    packet_id: int
    reasons: tuple[int, ...]
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True)
class Unsubscribe:
    """Topic filters no longer wanted."""

    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True)
class UnsubAck:
    """One reason code per filter, in version 5 only."""

    packet_id: int
    reasons: tuple[int, ...] = ()
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True)
class PingReq:
    """The client is alive."""


@dataclass(frozen=True)
class PingResp:
    """The server is alive too."""


@dataclass(frozen=True)
class Disconnect:
    """The sender is about to close the connection, and in version 5 why."""

    reason: int = 0
    properties: Properties = field(default_factory=dict)


Packet = Union[Connect, ConnAck, Publish, PubAck, Subscribe, SubAck, Unsubscribe, UnsubAck, PingReq, PingResp, Disconnect]
