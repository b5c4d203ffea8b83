"""The stand-in as a real MQTT client sees it, on both protocol versions: what goes wrong with ThingsBoard, and how it looks."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from simulator.thingsboard.codec import Framer, decode, encode
from simulator.thingsboard.limits import Limits
from simulator.thingsboard.packets import MQTT_5, MQTT_311, ConnAck, Connect, Disconnect, PingReq, PubAck, Publish, Reason
from simulator.thingsboard.rate_limit import RateLimits

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
GATEWAY = Account("gateway", "gw-token", gateway=True)
METER = Account("meter", "meter-token")
TELEMETRY = "v1/gateway/telemetry"
DEADLINE = 10.0
PROJECT = Path(__file__).parents[2]

both = pytest.mark.parametrize("version", [V5, V311], ids=["5", "3.1.1"])


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {DEADLINE} s"
        time.sleep(0.005)


class Client:
    """A paho client that writes down what it sees."""

    def __init__(
        self, port: int, version: MQTTProtocolVersion, token: str | None = "gw-token", client_id: str = "client", keep_alive: int = 60
    ) -> None:
        self.connects: list[int] = []
        self.acks: dict[int, int] = {}
        self.disconnects: list[int] = []
        self.messages: list[tuple[str, Any]] = []
        self.subacks: list[list[int]] = []
        self.paho = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, reconnect_on_failure=False)
        if token is not None:
            self.paho.username_pw_set(token)
        self.paho.on_connect = lambda _c, _u, _f, reason, _p: self.connects.append(reason.value)
        self.paho.on_publish = lambda _c, _u, mid, reason, _p: self.acks.update({mid: reason.value})
        self.paho.on_disconnect = lambda _c, _u, _f, reason, _p: self.disconnects.append(reason.value)
        self.paho.on_message = lambda _c, _u, message: self.messages.append((message.topic, json.loads(message.payload)))
        self.paho.on_subscribe = lambda _c, _u, _mid, reasons, _p: self.subacks.append([reason.value for reason in reasons])
        self._port, self._keep_alive = port, keep_alive

    def __enter__(self) -> Client:
        self.paho.connect("127.0.0.1", self._port, keepalive=self._keep_alive)
        self.paho.loop_start()
        wait_for(lambda: self.connects or self.disconnects, "CONNACK")
        return self

    def __exit__(self, *_exception: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def publish(self, topic: str, payload: Any) -> int:
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.paho.publish(topic, data, qos=1).mid

    def publish_acked(self, topic: str, payload: Any) -> int:
        mid = self.publish(topic, payload)
        wait_for(lambda: mid in self.acks, "PUBACK")
        return self.acks[mid]

    def closed(self) -> int:
        """The reason the connection ended with, once it has."""
        wait_for(lambda: self.disconnects, "disconnect")
        return self.disconnects[0]

    def alive(self) -> bool:
        """Whether the session still answers, by a message that is harmless everywhere."""
        before = len(self.acks)
        self.publish("v1/devices/me/attributes", {"alive": True})
        wait_for(lambda: len(self.acks) > before or self.disconnects, "any answer")
        return not self.disconnects


CONNECTION_LOST = int(mqtt.convert_disconnect_error_code_to_reason_code(mqtt.MQTT_ERR_CONN_LOST).value)
"""What paho makes of a socket that is closed without a DISCONNECT."""


@pytest.fixture
def stand_in() -> Iterator[BackgroundStandIn]:
    with BackgroundStandIn([GATEWAY, METER]) as server:
        yield server


def telemetry(ts: int, value: object = 1, device: str = "M1") -> dict[str, Any]:
    return {device: [{"ts": ts, "values": {"v": value}}]}


@both
def test_a_gateway_delivers_and_everything_is_stored(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version) as client:
        assert client.connects == [0]
        assert client.publish_acked("v1/gateway/connect", {"device": "M1", "type": "electricity meter"}) == 0
        entries = [{"ts": 1000, "values": {"u": 230.1, "e": 5}}, {"ts": 2000, "values": {"u": 231}}]
        assert client.publish_acked(TELEMETRY, {"M1": entries}) == 0
        assert client.publish_acked("v1/gateway/attributes", {"M1": {"serial": "SN-1"}}) == 0
        assert client.publish_acked("v1/gateway/disconnect", {"device": "M1"}) == 0
    assert stand_in.points("M1") == {("u", 1000): 230.1, ("e", 1000): 5, ("u", 2000): 231}
    assert stand_in.attributes("M1") == {"serial": "SN-1"}
    assert stand_in.devices() == {"gateway": "default", "meter": "default", "M1": "electricity meter"}
    assert [(row.device, row.key, row.ts, row.value) for row in stand_in.latest()] == [("M1", "e", 1000, 5), ("M1", "u", 2000, 231)]
    wait_for(lambda: not stand_in.connected(), "end of the session")
    statistics = stand_in.snapshot()
    assert (statistics.messages, statistics.accepted, statistics.acknowledged) == (4, 4, 4)
    assert (statistics.records, statistics.data_points, statistics.attributes) == (2, 3, 1)
    assert [(session.device, session.client_id, session.end) for session in statistics.sessions] == [
        ("gateway", "client", "client disconnected")
    ]


@both
def test_bad_token(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version, token="wrong") as client:
        # paho turns return code 5 of 3.1.1 into reason code 0x87, and gives 0x86 of version 5 as it is.
        assert client.connects == [0x86 if version == V5 else 0x87]
    assert stand_in.snapshot().sessions_opened == 0


@pytest.mark.parametrize(("version", "code"), [(MQTT_5, Reason.BAD_USER_NAME_OR_PASSWORD), (MQTT_311, 5)])
def test_bad_token_on_the_wire(stand_in: BackgroundStandIn, version: int, code: int) -> None:
    with Raw(stand_in.port, version) as raw:
        raw.send(Connect("id", version, user_name="wrong"))
        assert raw.receive() == ConnAck(code)
        assert raw.receive() is None


@pytest.mark.parametrize(("version", "code"), [(MQTT_5, Reason.CONNECTION_RATE_EXCEEDED), (MQTT_311, 3)])
def test_connect_rate_limited(stand_in: BackgroundStandIn, version: int, code: int) -> None:
    stand_in.change_limits(Limits(gateway_device=RateLimits(messages="1:3600")))
    for expected in (0, code):
        with Raw(stand_in.port, version) as raw:
            raw.send(Connect("id", version, user_name="gw-token"))
            assert raw.receive() == ConnAck(expected)


@both
def test_any_refusal_can_be_asked_for(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    stand_in.misbehaviour.refuse_connect = Reason.SERVER_UNAVAILABLE
    with Client(stand_in.port, version) as client:
        assert client.connects == [Reason.SERVER_UNAVAILABLE]
    stand_in.misbehaviour.refuse_connect = None
    with Client(stand_in.port, version) as client:
        assert client.connects == [0]
    assert stand_in.snapshot().refused_connects == {"0x88": 1}


@both
def test_bad_json(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version) as client:
        if version == V5:
            assert client.publish_acked(TELEMETRY, b"not json") == Reason.PAYLOAD_FORMAT_INVALID
            assert client.alive()
        else:
            mid = client.publish(TELEMETRY, b"not json")
            assert client.closed() == CONNECTION_LOST
            assert mid not in client.acks
    assert stand_in.snapshot().refused == {"bad payload": 1}


@both
def test_gateway_rate_limit(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    stand_in.change_limits(Limits(gateway=RateLimits(telemetry_messages="1:3600")))
    with Client(stand_in.port, version) as client:
        assert client.publish_acked(TELEMETRY, telemetry(1)) == 0
        assert client.publish_acked(TELEMETRY, telemetry(2)) == (Reason.QUOTA_EXCEEDED if version == V5 else 0)
        assert client.closed() == CONNECTION_LOST
    assert stand_in.points("M1") == {("v", 1): 1}


@both
def test_unknown_topic(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version) as client:
        for topic in ("v1/gateway/telemetri", "v1/devices/me/telemetri", "elsewhere"):
            assert client.publish_acked(topic, telemetry(1)) == (Reason.TOPIC_NAME_INVALID if version == V5 else 0)
        assert client.alive()
    assert stand_in.latest() == []


@both
def test_token_is_not_a_gateways(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version, token="meter-token") as client:
        mid = client.publish(TELEMETRY, telemetry(1))
        assert client.alive()
        assert mid not in client.acks
    assert stand_in.points("M1") == {}


@both
def test_credentials_changed(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version) as client:
        stand_in.change_token("gateway", "new-token")
        assert client.closed() == (Reason.ADMINISTRATIVE_ACTION if version == V5 else CONNECTION_LOST)
    with Client(stand_in.port, version) as client:
        assert client.connects[0] in (0x86, 0x87)
    with Client(stand_in.port, version, token="new-token") as client:
        assert client.connects == [0]


@both
def test_second_session_of_the_same_device_wins_whatever_the_client_id(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version, client_id="older") as older, Client(stand_in.port, version, client_id="newer") as newer:
        assert older.closed() == (Reason.SESSION_TAKEN_OVER if version == V5 else CONNECTION_LOST)
        assert newer.alive()
        assert stand_in.connected() == ["gateway"]
        with Client(stand_in.port, version, token="meter-token") as other:
            assert other.alive() and newer.alive()
    statistics = stand_in.snapshot()
    assert statistics.takeovers == 1
    assert (statistics.sessions[0].client_id, statistics.sessions[0].end) == ("older", "taken over")


@both
def test_an_empty_array_is_never_acknowledged(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version) as client:
        mid = client.publish(TELEMETRY, {"M1": []})
        assert client.alive()
        assert mid not in client.acks
    assert stand_in.snapshot().refused == {"empty array": 1}


@both
def test_a_packet_over_the_limit_ends_the_connection(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version) as client:
        client.publish(TELEMETRY, telemetry(1, "x" * 65_536))
        assert client.closed() == (Reason.MALFORMED_PACKET if version == V5 else CONNECTION_LOST)
    assert stand_in.points("M1") == {}


@both
def test_device_api(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version, token="meter-token") as client:
        assert client.publish_acked("v1/devices/me/telemetry", {"ts": 1, "values": {"serial": "00012345", "gone": None}}) == 0
        assert client.publish_acked("v1/devices/me/telemetry", [{"ts": 2, "values": {"v": 0.5}}, {"ts": 3, "values": {"v": 0.6}}]) == 0
        assert client.publish_acked("v1/devices/me/attributes", {"model": "x"}) == 0
    assert stand_in.points("meter") == {("serial", 1): 12345, ("v", 2): 0.5, ("v", 3): 0.6}
    assert stand_in.attributes("meter") == {"model": "x"}


@both
def test_session_limits_are_answered(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    stand_in.change_limits(Limits(gateway=RateLimits(messages="200:1")))
    with Client(stand_in.port, version) as client:
        client.paho.subscribe([("v1/devices/me/rpc/response/+", 1), ("anything/#", 1)])
        wait_for(lambda: client.subacks, "SUBACK")
        assert client.subacks == [[1, Reason.TOPIC_FILTER_INVALID if version == V5 else 0x80]]
        assert client.publish_acked("v1/devices/me/rpc/request/7", {"method": "getSessionLimits", "params": {}}) == 0
        wait_for(lambda: client.messages, "the answer")
    topic, limits = client.messages[0]
    assert topic == "v1/devices/me/rpc/response/7"
    assert (limits["maxPayloadSize"], limits["maxInflightMessages"]) == (65_536, 100)
    assert limits["gatewayRateLimits"]["messages"] == "200:1"


@both
def test_rpc_to_a_device_behind_the_gateway(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version) as client:
        assert not stand_in.send_rpc("gateway", "M1", 3, "read", {})
        client.paho.subscribe("v1/gateway/rpc", 1)
        wait_for(lambda: client.subacks, "SUBACK")
        assert stand_in.send_rpc("gateway", "M1", 3, "read", {"obis": "1-0:1.8.0"})
        wait_for(lambda: client.messages, "the call")
        assert client.messages == [
            ("v1/gateway/rpc", {"device": "M1", "data": {"id": 3, "method": "read", "params": {"obis": "1-0:1.8.0"}}})
        ]
        assert client.publish_acked("v1/gateway/rpc", {"device": "M1", "id": 3, "data": {"success": True}}) == 0
        assert stand_in.rpc_responses() == [{"device": "M1", "id": 3, "data": {"success": True}}]
        client.paho.unsubscribe("v1/gateway/rpc")
        wait_for(lambda: not stand_in.send_rpc("gateway", "M1", 4, "read", {}), "UNSUBSCRIBE")


@both
def test_withheld_acknowledgements_are_of_stored_messages(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    stand_in.misbehaviour.withhold_acks = 2
    with Client(stand_in.port, version) as client:
        silent = [client.publish(TELEMETRY, telemetry(ts)) for ts in (1, 2)]
        assert client.publish_acked(TELEMETRY, telemetry(3)) == 0
        assert not set(silent) & set(client.acks)
    assert sorted(stand_in.points("M1")) == [("v", 1), ("v", 2), ("v", 3)]
    statistics = stand_in.snapshot()
    assert (statistics.withheld, statistics.acknowledged, statistics.peak_unacknowledged) == (2, 1, 3)


@both
def test_any_reason_code_for_the_messages_that_match(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    stand_in.misbehaviour.ack_matching = lambda message: b"M2" in message.payload
    stand_in.misbehaviour.ack_reason = Reason.NOT_AUTHORIZED
    with Client(stand_in.port, version) as client:
        assert client.publish_acked(TELEMETRY, telemetry(1, device="M1")) == 0
        assert client.publish_acked(TELEMETRY, telemetry(1, device="M2")) == (Reason.NOT_AUTHORIZED if version == V5 else 0)
        stand_in.misbehaviour.ack_reason = None
        assert client.publish_acked(TELEMETRY, telemetry(2, device="M2")) == 0
    assert stand_in.points("M2") == {("v", 2): 1}
    assert stand_in.snapshot().refused == {"0x87 on purpose": 1}


@both
def test_a_late_acknowledgement_comes_after_what_was_not_delayed(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    stand_in.misbehaviour.ack_delay = 0.3
    with Client(stand_in.port, version) as client:
        late = client.publish(TELEMETRY, telemetry(1))
        wait_for(lambda: stand_in.points("M1"), "arrival")
        stand_in.misbehaviour.ack_delay = 0.0
        early = client.publish(TELEMETRY, telemetry(2))
        wait_for(lambda: len(client.acks) == 2, "both acknowledgements")
        assert list(client.acks) == [early, late]


@both
def test_the_connection_drops_after_so_many_messages(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    stand_in.misbehaviour.drop_after = 2
    with Client(stand_in.port, version) as client:
        assert client.publish_acked(TELEMETRY, telemetry(1)) == 0
        lost = client.publish(TELEMETRY, telemetry(2))
        assert client.closed() == CONNECTION_LOST
        assert lost not in client.acks
    with Client(stand_in.port, version) as client:
        assert client.publish_acked(TELEMETRY, telemetry(2)) == 0
    assert stand_in.repeats()["M1"] == (1, 0)


@both
def test_a_restart_keeps_the_port_and_what_was_stored(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version) as client:
        assert client.publish_acked(TELEMETRY, telemetry(1)) == 0
        stand_in.stop_listening()
        assert client.closed() == CONNECTION_LOST
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", stand_in.port), timeout=DEADLINE)
    stand_in.start_listening()
    with Client(stand_in.port, version) as client:
        assert client.publish_acked(TELEMETRY, telemetry(2)) == 0
    assert sorted(stand_in.points("M1")) == [("v", 1), ("v", 2)]
    assert stand_in.snapshot().sessions[0].end == "server stopped"


@both
def test_half_open_answers_nothing_and_goes_on_when_it_is_over(stand_in: BackgroundStandIn, version: MQTTProtocolVersion) -> None:
    with Client(stand_in.port, version) as client:
        stand_in.misbehaviour.stop_reading = True
        mid = client.publish(TELEMETRY, telemetry(1))
        with socket.create_connection(("127.0.0.1", stand_in.port), timeout=DEADLINE) as newcomer:
            newcomer.sendall(encode(Connect("id", MQTT_5, user_name="meter-token"), MQTT_5))
            newcomer.settimeout(0.2)
            with pytest.raises(TimeoutError):
                newcomer.recv(1)
        assert (mid in client.acks, client.disconnects, stand_in.points("M1")) == (False, [], {})
        stand_in.misbehaviour.stop_reading = False
        wait_for(lambda: mid in client.acks, "PUBACK")
        assert client.alive()


@both
def test_closing_does_not_wait_for_a_client_that_hangs(version: MQTTProtocolVersion) -> None:
    stand_in = BackgroundStandIn([GATEWAY])
    stand_in.start()
    with Client(stand_in.port, version) as client:
        stand_in.misbehaviour.stop_reading = True
        client.publish(TELEMETRY, telemetry(1))
        stand_in.close()
        assert client.closed() == CONNECTION_LOST
    stand_in.close()
    assert stand_in.snapshot().sessions_opened == 1


class Raw:
    """A socket that speaks packets, for what a well-behaved client would not send."""

    def __init__(self, port: int, version: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self._version = version
        self._framer = Framer()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.socket.close()

    def open(self, keep_alive: int = 0, clean_start: bool = True) -> ConnAck:
        self.send(Connect("raw", self._version, clean_start, keep_alive, "gw-token"))
        answer = self.receive()
        assert isinstance(answer, ConnAck)
        return answer

    def send(self, packet: Any) -> None:
        self.socket.sendall(encode(packet, self._version))

    def receive(self) -> Any:
        """The next packet; None when the server has closed."""
        while True:
            for frame in self._framer.feed(b""):
                return decode(frame, self._version)
            try:
                data = self.socket.recv(1)
            except ConnectionResetError:
                return None
            if not data:
                return None
            for frame in self._framer.feed(data):
                return decode(frame, self._version)


@pytest.mark.parametrize("version", [MQTT_5, MQTT_311])
def test_keep_alive_is_enforced(stand_in: BackgroundStandIn, version: int) -> None:
    with Raw(stand_in.port, version) as raw:
        raw.open(keep_alive=1)
        raw.send(PingReq())
        assert raw.receive() is not None
        assert raw.receive() == (Disconnect(Reason.KEEP_ALIVE_TIMEOUT) if version == MQTT_5 else None)
        assert raw.receive() is None
    wait_for(lambda: stand_in.snapshot().sessions[0].end == "keep-alive", "the end")


@pytest.mark.parametrize("version", [MQTT_5, MQTT_311])
def test_a_silent_session_without_keep_alive_is_closed_as_idle(version: int) -> None:
    with BackgroundStandIn([GATEWAY], limits=Limits(idle=0.2)) as stand_in, Raw(stand_in.port, version) as raw:
        raw.open()
        assert raw.receive() == (Disconnect(Reason.MAXIMUM_CONNECT_TIME) if version == MQTT_5 else None)
        assert raw.receive() is None
        assert stand_in.snapshot().sessions[0].end == "idle"


def test_a_connect_can_stay_unanswered(stand_in: BackgroundStandIn) -> None:
    stand_in.misbehaviour.silent_connect = True
    with Raw(stand_in.port, MQTT_5) as raw:
        raw.send(Connect("id", MQTT_5, user_name="gw-token"))
        raw.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            raw.receive()
    assert stand_in.snapshot().sessions_opened == 0


def test_session_present_says_nothing(stand_in: BackgroundStandIn) -> None:
    for clean_start in (True, False):
        with Raw(stand_in.port, MQTT_311) as raw:
            assert raw.open(clean_start=clean_start) == ConnAck(session_present=not clean_start)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
        b"\x10\xff\xff\xff\xff",
        b"\x10\x00",
        bytes(100),
        b"\xff" * 100,
        encode(PingReq(), MQTT_5),
        encode(Publish(TELEMETRY, b"{}", 1, 1), MQTT_5),
        encode(Connect("id", 6), MQTT_5),
    ],
)
def test_garbage_before_connect_closes_only_that_connection(stand_in: BackgroundStandIn, garbage: bytes) -> None:
    with Client(stand_in.port, V5) as client:
        with Raw(stand_in.port, MQTT_5) as raw:
            raw.socket.sendall(garbage)
            raw.socket.shutdown(socket.SHUT_WR)
            assert raw.receive() is None
        assert client.alive()
    assert stand_in.snapshot().sessions_opened == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x00", Reason.PROTOCOL_ERROR),
        (encode(Connect("again", MQTT_5, user_name="gw-token"), MQTT_5), Reason.PROTOCOL_ERROR),
        (encode(ConnAck(), MQTT_5), Reason.PROTOCOL_ERROR),
        (encode(Publish(TELEMETRY, b"{}", 2, 1), MQTT_5), Reason.QOS_NOT_SUPPORTED),
        (b"\x32\xff\xff\xff\xff", Reason.MALFORMED_PACKET),
        (b"\x33\x03\x00\x09a", Reason.MALFORMED_PACKET),
    ],
)
def test_garbage_within_a_session_ends_it_with_a_reason(stand_in: BackgroundStandIn, data: bytes, reason: Reason) -> None:
    with Raw(stand_in.port, MQTT_5) as raw:
        raw.open()
        raw.send(Publish(TELEMETRY, json.dumps(telemetry(1)).encode(), 1, 5))
        raw.socket.sendall(data)
        assert raw.receive() == PubAck(5)
        assert raw.receive() == Disconnect(reason)
        assert raw.receive() is None
    wait_for(lambda: stand_in.snapshot().sessions[0].end == "malformed packet", "the end")


def test_snapshots_are_copies_and_safe_while_messages_arrive(stand_in: BackgroundStandIn) -> None:
    stop = threading.Event()
    errors: list[BaseException] = []

    def look() -> None:
        try:
            while not stop.is_set():
                stand_in.latest(), stand_in.points("M1"), stand_in.snapshot()
        except BaseException as error:
            errors.append(error)

    observer = threading.Thread(target=look)
    observer.start()
    with Client(stand_in.port, V5) as client:
        for ts in range(300):
            client.publish(TELEMETRY, telemetry(ts))
        wait_for(lambda: len(client.acks) == 300, "all acknowledgements")
    stop.set()
    observer.join(DEADLINE)
    assert errors == []
    assert len(stand_in.points("M1")) == 300
    stand_in.points("M1").clear()
    assert len(stand_in.points("M1")) == 300


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))
    return folder / "cert.pem", folder / "key.pem"


@both
def test_tls(tmp_path: Path, version: MQTTProtocolVersion) -> None:
    cert, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with BackgroundStandIn([GATEWAY], ssl_context=context) as stand_in:
        assert stand_in.address == f"mqtts://127.0.0.1:{stand_in.port}"
        client = Client(stand_in.port, version)
        client.paho.tls_set(ca_certs=str(cert))
        client.paho.tls_insecure_set(True)
        with client:
            assert client.publish_acked(TELEMETRY, telemetry(1)) == 0
            with closing(socket.create_connection(("127.0.0.1", stand_in.port), timeout=DEADLINE)) as plain:
                plain.sendall(encode(Connect("id", MQTT_5, user_name="gw-token"), MQTT_5))
                assert plain.recv(100)[:1] in (b"", b"\x15")
            assert client.alive()


@contextmanager
def run_stand_in(folder: Path, token: str = "cli-token") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "simulator.thingsboard", "--port", "0", "--token-env", "STAND_IN_TOKEN"]
    command += ["--store", str(folder / "store.sqlite"), "--stats-file", str(folder / "stats.json")]
    environment = {**os.environ, "STAND_IN_TOKEN": token}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        try:
            yield process
        finally:
            process.kill()


def read_address(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("mqtt://"):
            return int(line.strip().rpartition(":")[2])
    raise AssertionError(f"the stand-in ended with {process.wait(DEADLINE)} and gave no address")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_stopped_and_reports(tmp_path: Path, ending: signal.Signals) -> None:
    stats = tmp_path / "stats.json"
    with run_stand_in(tmp_path) as process, Client(read_address(process), V5, token="cli-token") as client:
        assert client.publish_acked(TELEMETRY, telemetry(1, 1.5)) == 0
        process.send_signal(signal.SIGUSR1)
        wait_for(stats.exists, "the report")
        assert json.loads(stats.read_text())["devices"]["M1"]["points"] == {"v": [[1, 1.5]]}
        assert client.publish_acked(TELEMETRY, telemetry(2, 2.5)) == 0
        process.send_signal(ending)
        assert process.wait(DEADLINE) == 0
    document = json.loads(stats.read_text())
    assert document["devices"]["M1"]["points"] == {"v": [[1, 1.5], [2, 2.5]]}
    assert document["statistics"]["sessions"][0]["end"] == "server stopped"
    assert "cli-token" not in stats.read_text()


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    with run_stand_in(tmp_path) as process, Client(read_address(process), V5, token="cli-token") as client:
        for ts in range(20):
            assert client.publish_acked(TELEMETRY, telemetry(ts)) == 0
        process.kill()
        process.wait(DEADLINE)
    with run_stand_in(tmp_path) as process:
        read_address(process)
        process.terminate()
        assert process.wait(DEADLINE) == 0
    assert [ts for ts, _ in json.loads((tmp_path / "stats.json").read_text())["devices"]["M1"]["points"]["v"]] == list(range(20))


def test_the_command_says_what_is_missing() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TB_TOKEN"}
    command = [sys.executable, "-m", "simulator.thingsboard"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False, cwd=PROJECT)
    assert done.returncode == 2
    assert "TB_TOKEN" in done.stderr
