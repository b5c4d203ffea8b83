from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.settings.meter import MeterSettings
from simulator.meter.acse import Mechanism
from simulator.meter.client_access import ClientAccess, client_access
from simulator.meter.config import MeterConfig
from simulator.meter.profiles import PROFILES, profile_objects
from simulator.meter.sim_url import SimulatedMeter, parse_sim_url
from simulator.meter.virtual_meter import VirtualMeter


def parse(url: str, **settings: Any) -> SimulatedMeter:
    return parse_sim_url(url, MeterSettings.model_validate({"id": "m1", "connect": url, "template": "any", **settings}))


def test_the_meter_fits_the_settings_of_its_client() -> None:
    config, behaviour = parse(
        "sim://three-phase",
        framing="wrapper",
        client_sap=32,
        server_logical=3,
        server_physical=4321,
        authentication="low",
        password="hex:0102",
    )
    assert (config.id, config.framing, config.server_logical, config.server_physical) == ("m1", "wrapper", 3, 4321)
    assert config.clients == {16: ClientAccess(), 32: ClientAccess(Mechanism.LOW, b"\x01\x02")}
    assert behaviour.latency == 0.0


def test_the_query_overrides_profile_settings_and_behaviour() -> None:
    config, behaviour = parse(
        "sim://microstar?seed=7&latency=0.05&denied=1-1:14.7.0,1-1:1.7.0&stale=false&server_physical=17&capture_period=60&connections=one-hang"
    )
    assert (config.profile, config.seed, config.server_physical, config.capture_period) == ("microstar", 7, 17, 60)
    assert (behaviour.latency, behaviour.jitter, behaviour.stale, behaviour.with_list) == (0.05, 0.1, False, "refused")
    assert behaviour.denied == {bytes((1, 1, 14, 7, 0, 255)), bytes((1, 1, 1, 7, 0, 255))}
    assert behaviour.connections == "one-hang"


def test_title_counters_and_attacks_are_options() -> None:
    config, behaviour = parse(
        "sim://three-phase?system_title=4d4d4d0000bc614e&initial_client_counter=70000&initial_server_counter=7&counter_file=/tmp/x"
        "&behaviour=attacked&old_counter=0.5&replay_answer=silent"
    )
    assert (config.server_title, config.initial_client_counter, config.initial_server_counter) == (b"MMM\x00\x00\xbcaN", 70000, 7)
    assert config.counter_file == Path("/tmp/x")
    assert (behaviour.flipped_tag, behaviour.old_counter, behaviour.replay_answer) == (0.05, 0.5, "silent")


def test_the_system_title_comes_from_the_serial_number_where_none_is_given() -> None:
    one, other = MeterConfig("a"), MeterConfig("b")
    assert one.server_title[:3] == other.server_title[:3] == b"SIM"
    assert one.server_title != other.server_title
    assert len(one.server_title) == 8


def test_a_named_behaviour_can_be_refined() -> None:
    behaviour = parse("sim://single-phase?behaviour=noisy&lost=0.5").behaviour
    assert (behaviour.lost, behaviour.junk) == (0.5, 0.2)


def test_the_microstar_profile_behaves_as_seen_in_the_field() -> None:
    config, behaviour = parse("sim://microstar")
    assert (config.inactivity_timeout, behaviour.latency, behaviour.with_list, behaviour.stale) == (180.0, 0.7, "refused", True)
    assert behaviour.busy_period > behaviour.busy_length > 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sim://four-phase", "four-phase.*three-phase, single-phase, microstar"),
        ("sim://", "profile '' is not known"),
        ("sim://three-phase/x", "write sim://three-phase"),
        ("sim://three-phase?latnecy=1", "'latnecy' is not known; possible are behaviour, seed.*latency"),
        ("sim://three-phase?latency=slow", "latency='slow'.*a number"),
        ("sim://three-phase?seed=1.5", "seed='1.5'.*whole number"),
        ("sim://three-phase?latency=-1", "latency -1.0 is out of range"),
        ("sim://three-phase?silent=maybe", "silent='maybe'.*true, yes, 1"),
        ("sim://three-phase?with_list=never", "with_list='never'.*offered, refused"),
        ("sim://three-phase?behaviour=evil", "behaviour 'evil'.*honest, silent"),
        ("sim://three-phase?denied=volt", "'volt' is not an OBIS code"),
        ("sim://three-phase?capture_period=5", "capture_period 5 is out of range; 15 to 86400"),
        ("sim://three-phase?server_physical=4321&server_address_size=2", "1/4321 does not fit in 2 bytes"),
        ("sim://three-phase?system_title=SERVER01", "system_title='SERVER01'.*hexadecimal"),
        ("sim://three-phase?initial_client_counter=-1", "initial_client_counter -1 is out of range"),
        ("sim://three-phase?flipped_tag=2", "flipped_tag 2.0 is out of range; a rate"),
        ("sim://three-phase?replay_answer=never", "replay_answer='never'.*invocation-counter-error"),
        ("sim://three-phase?time_zone=Nowhere", "'Nowhere' is not a time zone"),
    ],
)
def test_what_is_not_possible_is_refused_with_what_is(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as problem:
        parse(url)
    assert url in str(problem.value)


def test_a_password_in_hexadecimal_must_be_one() -> None:
    with pytest.raises(ValueError, match="hexadecimal") as problem:
        parse("sim://three-phase", authentication="low", password="hex:geheim")
    assert "geheim" not in str(problem.value)


def test_seeds_come_from_the_id_where_none_is_given() -> None:
    one, same, other = MeterConfig("a"), MeterConfig("a"), MeterConfig("b")
    assert one.chance_seed == same.chance_seed != other.chance_seed
    assert MeterConfig("a", server_physical=1234).serial_number.endswith("1234")
    assert len(one.logical_device_name) == 16


@pytest.mark.parametrize("name", PROFILES)
def test_every_attribute_of_every_profile_can_be_told(name: str) -> None:
    meter = VirtualMeter(MeterConfig("m1", profile=name, profile_entries=5))
    for item in profile_objects(name):
        for index in range(1, item.attribute_count + 1):
            if item.class_id != 15:
                meter.truth(item.logical_name, index)
    assert meter.truth("0-0:96.1.0") == meter.config.serial_number.encode()


def test_logical_names_are_unique_within_a_profile() -> None:
    for name in PROFILES:
        names = [item.logical_name for item in profile_objects(name)]
        assert len(names) == len(set(names))


def test_names_association_and_gateway_are_those_of_the_settings_unless_the_url_says_otherwise() -> None:
    fitting = {"referencing": "short", "association": "pre-established", "gateway_address": "hex:01ff", "gateway_network": 3}
    settings = MeterSettings.model_validate({"id": "m", "connect": "sim://three-phase", "template": "t", **fitting})
    config = parse_sim_url("sim://three-phase?hdlc_window=7", settings).config
    assert (config.referencing, config.association, config.hdlc_window) == ("short", "pre-established", 7)
    assert (config.gateway_address, config.gateway_network) == (b"\x01\xff", 3)
    other = "referencing=logical&association=negotiated&gateway_address=1&gateway_network=4&announced_pdu_size=0&ua_parameters=huge"
    meter = parse_sim_url(f"sim://three-phase?{other}", settings)
    assert (meter.config.referencing, meter.config.association, meter.config.told_pdu_size) == ("logical", "negotiated", 0)
    assert (meter.config.gateway_address, meter.config.gateway_network) == (b"1", 4)
    assert meter.behaviour.ua_parameters == "huge"


@pytest.mark.parametrize(
    "option", ["referencing=long", "association=none", "gateway_address=hex:0", "gateway_address=", "hdlc_window=8", "gateway_network=256"]
)
def test_impossible_ways_of_speaking_are_refused(option: str) -> None:
    settings = MeterSettings.model_validate({"id": "m", "connect": "sim://three-phase", "template": "t"})
    with pytest.raises(ValueError, match=r"possible|hexadecimal"):
        parse_sim_url(f"sim://three-phase?{option}", settings)


def test_a_virtual_meter_answers_to_the_keys_of_its_client() -> None:
    keys = {"block_cipher_key": "0a" * 32, "authentication_key": "0b" * 32, "client_system_title": "4D4D4D0000000001"}
    settings = MeterSettings.model_validate(
        {"id": "m", "connect": "sim://three-phase", "template": "t", "client_sap": 1, "authentication": "high-gmac"}
        | {"security_policy": "authenticated-encryption", "security_suite": 2}
        | keys
    )
    access = parse_sim_url(settings.connect, settings).config.clients[1]
    assert access == client_access(
        "high-gmac", b"", 2, "authenticated-encryption", b"\x0a" * 32, b"\x0b" * 32, bytes.fromhex("4D4D4D0000000001")
    )
    settings = MeterSettings(
        id="m", connect="sim://three-phase", template="t", client_sap=1, authentication="high-md5", hls_secret="hex:0102"
    )
    assert parse_sim_url(settings.connect, settings).config.clients[1] == client_access("high-md5", b"\x01\x02")
