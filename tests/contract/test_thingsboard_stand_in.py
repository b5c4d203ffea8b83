"""The session against a server that behaves, and misbehaves, as ThingsBoard does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from connectors.thingsboard.outbox import Device
from connectors.thingsboard.payload import GATEWAY_ITSELF, Kind, Record, encode_record, encode_values
from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from simulator.thingsboard.limits import Limits
from simulator.thingsboard.rate_limit import RateLimits
from tests.contract.mosquitto import wait_for
from tests.contract.thingsboard_session import RunningSession, reading

both = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
GATEWAY = Account("gateway", "gw-token", gateway=True)
METER = Account("meter", "meter-token")


@pytest.fixture(autouse=True)
def quick_belief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback interface needs no half second to show that a connection ended."""
    monkeypatch.setattr("connectors.thingsboard.conversation.GRACE", 0.1)
    monkeypatch.setattr("connectors.thingsboard.rhythm.LISTEN", 0.2)


@pytest.fixture
def server() -> Iterator[BackgroundStandIn]:
    with BackgroundStandIn([GATEWAY, METER]) as stand_in:
        yield stand_in


def broken(device: str, ts: int) -> Record:
    return Record(device, device.lower(), Kind.TELEMETRY, ts, b'{"ts":' + str(ts).encode() + b',"values":{"x":}}', "poll", 1, ts, 1)


def readings(device: str, first: int, count: int) -> list[Record]:
    return [reading(device, ts, x=ts) for ts in range(first, first + count)]


def holds(server: BackgroundStandIn, device: str, records: list[Record]) -> bool:
    return server.points(device) == {("x", record.ts): record.ts for record in records}


@both
def test_values_types_and_attributes_arrive(server: BackgroundStandIn, tmp_path: Path, protocol: str) -> None:
    tags = Record("M1", "m1", Kind.ATTRIBUTES, 1, encode_values({"serial": "00012345"}), "tags", 0, 1, 1)
    fleet = Record(GATEWAY_ITSELF, "*", Kind.TELEMETRY, 7, encode_record(7, {"health_cycles": 3}), "report", 0, 7, 1)
    with RunningSession(tmp_path, server.address, protocol=protocol) as running:
        running.deliver([reading("M1", 5, energy=300, on=True), fleet], [Device("M1", "three-phase", tags)])
        wait_for(running.empty, "delivery")
    assert server.devices()["M1"] == "three-phase"
    assert server.points("M1") == {("energy", 5): 300, ("on", 5): True}
    assert server.attributes("M1") == {"serial": "00012345 "}
    assert server.points("gateway") == {("health_cycles", 7): 3}
    assert running.rows("receipts", "meter, readings") == [("m1", 2)]


@both
def test_a_backlog_is_packed_and_within_the_limits(tmp_path: Path, protocol: str) -> None:
    limits = Limits(payload_size=2_000, inflight=5, gateway=RateLimits("500:1", "40:1,1000:60", "5000:1"))
    records = readings("M1", 1, 600)
    with (
        BackgroundStandIn([GATEWAY], limits=limits) as server,
        RunningSession(tmp_path, server.address, protocol=protocol, inflight=50) as running,
    ):
        running.deliver(records)
        wait_for(running.empty, "delivery")
        statistics = server.snapshot()
        assert holds(server, "M1", records)
        assert statistics.refused == {}
        assert statistics.sessions_opened == 1
        assert statistics.peak_unacknowledged <= 5
        assert statistics.messages < 100


@both
def test_a_withheld_acknowledgement_is_awaited_then_the_message_is_sent_again(
    server: BackgroundStandIn, tmp_path: Path, protocol: str
) -> None:
    with RunningSession(tmp_path, server.address, protocol=protocol, ack_timeout=0.3) as running:
        running.deliver(readings("M1", 1, 3))
        wait_for(running.empty, "the first delivery")
        server.misbehaviour.withhold_acks = 1
        running.deliver(readings("M1", 4, 3))
        wait_for(running.empty, "the second delivery")
    assert holds(server, "M1", readings("M1", 1, 6))
    assert server.snapshot().withheld == 1
    assert sum(count for (count,) in running.rows("receipts", "readings")) == 6


@both
def test_only_the_malformed_record_dies(server: BackgroundStandIn, tmp_path: Path, protocol: str) -> None:
    good = readings("M1", 1, 20)
    with RunningSession(tmp_path, server.address, protocol=protocol, reconnect_max=0.05) as running:
        running.deliver([*good[:10], broken("M1", 500), *good[10:]])
        running.deliver(readings("M2", 1, 5))
        wait_for(running.empty, "delivery")
        assert holds(server, "M1", good)
        assert holds(server, "M2", readings("M2", 1, 5))
        dead = running.rows("dead_letter", "meter, ts, code, reason")
        assert [(meter, ts) for meter, ts, _, _ in dead] == [("m1", 500)]
        assert dead[0][2] == (0x99 if protocol == "5" else None)
        running.deliver(readings("M1", 30, 2))
        wait_for(running.empty, "delivery after the dead letter")


def test_a_quota_keeps_the_record_until_it_is_taken(server: BackgroundStandIn, tmp_path: Path) -> None:
    server.misbehaviour.ack_matching = lambda message: message.topic == "v1/gateway/telemetry"
    server.misbehaviour.ack_reason, server.misbehaviour.ack_times = 0x97, 2
    with RunningSession(tmp_path, server.address) as running:
        running.deliver(readings("M1", 1, 3))
        wait_for(running.empty, "delivery")
        assert holds(server, "M1", readings("M1", 1, 3))
        assert running.rows("dead_letter", "id") == []
        assert [raised for evidence, raised in running.alerts() if "exhausted" in evidence] == [True]


def test_3_1_1_does_not_believe_an_acknowledgement_that_is_followed_by_the_end(server: BackgroundStandIn, tmp_path: Path) -> None:
    with RunningSession(tmp_path, server.address, protocol="3.1.1", reconnect_max=0.3) as running:
        running.deliver(readings("M0", 1, 1))
        wait_for(running.empty, "the first delivery")
        server.change_limits(Limits(gateway=RateLimits(telemetry_messages="2:1")))  # the client was told of no limit
        for ts in range(1, 9):
            running.deliver([reading(f"M{ts}", ts, x=ts)])
        wait_for(running.empty, "delivery")
        assert server.snapshot().refused
    assert all(holds(server, f"M{ts}", [reading(f"M{ts}", ts, x=ts)]) for ts in range(1, 9))


@both
def test_a_token_that_is_not_a_gateways_is_recognized(server: BackgroundStandIn, tmp_path: Path, protocol: str) -> None:
    with RunningSession(tmp_path, server.address, protocol=protocol, token="meter-token", ack_timeout=0.3) as running:
        running.deliver(readings("M1", 1, 3))
        wait_for(running.alerts, "the alert")
        assert "not a gateway" in running.alerts()[0][0]
        assert running.outbox.depth == 3


@both
def test_a_refused_token_is_an_alert_and_nothing_is_lost(server: BackgroundStandIn, tmp_path: Path, protocol: str) -> None:
    with RunningSession(tmp_path, server.address, protocol=protocol, token="other") as running:
        running.deliver(readings("M1", 1, 3))
        wait_for(running.alerts, "the alert")
        assert "does not accept the token" in running.alerts()[0][0]
        server.change_token("gateway", "other")
        wait_for(running.empty, "delivery")
        wait_for(lambda: len(running.alerts()) > 1, "the end of the alert")
        assert [raised for _, raised in running.alerts()] == [True, False]


@both
def test_another_client_with_the_same_token_is_named_and_not_fought(server: BackgroundStandIn, tmp_path: Path, protocol: str) -> None:
    with RunningSession(tmp_path, server.address, protocol=protocol, reconnect_min=0.05, reconnect_max=2.0) as running:
        wait_for(lambda: server.connected() == ["gateway"], "the session")
        rival = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="rival", protocol=MQTTProtocolVersion.MQTTv5)
        rival.username_pw_set("gw-token")
        rival.reconnect_delay_set(1, 1)
        rival.connect("127.0.0.1", server.port)
        rival.loop_start()
        try:
            wait_for(running.alerts, "the alert")
            assert "another client connected" in running.alerts()[0][0]
        finally:
            rival.disconnect()
            rival.loop_stop()
        running.deliver(readings("M1", 1, 3))
        wait_for(running.empty, "delivery")
    assert holds(server, "M1", readings("M1", 1, 3))


@both
def test_a_server_that_is_gone_without_a_word_is_noticed(server: BackgroundStandIn, tmp_path: Path, protocol: str) -> None:
    with RunningSession(tmp_path, server.address, protocol=protocol, ack_timeout=0.4) as running:
        wait_for(lambda: server.connected() == ["gateway"], "the session")
        server.misbehaviour.stop_reading = True
        running.deliver(readings("M1", 1, 3))
        wait_for(lambda: server.snapshot().connections > 1, "another attempt")
        server.misbehaviour.stop_reading = False
        wait_for(running.empty, "delivery")
    assert holds(server, "M1", readings("M1", 1, 3))


@both
def test_connections_that_break_all_the_time_lose_nothing(server: BackgroundStandIn, tmp_path: Path, protocol: str) -> None:
    with RunningSession(tmp_path, server.address, protocol=protocol, reconnect_max=0.05) as running:
        for round_ in range(6):
            server.misbehaviour.drop_after = 4
            running.deliver([record for meter in range(4) for record in readings(f"M{meter}", round_ * 10 + 1, 10)])
            wait_for(lambda: server.misbehaviour.drop_after == 0, "the drop")
        wait_for(running.empty, "delivery")
    assert all(holds(server, f"M{meter}", readings(f"M{meter}", 1, 60)) for meter in range(4))
    assert running.rows("dead_letter", "id") == []


def test_a_device_over_the_tenants_limit_does_not_hold_up_the_others(tmp_path: Path) -> None:
    with (
        BackgroundStandIn([GATEWAY], limits=Limits(devices=3)) as server,
        RunningSession(tmp_path, server.address) as running,
    ):
        running.deliver([*readings("M1", 1, 2), *readings("M2", 1, 2)])
        wait_for(running.empty, "the first two devices")
        running.deliver([*readings("M3", 1, 2), *readings("M1", 3, 2), *readings("M2", 3, 2)])
        wait_for(lambda: running.outbox.depth == 2, "the devices within the limit")
        assert holds(server, "M1", readings("M1", 1, 4))
        assert holds(server, "M2", readings("M2", 1, 4))
        server.change_limits(Limits())
        wait_for(running.empty, "the third device")
        assert holds(server, "M3", readings("M3", 1, 2))


@both
def test_device_api(server: BackgroundStandIn, tmp_path: Path, protocol: str) -> None:
    tags = Record("M1", "m1", Kind.ATTRIBUTES, 1, encode_values({"site": "north"}), "tags", 0, 1, 1)
    with RunningSession(tmp_path, server.address, protocol=protocol, api="device", token="meter-token", reconnect_max=0.05) as running:
        running.deliver([*readings("M1", 1, 5), broken("M1", 99), *readings("M1", 6, 5)], [Device("M1", "default", tags)])
        running.deliver(readings("M1", 11, 1))
        wait_for(running.empty, "delivery")
    assert holds(server, "meter", readings("M1", 1, 11))
    assert server.attributes("meter") == {"site": "north"}
    assert [ts for (ts,) in running.rows("dead_letter", "ts")] == [99]


def test_a_record_larger_than_any_packet_dies_with_the_reason(tmp_path: Path) -> None:
    with (
        BackgroundStandIn([GATEWAY], limits=Limits(payload_size=1_000)) as server,
        RunningSession(tmp_path, server.address) as running,
    ):
        running.deliver([reading("M1", 1, text="x" * 2_000), reading("M1", 2, x=2)])
        wait_for(running.empty, "delivery")
        assert server.points("M1") == {("x", 2): 2}
        ((reason,),) = running.rows("dead_letter", "reason")
        assert "exceed the server's packet limit of 1000" in reason
        assert server.snapshot().sessions_opened == 1


def test_a_record_larger_than_a_packet_is_divided_where_its_keys_allow_it(tmp_path: Path) -> None:
    with (
        BackgroundStandIn([GATEWAY], limits=Limits(payload_size=1_000)) as server,
        RunningSession(tmp_path, server.address) as running,
    ):
        values = {f"key_{number}": "x" * 90 for number in range(30)}
        running.deliver([reading("M1", 1, **values)])
        wait_for(running.empty, "delivery")
        assert server.points("M1") == {(key, 1): value for key, value in values.items()}
        assert running.rows("dead_letter", "reason") == []


def test_stopping_is_quick_when_the_server_is_away(tmp_path: Path) -> None:
    with BackgroundStandIn([GATEWAY]) as server:
        address = server.address
    begun = time.monotonic()
    with RunningSession(tmp_path, address, reconnect_min=60.0, reconnect_max=60.0) as running:
        running.deliver(readings("M1", 1, 3))
    assert time.monotonic() - begun < 5.0
