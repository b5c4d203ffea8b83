"""What `connect:` may say, and the settings that depend on it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from model.settings.link_address import LinkAddress, ModeE, SerialParameters, parse_link
from model.settings.meter import MeterSettings
from model.settings.pipeline import PipelineSettings


@pytest.mark.parametrize(
    ("connect", "address"),
    [
        ("tcp://192.0.2.1:4059", LinkAddress("tcp", "192.0.2.1", 4059)),
        ("tcp://[2001:db8::1]:4059", LinkAddress("tcp", "2001:db8::1", 4059)),
        ("udp://meter.example:4059", LinkAddress("udp", "meter.example", 4059)),
        ("serial:///dev/ttyUSB0", LinkAddress("serial", device="/dev/ttyUSB0")),
        (
            "serial:///dev/ttyS1?baud=19200&parity=even&data_bits=7&stop_bits=2&rs485=rts-low",
            LinkAddress("serial", device="/dev/ttyS1", serial=SerialParameters(19200, "even", 7, 2, "rts-low")),
        ),
        (
            "serial:///dev/ttyUSB1?handshake=mode-e&max_baud=4800&address=12345678",
            LinkAddress("serial", device="/dev/ttyUSB1", mode_e=ModeE("12345678", 4800)),
        ),
        ("rfc2217://[::1]:4001?baud=300", LinkAddress("rfc2217", "::1", 4001, serial=SerialParameters(300))),
        ("sim://three-phase?seed=7", LinkAddress("sim", "three-phase")),
    ],
)
def test_an_address_is_taken_apart(connect: str, address: LinkAddress) -> None:
    assert parse_link(connect) == address


@pytest.mark.parametrize(
    "connect",
    [
        "tcp://192.0.2.1",
        "tcp://192.0.2.1:70000",
        "tcp://::1:4059",
        "tcp://user:secret@192.0.2.1:1",
        "tcp://192.0.2.1:1/path",
        "tcp://192.0.2.1:1?baud=9600",
        "serial://ttyUSB0",
        "serial:///",
        "serial:///dev/ttyUSB0?baud=fast",
        "serial:///dev/ttyUSB0?baud=9600&baud=300",
        "serial:///dev/ttyUSB0?stop_bits=3",
        "serial:///dev/ttyUSB0?address=1",
        "serial:///dev/ttyUSB0?handshake=mode-c",
        "serial:///dev/ttyUSB0?handshake=mode-e&address=a-b",
        "rfc2217://192.0.2.1:1?rs485=rts-high",
        "udp://192.0.2.1:1?handshake=mode-e",
        "gopher://192.0.2.1:1",
        "",
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(connect: str) -> None:
    with pytest.raises(ValueError, match="; ") as caught:
        parse_link(connect)
    assert "secret" not in str(caught.value) or "://user" in connect  # credentials are masked where messages are made


def test_the_bits_of_a_byte_are_counted_as_they_go_over_the_line() -> None:
    assert SerialParameters().bits_per_byte == 10
    assert SerialParameters(parity="even").bits_per_byte == 11
    assert str(SerialParameters(300, "even", 7)) == "300 7E1"


def meter(connect: str = "tcp://192.0.2.1:4059", **settings: Any) -> MeterSettings:
    return MeterSettings.model_validate({"id": "m", "connect": connect, "template": "t", **settings})


def test_what_answers_at_the_address_decides_how_patient_to_be() -> None:
    direct, converter, modem = meter(), meter(via="converter"), meter(via="modem", backoff_min=30)
    assert (direct.connect_timeout, direct.settle_time, direct.reconnect_pause) == (10.0, None, None)
    assert (converter.connect_timeout, converter.settle_time) == (10.0, 0.3)
    assert (modem.connect_timeout, modem.reconnect_pause, modem.backoff_min, modem.backoff_max) == (120.0, 20.0, 30.0, 1800.0)
    assert meter("serial:///dev/ttyUSB0?handshake=mode-e").connect_timeout == 30.0


@pytest.mark.parametrize(
    ("connect", "settings"),
    [
        ("udp://192.0.2.1:4059", {}),
        ("serial:///dev/ttyUSB0", {"framing": "wrapper"}),
        ("rfc2217://192.0.2.1:1", {"framing": "wrapper"}),
        ("serial:///dev/ttyUSB0", {"line": "separate"}),
        ("serial:///dev/ttyUSB0", {"source_address": "192.0.2.7"}),
        ("tcp://[2001:db8::1]:1", {"source_address": "192.0.2.7"}),
        ("tcp://192.0.2.1:1", {"source_address": "eth0"}),
    ],
)
def test_what_does_not_go_together_is_refused(connect: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="; "):
        meter(connect, **settings)


def lines_of(*meters: dict[str, Any]) -> dict[str, str]:
    listed = [{"id": f"m{number}", "connect": "tcp://192.0.2.1:4059", "template": "t", **more} for number, more in enumerate(meters)]
    return PipelineSettings.model_validate(
        {
            "thingsboard": {"url": "embedded", "token": "t"},
            "templates": {"t": {"interval": 10, "read": {"voltage": "1-0:32.7.0"}}},
            "meters": listed,
            "nodes": [{"id": "meters", "type": "dlms-in"}],
        }
    ).shared_lines()


def test_hdlc_meters_behind_one_address_share_a_line_and_others_do_not() -> None:
    a, b = {"server_physical": 17}, {"server_physical": 18}
    line = "tcp://192.0.2.1:4059"
    assert lines_of(a, b) == {"m0": line, "m1": line}
    assert lines_of(a) == {}
    assert lines_of(a, {**b, "line": "separate"}) == {}
    wrapped = {"framing": "wrapper"}
    assert lines_of({**wrapped, "server_logical": 1}, {**wrapped, "server_logical": 2}) == {}
    assert len(lines_of({**wrapped, "server_logical": 1, "line": "shared"}, {**wrapped, "server_logical": 2, "line": "shared"})) == 2
    port = {"connect": "serial:///dev/ttyUSB0"}
    assert lines_of({**port, **a}, {**port, **b}, {"connect": "sim://three-phase"}) == {
        "m0": "serial:///dev/ttyUSB0",
        "m1": "serial:///dev/ttyUSB0",
    }
