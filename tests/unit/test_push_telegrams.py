"""Telegrams from the field, from their bytes to the values of a meter."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from connectors.dlms.push.authenticity import Security
from connectors.dlms.push.framing import HdlcDeframer, PushedApdu
from connectors.dlms.security.protection import Keys, Policy, Suite, read_header
from model.messages import Origin, Outcome
from tests.unit.push_setup import NOW, Bench, values
from tests.unit.push_telegrams import (
    AIDON,
    E570_KEY,
    EVN,
    EVN_KEY,
    ISKRAEMECO_AM550,
    KAIFA_LIST_1,
    KAIFA_LIST_2,
    KAMSTRUP,
    LANDIS_GYR_E450,
    LANDIS_GYR_E450_CIPHERED,
    LANDIS_GYR_E570,
)

V, A, W, WH, NO_UNIT = 35, 33, 27, 30, 255


def test_a_list_of_structures_with_scalers_and_units():
    bench = Bench(
        "hdlc",
        {"power": "1-0:1.7.0", "current": "1-0:31.7.0", "voltage": "1-0:32.7.0", "serial": {"obis": "0-0:96.1.0", "class": 1}},
        meters={"aidon": {"push_identity": "7359992890941742"}},
    )
    (cycle,) = bench.push(AIDON)
    assert (cycle.meter, cycle.outcome, cycle.origin) == ("aidon", Outcome.OK, Origin.PUSH)
    assert values(cycle) == {
        "power": (1362, 0, W),
        "current": (93, -1, A),
        "voltage": (2500, -1, V),
        "serial": ("7359992890941742", None, None),
    }
    assert (cycle.started, cycle.received, cycle.clock_offset) == (NOW, NOW, None)  # the telegram states no time


def test_a_flat_list_of_obis_and_value_whose_scalers_the_template_states():
    bench = Bench(
        "hdlc",
        {"power": "1-1:1.7.0", "current": "1-1:31.7.0", "voltage": "1-1:32.7.0"},
        {"units": {"power": {"unit": "W"}, "current": {"scaler": -2, "unit": "A"}, "voltage": {"unit": "V"}}},
        meters={"kamstrup": {"push_station": 16, "push_identity": "5706567274389702"}},
    )
    (cycle,) = bench.push(KAMSTRUP)
    assert values(cycle) == {"power": (1468, 0, W), "current": (564, -2, A), "voltage": (232, 0, V)}
    assert cycle.started == NOW  # no deviation: local time of nobody knows where


def test_a_number_whose_scaler_nobody_states_is_no_value():
    bench = Bench("hdlc", {"current": "1-1:31.7.0"}, meters={"kamstrup": {"push_station": 16}})
    (cycle,) = bench.push(KAMSTRUP)
    (error,) = cycle.errors
    assert cycle.outcome is Outcome.FAILED
    assert error.detail == "1.1.31.7.0.255 is pushed as 564 without a scaler, so its magnitude is not known"
    assert "units: {current: {scaler: ..., unit: ...}}" in error.remedy


def test_lists_without_obis_codes_by_patterns_of_their_shape():
    read = {"power": "1-0:1.7.0", "serial": {"obis": "0-0:96.1.0", "class": 1}, "current": "1-0:31.7.0", "voltage": "1-0:32.7.0"}
    patterns = [["power"], [None, "serial", None, "power", None, None, None, "current", None, None, "voltage", None, None]]
    units = {"power": {"unit": "W"}, "current": {"scaler": -3, "unit": "A"}, "voltage": {"scaler": -1, "unit": "V"}}
    bench = Bench("hdlc", read, {"patterns": patterns, "units": units}, meters={"kaifa": {"push_station": "1/0"}})
    first, second = bench.push(KAIFA_LIST_1 + KAIFA_LIST_2)
    assert values(first) == {"power": (3423, 0, W)}
    assert values(second) == {
        "serial": ("6970631403757615", None, None),
        "power": (3426, 0, W),
        "current": (10522, -3, A),
        "voltage": (2325, -1, V),
    }


def test_a_list_that_fits_no_pattern_says_what_it_looks_like():
    bench = Bench("hdlc", meters={"kaifa": {"push_station": "1/0"}})
    (cycle,) = bench.push(KAIFA_LIST_1)
    assert cycle.errors[0].detail == "the notification has no OBIS codes and fits no pattern; it is [number]"


def test_the_push_object_list_says_what_the_values_are():
    read = {
        "power": "1-0:1.7.0",
        "energy": "1-1:1.8.0",
        "factor": "1-0:13.7.0",
        "clock": {"obis": "0-0:1.0.0", "class": 8},
        "name": {"obis": "0-0:42.0.0", "class": 1},
    }
    units = {"power": {"unit": "W"}, "energy": {"unit": "Wh"}, "factor": {"scaler": -3}}
    bench = Bench("hdlc", read, {"units": units}, meters={"e450": {"push_identity": "LGZ1030655933512"}})
    (cycle,) = bench.push(LANDIS_GYR_E450)
    assert values(cycle) == {
        "name": ("LGZ1030655933512", None, None),
        "clock": ("2021-07-06T14:58:18", None, None),
        "power": (28, 0, W),
        "energy": (0x0D88C1, 0, WH),
        "factor": (941, -3, None),
    }
    assert bench.receiver.counts.malformed == 0


def test_blocks_without_their_beginning_do_not_spoil_the_next_ones():
    cut = LANDIS_GYR_E450[LANDIS_GYR_E450.index(b"\x7e\x7e") + 1 :]
    bench = Bench(
        "hdlc", {"power": "1-0:1.7.0"}, {"units": {"power": {"unit": "W"}}}, meters={"e450": {"push_identity": "LGZ1030655933512"}}
    )
    (cycle,) = bench.push(cut + LANDIS_GYR_E450)
    assert values(cycle) == {"power": (28, 0, W)}
    assert bench.receiver.counts.malformed == 3  # blocks 2, 3 and 4


def test_segmented_frames_and_the_meters_own_time():
    read = {"power": "1-1:1.7.0", "voltage": "1-0:32.7.0"}
    units = {"power": {"unit": "W"}, "voltage": {"scaler": -1, "unit": "V"}}
    bench = Bench("hdlc", read, {"units": units}, meters={"am550": {"push_identity": "ISK1030783821282"}})
    (cycle,) = bench.push(ISKRAEMECO_AM550)
    assert values(cycle) == {"power": (27, 0, W), "voltage": (2347, -1, V)}
    assert cycle.started == datetime(2026, 5, 4, 17, 19, 30, tzinfo=timezone.utc)
    assert cycle.clock_offset == -30.0
    assert cycle.read_at == NOW


def encrypted_only(key: bytes) -> Security:
    return Security(Keys(Suite.SUITE_0, key, bytes(16)), Policy.ENCRYPTION)


def test_two_m_bus_frames_with_encrypted_contents():
    read = {"energy": "1-0:1.8.0", "voltage": "1-0:32.7.0", "factor": "1-0:13.7.0"}
    bench = Bench("mbus", read, meters={"evn": {"server_system_title": "4B464D6750000009"}}, security={"evn": encrypted_only(EVN_KEY)})
    (cycle,) = bench.push(EVN)
    assert values(cycle) == {"energy": (12937, 0, WH), "voltage": (2337, -1, V), "factor": (1000, -3, NO_UNIT)}
    assert cycle.started == datetime(2021, 9, 27, 7, 47, 15, tzinfo=timezone.utc)


def test_encrypted_contents_in_blocks():
    units = {"energy": {"unit": "Wh"}}
    bench = Bench(
        "hdlc",
        {"energy": "1-1:1.8.0"},
        {"units": units},
        {"e570": {"server_system_title": "4c475a6774206295"}},
        {"e570": encrypted_only(E570_KEY)},
    )
    (cycle,) = bench.push(LANDIS_GYR_E570)
    assert values(cycle) == {"energy": (862055, 0, WH)}


def test_a_wrong_key_gives_no_value():
    bench = Bench("mbus", meters={"evn": {"server_system_title": "4B464D6750000009"}}, security={"evn": encrypted_only(bytes(16))})
    (cycle,) = bench.push(EVN)
    assert (cycle.outcome, cycle.values) == (Outcome.FAILED, ())
    assert "a wrong encryption key" in cycle.errors[0].detail


def test_the_header_of_an_authenticated_telegram_in_blocks():
    deframed = HdlcDeframer().feed(LANDIS_GYR_E450_CIPHERED)
    sender = Bench("hdlc").new_sender()
    whole = [apdu for item in deframed if isinstance(item, PushedApdu) and (apdu := sender.whole(item)) is not None]
    header = read_header(whole[0])
    assert (len(whole), header.title.hex(), header.policy, header.counter) == (
        1,
        "4c475a6773d4cbb3",
        Policy.AUTHENTICATED_ENCRYPTION,
        0x000561F5,
    )


@pytest.mark.parametrize(
    ("framing", "telegram"), [("hdlc", KAMSTRUP), ("hdlc", AIDON), ("hdlc", ISKRAEMECO_AM550), ("hdlc", LANDIS_GYR_E450), ("mbus", EVN)]
)
def test_telegrams_are_found_in_whatever_pieces_and_behind_whatever_they_come(framing, telegram):
    whole = Bench(framing, meters={"m": {"push_address": "192.0.2.7"}})
    pieces = Bench(framing, meters={"m": {"push_address": "192.0.2.7"}})
    junk = telegram[len(telegram) // 2 :]
    first = whole.push(telegram)
    second = [cycle for byte in junk + telegram for cycle in pieces.push(bytes([byte]))]
    assert len(first) == 1
    assert [(c.values, c.errors) for c in second] == [(c.values, c.errors) for c in first]
    assert timedelta(0) <= NOW - second[0].due
