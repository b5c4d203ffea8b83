"""Each misbehaviour of the virtual meter does what it says, seen from a socket and switched on a running meter."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from gurux_dlms import GXDLMSException
from gurux_dlms.enums import Conformance
from gurux_dlms.objects import GXDLMSRegister

from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.hdlc_frame import FrameReader
from tests.contract.gurux_peer import GuruxPeer

SNRM = bytes.fromhex("7EA0070321930F017E")
DISC = bytes.fromhex("7EA00703215303C77E")
UNNUMBERED_ANSWER = 0x73
DISCONNECTED_MODE = 0x1F
SHORT_FRAME = 9
QUIET = 0.15
DEADLINE = 5.0
METER = "meter"
VOLTAGE = GXDLMSRegister("1.0.32.7.0.255")


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


@pytest.fixture
def address(meters: BackgroundMeters) -> str:
    return meters.start(MeterConfig(METER, seed=3))


def connect(address: str) -> socket.socket:
    host, port = address.removeprefix("tcp://").split(":")
    return socket.create_connection((host, int(port)), DEADLINE)


def receive(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := link.recv(count - len(data))):
        data += more
    return data


def receive_until_quiet(link: socket.socket, at_least: int = 0) -> bytes:
    """At least so many bytes, however long they take, and what follows without a pause."""
    data = receive(link, at_least)
    link.settimeout(QUIET)
    try:
        while more := link.recv(65536):
            data += more
    except TimeoutError:
        pass
    finally:
        link.settimeout(DEADLINE)
    return data


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.005)


def frames(data: bytes) -> list[int]:
    return [frame.control for frame in FrameReader().feed(data)]


@pytest.fixture
def answer(address: str) -> Iterator[bytes]:
    """What an honest meter answers to SNRM."""
    with connect(address) as link:
        link.sendall(SNRM)
        honest = receive(link, 34)
        link.sendall(DISC)
        receive(link, SHORT_FRAME)
    assert frames(honest) == [UNNUMBERED_ANSWER]
    return honest


def test_latency_delays_the_reply(meters: BackgroundMeters, address: str, answer: bytes) -> None:
    meters.behaviour(METER).latency = 0.2
    with connect(address) as link:
        sent = time.monotonic()
        link.sendall(SNRM)
        assert receive(link, len(answer)) == answer
        assert time.monotonic() - sent >= 0.2


def test_slow_bytes_arrive_one_by_one(meters: BackgroundMeters, address: str, answer: bytes) -> None:
    meters.behaviour(METER).byte_interval = 0.005
    with connect(address) as link:
        sent = time.monotonic()
        link.sendall(SNRM)
        assert receive(link, len(answer)) == answer
        assert time.monotonic() - sent >= 0.005 * (len(answer) - 1)


def test_junk_precedes_the_frame(meters: BackgroundMeters, address: str, answer: bytes) -> None:
    meters.behaviour(METER).junk = 1.0
    with connect(address) as link:
        link.sendall(SNRM)
        data = receive(link, len(answer) + 8)
    assert data.endswith(answer)
    assert len(data) == len(answer) + 8


def test_a_lost_reply_is_repeated_without_executing_the_request_again(meters: BackgroundMeters, address: str) -> None:
    with GuruxPeer(address) as peer:
        peer.associate()
        request = peer.client.read(VOLTAGE, 2)[0]
        meters.behaviour(METER).lost = 1.0
        peer.socket.sendall(bytes(request))
        assert receive_until_quiet(peer.socket) == b""
        meters.behaviour(METER).lost = 0.0
        repeated = peer.get([request])
        requests = meters.counters(METER).requests
        assert (requests["get-normal"], requests["repeated"]) == (1, 1)
        assert repeated.value == meters.meter(METER).truth("1-0:32.7.0", 2, meters.counters(METER).exchanges[-1].time)


def test_a_duplicated_reply_comes_twice(meters: BackgroundMeters, address: str, answer: bytes) -> None:
    meters.behaviour(METER).duplicated = 1.0
    with connect(address) as link:
        link.sendall(SNRM)
        assert receive(link, 2 * len(answer)) == answer + answer


def test_a_late_reply_comes_with_the_next_request(meters: BackgroundMeters, address: str, answer: bytes) -> None:
    meters.behaviour(METER).late = 1.0
    with connect(address) as link:
        link.sendall(SNRM)
        assert receive_until_quiet(link) == b""
        meters.behaviour(METER).late = 0.0
        link.sendall(SNRM)
        assert receive(link, 2 * len(answer)) == answer + answer


def test_half_a_frame_and_a_wrong_check_sequence(meters: BackgroundMeters, address: str, answer: bytes) -> None:
    meters.behaviour(METER).half = 1.0
    with connect(address) as link:
        link.sendall(SNRM)
        assert receive_until_quiet(link, len(answer) // 2) == answer[: len(answer) // 2]
        meters.behaviour(METER).half = 0.0
        meters.behaviour(METER).wrong_check = 1.0
        link.sendall(SNRM)
        corrupted = receive(link, len(answer))
    assert len(corrupted) == len(answer)
    assert frames(corrupted) == []


def test_a_busy_burst_ignores_requests_until_it_is_over(meters: BackgroundMeters, address: str, answer: bytes) -> None:
    behaviour = meters.behaviour(METER)
    behaviour.busy_period = behaviour.busy_length = 3600.0
    with connect(address) as link:
        link.sendall(SNRM)
        assert receive_until_quiet(link) == b""
        behaviour.busy_length = 0.0
        link.sendall(SNRM)
        assert receive(link, len(answer)) == answer


def test_busy_bursts_come_and_go(meters: BackgroundMeters, address: str) -> None:
    meter = meters.meter(METER)
    meter.behaviour = Behaviour(busy_period=0.1, busy_length=0.05)
    for _ in range(2):
        wait_for(lambda: meter.is_busy())
        wait_for(lambda: not meter.is_busy())


def test_a_reconnect_ends_a_busy_burst_where_it_may(meters: BackgroundMeters, address: str, answer: bytes) -> None:
    behaviour = meters.behaviour(METER)
    with connect(address) as link:
        link.sendall(SNRM)
        assert receive(link, len(answer)) == answer
        behaviour.busy_period = behaviour.busy_length = 3600.0
        behaviour.busy_until_reconnect = True
        link.sendall(SNRM)
        assert receive_until_quiet(link) == b""
    with connect(address) as link:
        link.sendall(SNRM)
        assert receive(link, len(answer)) == answer


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
def test_the_association_is_dropped_every_so_many_gets(meters: BackgroundMeters, framing: str) -> None:
    config = MeterConfig("dropping", framing=framing)  # type: ignore[arg-type]
    address = meters.start(config, Behaviour(drop_every=3))
    with GuruxPeer(address, framing) as peer:
        peer.associate()
        for _ in range(2):
            assert peer.read(VOLTAGE, 2) > 20000
        lost = peer.client.read(VOLTAGE, 2)[0]
        peer.socket.sendall(bytes(lost))
        assert receive_until_quiet(peer.socket) == b""
        peer.socket.sendall(bytes(lost))
        refusal = receive_until_quiet(peer.socket, SHORT_FRAME)
    assert refusal.endswith(bytes.fromhex("D80101")) if framing == "wrapper" else frames(refusal) == [DISCONNECTED_MODE]
    assert meters.counters("dropping").dropped == 1


def test_the_connection_is_closed_every_so_many_gets(meters: BackgroundMeters, address: str) -> None:
    meters.behaviour(METER).hang_up_every = 2
    with GuruxPeer(address) as peer:
        peer.associate()
        assert peer.read(VOLTAGE, 2) > 20000
        with pytest.raises(ConnectionError):
            peer.read(VOLTAGE, 2)


def test_a_second_client_hangs_or_is_refused(meters: BackgroundMeters, address: str, answer: bytes) -> None:
    meters.behaviour(METER).connections = "one-hang"
    with connect(address) as first:
        first.sendall(SNRM)
        assert receive(first, len(answer)) == answer
        with connect(address) as second:
            second.sendall(SNRM)
            assert receive_until_quiet(second) == b""
        meters.behaviour(METER).connections = "one-refuse"
        with pytest.raises(ConnectionError), connect(address) as third:
            third.sendall(SNRM)
            if not third.recv(1):
                raise ConnectionError
    assert meters.counters(METER).rejected == 2


def test_a_dead_association_keeps_the_place_of_the_only_client(meters: BackgroundMeters, address: str, answer: bytes) -> None:
    meters.behaviour(METER).connections = "one-hang"
    meters.behaviour(METER).keeps_dead_association = True
    for ending, expected in ((DISC, answer), (b"", answer), (b"", b"")):
        with connect(address) as link:
            link.sendall(SNRM)
            assert receive_until_quiet(link, len(expected)) == expected
            link.sendall(ending)
            if ending:
                assert frames(receive(link, SHORT_FRAME)) == [UNNUMBERED_ANSWER]
        wait_for(lambda: not meters.meter(METER).has_clients)


def test_stale_bytes_follow_a_connection_that_was_cut(meters: BackgroundMeters, address: str, answer: bytes) -> None:
    meters.behaviour(METER).stale = True
    with connect(address) as link:
        link.sendall(SNRM)
        assert receive(link, len(answer)) == answer
    wait_for(lambda: not meters.meter(METER).has_clients)
    with connect(address) as link:
        stale = receive_until_quiet(link, 6 + len(answer) + len(answer) // 2)
        assert stale.endswith(answer[len(answer) // 2 :] + answer)
        assert len(stale) == 6 + len(answer) - len(answer) // 2 + len(answer)
        link.sendall(SNRM + DISC)
        assert frames(receive(link, len(answer) + SHORT_FRAME)) == [UNNUMBERED_ANSWER, UNNUMBERED_ANSWER]
    wait_for(lambda: not meters.meter(METER).has_clients)
    with connect(address) as link:
        assert receive_until_quiet(link) == b""


def test_a_silent_meter_accepts_and_says_nothing(meters: BackgroundMeters, address: str) -> None:
    meters.behaviour(METER).silent = True
    with connect(address) as link:
        link.sendall(SNRM)
        assert receive_until_quiet(link) == b""
    assert meters.counters(METER).connections == 1


@pytest.mark.parametrize("rate", [500.0, 1_000_000.0])
def test_a_babbling_meter_sends_junk_for_ever_and_no_answer(meters: BackgroundMeters, address: str, rate: float) -> None:
    meters.behaviour(METER).babble = rate
    with connect(address) as link:
        link.sendall(SNRM)
        data = receive(link, 150 if rate < 1000 else 500_000)
        assert len(data) >= 150
        meters.behaviour(METER).babble = 0.0
        data += receive_until_quiet(link)
    assert UNNUMBERED_ANSWER not in frames(data)
    assert meters.counters(METER).links == 0


def test_a_link_and_an_association_can_be_refused(meters: BackgroundMeters, address: str) -> None:
    meters.behaviour(METER).refuse_link = True
    with connect(address) as link:
        link.sendall(SNRM)
        assert frames(receive(link, SHORT_FRAME)) == [DISCONNECTED_MODE]
    meters.behaviour(METER).reset()
    meters.behaviour(METER).refuse_association = True
    with GuruxPeer(address) as peer, pytest.raises(GXDLMSException, match=r"(?i)reject"):
        peer.associate()
    assert meters.counters(METER).refused == 1


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
@pytest.mark.parametrize("manner", ["refused", "exception", "wrong", "unanswered"])
def test_get_with_list_fails_in_each_manner(meters: BackgroundMeters, framing: str, manner: str) -> None:
    config = MeterConfig("list", framing=framing)  # type: ignore[arg-type]
    address = meters.start(config, Behaviour(with_list=manner))  # type: ignore[arg-type]
    items = [(VOLTAGE, 2), (GXDLMSRegister("1.0.31.7.0.255"), 2)]
    with GuruxPeer(address, framing) as peer:
        peer.associate()
        offered = peer.offers_lists
        peer.client.negotiatedConformance |= Conformance.MULTIPLE_REFERENCES
        (request,) = peer.client.readList(items)[0]
        peer.socket.sendall(bytes(request))
        reply = receive_until_quiet(peer.socket, 0 if manner == "unanswered" else SHORT_FRAME)
    assert offered == (manner != "refused")
    if manner == "unanswered":
        assert reply == b""
    else:
        count_of_one = bytes.fromhex("C403C101")
        assert (count_of_one if manner == "wrong" else bytes.fromhex("D80102")) in reply
