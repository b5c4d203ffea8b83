from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connectors.thingsboard.dispatch import MOST_LOADED, Dispatch
from connectors.thingsboard.limits import Limits, Pacer, Rates
from connectors.thingsboard.outbox import Device, Outbox
from connectors.thingsboard.packet import Packet
from connectors.thingsboard.payload import GATEWAY_ITSELF, Kind, Record, encode_record, encode_values


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def record(device: str, ts: int, size: int = 1) -> Record:
    return Record(device, device.lower(), Kind.TELEMETRY, ts, encode_record(ts, {"x": "y" * size}), "poll", 1, ts, 1)


class Server:
    """Plays the other side: announces are accepted, the rest is up to the test."""

    def __init__(self, outbox: Outbox) -> None:
        self.clock = Clock()
        self.outbox = outbox
        self.pacer = Pacer(self.clock)
        self.dispatch = Dispatch(outbox, "gateway", self.pacer)

    def take(self, in_flight: int = 0) -> Packet | None:
        """The next packet with records."""
        while (packet := self.dispatch.next(self.clock.now, in_flight)) is not None and not packet.pending:
            self.dispatch.accepted(packet)
        return packet

    def accept(self, packet: Packet) -> None:
        self.outbox.done([(packet.ids, None)])
        self.dispatch.accepted(packet)

    def accept_all(self) -> list[Packet]:
        packets = []
        while (packet := self.take()) is not None:
            self.accept(packet)
            packets.append(packet)
        return packets


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with closing(Outbox(tmp_path / "outbox.sqlite")) as box:
        yield box


@pytest.fixture
def server(outbox: Outbox) -> Server:
    return Server(outbox)


def timestamps(packet: Packet | None) -> list[int]:
    assert packet is not None
    return [entry.record.ts for entry in packet.pending]


def test_a_device_is_announced_first_and_nothing_of_it_is_sent_before_that_is_acknowledged(server: Server) -> None:
    server.outbox.append([record("A", 1), record("B", 1)], [Device("A", "three-phase")])
    first = server.dispatch.next(0.0, 0)
    second = server.dispatch.next(0.0, 1)
    assert first is not None
    assert second is not None
    assert json.loads(first.payload) == {"device": "A", "type": "three-phase"}
    assert json.loads(second.payload) == {"device": "B", "type": "default"}
    assert server.dispatch.next(0.0, 2) is None
    server.dispatch.accepted(second)
    telemetry = server.dispatch.next(0.0, 1)
    assert telemetry is not None
    assert json.loads(telemetry.payload) == {"B": [{"ts": 1, "values": {"x": "y"}}]}


def test_every_connection_announces_anew_and_starts_at_the_oldest(server: Server) -> None:
    server.outbox.append([record("A", ts) for ts in range(3)])
    assert timestamps(server.take()) == [0, 1, 2]
    assert server.take() is None
    server.dispatch.reset()
    again = server.dispatch.next(0.0, 0)
    assert again is not None
    assert not again.pending
    server.dispatch.accepted(again)
    assert timestamps(server.take()) == [0, 1, 2]


def test_one_device_per_packet_in_order_of_arrival(server: Server) -> None:
    server.outbox.append([record("AB"[ts % 2], ts) for ts in range(6)])
    assert [timestamps(packet) for packet in server.accept_all()] == [[0, 2, 4], [1, 3, 5]]
    assert server.dispatch.idle()


def test_a_packet_stays_below_the_limit(server: Server) -> None:
    server.dispatch.packet_limit = 1_000
    server.outbox.append([record("A", ts, 200) for ts in range(10)])
    packets = server.accept_all()
    assert [ts for packet in packets for ts in timestamps(packet)] == list(range(10))
    assert all(len(packet.payload) < 1_000 for packet in packets)
    assert len(packets) == 3


def test_a_packet_has_no_more_values_than_the_rate_limit_allows_at_once(server: Server) -> None:
    server.pacer.obey(Limits(devices=Rates(telemetry_points=((10, 1),))))
    server.outbox.append([record("A", ts) for ts in range(12)])
    assert timestamps(server.take()) == list(range(9))
    assert server.take() is None
    server.clock.now += server.dispatch.wait(server.clock.now)
    assert server.take() is not None


def test_a_limit_of_the_devices_does_not_slow_down_the_gateway_itself(server: Server) -> None:
    server.pacer.obey(Limits(devices=Rates(telemetry_messages=((1, 100),))))
    server.outbox.append([record("A", 1), record("B", 1), record(GATEWAY_ITSELF, 1)])
    devices = [packet.device for packet in server.accept_all()]
    assert sorted(devices) == [GATEWAY_ITSELF, "A"]
    assert 0.0 < server.dispatch.wait(server.clock.now) <= 100.0


def test_attributes_are_one_record_per_packet(server: Server) -> None:
    tags = Record("A", "a", Kind.ATTRIBUTES, 1, encode_values({"site": "n"}), "tags", 0, 1, 1)
    server.outbox.append([tags, tags])
    assert [json.loads(packet.payload) for packet in server.accept_all()] == [{"A": {"site": "n"}}] * 2


def test_a_held_device_waits_and_the_others_do_not(server: Server) -> None:
    server.outbox.append([record("AB"[ts % 2], ts) for ts in range(6)])
    announce = server.dispatch.next(server.clock.now, 0)
    assert announce is not None
    server.dispatch.hold("A", server.clock.now + 10.0)
    server.dispatch.returned(announce)
    assert [timestamps(packet) for packet in server.accept_all()] == [[1, 3, 5]]
    server.outbox.append([record("A", 6), record("B", 7)])
    assert [timestamps(packet) for packet in server.accept_all()] == [[7]]
    assert not server.dispatch.idle()
    assert server.dispatch.wait(server.clock.now) == pytest.approx(10.0)
    server.clock.now += 10.0
    assert [timestamps(packet) for packet in server.accept_all()] == [[0, 2, 4, 6]]


def test_a_malformed_record_dies_alone(server: Server) -> None:
    server.outbox.append([record("A", ts) for ts in range(21)])
    dead: list[int] = []
    delivered: list[int] = []
    while (packet := server.take()) is not None:
        if 13 in timestamps(packet):
            gone = server.dispatch.malformed(packet)
            server.outbox.dead([entry.id for entry in gone], "malformed")
            dead += [entry.record.ts for entry in gone]
        else:
            server.accept(packet)
            delivered += timestamps(packet)
    assert dead == [13]
    assert sorted(delivered) == [ts for ts in range(21) if ts != 13]
    assert server.outbox.depth == 0


def test_a_record_that_ends_every_connection_dies_only_after_others_were_taken(server: Server) -> None:
    server.outbox.append([record("A", ts) for ts in range(8)])
    dead: list[int] = []
    for _ in range(60):
        packet = server.take()
        if packet is None:
            break
        if 5 in timestamps(packet):
            gone = server.dispatch.failed(packet)
            server.outbox.dead([entry.id for entry in gone], "it ends the connection")
            dead += [entry.record.ts for entry in gone]
            server.dispatch.reset()
        else:
            server.accept(packet)
    assert dead == [5]
    assert server.outbox.depth == 0


def test_a_server_that_fails_on_everything_kills_nothing(server: Server) -> None:
    server.outbox.append([record("A", ts) for ts in range(8)])
    for _ in range(200):
        packet = server.take()
        assert packet is not None
        assert server.dispatch.failed(packet) == ()
        server.dispatch.reset()
    server.accept_all()
    assert server.outbox.depth == 0


def test_several_suspects_are_sent_one_at_a_time(server: Server) -> None:
    server.outbox.append([record("ABC"[ts % 3], ts) for ts in range(6)])
    for _ in range(2):
        packets = [server.take(number) for number in range(3)]
        assert all(packet is not None for packet in packets)
        server.dispatch.ended_with([packet for packet in packets if packet is not None])
        server.dispatch.reset()
    assert server.dispatch.isolating
    first = server.take()
    assert first is not None
    assert server.take(1) is None
    server.accept(first)
    server.accept_all()
    assert not server.dispatch.isolating
    assert server.outbox.depth == 0


def test_memory_does_not_grow_with_the_backlog(server: Server) -> None:
    server.outbox.append([record("A", ts) for ts in range(25_000)])
    first = server.dispatch.next(0.0, 0)
    assert first is not None
    for _ in range(50):
        assert server.dispatch.next(0.0, 1) is None
    assert len(server.dispatch._loaded) <= MOST_LOADED
    server.dispatch.accepted(first)
    server.dispatch.packet_limit = 65_536
    assert [ts for packet in server.accept_all() for ts in timestamps(packet)] == list(range(25_000))


def test_the_device_api_announces_nothing(outbox: Outbox) -> None:
    dispatch = Dispatch(outbox, "device", Pacer(Clock()))
    outbox.append([record("A", 1), record("A", 2)])
    packet = dispatch.next(0.0, 0)
    assert packet is not None
    assert packet.topic == "v1/devices/me/telemetry"
    assert json.loads(packet.payload) == [{"ts": 1, "values": {"x": "y"}}, {"ts": 2, "values": {"x": "y"}}]
