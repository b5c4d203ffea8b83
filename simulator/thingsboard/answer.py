"""How ThingsBoard answers one PUBLISH, and everything that differs between MQTT 5 and 3.1.1 in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.thingsboard.accounts import Account
from simulator.thingsboard.packets import MQTT_5, Publish, Reason


@dataclass
class Caller:
    """The session a message came in on: whose it is, its protocol version, and the devices it has spoken for."""

    account: Account
    version: int
    devices: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Answer:
    """What the client sees.

    :arg ack: the PUBACK's reason code, which 3.1.1 does not carry; None when the message is never acknowledged.
    :arg closes: whether the connection is closed after that.
    :arg disconnect: the reason code of the DISCONNECT that goes before the close in MQTT 5; None for none.
    :arg cause: why, for statistics and the session history; empty when all is well.
    :arg reply: a message to the client, after the acknowledgement.
    """

    ack: int | None = Reason.SUCCESS
    closes: bool = False
    disconnect: int | None = None
    cause: str = ""
    reply: Publish | None = None


STORED = Answer()
TOPIC_UNKNOWN = Answer(Reason.TOPIC_NAME_INVALID, cause="unknown topic")
NOT_A_GATEWAY = Answer(None, cause="not a gateway")
NEVER_ACKNOWLEDGED = Answer(None, cause="empty array")
GATEWAY_RATE_LIMITED = Answer(Reason.QUOTA_EXCEEDED, closes=True, cause="rate limited")
"""The connection is closed without a DISCONNECT; a 3.1.1 client sees a plain PUBACK and believes the message stored."""
DEVICE_RATE_LIMITED = Answer(None, closes=True, disconnect=Reason.IMPLEMENTATION_SPECIFIC_ERROR, cause="rate limited")
DEVICE_NOT_CREATED = Answer(Reason.UNSPECIFIED_ERROR, cause="device not created")
TOO_MANY_DEVICES = Answer(Reason.QUOTA_EXCEEDED, cause="too many devices")
BROKEN_GATEWAY_MESSAGE = Answer(
    Reason.IMPLEMENTATION_SPECIFIC_ERROR, closes=True, disconnect=Reason.IMPLEMENTATION_SPECIFIC_ERROR, cause="bad payload"
)
"""A gateway message whose JSON is fine but lacks what the topic needs."""
UNCAUGHT_BY_DEVICE_API = Answer(None, closes=True, disconnect=Reason.SERVER_SHUTTING_DOWN, cause="bad payload")
"""A device message with a field of a type that ThingsBoard's code does not expect."""


def bad_payload(caller: Caller, message: Publish) -> Answer:
    """Not JSON, or not of the topic's shape: refused by reason code in MQTT 5, by closing the connection in 3.1.1."""
    if caller.version == MQTT_5 and message.qos > 0:
        return Answer(Reason.PAYLOAD_FORMAT_INVALID, cause="bad payload")
    return Answer(None, closes=True, disconnect=Reason.PAYLOAD_FORMAT_INVALID, cause="bad payload")


def bad_device_entry(caller: Caller) -> Answer:
    """A gateway message in which the values of one device are wrong."""
    if caller.version == MQTT_5:
        return Answer(Reason.PAYLOAD_FORMAT_INVALID, cause="bad payload")
    return Answer(None, closes=True, cause="bad payload")
