"""ThingsBoard behind its MQTT transport: topics, payload rules, rate limits, devices. Messages in, answers out, no I/O.

Source: ThingsBoard's MqttTransportHandler, AbstractGatewaySessionHandler and DefaultTransportService. Not simulated, and
answered as unknown topics: attribute requests, claiming, provisioning, firmware, the short v2 topics and Sparkplug.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from simulator.thingsboard.answer import (
    BROKEN_GATEWAY_MESSAGE,
    DEVICE_NOT_CREATED,
    DEVICE_RATE_LIMITED,
    GATEWAY_RATE_LIMITED,
    NEVER_ACKNOWLEDGED,
    NOT_A_GATEWAY,
    STORED,
    TOO_MANY_DEVICES,
    TOPIC_UNKNOWN,
    UNCAUGHT_BY_DEVICE_API,
    Answer,
    Caller,
    bad_device_entry,
    bad_payload,
)
from simulator.thingsboard.limits import Limiters, Limits
from simulator.thingsboard.packets import Publish
from simulator.thingsboard.payload import (
    JsonNumber,
    NothingInItError,
    PayloadError,
    Record,
    StoredValue,
    UnexpectedTypeError,
    as_text,
    parse_gateway_telemetry,
    parse_json,
    parse_telemetry,
    parse_values,
)
from simulator.thingsboard.statistics import Statistics
from simulator.thingsboard.store import DEFAULT_TYPE, Store

GATEWAY_PREFIX = "v1/gateway"
GATEWAY_CONNECT = "v1/gateway/connect"
GATEWAY_DISCONNECT = "v1/gateway/disconnect"
GATEWAY_TELEMETRY = "v1/gateway/telemetry"
GATEWAY_ATTRIBUTES = "v1/gateway/attributes"
GATEWAY_RPC = "v1/gateway/rpc"
DEVICE_TELEMETRY = "v1/devices/me/telemetry"
DEVICE_ATTRIBUTES = "v1/devices/me/attributes"
DEVICE_RPC_REQUEST = "v1/devices/me/rpc/request/"
DEVICE_RPC_RESPONSE = "v1/devices/me/rpc/response/"

SUBSCRIBABLE = frozenset(
    [
        GATEWAY_ATTRIBUTES,
        GATEWAY_RPC,
        "v1/gateway/attributes/response",
        DEVICE_ATTRIBUTES,
        DEVICE_RPC_REQUEST + "+",
        DEVICE_RPC_RESPONSE + "+",
        "v1/devices/me/attributes/response/+",
    ]
)
"""The topic filters a session may subscribe to; any other is refused."""


class Application:
    """Decides about every message and keeps what it accepts."""

    def __init__(self, store: Store, limits: Limits, statistics: Statistics, now: Callable[[], float] = time.time) -> None:
        self.store = store
        self.limiters = Limiters(limits)
        self.rpc_responses: list[dict[str, Any]] = []
        self._statistics = statistics
        self._now = now

    def publish(self, caller: Caller, message: Publish) -> Answer:
        """The answer to a message, after storing what is in it."""
        if message.topic.startswith(GATEWAY_PREFIX):
            return self._gateway(caller, message) if caller.account.gateway else NOT_A_GATEWAY
        return self._device(caller, message)

    def _gateway(self, caller: Caller, message: Publish) -> Answer:
        handlers = {
            GATEWAY_CONNECT: self._gateway_connect,
            GATEWAY_DISCONNECT: self._gateway_disconnect,
            GATEWAY_TELEMETRY: self._gateway_telemetry,
            GATEWAY_ATTRIBUTES: self._gateway_attributes,
            GATEWAY_RPC: self._gateway_rpc,
        }
        handler = handlers.get(message.topic)
        if handler is None:
            return TOPIC_UNKNOWN
        try:
            document = parse_json(message.payload)
        except PayloadError:
            return bad_payload(caller, message)
        try:
            return handler(caller, document)
        except PayloadError:
            return BROKEN_GATEWAY_MESSAGE

    def _gateway_connect(self, caller: Caller, document: Any) -> Answer:
        name = _device_name(document)
        device_type = document.get("type")
        return self._speak_for(caller, name, DEFAULT_TYPE if device_type is None else as_text(device_type, "type")) or STORED

    def _gateway_disconnect(self, caller: Caller, document: Any) -> Answer:
        caller.devices.discard(_device_name(document))
        return STORED

    def _gateway_telemetry(self, caller: Caller, document: Any) -> Answer:
        answers = [self._device_telemetry(caller, name, entries) for name, entries in _entries(document, list)]
        return _first_error(answers)

    def _device_telemetry(self, caller: Caller, name: str, entries: list[Any]) -> Answer:
        refusal = self._speak_for(caller, name, DEFAULT_TYPE)
        if refusal is not None:
            return refusal
        try:
            records = parse_gateway_telemetry(entries, self._milliseconds())
        except PayloadError:
            return bad_device_entry(caller)
        if not self.limiters.gateway(caller.account).allow(_count(records)):
            return GATEWAY_RATE_LIMITED
        return self._store(name, records)

    def _gateway_attributes(self, caller: Caller, document: Any) -> Answer:
        answers = [self._device_attributes(caller, name, values) for name, values in _entries(document, dict)]
        return _first_error(answers)

    def _device_attributes(self, caller: Caller, name: str, document: Any) -> Answer:
        refusal = self._speak_for(caller, name, DEFAULT_TYPE)
        if refusal is not None:
            return refusal
        try:
            values = parse_values(document)
        except PayloadError:
            return bad_device_entry(caller)
        if not self.limiters.gateway(caller.account).allow(len(values)):
            return GATEWAY_RATE_LIMITED
        return self._store_attributes(name, values)

    def _gateway_rpc(self, caller: Caller, document: Any) -> Answer:
        name = _device_name(document)
        request = document.get("id")
        if not isinstance(request, JsonNumber) or not request.isdecimal() or "data" not in document:
            raise UnexpectedTypeError("an RPC response needs id and data")
        refusal = self._speak_for(caller, name, DEFAULT_TYPE)
        if refusal is None:
            self.rpc_responses.append({"device": name, "id": int(request), "data": document["data"]})
        return refusal or STORED

    def _speak_for(self, caller: Caller, name: str, device_type: str) -> Answer | None:
        """Open a device within the gateway's session, creating it when unknown; the answer if that is refused."""
        if name in caller.devices:
            return None
        if not name or not self.limiters.gateway(caller.account).allow(0):
            return DEVICE_NOT_CREATED
        most = self.limiters.limits.devices
        if most is not None and name not in self.store and len(self.store) >= most:
            return TOO_MANY_DEVICES
        self.store.get_or_create(name, device_type)
        caller.devices.add(name)
        gateways = self._statistics.gateways_of.setdefault(name, [])
        if caller.account.name not in gateways:
            gateways.append(caller.account.name)
        return None

    def _device(self, caller: Caller, message: Publish) -> Answer:
        handler: Callable[[Caller, Publish, Any], Answer]
        if message.topic == DEVICE_TELEMETRY:
            handler = self._own_telemetry
        elif message.topic == DEVICE_ATTRIBUTES:
            handler = self._own_attributes
        elif message.topic.startswith(DEVICE_RPC_REQUEST):
            handler = self._server_rpc
        elif message.topic.startswith(DEVICE_RPC_RESPONSE):
            handler = self._own_rpc_response
        else:
            return TOPIC_UNKNOWN
        try:
            return handler(caller, message, parse_json(message.payload))
        except UnexpectedTypeError:
            return UNCAUGHT_BY_DEVICE_API
        except PayloadError:
            return bad_payload(caller, message)

    def _own_telemetry(self, caller: Caller, _message: Publish, document: Any) -> Answer:
        records = parse_telemetry(document, self._milliseconds())
        if not self.limiters.own(caller.account).allow(_count(records)):
            return DEVICE_RATE_LIMITED
        return self._store(caller.account.name, records)

    def _own_attributes(self, caller: Caller, _message: Publish, document: Any) -> Answer:
        values = parse_values(document)
        if not self.limiters.own(caller.account).allow(len(values)):
            return DEVICE_RATE_LIMITED
        return self._store_attributes(caller.account.name, values)

    def _own_rpc_response(self, caller: Caller, message: Publish, document: Any) -> Answer:
        request = _request_id(message.topic, DEVICE_RPC_RESPONSE)
        if not self.limiters.own(caller.account).allow(0):
            return DEVICE_RATE_LIMITED
        self.rpc_responses.append({"device": caller.account.name, "id": request, "data": document})
        return STORED

    def _server_rpc(self, caller: Caller, message: Publish, document: Any) -> Answer:
        """A request to the server; only getSessionLimits is answered by ThingsBoard itself, and is not rate limited."""
        request = _request_id(message.topic, DEVICE_RPC_REQUEST)
        if not isinstance(document, dict):
            raise PayloadError("a request is an object")
        if as_text(document.get("method"), "method") == "getSessionLimits":
            limits = json.dumps(self.limiters.limits.session_limits(caller.account), separators=(",", ":"))
            return Answer(reply=Publish(f"{DEVICE_RPC_RESPONSE}{request}", limits.encode()))
        return STORED if self.limiters.own(caller.account).allow(0) else DEVICE_RATE_LIMITED

    def _store(self, name: str, records: list[Record]) -> Answer:
        if not records:
            return NEVER_ACKNOWLEDGED
        self._statistics.records += len(records)
        self._statistics.data_points += self.store.write_telemetry(name, records)
        return STORED

    def _store_attributes(self, name: str, values: dict[str, StoredValue]) -> Answer:
        self._statistics.attributes += len(values)
        self.store.write_attributes(name, values)
        return STORED

    def _milliseconds(self) -> int:
        return int(self._now() * 1000)


def _device_name(document: Any) -> str:
    if not isinstance(document, dict):
        raise PayloadError("an object was expected")
    name = as_text(document.get("device"), "device")
    if not name:
        raise PayloadError("'device' is empty")
    return name


def _entries(document: Any, kind: type) -> list[tuple[str, Any]]:
    """The devices of a gateway message; those whose value is of another kind are skipped, as ThingsBoard does.

    :raises NothingInItError: when none is left.
    """
    if not isinstance(document, dict):
        raise PayloadError("an object by device name was expected")
    entries = [(name, value) for name, value in document.items() if isinstance(value, kind)]
    if not entries:
        raise NothingInItError("no device in the message has the expected shape")
    return entries


def _first_error(answers: list[Answer]) -> Answer:
    """One PUBACK for all devices of a message: the first error's, none if one is never acknowledged."""
    unacknowledged = [answer for answer in answers if answer is NEVER_ACKNOWLEDGED]
    errors = [answer for answer in answers if answer not in (STORED, NEVER_ACKNOWLEDGED)]
    return (errors + unacknowledged + [STORED])[0]


def _request_id(topic: str, prefix: str) -> int:
    text = topic[len(prefix) :]
    if not text.isdecimal() or int(text) > 2**31 - 1:
        raise UnexpectedTypeError("the topic does not end in a request number")
    return int(text)


def _count(records: list[Record]) -> int:
    return sum(len(record.values) for record in records)
