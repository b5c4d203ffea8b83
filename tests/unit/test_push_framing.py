"""Frames of senders: wrapper, HDLC, M-Bus with its segments, blocks; and that nothing a stranger sends does harm."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.dlms.axdr import CosemError
from connectors.dlms.events import Discarded
from connectors.dlms.hdlc.frame import Address, Frame, FrameType
from connectors.dlms.push.blocks import Blocks
from connectors.dlms.push.framing import HdlcDeframer, MBusDeframer, PushedApdu, WrapperDeframer
from connectors.dlms.push.notification import parse
from connectors.dlms.push.objects import objects
from connectors.dlms.push.stations import Stations
from model.messages import Outcome
from tests.unit.push_setup import Bench, wrapped
from tests.unit.push_telegrams import AIDON, EVN, ISKRAEMECO_AM550, KAIFA_LIST_2, KAMSTRUP, LANDIS_GYR_E450, LANDIS_GYR_E570

PLAIN = wrapped(bytes.fromhex("0F000000010011AA"))
TELEGRAMS = [
    AIDON,
    EVN,
    ISKRAEMECO_AM550,
    KAIFA_LIST_2,
    KAMSTRUP,
    LANDIS_GYR_E450,
    LANDIS_GYR_E570,
    wrapped(bytes.fromhex("0F000000010011AA")),
]


def m_bus(ci: int, data: bytes, address: int = 0xFF, control: int = 0x53) -> bytes:
    content = bytes([control, address, ci]) + data
    return bytes([0x68, len(content) & 0xFF, len(content) & 0xFF, 0x68]) + content + bytes([sum(content) & 0xFF, 0x16])


def block(number: int, data: bytes, last: bool = False) -> bytes:
    return bytes([0xE0, 0xC0 if last else 0x40]) + number.to_bytes(2, "big") + bytes([0, 0, len(data)]) + data


def hdlc(information: bytes, segmented: bool = False, source: int = 1) -> bytes:
    return Frame(FrameType.UI, Address(16), Address(source), information, segmented=segmented).encode()


def apdus(items: list[object]) -> list[bytes]:
    return [item.apdu for item in items if isinstance(item, PushedApdu)]


def test_m_bus_segments_are_joined():
    items = MBusDeframer().feed(m_bus(0x00, b"\x01\x67AB") + m_bus(0x01, b"\x01\x67CD") + m_bus(0x12, b"\x01\x67EF"))
    assert items == [PushedApdu(b"ABCDEF", "255/1")]


def test_m_bus_segments_of_two_meters_do_not_mix():
    items = MBusDeframer().feed(m_bus(0x00, b"\x01\x67A", 1) + m_bus(0x00, b"\x01\x67B", 2) + m_bus(0x11, b"\x01\x67a", 1))
    items += MBusDeframer().feed(b"")
    assert apdus(items) == [b"Aa"]


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_lost_m_bus_segment_loses_its_message_only(missing):
    segments = [m_bus(0x00, b"\x01\x67AB"), m_bus(0x01, b"\x01\x67CD"), m_bus(0x12, b"\x01\x67EF")]
    del segments[missing]
    items = MBusDeframer().feed(b"".join(segments) + m_bus(0x10, b"\x01\x67next"))
    assert apdus(items) == [b"next"]
    assert any(isinstance(item, Discarded) for item in items)


def test_an_m_bus_frame_whose_length_overflows_is_read():
    items = MBusDeframer().feed(m_bus(0x10, b"\x01\x67" + bytes(252)))
    assert [len(apdu) for apdu in apdus(items)] == [252]


def test_m_bus_frames_that_carry_no_dlms_are_counted():
    (item,) = MBusDeframer().feed(m_bus(0x72, b"\x01\x67A"))
    assert isinstance(item, Discarded)
    assert "carries no DLMS" in item.reason


def test_wrapper_messages_are_found_in_any_pieces():
    deframer = WrapperDeframer()
    data = wrapped(b"\x00\x01\x00\x01\x00\x02\x00\x01", 5) + wrapped(b"B", 6)
    items = [item for byte in data for item in deframer.feed(bytes([byte]))]
    assert items == [PushedApdu(b"\x00\x01\x00\x01\x00\x02\x00\x01", "5"), PushedApdu(b"B", "6")]


def test_a_stream_without_wrapper_headers_is_told():
    (item,) = WrapperDeframer().feed(AIDON)
    assert isinstance(item, Discarded)
    assert "the framing of the sender is another one" in item.reason


def test_a_datagram_cut_short_does_not_spoil_the_next():
    deframer = WrapperDeframer()
    assert deframer.feed(wrapped(b"ABC")[:-1]) == []
    assert isinstance(deframer.end_of_datagram()[0], Discarded)
    assert deframer.feed(wrapped(b"DEF")) == [PushedApdu(b"DEF", "1")]


def test_hdlc_segments_of_two_stations_do_not_mix():
    data = hdlc(b"\xe6\xe7\x00AB", True, 1) + hdlc(b"\xe6\xe7\x00ab", True, 2) + hdlc(b"CD", False, 1) + hdlc(b"cd", False, 2)
    assert apdus(HdlcDeframer().feed(data)) == [b"ABCD", b"abcd"]


def test_hdlc_segments_without_end_are_given_up():
    deframer = HdlcDeframer()
    first = deframer.feed(hdlc(b"\xe6\xe7\x00" + bytes(1000), True))
    rest = [item for _ in range(100) for item in deframer.feed(hdlc(bytes(1000), True))]
    assert first == []
    assert any(isinstance(item, Discarded) and "more than 65535 bytes" in item.reason for item in rest)


@pytest.mark.parametrize("framing", ["hdlc", "wrapper", "mbus"])
def test_blocks_are_joined_in_every_framing(framing):
    bench = Bench(framing)
    apdu = bytes.fromhex("0F00000001000101020309060100200700FF1208FD02020FFF1623")
    parts = [block(1, apdu[:10]), block(2, apdu[10:20]), block(3, apdu[20:], last=True)]
    framed = {"hdlc": lambda part: hdlc(b"\xe6\xe7\x00" + part), "wrapper": wrapped, "mbus": lambda part: m_bus(0x10, b"\x01\x67" + part)}
    cycles = [bench.push(framed[framing](part)) for part in parts]
    assert [len(found) for found in cycles] == [0, 0, 1]
    assert cycles[2][0].outcome is Outcome.OK


def test_a_block_out_of_order_is_an_error_and_the_next_message_is_read():
    blocks = Blocks()
    blocks.add(block(1, b"AB"))
    with pytest.raises(CosemError, match="block 3 came where 2 was expected"):
        blocks.add(block(3, b"EF", last=True))
    assert blocks.add(block(1, b"next", last=True)) == b"next"


def test_blocks_without_end_are_given_up():
    blocks = Blocks(most=1000)
    with pytest.raises(CosemError, match="blocks of more than 1000 bytes together"):
        for number in range(1, 100):
            blocks.add(block(number, bytes(100)))


def test_only_few_stations_are_remembered():
    stations: Stations[int] = Stations(3)
    for number in range(10):
        stations.put(str(number), number)
    assert (len(stations), stations.newest(2), stations.get("0")) == (3, [9, 8], None)


FRAMINGS = st.sampled_from(["hdlc", "wrapper", "mbus"])


@given(FRAMINGS, st.lists(st.binary(max_size=400), max_size=5))
def test_no_bytes_harm_the_receiver(framing, chunks):
    bench = Bench(framing)
    for chunk in chunks:
        bench.push(chunk)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A telegram with some bytes changed, taken out or put in."""
    data = bytearray(draw(st.sampled_from(TELEGRAMS)))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(data) - 1))
        change = draw(st.sampled_from(["flip", "cut", "insert"]))
        if change == "flip":
            data[position] ^= 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del data[position : position + draw(st.integers(1, 8))]
        else:
            data[position:position] = draw(st.binary(min_size=1, max_size=8))
        if not data:
            return b""
    return bytes(data)


@given(FRAMINGS, damaged())
@settings(max_examples=200)
def test_no_damaged_telegram_harms_the_receiver_or_the_next_one(framing, data):
    bench = Bench(framing, meters={"m": {"push_address": "192.0.2.7"}})
    bench.push(data)
    good = bytes.fromhex("0F000000010001010203090601002007 00FF1208FD02020FFF1623".replace(" ", ""))
    sender = bench.new_sender()
    framed = {"hdlc": hdlc(b"\xe6\xe7\x00" + good), "wrapper": wrapped(good), "mbus": m_bus(0x10, b"\x01\x67" + good)}[framing]
    (cycle,) = bench.push(framed, sender)
    assert cycle.outcome is Outcome.OK


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_a_notification_is_read_or_refused_with_a_reason(body):
    try:
        notification = parse(b"\x0f\x00\x00\x00\x01\x00" + body)
    except CosemError as error:
        assert str(error)
    else:
        objects(notification.body)


def test_endless_junk_does_not_fill_the_memory():
    bench = Bench("hdlc")
    junk = bytes([0x7E, 0xA7, 0xFF]) * 2000
    bench.push(junk)
    tracemalloc.start()
    try:
        for _ in range(50):
            bench.push(junk)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 500_000
