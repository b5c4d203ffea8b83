"""The MQTT codec of the stand-in: round trips, bytes from the standard, and anything that is not MQTT."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.thingsboard.codec import Frame, Framer, decode, encode
from simulator.thingsboard.packets import (
    MQTT_5,
    MQTT_311,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    Reason,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from simulator.thingsboard.wire import MalformedPacketError, Reader, encode_variable

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
TOPIC = TEXT.filter(lambda text: text and "#" not in text and "+" not in text)
IDENTIFIER = st.integers(1, 65_535)
BYTE = st.integers(0, 255)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        0x01: BYTE,
        0x02: st.integers(0, 2**32 - 1),
        0x0B: st.integers(0, 0x0FFF_FFFF),
        0x16: st.binary(max_size=10),
        0x1F: TEXT,
        0x21: st.integers(0, 65_535),
        0x26: st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3),
    },
)


def packets(version: int) -> st.SearchStrategy[Packet]:
    """Every packet a connection of this version can carry."""
    five = version == MQTT_5
    properties = PROPERTIES if five else st.just({})
    reason = BYTE if five else st.just(0)
    return st.one_of(
        st.builds(
            Connect,
            TEXT,
            st.just(version),
            st.booleans(),
            st.integers(0, 65_535),
            st.none() | TEXT,
            st.none() | st.binary(max_size=20),
            properties,
        ),
        st.builds(ConnAck, BYTE, st.booleans(), properties),
        st.builds(Publish, TOPIC, st.binary(max_size=300), st.integers(1, 2), IDENTIFIER, st.booleans(), st.booleans(), properties),
        st.builds(Publish, TOPIC, st.binary(max_size=300), st.just(0), st.just(0), st.booleans(), st.just(False), properties),
        st.builds(PubAck, IDENTIFIER, reason, properties),
        st.builds(Subscribe, IDENTIFIER, st.lists(st.tuples(TEXT, st.integers(0, 2)), min_size=1, max_size=4).map(tuple), properties),
        st.builds(SubAck, IDENTIFIER, st.lists(BYTE, max_size=4).map(tuple), properties),
        st.builds(Unsubscribe, IDENTIFIER, st.lists(TEXT, min_size=1, max_size=4).map(tuple), properties),
        st.builds(UnsubAck, IDENTIFIER, st.lists(BYTE, max_size=4).map(tuple) if five else st.just(()), properties),
        st.builds(Disconnect, reason, properties),
        st.sampled_from([PingReq(), PingResp()]),
    )


@pytest.mark.parametrize("version", [MQTT_311, MQTT_5])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_every_packet_survives_encoding_cutting_and_decoding(version: int, data: st.DataObject) -> None:
    sent = data.draw(st.lists(packets(version), min_size=1, max_size=4))
    stream = b"".join(encode(packet, version) for packet in sent)
    framer, received, at = Framer(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        received += [decode(frame, version) for frame in framer.feed(stream[at : at + step])]
        at += step
    assert received == sent


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([MQTT_311, MQTT_5]))
def test_garbage_is_malformed_and_nothing_else(data: bytes, version: int) -> None:
    framer = Framer()
    with contextlib.suppress(MalformedPacketError):
        for frame in framer.feed(data):
            decode(frame, version)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([1, 3, 4, 8, 10, 14]), BYTE, st.binary(max_size=40), st.sampled_from([MQTT_311, MQTT_5]))
def test_a_wrong_body_is_malformed_and_nothing_else(packet_type: int, flags: int, body: bytes, version: int) -> None:
    with contextlib.suppress(MalformedPacketError):
        decode(Frame(packet_type, flags & 0x0F, body), version)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (16_384, "808001"), (2_097_152, "80808001"), (268_435_455, "ffffff7f")],
)
def test_variable_byte_integers_are_those_of_the_standard(value: int, encoded: str) -> None:
    assert encode_variable(value).hex() == encoded
    assert Reader(bytes.fromhex(encoded)).variable() == value


def test_an_integer_that_needs_five_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="268435456"):
        encode_variable(268_435_456)
    with pytest.raises(MalformedPacketError, match="longer than four bytes"):
        Reader(b"\xff\xff\xff\xff\x01").variable()


@pytest.mark.parametrize(
    ("packet", "version", "encoded"),
    [
        (ConnAck(), MQTT_311, "20020000"),
        (ConnAck(), MQTT_5, "2003000000"),
        (ConnAck(Reason.BAD_USER_NAME_OR_PASSWORD), MQTT_5, "2003008600"),
        (PubAck(10), MQTT_311, "4002000a"),
        (PubAck(10), MQTT_5, "4002000a"),
        (PubAck(10, Reason.QUOTA_EXCEEDED), MQTT_5, "4004000a9700"),
        (PubAck(10, Reason.QUOTA_EXCEEDED), MQTT_311, "4002000a"),
        (Disconnect(Reason.SESSION_TAKEN_OVER), MQTT_5, "e0028e00"),
        (SubAck(1, (1, 0x8F)), MQTT_5, "900500010001" + "8f"),
        (PingResp(), MQTT_5, "d000"),
        (Publish("a/b", b"hi", 1, 10), MQTT_311, "32090003612f62000a6869"),
        (Publish("a/b", b"hi", 1, 10), MQTT_5, "320a0003612f62000a006869"),
    ],
)
def test_packets_have_the_bytes_of_the_standard(packet: Packet, version: int, encoded: str) -> None:
    assert encode(packet, version).hex() == encoded


def test_connect_of_a_real_client_with_a_will() -> None:
    body = bytes.fromhex("00044d515454" + "05" + "c6" + "003c" + "00" + "00026964" + "00" + "000177" + "000162" + "0003746f6b" + "00027077")
    assert decode(Frame(PacketType.CONNECT, 0, body), MQTT_5) == Connect("id", MQTT_5, True, 60, "tok", b"pw")


@pytest.mark.parametrize(
    ("frame", "version", "reason"),
    [
        (Frame(0, 0, b""), MQTT_5, Reason.PROTOCOL_ERROR),
        (Frame(5, 0, b"\0\1"), MQTT_5, Reason.PROTOCOL_ERROR),
        (Frame(PacketType.PUBLISH, 0b0110, b"\0\1a\0\1"), MQTT_311, Reason.MALFORMED_PACKET),
        (Frame(PacketType.PUBLISH, 0b0010, b"\0\1a\0\0"), MQTT_311, Reason.PROTOCOL_ERROR),
        (Frame(PacketType.PUBLISH, 0, b"\0\1#"), MQTT_311, Reason.TOPIC_NAME_INVALID),
        (Frame(PacketType.PUBLISH, 0, b"\0\2\xc3\x28"), MQTT_311, Reason.MALFORMED_PACKET),
        (Frame(PacketType.PUBLISH, 0, b"\0\1\0"), MQTT_311, Reason.MALFORMED_PACKET),
        (Frame(PacketType.SUBSCRIBE, 0, b"\0\1\0\1a\1"), MQTT_311, Reason.MALFORMED_PACKET),
        (Frame(PacketType.SUBSCRIBE, 2, b"\0\1"), MQTT_311, Reason.PROTOCOL_ERROR),
        (Frame(PacketType.SUBSCRIBE, 2, b"\0\1\0\1a\3"), MQTT_311, Reason.PROTOCOL_ERROR),
        (Frame(PacketType.UNSUBSCRIBE, 2, b"\0\1"), MQTT_311, Reason.PROTOCOL_ERROR),
        (Frame(PacketType.PINGREQ, 0, b"x"), MQTT_5, Reason.MALFORMED_PACKET),
        (Frame(PacketType.CONNECT, 0, b"\0\4MQTT\6\2\0\0\0\0"), MQTT_5, Reason.UNSUPPORTED_PROTOCOL_VERSION),
        (Frame(PacketType.CONNECT, 0, b"\0\4MQTT\4\3\0\0\0\0"), MQTT_5, Reason.MALFORMED_PACKET),
        (Frame(PacketType.DISCONNECT, 0, b"\0\2\x7f\0"), MQTT_5, Reason.MALFORMED_PACKET),
        (Frame(PacketType.DISCONNECT, 0, b"\0\x0a\x11\0\0\0\1\x11\0\0\0\1"), MQTT_5, Reason.PROTOCOL_ERROR),
    ],
)
def test_what_the_standard_forbids_is_refused_with_its_reason(frame: Frame, version: int, reason: Reason) -> None:
    with pytest.raises(MalformedPacketError) as caught:
        decode(frame, version)
    assert caught.value.reason == reason


def test_a_packet_over_the_limit_is_refused_before_its_body_arrives() -> None:
    framer = Framer(limit=65_536)
    assert list(framer.feed(b"\x32" + encode_variable(65_536))) == []
    with pytest.raises(MalformedPacketError, match="65537 bytes exceeds"):
        list(Framer(limit=65_536).feed(b"\x32" + encode_variable(65_537)))


def test_frames_before_a_broken_length_still_come_out() -> None:
    frames = Framer().feed(b"\xc0\x00\xc0\xff\xff\xff\xff")
    assert next(frames) == Frame(PacketType.PINGREQ, 0, b"")
    with pytest.raises(MalformedPacketError):
        next(frames)


def test_the_access_token_is_not_in_a_packet_s_repr() -> None:
    assert "secret" not in repr(Connect("id", user_name="secret-token", password=b"secret"))
