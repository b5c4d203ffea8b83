"""Short names against virtual meters: what a cycle costs, what is remembered, and every way in which a meter may disappoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from model.messages import Cycle, ErrorKind, Outcome
from model.obis import parse_logical_name
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.short_names import base_names
from tests.contract.polled_meter import REGISTERS, poll_virtual_meter

KINDS: dict[str, object] = {
    **REGISTERS,
    "clock": {"obis": "0-0:1.0.0", "class": 8},
    "maximum": {"obis": "1-0:1.6.0", "class": 4},
    "maximum_at": {"obis": "1-0:1.6.0", "class": 4, "attribute": 5},
    "demand": {"obis": "1-0:1.4.0", "class": 5, "attribute": 3},
    "serial": {"obis": "0-0:96.1.0", "class": 1},
}
LINKS: list[dict[str, Any]] = [
    {"framing": "hdlc"},
    {"framing": "hdlc", "server_physical": 1234, "authentication": "low", "password": "s3cret", "client_sap": 32},
    {"framing": "wrapper"},
    {"framing": "wrapper", "authentication": "low", "password": "s3cret", "client_sap": 4321},
]


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def poll(meters: BackgroundMeters, count: int, reads: dict[str, object] = REGISTERS, **settings: Any) -> list[Cycle]:
    return poll_virtual_meter(meters, count, reads, referencing="short", **settings)


def errors_of(cycle: Cycle) -> dict[str | None, str]:
    return {error.key: error.detail for error in cycle.errors}


def asked(meters: BackgroundMeters) -> list[tuple[str, int]]:
    return [(e.service, len(e.attributes)) for e in meters.counters("m").exchanges if e.service.startswith("read")]


@pytest.mark.parametrize("link", LINKS, ids=lambda link: "-".join(str(v) for v in link.values()))
def test_the_object_list_and_scalers_are_read_once_and_then_a_cycle_is_one_exchange(meters: BackgroundMeters, link: dict[str, Any]) -> None:
    cycles = poll(meters, 4, KINDS, **link)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK] * 4
    assert [cycle.exchanges for cycle in cycles] == [1] * 4
    assert asked(meters) == [("read", 1), ("read", 17), ("read", 10), ("read", 10), ("read", 10)]
    counters = meters.counters("m")
    assert (counters.connections, counters.associations, counters.releases) == (1, 1, 1)


def test_values_scalers_and_times_are_those_of_the_meter(meters: BackgroundMeters) -> None:
    (cycle,) = poll(meters, 1, KINDS)
    values = {value.key: value for value in cycle.values}
    meter = meters.meter("m")
    at = next(e.time for e in meters.counters("m").exchanges if len(e.attributes) == 17)
    for key in ("voltage", "current", "frequency", "power", "energy"):
        assert values[key].value == meter.truth(str(REGISTERS[key]), 2, at)
        assert [values[key].scaler, values[key].unit] == meter.truth(str(REGISTERS[key]), 3, at)
    assert values["maximum"].value == meter.truth("1-0:1.6.0", 2, at)
    assert values["demand"].value == meter.truth("1-0:1.4.0", 3, at)
    assert values["serial"].value == meter.config.serial_number
    assert cycle.clock_offset is not None
    assert abs(cycle.clock_offset) < 2


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
@pytest.mark.parametrize("size", [64, 100, 65535])
def test_answers_that_do_not_fit_come_in_blocks(meters: BackgroundMeters, framing: str, size: int) -> None:
    cycles = poll(meters, 2, KINDS, framing=framing, max_pdu_size=size)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK, Outcome.OK]
    assert (meters.counters("m").requests["read-next"] > 0) == (size < 65535)


@pytest.mark.parametrize("manner", ["refused", "exception", "wrong", "unanswered"])
@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
def test_a_meter_that_takes_no_lists_is_read_one_by_one(meters: BackgroundMeters, manner: Any, framing: str) -> None:
    cycles = poll(meters, 4, behaviour=Behaviour(with_list=manner), framing=framing)
    assert cycles[-1].outcome is Outcome.OK
    assert cycles[-1].exchanges == 5


def test_an_object_that_the_meter_lacks_is_named_and_costs_no_exchange(meters: BackgroundMeters) -> None:
    cycles = poll(meters, 3, {"voltage": "1-1:32.7.0", "gone": "1-1:99.7.0", "also_gone": "1-1:98.7.0"})
    for cycle in cycles:
        assert cycle.outcome is Outcome.PARTIAL
        assert errors_of(cycle)["gone"].endswith("object-undefined: the meter's object list has no 1.1.99.7.0.255 of class 3")
        assert {error.kind for error in cycle.errors} == {ErrorKind.ACCESS}
    assert [cycle.exchanges for cycle in cycles[1:]] == [1, 1]


def test_nothing_but_objects_that_the_meter_lacks_is_an_answer_too(meters: BackgroundMeters) -> None:
    cycles = poll(meters, 2, {"gone": "1-1:99.7.0"})
    assert [cycle.outcome for cycle in cycles] == [Outcome.FAILED, Outcome.FAILED]
    assert "object-undefined" in errors_of(cycles[1])["gone"]
    assert [service for service, _ in asked(meters)] == ["read"]


def test_a_refused_object_list_is_said_and_asked_for_once_per_association(meters: BackgroundMeters) -> None:
    association = parse_logical_name("0-0:40.0.0")
    cycles = poll(meters, 2, behaviour=Behaviour(denied=frozenset({association})))
    for error in cycles[0].errors:
        assert "the meter's object list cannot be read: read-write-denied" in error.detail
    assert len(asked(meters)) == 1


def test_base_names_from_the_template_need_no_object_list(meters: BackgroundMeters) -> None:
    poll(meters, 1)
    objects = meters.meter("m").device.objects
    bases = {item.logical_name: base for base, item in base_names(objects).items()}
    before = len(asked(meters))
    reads: dict[str, object] = {key: {"obis": obis, "base_name": bases[parse_logical_name(str(obis))]} for key, obis in REGISTERS.items()}
    (cycle,) = poll(meters, 1, reads, behaviour=Behaviour(denied=frozenset({parse_logical_name("0-0:40.0.0")})))
    assert cycle.outcome is Outcome.OK
    assert [count for _, count in asked(meters)[before:]] == [10]


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
def test_answers_that_come_late_or_twice_are_never_taken_for_others(meters: BackgroundMeters, framing: str) -> None:
    """Without invoke-ids an answer that is late by one would make each register show the value of the one before."""
    behaviour = Behaviour(late=0.15, duplicated=0.5, lost=0.05, with_list="refused")
    cycles = poll(meters, 25, behaviour=behaviour, framing=framing, exchange_timeout=0.05)
    meter = meters.meter("m")
    read = [(value.key, value.value, value.scaler, value.unit) for cycle in cycles for value in cycle.values]
    assert len(read) > 25
    for key, value, scaler, unit in read:
        assert [scaler, unit] == meter.truth(str(REGISTERS[key]), 3)
        assert isinstance(value, int)
        low, high = {"voltage": (20000, 26000), "frequency": (4900, 5100)}.get(key, (0, 2**32))
        assert low <= value <= high


def test_a_wrong_referencing_is_refused_with_its_remedy(meters: BackgroundMeters) -> None:
    (cycle,) = poll(meters, 1, connect="sim://three-phase?referencing=logical")
    assert [error.kind for error in cycle.errors] == [ErrorKind.REFUSED]
    assert "application-context-name-not-supported" in cycle.errors[0].detail
    assert "referencing" in cycle.errors[0].remedy
