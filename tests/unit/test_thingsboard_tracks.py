"""Live values and a backlog share one session: who goes first, and that neither waits for the other to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.thingsboard.backlog_window import LEAST, MOST, SLOW, START, BacklogWindow
from connectors.thingsboard.dispatch import BACKLOG_TURN, MOST_BEHIND, Dispatch
from connectors.thingsboard.limits import Limits, Rates
from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.packet import Packet
from connectors.thingsboard.payload import Kind, Record, encode_record, encode_values
from connectors.thingsboard.stretch import Order
from tests.unit.test_thingsboard_dispatch import Server, record, timestamps


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with closing(Outbox(tmp_path / "outbox.sqlite")) as box:
        yield box


def after_an_outage(outbox: Outbox, backlog: int, order: Order = "oldest-first", size: int = 200) -> Server:
    """A server to which a connection was just made, with records of five meters that waited."""
    outbox.append([record(f"M{ts % 5}", ts, size) for ts in range(backlog)])
    server = Server(outbox)
    server.dispatch = Dispatch(outbox, "gateway", server.pacer, order)
    server.dispatch.packing_limit = server.dispatch.packet_limit = 1_000
    return server


def attributes(ts: int) -> Record:
    return Record("M1", "m1", Kind.ATTRIBUTES, ts, encode_values({"state": ts}), "alert", 0, ts, 1)


def test_a_live_value_does_not_wait_for_the_backlog(outbox: Outbox) -> None:
    server = after_an_outage(outbox, 500)
    for ts in range(1_000, 1_030):
        server.outbox.append([record("M1", ts)])
        packets = [server.take() for _ in range(2)]
        for packet in packets:
            assert packet is not None
            server.accept(packet)
        assert any(ts in timestamps(packet) for packet in packets)


def test_the_backlog_does_not_starve_while_there_is_always_something_live(outbox: Outbox) -> None:
    server = after_an_outage(outbox, 100)
    live = backlog = 0
    for ts in range(1_000, 1_400):
        server.outbox.append([record("M1", ts, 900)])
        packet = server.take()
        assert packet is not None
        server.accept(packet)
        live, backlog = live + (packet.track == "live"), backlog + (packet.track == "backlog")
        if backlog and server.outbox.depth < 100:
            break
    assert backlog > 0
    assert live <= backlog * BACKLOG_TURN + BACKLOG_TURN


@pytest.mark.parametrize(("order", "expected"), [("oldest-first", list(range(12))), ("newest-first", list(range(11, -1, -1)))])
def test_the_backlog_leaves_in_the_order_of_the_settings(outbox: Outbox, order: Order, expected: list[int]) -> None:
    server = after_an_outage(outbox, 0, order)
    server.outbox.append([record("M1", ts, 300) for ts in range(12)])
    server.dispatch.reset()
    assert [ts for packet in server.accept_all() for ts in timestamps(packet)] == expected
    assert server.dispatch.idle()


@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
def test_attributes_keep_their_order_whatever_waits(outbox: Outbox, order: Order) -> None:
    outbox.append([attributes(1), *(record("M1", ts) for ts in range(50)), attributes(2)])
    server = after_an_outage(outbox, 20, order)
    server.outbox.append([record("M1", 1_000), attributes(3)])
    packets = server.accept_all()
    stated = [json.loads(packet.payload)["M1"]["state"] for packet in packets if packet.topic.endswith("attributes")]
    assert stated == [1, 2, 3]
    assert server.outbox.depth == 0


@given(order=st.sampled_from(["oldest-first", "newest-first"]), data=st.data())
@settings(max_examples=30, deadline=None)
def test_everything_is_delivered_once_whatever_happens(tmp_path_factory: pytest.TempPathFactory, order: Order, data: st.DataObject) -> None:
    with closing(Outbox(tmp_path_factory.mktemp("lanes") / "outbox.sqlite")) as outbox:
        server = after_an_outage(outbox, 40, order)
        delivered: list[int] = []
        added = 40
        on_its_way: list[Packet] = []
        for _ in range(60):
            action = data.draw(st.sampled_from(["append", "send", "accept", "return", "cut", "hold", "wait"]))
            if action == "append":
                outbox.append([record(f"M{added % 5}", added, 200)])
                added += 1
            elif action == "send":
                packet = server.dispatch.next(server.clock.now, len(on_its_way))
                on_its_way += [packet] if packet else []
            elif action in ("accept", "return") and on_its_way:
                packet = on_its_way.pop(data.draw(st.integers(0, len(on_its_way) - 1)))
                if action == "return":
                    server.dispatch.returned(packet)
                    continue
                server.accept(packet)
                delivered += timestamps(packet)
            elif action == "cut":
                server.dispatch.ended_with(on_its_way)
                server.dispatch.reset()
                on_its_way = []
            elif action == "hold":
                server.dispatch.hold("M1", server.clock.now + 5.0)
            elif action == "wait":
                server.clock.now += 6.0
        for packet in on_its_way:
            server.accept(packet)
            delivered += timestamps(packet)
        server.clock.now += 60.0
        delivered += [ts for packet in server.accept_all() for ts in timestamps(packet)]
        assert sorted(delivered) == list(range(added))
        assert outbox.depth == 0
        assert server.dispatch.idle()


def test_live_that_falls_far_behind_becomes_backlog(outbox: Outbox) -> None:
    server = after_an_outage(outbox, 10)
    server.outbox.append([record("M1", ts) for ts in range(100, 100 + MOST_BEHIND + 10)])
    server.accept(server.take() or pytest.fail("nothing to send"))
    server.outbox.append([record("M1", 5)])
    packets = [server.take() for _ in range(2)]
    assert any(packet is not None and packet.track == "live" and timestamps(packet) == [5] for packet in packets)
    for packet in packets:
        assert packet is not None
        server.accept(packet)
    server.dispatch.packing_limit = server.dispatch.packet_limit = 65_536
    server.accept_all()
    assert server.outbox.depth == 0


def test_the_backlog_leaves_a_share_of_the_rate_limit_to_live(outbox: Outbox) -> None:
    server = after_an_outage(outbox, 100, size=1)
    server.pacer.obey(Limits(devices=Rates(telemetry_points=((100, 1_000),))))
    backlog = sum(packet.points for packet in server.accept_all())
    assert 45 <= backlog <= 70
    server.outbox.append([record("M1", ts) for ts in range(1_000, 1_020)])
    assert timestamps(server.take()) == list(range(1_000, 1_020))


def test_a_slow_line_narrows_the_window_of_the_backlog_and_a_quick_one_widens_it() -> None:
    window = BacklogWindow()
    now = 0.0
    for number in range(20):
        window.sent((number,), 60_000, now)
        now += 2 * SLOW
        window.returned((number,), now)
    assert window.size == LEAST
    assert window.packet < LEAST
    for number in range(60):
        window.sent((number,), 1_000, now)
        window.returned((number,), now + 0.01)
    assert window.size == MOST


def test_packets_that_were_late_together_narrow_the_window_once() -> None:
    window = BacklogWindow()
    share = START // 5 + 1
    for number in range(4):
        window.sent((number,), share, 0.0)
    assert window.allows()
    window.sent((4,), share, 0.0)
    assert not window.allows()
    for number in range(5):
        window.returned((number,), 2 * SLOW)
    assert window.size == START // 2
    assert window.allows()


def test_a_backlog_on_a_slow_line_is_sent_in_small_packets(outbox: Outbox) -> None:
    server = after_an_outage(outbox, 2_000, size=500)
    server.dispatch.packing_limit = server.dispatch.packet_limit = 65_536
    sizes = []
    while (packet := server.take()) is not None:
        sizes.append(packet.size)
        server.clock.now += 2 * SLOW
        server.accept(packet)
    assert LEAST < sizes[0] <= START
    assert sizes[-1] <= LEAST


def test_a_packet_of_the_backlog_does_not_take_apart_what_the_server_takes_whole(outbox: Outbox) -> None:
    outbox.append([Record("M1", "m1", Kind.TELEMETRY, 1, encode_record(1, {"x": "y" * 30_000, "z": 1}), "poll", 2, 1, 2)])
    server = after_an_outage(outbox, 0)
    server.dispatch.packing_limit = server.dispatch.packet_limit = 65_536
    for _ in range(20):
        server.dispatch._window.sent((-1,), 1, 0.0)
        server.dispatch._window.returned((-1,), 10.0)
        server.dispatch._window._halved = -1.0
    packet = server.take()
    assert packet is not None
    assert server.dispatch.divisible(packet) == ()
