"""Telnet and com port control, RFC 854 and 2217: byte by byte and in one piece, and whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.link.telnet import (
    DO,
    SET_BAUD,
    WILL,
    Negotiation,
    Subnegotiation,
    TelnetReader,
    com_port,
    escaped,
    negotiate,
    port_settings,
)
from model.settings.link_address import SerialParameters


def read(reader: TelnetReader, *pieces: bytes) -> list[bytes | Negotiation | Subnegotiation]:
    return [item for piece in pieces for item in reader.feed(piece)]


def single(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def test_data_and_commands_are_told_apart_however_they_are_cut() -> None:
    stream = b"\x7e\xa0" + negotiate(WILL, 44) + b"\xff\xff\x10" + com_port(SET_BAUD, (9600).to_bytes(4, "big")) + b"\x7e"
    items = [b"\x7e\xa0", Negotiation(WILL, 44), b"\xff\x10", Subnegotiation(b"\x2c\x01\x00\x00\x25\x80"), b"\x7e"]
    assert read(TelnetReader(), stream) == items
    bytewise = read(TelnetReader(), *single(stream))
    assert b"".join(item for item in bytewise if isinstance(item, bytes)) == b"\x7e\xa0\xff\x10\x7e"
    assert [item for item in bytewise if not isinstance(item, bytes)] == [item for item in items if not isinstance(item, bytes)]


def test_values_with_255_in_them_are_escaped_in_commands_too() -> None:
    assert com_port(SET_BAUD, b"\x00\x00\xff\x01") == bytes.fromhex("fffa2c01 0000ffff01 fff0")
    assert read(TelnetReader(), com_port(SET_BAUD, b"\x00\x00\xff\x01")) == [Subnegotiation(b"\x2c\x01\x00\x00\xff\x01")]


def test_the_settings_are_those_of_the_rfc() -> None:
    settings = port_settings(SerialParameters(19200, "even", 7, 1.5))
    assert settings == {1: (19200).to_bytes(4, "big"), 2: b"\x07", 3: b"\x03", 4: b"\x03"}


@given(st.binary(max_size=200))
def test_all_data_comes_back_as_it_was(data: bytes) -> None:
    assert b"".join(read(TelnetReader(), *single(escaped(data)))) == data  # type: ignore[arg-type]
    assert b"".join(read(TelnetReader(), escaped(data))) == data  # type: ignore[arg-type]


@given(st.lists(st.binary(max_size=50)))
def test_nothing_that_arrives_raises(pieces: list[bytes]) -> None:
    reader = TelnetReader()
    read(reader, *pieces)
    read(reader, b"\xff\xf0" * 3, negotiate(DO, 1))


def test_a_subnegotiation_without_end_does_not_grow_for_ever() -> None:
    reader = TelnetReader()
    read(reader, b"\xff\xfa\x2c", *[b"x" * 1000] * 50)
    assert read(reader, b"data") == [b"data"]
