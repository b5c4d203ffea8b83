"""The client against virtual meters over TCP: what a cycle costs, and what it survives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from model.messages import Cycle, ErrorKind, Outcome
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.sim_url import parse_sim_url
from tests.contract.polled_meter import REGISTERS, poll_of, poll_virtual_meter, settings_of

UNITS = {"voltage": (-2, 35), "current": (-3, 33), "frequency": (-2, 44), "power": (0, 27), "energy": (0, 30)}
LINKS = [("hdlc", "none"), ("hdlc", "low"), ("wrapper", "none"), ("wrapper", "low")]


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def read(
    meters: BackgroundMeters, count: int = 1, behaviour: Behaviour | None = None, reads: dict[str, object] = REGISTERS, **settings: object
) -> list[Cycle]:
    """`count` cycles, then a release."""
    return poll_virtual_meter(meters, count, reads, behaviour, **settings)


@pytest.mark.parametrize(("framing", "authentication"), LINKS)
def test_one_association_serves_all_cycles_and_ends_politely(meters: BackgroundMeters, framing: str, authentication: str) -> None:
    secret = {"authentication": "low", "password": "s3cret", "client_sap": 32} if authentication == "low" else {}
    cycles = read(meters, 4, framing=framing, server_physical=5 if framing == "hdlc" else 0, **secret)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK] * 4
    assert [cycle.associated for cycle in cycles] == [True, False, False, False]
    for value in cycles[-1].values:
        assert (value.scaler, value.unit) == UNITS[value.key]
    counters = meters.counters("m")
    assert (counters.connections, counters.associations, counters.releases) == (1, 1, 1)
    assert counters.disconnects == (1 if framing == "hdlc" else 0)
    assert counters.requests["get-with-list"] == 4


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
def test_without_lists_a_steady_cycle_is_one_exchange_per_register(meters: BackgroundMeters, framing: str) -> None:
    cycles = read(meters, 3, Behaviour(with_list="refused"), framing=framing)
    assert [cycle.exchanges for cycle in cycles] == [10, 5, 5]
    assert meters.counters("m").requests["get-normal"] == 20


@pytest.mark.parametrize("how", ["exception", "wrong", "unanswered"])
def test_a_meter_whose_lists_do_not_work_is_read_one_by_one_and_it_is_remembered(meters: BackgroundMeters, how: str) -> None:
    cycles = read(meters, 4, Behaviour(with_list=how), retries=0)  # type: ignore[arg-type]
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK] * 4
    assert [cycle.exchanges for cycle in cycles[2:]] == [5, 5]
    assert meters.counters("m").requests["get-with-list"] == (2 if how == "unanswered" else 1)


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(junk=1.0),
        Behaviour(duplicated=0.5),
        Behaviour(lost=0.15),
        Behaviour(half=0.15),
        Behaviour(wrong_check=0.15),
        Behaviour(late=0.15),
        Behaviour(junk=0.2, half=0.05, wrong_check=0.05, lost=0.05, duplicated=0.05, late=0.05, with_list="refused"),
        Behaviour(byte_interval=0.0005),
        Behaviour(hang_up_every=7, with_list="refused"),
        Behaviour(drop_every=7, with_list="refused"),
        Behaviour(stale=True, hang_up_every=7, with_list="refused"),
    ],
    ids=["junk", "duplicated", "lost", "half", "wrong-check", "late", "noisy", "slow-bytes", "hang-up", "drop", "stale"],
)
def test_disturbances_are_healed_within_the_cycle_and_no_value_is_invented(
    meters: BackgroundMeters, framing: str, behaviour: Behaviour
) -> None:
    cycles = read(meters, 8, behaviour, framing=framing, exchange_timeout=0.15, retries=4)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK] * 8
    for cycle in cycles:
        values = {value.key: value.value for value in cycle.values}
        assert 20000 < int(values["voltage"]) < 26000
        assert 4900 < int(values["frequency"]) < 5100
        assert all((value.scaler, value.unit) == UNITS[value.key] for value in cycle.values)
    energies = [int(value.value) for cycle in cycles for value in cycle.values if value.key == "energy"]
    assert energies == sorted(energies)


def test_a_denied_object_costs_only_itself(meters: BackgroundMeters) -> None:
    denied = bytes([1, 1, 14, 7, 0, 255])
    cycles = read(meters, 2, Behaviour(denied=frozenset([denied])))
    for cycle in cycles:
        assert cycle.outcome is Outcome.PARTIAL
        assert {value.key for value in cycle.values} == set(REGISTERS) - {"frequency"}
        assert [(error.key, error.kind) for error in cycle.errors] == [("frequency", ErrorKind.ACCESS)]
        assert "read-write-denied" in cycle.errors[0].detail


def test_a_clock_is_read_and_compared_with_ours(meters: BackgroundMeters) -> None:
    (cycle,) = read(meters, 1, Behaviour(clock_offset=90.0), reads={"time": {"obis": "0-0:1.0.0", "class": 8}})
    assert cycle.clock_offset is not None
    assert 85 < cycle.clock_offset < 95


def test_long_answers_come_in_blocks_and_segments(meters: BackgroundMeters) -> None:
    reads = {"objects": {"obis": "0-0:40.0.0", "class": 15, "attribute": 2}}
    (cycle,) = read(meters, 1, reads=reads, max_pdu_size=200)
    assert cycle.outcome is Outcome.OK
    assert str(cycle.values[0].value).count("1.0.32.7.0.255") + str(cycle.values[0].value).count("0100200700ff") == 1
    assert meters.counters("m").requests["get-next"] > 2
    assert meters.counters("m").requests["rr"] > 2


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        (Behaviour(silent=True), ErrorKind.TIMEOUT, "client_sap"),
        (Behaviour(babble=1_000_000.0), ErrorKind.PROTOCOL, "baud"),
        (Behaviour(refuse_link=True), ErrorKind.REFUSED, ""),
        (Behaviour(refuse_association=True), ErrorKind.REFUSED, ""),
    ],
    ids=["silent", "babbling", "refuses-link", "refuses-association"],
)
def test_a_meter_that_cannot_be_read_gives_failed_cycles_with_cause_and_remedy(
    meters: BackgroundMeters, behaviour: Behaviour, kind: ErrorKind, words: str
) -> None:
    (cycle,) = read(meters, 1, behaviour, retries=0)
    assert (cycle.outcome, cycle.values) == (Outcome.FAILED, ())
    (error,) = cycle.errors
    assert (error.key, error.kind) == (None, kind)
    assert words in error.remedy
    assert error.remedy


def test_a_wrong_password_is_named(meters: BackgroundMeters) -> None:
    meter = settings_of(authentication="low", password="right", client_sap=32)
    config, _ = parse_sim_url(meter.connect, meter)
    address = meters.start(config)
    wrong = settings_of(authentication="low", password="wrong", client_sap=32)
    cycle = asyncio.run(poll_of(wrong, address).cycle(datetime.now(timezone.utc)))
    assert cycle.errors[0].kind is ErrorKind.REFUSED
    assert "password" in cycle.errors[0].remedy
    assert "wrong" not in cycle.errors[0].detail + cycle.errors[0].remedy.replace("wrong password", "")


def test_nobody_listening_is_named() -> None:
    async def run() -> Cycle:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return await poll_of(settings_of(), f"tcp://127.0.0.1:{port}").cycle(datetime.now(timezone.utc))

    cycle = asyncio.run(run())
    assert cycle.errors[0].kind is ErrorKind.CONNECT
    assert "nothing listens there" in cycle.errors[0].remedy
