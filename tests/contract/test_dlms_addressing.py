"""Addresses, limits, pre-established associations and gateways, against virtual meters over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from model.messages import Cycle, ErrorKind, Outcome
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from tests.contract.polled_meter import poll_virtual_meter


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def poll(meters: BackgroundMeters, count: int = 1, **settings: Any) -> list[Cycle]:
    return poll_virtual_meter(meters, count, **settings)


ADDRESSES: list[dict[str, Any]] = [
    {"server_logical": 0, "server_physical": 1},  # seen in a laboratory
    {"server_logical": 0, "server_physical": 1, "server_address_size": 4},
    {"server_logical": 1},
    {"server_logical": 1, "server_address_size": 2},
    {"server_logical": 1, "server_physical": 125},
    {"server_logical": 1, "server_physical": 126},
    {"server_logical": 127, "server_physical": 127},
    {"server_logical": 1, "server_physical": 128},
    {"server_logical": 16381, "server_physical": 16381},
    {"client_sap": 126},
    {"client_sap": 1, "serial_number": "MST-20240042", "server_physical": "serial"},
    {"serial_number": "98765432", "server_physical": "SN % 10000 + 1000"},
    {"framing": "wrapper", "server_logical": 65535, "client_sap": 65535},
    {"framing": "wrapper", "server_logical": 126},
]


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: "-".join(str(value) for value in address.values()))
def test_a_meter_is_read_at_its_address_only(meters: BackgroundMeters, address: dict[str, Any]) -> None:
    (cycle,) = poll(meters, **address)
    assert cycle.outcome is Outcome.OK
    config = meters.meter("m").config
    if "serial_number" in address:
        assert config.server_physical == (42 if address["server_physical"] == "serial" else 6432)
    elsewhere = {**address, "server_logical": config.server_logical ^ 4, "server_physical": config.server_physical}
    (cycle,) = poll(meters, retries=0, **elsewhere)
    assert (cycle.outcome, cycle.errors[0].kind) == (Outcome.FAILED, ErrorKind.TIMEOUT)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_meter_that_insists_on_a_size_of_address(meters: BackgroundMeters, size: int) -> None:
    (cycle,) = poll(meters, server_address_size=size, connect=f"sim://three-phase?server_address_size={size}")
    assert cycle.outcome is Outcome.OK


@pytest.mark.parametrize("manner", ["full", "none", "short", "huge", "unknown"])
@pytest.mark.parametrize("size", [32, 128, 300, 2030])
@pytest.mark.parametrize("window", [1, 7])
def test_whatever_a_ua_says_a_conversation_comes_about(meters: BackgroundMeters, manner: Any, size: int, window: int) -> None:
    cycles = poll(
        meters,
        2,
        behaviour=Behaviour(ua_parameters=manner),
        connect=f"sim://three-phase?hdlc_information_size={size}&hdlc_window={window}",
        hdlc_information_size=size,
        hdlc_window=window,
    )
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK, Outcome.OK]


@pytest.mark.parametrize("told", [0, 1, 12, 65535])
@pytest.mark.parametrize("referencing", ["logical", "short"])
def test_whatever_an_aare_says_of_the_pdu_size_requests_are_cut_to_it(meters: BackgroundMeters, told: int, referencing: str) -> None:
    cycles = poll(meters, 2, connect=f"sim://three-phase?announced_pdu_size={told}", referencing=referencing)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK, Outcome.OK]
    per_request = {(12, "short"): 3}.get((told, referencing), 1 if told in (1, 12) else 5)
    assert cycles[1].exchanges == -(-5 // per_request)


LONG = {"profile": {"obis": "1-0:99.1.0", "class": 7}}


@pytest.mark.parametrize("window", [1, 2, 3, 7])
def test_a_long_answer_arrives_with_as_few_acknowledgements_as_the_window_allows(meters: BackgroundMeters, window: int) -> None:
    where = f"sim://three-phase?hdlc_window=7&profile_entries=40&max_pdu_size=65535&seed={window}"
    (cycle,) = poll_virtual_meter(meters, 1, LONG, connect=where, hdlc_window=window)
    assert cycle.outcome is Outcome.OK
    text = str(cycle.values[0].value)
    assert text.count("[") == 41
    segments = -(-(len(_encoded(meters)) + 3) // 128)
    assert abs(meters.counters("m").requests["rr"] - -(-segments // window)) <= 1


def _encoded(meters: BackgroundMeters) -> bytes:
    from simulator.meter.axdr import encode
    from simulator.meter.interface_class import Reading

    device = meters.meter("m").device
    profile = next(item for item in device.objects if item.class_id == 7)
    return encode(profile.attribute(2, Reading(device, meters.counters("m").exchanges[-2].time)))


@pytest.mark.parametrize("window", [2, 7])
def test_frames_of_a_window_that_are_lost_are_sent_again(meters: BackgroundMeters, window: int) -> None:
    where = f"sim://three-phase?hdlc_window=7&profile_entries=40&max_pdu_size=65535&seed={window}"
    behaviour = Behaviour(half=0.2, wrong_check=0.2, junk=0.2, duplicated=0.2)
    cycles = poll_virtual_meter(
        meters, 4, LONG, connect=where, hdlc_window=window, behaviour=behaviour, retries=5, exchange_timeout=0.2, cycle_timeout=20
    )
    read = [cycle for cycle in cycles if cycle.outcome is Outcome.OK]
    assert read
    for cycle in read:
        assert str(cycle.values[0].value).count("[") == 41


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
@pytest.mark.parametrize("referencing", ["logical", "short"])
def test_a_pre_established_association_needs_no_request_and_no_release(meters: BackgroundMeters, framing: str, referencing: str) -> None:
    cycles = poll(meters, 3, framing=framing, referencing=referencing, association="pre-established", client_sap=1)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK] * 3
    assert [cycle.exchanges for cycle in cycles] == [1, 1, 1]
    requests = meters.counters("m").requests
    assert (requests["aarq"], requests["rlrq"]) == (0, 0)
    assert requests["disc"] == (1 if framing == "hdlc" else 0)


def test_a_pre_established_association_has_the_limits_of_the_settings(meters: BackgroundMeters) -> None:
    singly = poll(meters, 2, association="pre-established", with_list=False)
    assert [cycle.exchanges for cycle in singly] == [10, 5]
    cut = poll(meters, 2, association="pre-established", max_pdu_size=64)
    assert [cycle.exchanges for cycle in cut] == [2, 1]


def test_a_meter_that_was_not_told_beforehand_is_no_reading_but_an_error(meters: BackgroundMeters) -> None:
    where = "sim://three-phase?association=negotiated"
    (cycle,) = poll(meters, framing="wrapper", association="pre-established", with_list=False, connect=where)
    assert cycle.outcome is Outcome.FAILED
    assert "service-not-allowed" in cycle.errors[0].detail


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
@pytest.mark.parametrize("address", ["00012345", "hex:01ff"])
@pytest.mark.parametrize("referencing", ["logical", "short"])
def test_a_meter_behind_a_gateway_is_read_through_it(meters: BackgroundMeters, framing: str, address: str, referencing: str) -> None:
    cycles = poll(meters, 2, framing=framing, gateway_address=address, gateway_network=7, referencing=referencing)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK, Outcome.OK]
    assert meters.counters("m").releases == 1
    for other in ({"gateway_address": "other"}, {"gateway_network": 8}):
        settings: dict[str, Any] = {"framing": framing, "gateway_address": address, "gateway_network": 7, **other}
        (cycle,) = poll(meters, retries=0, **settings)
        assert (cycle.outcome, cycle.errors[0].kind) == (Outcome.FAILED, ErrorKind.TIMEOUT)
