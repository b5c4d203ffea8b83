from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.meter.hdlc_frame import Control, Frame, FrameReader, decode_address, encode_address, encode_frame, information_control
from simulator.meter.hdlc_link import HdlcLink
from simulator.meter.link import Connected, Disconnected, Reply, Request

# A vendor's guide: server logical 1, physical 17 in four bytes, client 16.
SNRM = bytes.fromhex("7EA00A00020023219318717E")
UA = bytes.fromhex("7EA023210002002373F6C58180140502008006020080070400000001080400000001CE6A7E")
SERVER = bytes.fromhex("00020023")
CLIENT = b"\x21"
LLC_REQUEST, LLC_RESPONSE = bytes.fromhex("E6E600"), bytes.fromhex("E6E700")
FINAL = 0x10

FRAMES = st.builds(
    Frame,
    destination=st.sampled_from([b"\x03", b"\x02\x23", SERVER]),
    source=st.sampled_from([b"\x21", b"\x41"]),
    control=st.integers(0, 255),
    information=st.binary(max_size=200),
    segmented=st.booleans(),
)


def link(size: int = 128) -> HdlcLink:
    return HdlcLink((1, 17), None, {16}, size)


def connected(size: int = 128) -> HdlcLink:
    opened = link(size)
    assert Connected(16) in list(opened.receive(SNRM))
    return opened


def information(send: int, receive: int, content: bytes, segmented: bool = False) -> bytes:
    return encode_frame(Frame(SERVER, CLIENT, information_control(send, receive), content, segmented))


def receiver_ready(receive: int) -> bytes:
    return encode_frame(Frame(SERVER, CLIENT, receive << 5 | FINAL | 1))


def parsed(data: bytes) -> Frame:
    (frame,) = FrameReader().feed(data)
    return frame


def replies(machine: HdlcLink, data: bytes) -> list[bytes]:
    return [event.data for event in machine.receive(data) if isinstance(event, Reply)]


def answered(machine: HdlcLink, data: bytes, apdu: bytes) -> Frame:
    (request,) = machine.receive(data)
    assert isinstance(request, Request)
    return parsed(machine.respond(apdu))


@pytest.mark.parametrize(
    ("logical", "physical", "size", "encoded"),
    [
        (1, 0, None, "03"),
        (1, 17, None, "0223"),
        (1, 17, 4, "00020023"),
        (0, 1, 2, "0003"),
        (1, 4321, None, "000242C3"),
        (200, 0, None, "02900001"),
    ],
)
def test_server_addresses(logical: int, physical: int, size: int | None, encoded: str) -> None:
    address = encode_address(logical, physical, size)
    assert address == bytes.fromhex(encoded)
    assert decode_address(address) == (logical, physical)


def test_an_address_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="1/4321 does not fit in 2 bytes"):
        encode_address(1, 4321, 2)


@given(FRAMES, st.binary(max_size=20).filter(lambda junk: b"\x7e" not in junk), st.binary(max_size=20))
def test_a_frame_is_found_behind_junk_and_byte_by_byte(frame: Frame, before: bytes, after: bytes) -> None:
    data = before + encode_frame(frame)
    assert next(FrameReader().feed(data + after)) == frame
    reader = FrameReader()
    assert [found for octet in data for found in reader.feed(bytes((octet,)))] == [frame]


@given(st.lists(FRAMES, min_size=1, max_size=4))
def test_one_flag_may_close_a_frame_and_open_the_next(frames: list[Frame]) -> None:
    shared = b"\x7e" + b"".join(encode_frame(frame)[1:] for frame in frames)
    assert list(FrameReader().feed(shared)) == frames


@given(FRAMES, st.data())
def test_a_frame_with_a_flipped_bit_is_skipped_and_the_next_one_found(frame: Frame, data: st.DataObject) -> None:
    good = encode_frame(frame)
    position = data.draw(st.integers(3, len(good) - 2))
    bad = bytearray(good)
    bad[position] ^= 1 << data.draw(st.integers(0, 7))
    assert list(FrameReader().feed(bytes(bad) + good))[-1:] == [frame]


def test_the_exchange_of_a_vendors_guide() -> None:
    assert list(link().receive(SNRM)) == [Connected(16), Reply(UA, "snrm")]


def test_limits_are_the_smaller_ones_of_both_sides() -> None:
    parameters = bytes.fromhex("8180 06 050140 060120".replace(" ", ""))
    reply = replies(link(128), encode_frame(Frame(SERVER, CLIENT, Control.SNRM | FINAL, parameters)))
    assert parsed(reply[0]).information == bytes.fromhex("818014 05020020 06020040 0704 00000001 0804 00000001".replace(" ", ""))


def test_without_a_connection_there_is_only_disconnected_mode() -> None:
    for frame in (information(0, 0, b"x"), receiver_ready(0), encode_frame(Frame(SERVER, CLIENT, Control.DISC | FINAL))):
        assert [parsed(reply).unnumbered for reply in replies(link(), frame)] == [Control.DM]


def test_a_disconnect_is_acknowledged_once() -> None:
    machine = connected()
    disconnect = encode_frame(Frame(SERVER, CLIENT, Control.DISC | FINAL))
    event, reply = machine.receive(disconnect)
    assert event == Disconnected(16)
    assert isinstance(reply, Reply)
    assert parsed(reply.data).unnumbered == Control.UA
    assert parsed(replies(machine, disconnect)[0]).unnumbered == Control.DM


def test_a_repeated_request_gets_the_same_reply_and_is_not_handed_up_again() -> None:
    machine = connected()
    request = information(0, 0, LLC_REQUEST + b"ask")
    (event,) = machine.receive(request)
    assert event == Request(16, b"ask")
    reply = machine.respond(b"answer")
    assert list(machine.receive(request)) == [Reply(reply, "repeated")]
    assert list(machine.receive(request)) == [Reply(reply, "repeated")]
    assert answered(machine, information(1, 1, LLC_REQUEST + b"next"), b"more").information == LLC_RESPONSE + b"more"


@pytest.mark.parametrize(("send", "receive"), [(1, 0), (0, 1), (3, 3), (7, 0)])
def test_a_request_out_of_sequence_is_ignored(send: int, receive: int) -> None:
    assert list(connected().receive(information(send, receive, LLC_REQUEST + b"ask"))) == []


def test_numbers_wrap_at_eight() -> None:
    machine = connected()
    for turn in range(20):
        reply = answered(machine, information(turn % 8, turn % 8, LLC_REQUEST + bytes((turn,))), b"answer")
        assert (reply.send_number, reply.receive_number) == (turn % 8, (turn + 1) % 8)


def test_a_long_reply_comes_in_segments_one_for_each_receiver_ready() -> None:
    machine = connected(size=32)
    answer = bytes(range(100))
    first = answered(machine, information(0, 0, LLC_REQUEST + b"ask"), answer)
    segments = [first]
    while segments[-1].segmented:
        number = (segments[-1].send_number + 1) % 8
        (reply,) = replies(machine, receiver_ready(number))
        segments.append(parsed(reply))
    assert b"".join(segment.information for segment in segments) == LLC_RESPONSE + answer
    assert [len(segment.information) for segment in segments] == [32, 32, 32, 7]


def test_a_lost_segment_is_sent_again() -> None:
    machine = connected(size=32)
    answered(machine, information(0, 0, LLC_REQUEST + b"ask"), bytes(100))
    (second,) = replies(machine, receiver_ready(1))
    assert list(machine.receive(receiver_ready(1))) == [Reply(second, "repeated")]
    (third,) = replies(machine, receiver_ready(2))
    assert parsed(third).send_number == 2


def test_a_segmented_request_is_acknowledged_and_put_together() -> None:
    machine = connected()
    first = information(0, 0, LLC_REQUEST + b"one ", segmented=True)
    (acknowledgement,) = replies(machine, first)
    assert parsed(acknowledgement).control == 1 << 5 | FINAL | 1
    assert replies(machine, first) == [acknowledgement]
    assert list(machine.receive(information(1, 0, b"two"))) == [Request(16, b"one two")]


def test_a_request_without_end_costs_the_connection_not_the_memory() -> None:
    machine = connected()
    for turn in range(40):
        replies(machine, information(turn % 8, 0, bytes(2000), segmented=True))
    assert parsed(replies(machine, receiver_ready(0))[0]).unnumbered == Control.DM


@pytest.mark.parametrize(("destination", "source"), [("00020025", "21"), ("03", "21"), ("00020023", "41")])
def test_another_station_and_an_unknown_client_get_no_answer(destination: str, source: str) -> None:
    frame = encode_frame(Frame(bytes.fromhex(destination), bytes.fromhex(source), Control.SNRM | FINAL))
    assert list(link().receive(frame)) == []


def test_an_address_of_another_size_is_ignored_where_one_size_is_asked_for() -> None:
    machine = HdlcLink((1, 17), 2, {16}, 128)
    assert list(machine.receive(SNRM)) == []
    assert len(list(machine.receive(encode_frame(Frame(b"\x02\x23", CLIENT, Control.SNRM | FINAL))))) == 2


@given(st.lists(FRAMES, max_size=12))
def test_any_sequence_of_frames_leaves_a_machine_that_still_connects(frames: list[Frame]) -> None:
    machine = link()
    for frame in frames:
        for event in machine.receive(encode_frame(frame)):
            if isinstance(event, Request):
                machine.respond(event.apdu * 3)
    assert Reply(UA, "snrm") in list(machine.receive(SNRM))
