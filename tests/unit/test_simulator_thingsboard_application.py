"""What the stand-in answers to each message, for both protocol versions, without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.thingsboard.accounts import Account, Accounts
from simulator.thingsboard.answer import Answer, Caller
from simulator.thingsboard.application import Application
from simulator.thingsboard.limits import Limiters, Limits
from simulator.thingsboard.packets import MQTT_5, MQTT_311, Publish, Reason
from simulator.thingsboard.rate_limit import EXAMPLE, RateLimits
from simulator.thingsboard.statistics import Statistics
from simulator.thingsboard.store import Store

GATEWAY = Account("gateway", "gw-token", gateway=True)
DEVICE = Account("meter", "meter-token")
TELEMETRY, DEVICE_TELEMETRY = "v1/gateway/telemetry", "v1/devices/me/telemetry"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Server:
    """An application with one gateway or device talking to it."""

    def __init__(self, account: Account = GATEWAY, version: int = MQTT_5, limits: Limits | None = None) -> None:
        self.clock = Clock()
        self.store = Store()
        self.statistics = Statistics()
        self.application = Application(self.store, limits or Limits(), self.statistics, now=lambda: 1.5)
        self.application.limiters = Limiters(limits or Limits(), self.clock)
        self.caller = Caller(account, version)

    def send(self, topic: str, payload: Any, qos: int = 1) -> Answer:
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.application.publish(self.caller, Publish(topic, data, qos, 7 if qos else 0))

    def points(self, device: str) -> dict[tuple[str, int], Any]:
        return self.store.get_or_create(device).points


def seen(answer: Answer, version: int) -> str:
    """What a client of this version sees: a 3.1.1 client sees neither reason codes nor DISCONNECT."""
    ack = "no ack" if answer.ack is None else "ack" if version == MQTT_311 else f"ack {answer.ack:02x}"
    if not answer.closes:
        return ack
    return ack + (", closed" if version == MQTT_311 or answer.disconnect is None else f", disconnect {answer.disconnect:02x}")


ANSWERS = [
    # account, topic, payload, seen by a MQTT 5 client, seen by a 3.1.1 client, stored points
    (GATEWAY, TELEMETRY, {"M": [{"ts": 1, "values": {"v": 1}}]}, "ack 00", "ack", 1),
    (GATEWAY, TELEMETRY, {"M": [{"v": 1}]}, "ack 00", "ack", 1),
    (GATEWAY, TELEMETRY, {"M": [{"ts": 1, "values": {}}]}, "ack 00", "ack", 0),
    (GATEWAY, TELEMETRY, {"M": []}, "no ack", "no ack", 0),
    (GATEWAY, TELEMETRY, {"M": {"ts": 1, "values": {"v": 1}}}, "ack 83, disconnect 83", "ack, closed", 0),
    (GATEWAY, TELEMETRY, {}, "ack 83, disconnect 83", "ack, closed", 0),
    (GATEWAY, TELEMETRY, [], "ack 83, disconnect 83", "ack, closed", 0),
    (GATEWAY, TELEMETRY, b"not json", "ack 99", "no ack, closed", 0),
    (GATEWAY, TELEMETRY, {"M": [1]}, "ack 99", "no ack, closed", 0),
    (GATEWAY, TELEMETRY, {"M": [{"ts": None, "values": {"v": 1}}]}, "ack 99", "no ack, closed", 0),
    (GATEWAY, TELEMETRY, {"": [{"v": 1}]}, "ack 80", "ack", 0),
    (GATEWAY, "v1/gateway/attributes", {"M": {"model": "x"}}, "ack 00", "ack", 0),
    (GATEWAY, "v1/gateway/attributes", {"M": {}}, "ack 00", "ack", 0),
    (GATEWAY, "v1/gateway/attributes", {"M": 1}, "ack 83, disconnect 83", "ack, closed", 0),
    (GATEWAY, "v1/gateway/connect", {"device": "M", "type": "t"}, "ack 00", "ack", 0),
    (GATEWAY, "v1/gateway/connect", {"device": "M", "type": None}, "ack 00", "ack", 0),
    (GATEWAY, "v1/gateway/connect", {"type": "t"}, "ack 83, disconnect 83", "ack, closed", 0),
    (GATEWAY, "v1/gateway/connect", {"device": ""}, "ack 83, disconnect 83", "ack, closed", 0),
    (GATEWAY, "v1/gateway/connect", {"device": {}}, "ack 83, disconnect 83", "ack, closed", 0),
    (GATEWAY, "v1/gateway/connect", [], "ack 83, disconnect 83", "ack, closed", 0),
    (GATEWAY, "v1/gateway/connect", b"{", "ack 99", "no ack, closed", 0),
    (GATEWAY, "v1/gateway/disconnect", {"device": "M"}, "ack 00", "ack", 0),
    (GATEWAY, "v1/gateway/rpc", {"device": "M", "id": 1, "data": {"ok": True}}, "ack 00", "ack", 0),
    (GATEWAY, "v1/gateway/rpc", {"device": "M", "id": 1}, "ack 83, disconnect 83", "ack, closed", 0),
    (GATEWAY, "v1/gateway/rpc", {"device": "M", "id": 1.5, "data": 1}, "ack 83, disconnect 83", "ack, closed", 0),
    (GATEWAY, "v1/gateway/telemetri", {"M": [{"v": 1}]}, "ack 90", "ack", 0),
    (DEVICE, TELEMETRY, {"M": [{"ts": 1, "values": {"v": 1}}]}, "no ack", "no ack", 0),
    (DEVICE, "v1/gateway/connect", {"device": "M"}, "no ack", "no ack", 0),
    (DEVICE, DEVICE_TELEMETRY, {"ts": 1, "values": {"v": 1}}, "ack 00", "ack", 1),
    (DEVICE, DEVICE_TELEMETRY, [{"ts": 1, "values": {"v": 1}}, {"ts": 2, "values": {"v": 1}}], "ack 00", "ack", 2),
    (DEVICE, DEVICE_TELEMETRY, {"v": 1, "w": 2}, "ack 00", "ack", 2),
    (DEVICE, DEVICE_TELEMETRY, {"ts": 1, "v": 1}, "ack 00", "ack", 2),
    (DEVICE, DEVICE_TELEMETRY, [], "no ack", "no ack", 0),
    (DEVICE, DEVICE_TELEMETRY, 5, "ack 99", "no ack, closed", 0),
    (DEVICE, DEVICE_TELEMETRY, b"not json", "ack 99", "no ack, closed", 0),
    (DEVICE, DEVICE_TELEMETRY, {"ts": "yesterday", "values": {"v": 1}}, "no ack, disconnect 8b", "no ack, closed", 0),
    (DEVICE, "v1/devices/me/attributes", {"model": "x"}, "ack 00", "ack", 0),
    (DEVICE, "v1/devices/me/attributes", [{"model": "x"}], "ack 99", "no ack, closed", 0),
    (DEVICE, "v1/devices/me/rpc/request/1", {"method": "other", "params": {}}, "ack 00", "ack", 0),
    (DEVICE, "v1/devices/me/rpc/request/x", {"method": "other", "params": {}}, "no ack, disconnect 8b", "no ack, closed", 0),
    (DEVICE, "v1/devices/me/rpc/request/1", {"params": {}}, "no ack, disconnect 8b", "no ack, closed", 0),
    (DEVICE, "v1/devices/me/rpc/request/1", [], "ack 99", "no ack, closed", 0),
    (DEVICE, "v1/devices/me/rpc/response/1", {"ok": 1}, "ack 00", "ack", 0),
    (DEVICE, "v1/devices/me/telemetri", {"v": 1}, "ack 90", "ack", 0),
    (DEVICE, "some/topic", {"v": 1}, "ack 90", "ack", 0),
]


@pytest.mark.parametrize("version", [MQTT_5, MQTT_311])
@pytest.mark.parametrize(("account", "topic", "payload", "five", "three", "stored"), ANSWERS)
def test_each_message_gets_thingsboard_s_answer(
    account: Account, topic: str, payload: Any, five: str, three: str, stored: int, version: int
) -> None:
    server = Server(account, version)
    assert seen(server.send(topic, payload), version) == (five if version == MQTT_5 else three)
    assert sum(len(device.points) for device in server.store) == stored == server.statistics.data_points


def test_bad_json_with_qos_0_closes_in_version_5_too() -> None:
    assert seen(Server(DEVICE).send(DEVICE_TELEMETRY, b"not json", qos=0), MQTT_5) == "no ack, disconnect 99"


def test_the_type_given_first_stays() -> None:
    server = Server()
    server.send("v1/gateway/connect", {"device": "A", "type": "meter"})
    server.send("v1/gateway/connect", {"device": "A", "type": "other"})
    server.send(TELEMETRY, {"B": [{"v": 1}]})
    server.send("v1/gateway/connect", {"device": "B", "type": "meter"})
    assert {device.name: device.device_type for device in server.store} == {"A": "meter", "B": "default"}


def test_an_equal_timestamp_overwrites_and_is_counted() -> None:
    server = Server()
    for value in (1, 1, 2, 2.0):
        server.send(TELEMETRY, {"M": [{"ts": 5, "values": {"v": value}}]})
    device = server.store.get_or_create("M")
    assert device.points == {("v", 5): 2.0}
    assert (device.repeated_same, device.repeated_other) == (1, 2)


def test_latest_is_the_newest_timestamp_not_the_last_arrival() -> None:
    server = Server()
    server.send(TELEMETRY, {"M": [{"ts": 9, "values": {"v": "new"}}, {"ts": 5, "values": {"v": "old"}}]})
    assert server.store.get_or_create("M").latest == {"v": (9, "new")}


@pytest.mark.parametrize(
    ("payload", "five", "kept"),
    [
        ({"A": [{"ts": 1, "values": {"v": 1}}], "B": [1], "C": [{"ts": 1, "values": {"v": 1}}]}, "ack 99", ["A", "C"]),
        ({"A": [{"ts": 1, "values": {"v": 1}}], "B": []}, "no ack", ["A"]),
        ({"A": [], "B": [1]}, "ack 99", []),
        ({"A": [{"ts": 1, "values": {"v": 1}}], "B": {"v": 1}}, "ack 00", ["A"]),
    ],
)
def test_one_message_for_several_devices_gets_one_answer(payload: Any, five: str, kept: list[str]) -> None:
    server = Server()
    assert seen(server.send(TELEMETRY, payload), MQTT_5) == five
    assert [device.name for device in server.store if device.points] == kept


def test_a_gateway_over_its_limit_looks_stored_in_311_and_is_refused_in_5() -> None:
    limits = Limits(gateway=RateLimits(telemetry_messages="2:60"))
    for version, expected in ((MQTT_5, "ack 97, closed"), (MQTT_311, "ack, closed")):
        server = Server(version=version, limits=limits)
        answers = [server.send(TELEMETRY, {"M": [{"ts": ts, "values": {"v": ts}}]}) for ts in range(3)]
        assert [seen(answer, version) for answer in answers[:2]] == ["ack 00" if version == MQTT_5 else "ack"] * 2
        assert seen(answers[2], version) == expected
        assert len(server.points("M")) == 2
        server.clock.now += 30
        assert seen(server.send(TELEMETRY, {"M": [{"ts": 3, "values": {"v": 3}}]}), MQTT_5) == "ack 00"


def test_a_gateway_over_its_message_limit_cannot_open_devices() -> None:
    server = Server(limits=Limits(gateway=RateLimits(messages="1:60")))
    assert seen(server.send("v1/gateway/connect", {"device": "A"}), MQTT_5) == "ack 00"
    assert seen(server.send("v1/gateway/connect", {"device": "A"}), MQTT_5) == "ack 00"
    assert seen(server.send("v1/gateway/connect", {"device": "B"}), MQTT_5) == "ack 80"


def test_a_device_over_its_limit_is_closed_without_an_acknowledgement() -> None:
    server = Server(DEVICE, limits=Limits(device=RateLimits(telemetry_data_points="3:60")))
    assert seen(server.send(DEVICE_TELEMETRY, {"a": 1, "b": 2}), MQTT_5) == "ack 00"
    assert seen(server.send(DEVICE_TELEMETRY, {"a": 1, "b": 2}), MQTT_5) == "no ack, disconnect 83"


def test_a_tenant_that_may_have_no_more_devices() -> None:
    server = Server(limits=Limits(devices=1))
    assert seen(server.send(TELEMETRY, {"A": [{"v": 1}]}), MQTT_5) == "ack 00"
    assert seen(server.send(TELEMETRY, {"B": [{"v": 1}]}), MQTT_5) == "ack 97"
    assert "B" not in server.store


def test_session_limits_of_a_device_and_of_a_gateway() -> None:
    limits = Limits(
        device=RateLimits(EXAMPLE), gateway=RateLimits("9:1"), gateway_device=RateLimits(None, "8:1", "7:1"), inflight=50, payload_size=1024
    )
    request = {"method": "getSessionLimits", "params": {}}
    reply = Server(DEVICE, limits=limits).send("v1/devices/me/rpc/request/41", request).reply
    assert reply is not None
    assert reply.topic == "v1/devices/me/rpc/response/41"
    assert json.loads(reply.payload) == {
        "maxPayloadSize": 1024,
        "maxInflightMessages": 50,
        "rateLimits": {"messages": EXAMPLE, "telemetryMessages": None, "telemetryDataPoints": None},
    }
    reply = Server(GATEWAY, limits=limits).send("v1/devices/me/rpc/request/1", request).reply
    assert reply is not None
    assert json.loads(reply.payload) == {
        "maxPayloadSize": 1024,
        "maxInflightMessages": 50,
        "rateLimits": {"messages": None, "telemetryMessages": "8:1", "telemetryDataPoints": "7:1"},
        "gatewayRateLimits": {"messages": "9:1", "telemetryMessages": None, "telemetryDataPoints": None},
    }


@pytest.mark.parametrize("text", ["200", "200:", ":1", "0:1", "1:0", "a:b", "1:1,", "1:1;2:2"])
def test_a_limit_that_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate limit"):
        RateLimits(messages=text)


def test_accounts_know_tokens_and_passwords() -> None:
    accounts = Accounts([GATEWAY, Account("basic", "user", password="pass")])
    assert accounts.find("gw-token", None) == GATEWAY
    assert accounts.find("gw-token", b"ignored") == GATEWAY
    assert accounts.find("user", b"pass") is not None
    for user_name, password in ((None, None), ("", None), ("nobody", None), ("user", None), ("user", b"wrong")):
        assert accounts.find(user_name, password) is None
    with pytest.raises(ValueError, match="'gateway' and 'other' have the same token"):
        accounts.add(Account("other", "gw-token"))
    accounts.add(Account("gateway", "new", gateway=True))
    assert accounts.find("gw-token", None) is None
    assert "gw-token" not in repr(GATEWAY)


def test_reasons_of_answers_are_reason_codes() -> None:
    assert {Server().send(TELEMETRY, payload).ack for payload in (b"x", {"M": [{"v": 1}]}, {})} <= set(Reason)
