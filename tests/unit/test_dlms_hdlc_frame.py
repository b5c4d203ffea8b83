"""HDLC frames: captured bytes, every address size, every kind of frame, and bytes that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.hdlc.frame import Address, Frame, FrameType, HdlcError, check_sequence, decode, server_address

SNRM = bytes.fromhex("7EA00A00020023219318717E")
"""A vendor's guide: client 16 to logical device 1, physical 17, address of four bytes."""
UA = bytes.fromhex("7EA023210002002373F6C58180140502008006020080070400000001080400000001CE6A7E")
"""Its answer: information fields of 128 bytes, window 1."""
METER = Address(1, 17, 4)
CLIENT = Address(16)

sizes = st.sampled_from((1, 2, 4))
numbers = st.integers(0, 7)


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    size = draw(sizes)
    limit = 0x3FFF if size == 4 else 0x7F
    return Address(draw(st.integers(0, limit)), 0 if size == 1 else draw(st.integers(0, limit)), size)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    frame_type = draw(st.sampled_from(FrameType))
    numbered = frame_type in (FrameType.I, FrameType.RR, FrameType.RNR)
    return Frame(
        frame_type,
        draw(addresses()),
        draw(addresses()),
        draw(st.binary(max_size=300)),
        ns=draw(numbers) if frame_type is FrameType.I else 0,
        nr=draw(numbers) if numbered else 0,
        final=draw(st.booleans()),
        segmented=draw(st.booleans()),
    )


def test_captured_snrm() -> None:
    frame = Frame(FrameType.SNRM, METER, CLIENT)
    assert frame.encode() == SNRM
    assert decode(SNRM) == frame


def test_captured_ua() -> None:
    frame = decode(UA)
    assert (frame.type, frame.source, frame.destination) == (FrameType.UA, METER, CLIENT)
    assert frame.information.hex() == "8180140502008006020080070400000001080400000001"
    assert frame.encode() == UA


@given(frames())
def test_decode_is_the_inverse_of_encode(frame: Frame) -> None:
    assert decode(frame.encode()) == frame


@pytest.mark.parametrize(
    ("frame", "control"),
    [
        (Frame(FrameType.I, METER, CLIENT, b"x", ns=3, nr=5), 0xB6),
        (Frame(FrameType.I, METER, CLIENT, b"x", ns=3, nr=5, final=False), 0xA6),
        (Frame(FrameType.RR, METER, CLIENT, nr=2), 0x51),
        (Frame(FrameType.RNR, METER, CLIENT, nr=2), 0x55),
        (Frame(FrameType.DISC, METER, CLIENT), 0x53),
        (Frame(FrameType.DM, METER, CLIENT), 0x1F),
        (Frame(FrameType.FRMR, METER, CLIENT), 0x97),
        (Frame(FrameType.UI, METER, CLIENT), 0x13),
    ],
)
def test_control_field(frame: Frame, control: int) -> None:
    assert frame.encode()[8] == control


@pytest.mark.parametrize(
    ("address", "encoded"),
    [
        (Address(16), "21"),
        (Address(1, 17, 2), "0223"),
        (Address(1, 17, 4), "00020023"),
        (Address(1, 9999, 4), "00029c1f"),
        (Address(0, 1, 2), "0003"),
        (Address(0x3FFF, 0x3FFF, 4), "fefefeff"),
    ],
)
def test_addresses(address: Address, encoded: str) -> None:
    assert address.encode().hex() == encoded


@pytest.mark.parametrize(
    ("logical", "physical", "size", "expected"),
    [(1, 0, None, 1), (1, 17, None, 2), (1, 128, None, 4), (200, 0, None, 4), (0, 1, None, 2), (1, 17, 4, 4), (1, 0, 2, 2)],
)
def test_shortest_server_address(logical: int, physical: int, size: int | None, expected: int) -> None:
    assert server_address(logical, physical, size) == Address(logical, physical, expected)


@pytest.mark.parametrize(("logical", "physical", "size"), [(1, 17, 1), (128, 1, 2), (1, 128, 2), (0x4000, 0, 4), (1, 1, 3)])
def test_server_address_that_does_not_fit(logical: int, physical: int, size: int) -> None:
    with pytest.raises(HdlcError, match="does not fit"):
        server_address(logical, physical, size)


def test_answers_may_come_with_another_address_size() -> None:
    assert Address(1, 17, 2).answers(METER)
    assert Address(1).answers(Address(1, 0, 2))
    assert not Address(1, 18, 4).answers(METER)
    assert not Address(2, 17, 4).answers(METER)


def test_every_station_may_answer_the_all_station_address() -> None:
    assert Address(1, 5, 2).answers(Address(1, 0x7F, 2))
    assert Address(1, 1234, 4).answers(Address(1, 0x3FFF, 4))
    assert not Address(2, 5, 2).answers(Address(1, 0x7F, 2))


@pytest.mark.parametrize("position", range(len(UA)))
def test_a_changed_byte_is_noticed(position: int) -> None:
    damaged = bytearray(UA)
    damaged[position] ^= 0x10
    with pytest.raises(HdlcError):
        decode(bytes(damaged))


def _with_valid_sequence(body: str) -> bytes:
    raw = bytes.fromhex(body)
    return b"\x7e" + raw + check_sequence(raw) + b"\x7e"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "flag"),
        (SNRM[:-1], "flag"),
        (_with_valid_sequence("a00a0002002321ff"), "unknown control"),
        (_with_valid_sequence("a00921020403" + "93"), "1, 2 or 4"),
        (_with_valid_sequence("a00900020023" + "00"), "too short"),
        (_with_valid_sequence("b00a000200232193"), "length"),
    ],
)
def test_no_frame(data: bytes, why: str) -> None:
    with pytest.raises(HdlcError, match=why):
        decode(data)


def test_wrong_hcs_under_a_right_fcs() -> None:
    body = bytearray(UA[1:-3])
    body[8] ^= 1
    with pytest.raises(HdlcError, match="wrong HCS"):
        decode(b"\x7e" + bytes(body) + check_sequence(body) + b"\x7e")


def test_a_frame_too_long_for_its_length_field() -> None:
    with pytest.raises(HdlcError, match="length field"):
        Frame(FrameType.I, METER, CLIENT, bytes(2048)).encode()


@given(st.binary(max_size=60))
def test_any_bytes_are_a_frame_or_an_error(data: bytes) -> None:
    try:
        frame = decode(data)
    except HdlcError:
        return
    assert frame.encode()[-1:] == b"\x7e"


def test_in_words() -> None:
    assert str(Frame(FrameType.I, METER, CLIENT, b"x", ns=1, nr=2, segmented=True, final=False)) == "I S=1 R=2 segmented not final"
    assert str(Frame(FrameType.RR, METER, CLIENT, nr=4)) == "RR R=4"
    assert str(METER) == "1/17"
