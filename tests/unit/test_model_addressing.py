"""Addresses as settings: rules over the serial number, and addresses that no single meter has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.dlms.hdlc.frame import Address, server_address
from model.settings.meter import MeterSettings
from model.settings.serial_address import address_from_serial, is_rule


def meter(**more: Any) -> MeterSettings:
    return MeterSettings.model_validate({"id": "desk", "connect": "tcp://192.0.2.1:4059", "template": "basic", **more})


@pytest.mark.parametrize(
    ("rule", "serial_number", "address"),
    [
        ("serial", "20241234", 1234),
        ("serial", "MST 0001-0042", 42),
        (" serial ", "7", 7),
        ("SN % 10000 + 1000", "98765432", 6432),
        ("SN%10000+1000", "98760000", 1000),
        ("(SN % 1000) * 2 + 16", "12345", 706),
        ("SN / 1000 % 100", "1234567", 34),
        ("SN // 1000 % 100", "1234567", 34),
        ("SN - 12340000", "12345678", 5678),
    ],
)
def test_the_makers_rule_gives_the_physical_address(rule: str, serial_number: str, address: int) -> None:
    assert meter(server_physical=rule, serial_number=serial_number).server_physical == address


@pytest.mark.parametrize(
    "rule",
    [
        "SN ** 2",
        "SN.real",
        "SN; 1",
        "f(SN)",
        "SN if SN else 1",
        "SN % 0",
        "SN / (SN - SN)",
        "-SN",
        "SN, 1",
        "SN" + "+1" * 60,
        "x + SN",
        "SN +",
        "SN % 1.5",
    ],
)
def test_a_rule_is_arithmetic_and_nothing_else(rule: str) -> None:
    with pytest.raises(ValidationError, match="is no address rule; write serial, or a formula"):
        meter(server_physical=rule, serial_number="1234")


@given(st.text(max_size=40), st.text(max_size=20))
def test_any_rule_and_any_serial_number_give_an_address_or_a_reason(rule: str, serial_number: str) -> None:
    try:
        assert 1 <= address_from_serial(rule, serial_number) <= 16381
    except ValueError as error:
        assert "; " in str(error)


@pytest.mark.parametrize(("rule", "serial_number"), [("serial", "120000"), ("SN", "16382"), ("SN - 20", "20"), ("SN - 20", "7")])
def test_an_address_that_no_station_has_is_refused(rule: str, serial_number: str) -> None:
    with pytest.raises(ValidationError, match="which no station has"):
        meter(server_physical=rule, serial_number=serial_number)


def test_a_number_stays_a_number() -> None:
    assert meter(server_physical="17").server_physical == 17
    assert meter(server_physical=17, serial_number="99").server_physical == 17
    assert not is_rule("17")
    with pytest.raises(ValidationError):
        meter(server_physical="seventeen")


@pytest.mark.parametrize(
    "more",
    [
        {"server_physical": 16383},
        {"server_logical": 16383},
        {"server_physical": 16382, "server_address_size": 4},
        {"server_physical": 127, "server_address_size": 2},
        {"server_physical": 126, "server_address_size": 2},
        {"server_logical": 127, "server_address_size": 1},
        {"server_logical": 16384},
        {"client_sap": 127},
        {"client_sap": 128},
        {"framing": "wrapper", "server_logical": 127},
        {"framing": "wrapper", "client_sap": 65536},
    ],
)
def test_addresses_that_all_or_none_answer_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        meter(**more)


@pytest.mark.parametrize(
    ("more", "address"),
    [
        ({"server_logical": 0, "server_physical": 1}, Address(0, 1, 2)),
        ({"server_physical": 125}, Address(1, 125, 2)),
        ({"server_physical": 126}, Address(1, 126, 4)),
        ({"server_physical": 127}, Address(1, 127, 4)),
        ({"server_logical": 126}, Address(126, 0, 4)),
        ({"server_physical": 127, "server_address_size": 4}, Address(1, 127, 4)),
        ({"server_logical": 16381, "server_physical": 16381}, Address(16381, 16381, 4)),
    ],
)
def test_addresses_that_look_reserved_but_are_not(more: dict[str, Any], address: Address) -> None:
    settings = meter(**more)
    assert server_address(settings.server_logical, settings.server_physical, settings.server_address_size) == address


def test_the_wrapper_has_ports_of_two_bytes() -> None:
    settings = meter(framing="wrapper", client_sap=65535, server_logical=65535)
    assert (settings.client_sap, settings.server_logical) == (65535, 65535)


@pytest.mark.parametrize("address", ["", "hex:", "hex:0", "hex:zz", "x" * 128])
def test_a_gateway_address_has_a_length_of_one_byte(address: str) -> None:
    with pytest.raises(ValidationError):
        meter(gateway_address=address)
    assert meter(gateway_address="hex:00ff").gateway_octets() == b"\x00\xff"
