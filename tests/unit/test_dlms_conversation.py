"""Whole conversations with a scripted meter, whole, byte by byte and among junk; every way in which they end."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.conversation import Conversation
from connectors.dlms.events import (
    Answered,
    Associated,
    Attribute,
    AttributeResult,
    Discarded,
    Disconnected,
    Dropped,
    Event,
    Refused,
    Released,
    ServiceRefused,
    Transmit,
)
from connectors.dlms.hdlc.frame import Address, Frame, FrameType, decode
from connectors.dlms.hdlc.scanner import FrameScanner
from connectors.dlms.security.association import Security
from connectors.dlms.states import LocalProtocolError, State
from connectors.dlms.wrapper import wrap
from model.messages import ErrorKind
from model.settings.meter import MeterSettings

ENERGY = Attribute(3, bytes([1, 0, 1, 8, 0, 255]), 2)
SCALER = Attribute(3, bytes([1, 0, 1, 8, 0, 255]), 3)
CLOCK = Attribute(8, bytes([0, 0, 1, 0, 0, 255]), 2)
CLOCK_DATA = bytes.fromhex("07D20C04030A060BFF007800")

SNRM = bytes.fromhex("7EA00A00020023219318717E")
UA = bytes.fromhex("7EA023210002002373F6C58180140502008006020080070400000001080400000001CE6A7E")
"""A vendor's guide: information fields of 128 bytes, window 1."""
AARE = bytes.fromhex("6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f040000121404c80007")
"""Accepted, with-list and block transfer, PDU size 1224."""
NOT_AUTHENTICATED = bytes.fromhex("6117a109060760857405080101a203020101a305a10302010d")
AUTHENTICATION_REQUIRED = bytes.fromhex("6129a109060760857405080101a203020100a305a10302010ebe10040e0800065f1f040000121404c80007")
CHALLENGE = bytes.fromhex("6135a109060760857405080101a203020100a305a10302010eaa0a8008") + b"12345678" + AUTHENTICATION_REQUIRED[-18:]
RLRE = bytes.fromhex("6303800100")

Name = Literal["hdlc", "wrapper"]
FRAMINGS: tuple[Name, ...] = ("hdlc", "wrapper")


def settings(framing: Name, **more: Any) -> MeterSettings:
    return MeterSettings(
        id="m1",
        connect="tcp://127.0.0.1:4059",
        framing=framing,
        server_physical=17,
        server_address_size=4 if framing == "hdlc" else None,
        template="t",
        **more,
    )


class ScriptedMeter:
    """The other side: unwraps what the client sends, wraps the APDU the script wants as answer."""

    def __init__(self, framing: Name) -> None:
        self.hdlc = framing == "hdlc"
        self.ns = self.nr = 0

    def apdu(self, data: bytes) -> bytes:
        """The APDU in `data`, which the client has sent."""
        if not self.hdlc:
            assert data[:6].hex() == "000100100001"
            assert int.from_bytes(data[6:8], "big") == len(data) - 8
            return data[8:]
        frame = decode(data)
        assert (frame.type, frame.ns, frame.nr) == (FrameType.I, self.nr, self.ns)
        assert frame.information[:3].hex() == "e6e600"
        self.nr = (self.nr + 1) % 8
        return frame.information[3:]

    def answer(self, apdu: bytes) -> bytes:
        """What carries `apdu` to the client."""
        if not self.hdlc:
            return wrap(1, 16, apdu)
        self.ns = (self.ns + 1) % 8
        return self.frame(FrameType.I, b"\xe6\xe7\x00" + apdu, ns=(self.ns - 1) % 8, nr=self.nr)

    @staticmethod
    def frame(frame_type: FrameType, information: bytes = b"", **fields: Any) -> bytes:
        return Frame(frame_type, Address(16), Address(1, 17, 4), information, **fields).encode()


Feed = Callable[[Conversation, bytes], "list[Event]"]


def whole(conversation: Conversation, data: bytes) -> list[Event]:
    return conversation.receive(data)


def bytewise(conversation: Conversation, data: bytes) -> list[Event]:
    return [event for byte in data for event in conversation.receive(bytes([byte]))]


def among_junk(conversation: Conversation, data: bytes) -> list[Event]:
    return conversation.receive(b"\x7e\xa0junk\x00\x01" + data + b"\r\nBUSY")


FEEDS = (whole, bytewise, among_junk)


def kept(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Discarded)]


def transmitted(events: list[Event]) -> bytes:
    (event,) = kept(events)
    assert isinstance(event, Transmit)
    return event.data


def associated(framing: Name, **more: Any) -> tuple[Conversation, ScriptedMeter]:
    conversation, meter = Conversation(settings(framing, **more)), ScriptedMeter(framing)
    request = conversation.open()
    if meter.hdlc:
        request = transmitted(conversation.receive(UA))
    meter.apdu(request)
    conversation.receive(meter.answer(AARE))
    assert conversation.state is State.ASSOCIATED
    return conversation, meter


def reply(request: bytes, choice: str, rest: str) -> bytes:
    """A GET-response with the invoke-id of `request`."""
    return bytes.fromhex("c4" + choice) + request[2:3] + bytes.fromhex(rest)


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_whole_conversation(framing: Name, feed: Feed) -> None:
    conversation, meter = Conversation(settings(framing)), ScriptedMeter(framing)
    request = conversation.open()
    if framing == "hdlc":
        assert request == SNRM
        request = transmitted(feed(conversation, UA))
    assert conversation.state is State.ASSOCIATING
    assert meter.apdu(request)[0] == 0x60
    size = 128 if framing == "hdlc" else 0
    assert kept(feed(conversation, meter.answer(AARE))) == [Associated(True, True, 1224, size)]

    apdu = meter.apdu(conversation.get([ENERGY]))
    assert conversation.state is State.READING
    assert apdu[3:].hex() == "00030100010800ff0200"
    first_id = apdu[2] & 0x0F
    assert kept(feed(conversation, meter.answer(reply(apdu, "01", "000600000123")))) == [Answered((AttributeResult(ENERGY, 0x123),))]

    apdu = meter.apdu(conversation.get([ENERGY, SCALER]))
    assert apdu[2] & 0x0F == (first_id + 1) % 16
    assert kept(feed(conversation, meter.answer(reply(apdu, "03", "02000600000124" + "0103")))) == [
        Answered((AttributeResult(ENERGY, 0x124), AttributeResult(SCALER, None, ErrorKind.ACCESS, "read-write-denied")))
    ]

    apdu = meter.apdu(conversation.get([CLOCK]))
    following = transmitted(feed(conversation, meter.answer(reply(apdu, "02", "00" + "00000001" + "0005" + "090c07d20c"))))
    assert meter.apdu(following).hex() == f"c002{apdu[2]:02x}00000001"
    assert conversation.state is State.READING
    last = meter.answer(reply(apdu, "02", "01" + "00000002" + "0009" + CLOCK_DATA[3:].hex()))
    assert kept(feed(conversation, last)) == [Answered((AttributeResult(CLOCK, CLOCK_DATA),))]

    assert meter.apdu(conversation.release()).hex() == "6203800100"
    assert kept(feed(conversation, meter.answer(RLRE))) == [Released()]
    assert conversation.state is State.CONNECTED
    farewell = conversation.disconnect()
    if framing == "hdlc":
        assert decode(farewell).type is FrameType.DISC
        assert conversation.state is State.DISCONNECTING
        assert kept(feed(conversation, meter.frame(FrameType.UA))) == [Disconnected()]
    else:
        assert farewell == b""
    assert conversation.state is State.CLOSED


@pytest.mark.parametrize("feed", FEEDS)
def test_segments_in_both_directions(feed: Feed) -> None:
    """The meter takes 32 bytes at a time: the AARQ needs two frames, and so does the list."""
    conversation = Conversation(settings("hdlc", hdlc_information_size=256))
    conversation.open()
    first = decode(transmitted(feed(conversation, ScriptedMeter.frame(FrameType.UA, bytes.fromhex("818003060120")))))
    assert (len(first.information), first.segmented) == (32, True)
    second = decode(transmitted(feed(conversation, ScriptedMeter.frame(FrameType.RR, nr=1))))
    assert (first.information + second.information)[3] == 0x60
    assert second.segmented is False
    answer = b"\xe6\xe7\x00" + AARE
    poll = transmitted(feed(conversation, ScriptedMeter.frame(FrameType.I, answer[:20], ns=0, nr=2, segmented=True)))
    assert decode(poll) == Frame(FrameType.RR, Address(1, 17, 4), Address(16), nr=1)
    assert conversation.resend() == poll
    assert kept(feed(conversation, ScriptedMeter.frame(FrameType.I, answer[20:], ns=1, nr=2))) == [Associated(True, True, 1224, 32)]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_resend_repeats_the_last_request(framing: Name) -> None:
    conversation, meter = Conversation(settings(framing)), ScriptedMeter(framing)
    assert conversation.open() == conversation.resend()
    if meter.hdlc:
        assert transmitted(conversation.receive(UA)) == conversation.resend()
    conversation, meter = associated(framing)
    with pytest.raises(LocalProtocolError, match="associated"):
        conversation.resend()
    request = conversation.get([CLOCK])
    assert request == conversation.resend() == conversation.resend()
    apdu = meter.apdu(request)
    following = transmitted(conversation.receive(meter.answer(reply(apdu, "02", "00" + "00000001" + "0002" + "090c"))))
    assert conversation.resend() == following
    conversation, meter = associated(framing)
    assert conversation.release() == conversation.resend()


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_repeated_answer_changes_nothing(framing: Name) -> None:
    """A slow meter answers the request and its repetition."""
    conversation, meter = associated(framing)
    apdu = meter.apdu(conversation.get([ENERGY]))
    answer = meter.answer(reply(apdu, "01", "001101"))
    assert conversation.receive(answer) == [Answered((AttributeResult(ENERGY, 1),))]
    assert kept(conversation.receive(answer)) == []
    apdu = meter.apdu(conversation.get([ENERGY]))
    assert kept(conversation.receive(answer)) == []
    assert kept(conversation.receive(meter.answer(reply(apdu, "01", "001102")))) == [Answered((AttributeResult(ENERGY, 2),))]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_an_answer_with_another_invoke_id_is_stale_even_where_the_frame_fits(framing: Name) -> None:
    conversation, meter = associated(framing)
    apdu = bytearray(meter.apdu(conversation.get([ENERGY])))
    right = reply(bytes(apdu), "01", "001102")
    apdu[2] ^= 1
    stale = meter.answer(reply(bytes(apdu), "01", "001101"))
    meter.ns = (meter.ns - 1) % 8
    events = conversation.receive(stale + meter.answer(right))
    assert [type(event) for event in events] == [Discarded, Answered]
    assert kept(events) == [Answered((AttributeResult(ENERGY, 2),))]
    assert meter.apdu(conversation.get([ENERGY]))


def test_leftovers_of_an_earlier_connection_are_discarded() -> None:
    conversation, meter = associated("hdlc")
    apdu = meter.apdu(conversation.get([ENERGY]))
    late = meter.answer(reply(apdu, "01", "001101"))
    conversation.receive(late[:9])
    assert conversation.open() == SNRM
    assert kept(conversation.receive(late[9:] + late)) == []
    assert transmitted(conversation.receive(late[5:] + UA))


def test_invoke_ids_start_anywhere() -> None:
    starts = set()
    for _ in range(200):
        conversation, meter = associated("wrapper")
        starts.add(meter.apdu(conversation.get([ENERGY]))[2] & 0x0F)
    assert len(starts) > 8


def test_the_first_request_of_a_new_link_has_another_invoke_id_than_the_last_ones_before() -> None:
    conversation, meter = associated("wrapper")
    for _ in range(100):
        before = {meter.apdu(conversation.get([ENERGY]))[2]}
        conversation.open()
        conversation.receive(meter.answer(AARE))
        first = meter.apdu(conversation.get([ENERGY]))
        assert first[2] not in before
        conversation.receive(meter.answer(reply(first, "01", "001101")))


@pytest.mark.parametrize("framing", FRAMINGS)
def test_refused_association(framing: Name) -> None:
    conversation, meter = Conversation(settings(framing, authentication="low", password="x")), ScriptedMeter(framing)
    request = conversation.open()
    if meter.hdlc:
        request = transmitted(conversation.receive(UA))
    meter.apdu(request)
    (event,) = conversation.receive(meter.answer(NOT_AUTHENTICATED))
    assert isinstance(event, Refused)
    assert "authentication-failure" in event.detail
    assert "check password" in event.remedy and "client_sap" in event.remedy
    assert conversation.state is State.CONNECTED
    assert bool(conversation.disconnect()) == meter.hdlc


def test_an_association_that_waits_for_authentication_is_refused_where_none_was_offered() -> None:
    conversation, meter = Conversation(settings("wrapper")), ScriptedMeter("wrapper")
    conversation.open()
    (event,) = conversation.receive(meter.answer(AUTHENTICATION_REQUIRED))
    assert isinstance(event, Refused)
    assert "authentication-required" in event.detail and "high-level" in event.remedy


@pytest.mark.parametrize("answer", ["d80101", "0e010603", "6129a1", "6100"])
def test_an_association_answered_with_an_error(answer: str) -> None:
    conversation, meter = Conversation(settings("wrapper")), ScriptedMeter("wrapper")
    conversation.open()
    (event,) = conversation.receive(meter.answer(bytes.fromhex(answer)))
    assert isinstance(event, Refused)
    assert event.remedy


def test_disconnected_mode_while_connecting_is_a_refusal_the_second_time() -> None:
    """The first DM may be the answer to the DISC of an earlier connection, delivered late by a converter."""
    conversation = Conversation(settings("hdlc"))
    snrm = conversation.open()
    assert conversation.receive(ScriptedMeter.frame(FrameType.DM)) == [Transmit(snrm)]
    (event,) = conversation.receive(ScriptedMeter.frame(FrameType.DM))
    assert isinstance(event, Refused)
    assert "DM" in event.detail
    assert "server_physical" in event.remedy
    assert conversation.state is State.CLOSED
    assert conversation.disconnect() == b""


@pytest.mark.parametrize("frame_type", [FrameType.DM, FrameType.DISC, FrameType.FRMR])
def test_the_meter_ends_the_link(frame_type: FrameType) -> None:
    conversation, _ = associated("hdlc")
    conversation.get([ENERGY])
    (event,) = conversation.receive(ScriptedMeter.frame(frame_type))
    assert isinstance(event, Dropped)
    assert frame_type.name in event.detail
    assert conversation.state is State.CLOSED
    assert kept(conversation.receive(ScriptedMeter.frame(frame_type))) == []


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("answer", [bytes.fromhex("d80101"), bytes.fromhex("d80103"), NOT_AUTHENTICATED])
def test_the_meter_knows_no_association_any_more(framing: Name, answer: bytes) -> None:
    conversation, meter = associated(framing)
    meter.apdu(conversation.get([ENERGY]))
    (event,) = conversation.receive(meter.answer(answer))
    assert isinstance(event, Dropped)
    assert conversation.state is State.CLOSED


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("answer", ["d80101", "d80202", "0e050302", "c4"])
def test_a_list_refused_as_a_whole(framing: Name, answer: str) -> None:
    conversation, meter = associated(framing)
    meter.apdu(conversation.get([ENERGY, SCALER]))
    (event,) = conversation.receive(meter.answer(bytes.fromhex(answer)))
    assert isinstance(event, ServiceRefused)
    assert conversation.state is State.ASSOCIATED
    assert meter.apdu(conversation.get([ENERGY]))


@pytest.mark.parametrize(("choice", "rest"), [("03", "01001101"), ("01", "0103"), ("03", "02001101"), ("02", "0100000001010e")])
def test_a_list_answered_wrongly(choice: str, rest: str) -> None:
    conversation, meter = associated("wrapper")
    apdu = meter.apdu(conversation.get([ENERGY, SCALER]))
    (event,) = conversation.receive(meter.answer(reply(apdu, choice, rest)))
    assert isinstance(event, ServiceRefused)
    assert conversation.state is State.ASSOCIATED


def test_a_meter_that_knows_no_release() -> None:
    conversation, meter = associated("wrapper")
    conversation.release()
    assert conversation.receive(meter.answer(bytes.fromhex("d80202"))) == [Released()]


@pytest.mark.parametrize("apdu", ["0f00000001000900", "c2000003010001080", "6303800100", "ff", AARE.hex()])
def test_what_was_not_asked_for_is_discarded(apdu: str) -> None:
    conversation, meter = associated("wrapper")
    unasked = bytes.fromhex(apdu[: len(apdu) // 2 * 2])
    assert kept(conversation.receive(meter.answer(unasked))) == []
    request = meter.apdu(conversation.get([ENERGY]))
    events = conversation.receive(meter.answer(unasked) + meter.answer(reply(request, "01", "001101")))
    assert kept(events) == [Answered((AttributeResult(ENERGY, 1),))]


class Unused:
    """Where no counter is needed."""

    server_title = b""
    server_counter: int | None = None

    def next(self) -> int:
        raise AssertionError


def connecting(meter: MeterSettings) -> tuple[Conversation, ScriptedMeter]:
    conversation = Conversation(meter, Security(meter, Unused()))
    conversation.open()
    return conversation, ScriptedMeter("hdlc")


def in_state(state: State) -> Conversation:
    """A conversation in `state`, with HDLC."""
    conversation, meter = associated("hdlc")
    if state is State.IDLE:
        return Conversation(settings("hdlc"))
    if state is State.PROVING:
        conversation, meter = connecting(settings("hdlc", authentication="high-md5", hls_secret="s"))
        meter.apdu(transmitted(conversation.receive(UA)))
        conversation.receive(meter.answer(CHALLENGE))
    if state in (State.CONNECTING, State.ASSOCIATING):
        conversation.open()
    if state is State.ASSOCIATING:
        conversation.receive(UA)
    if state is State.READING:
        conversation.get([ENERGY])
    if state in (State.RELEASING, State.CONNECTED):
        meter.apdu(conversation.release())
    if state is State.CONNECTED:
        conversation.receive(meter.answer(RLRE))
    if state in (State.DISCONNECTING, State.CLOSED):
        conversation.disconnect()
    if state is State.CLOSED:
        conversation.receive(meter.frame(FrameType.UA))
    assert conversation.state is state
    return conversation


@pytest.mark.parametrize("state", State)
def test_what_the_caller_may_do_in_each_state(state: State) -> None:
    def may(action: Callable[[Conversation], bytes]) -> bool:
        conversation = in_state(state)
        try:
            action(conversation)
        except LocalProtocolError as error:
            assert state.value in str(error)
            assert conversation.state is state
            return False
        return True

    assert may(lambda c: c.open())
    assert may(lambda c: c.disconnect())
    assert may(lambda c: c.get([ENERGY])) == (state is State.ASSOCIATED)
    assert may(lambda c: c.release()) == (state in (State.ASSOCIATED, State.READING))
    waiting = (State.CONNECTING, State.ASSOCIATING, State.PROVING, State.READING, State.RELEASING, State.DISCONNECTING)
    assert may(lambda c: c.resend()) == (state in waiting)


@pytest.mark.parametrize("state", State)
def test_disconnect_says_goodbye_wherever_a_link_is(state: State) -> None:
    conversation = in_state(state)
    farewell = conversation.disconnect()
    assert bool(farewell) == (state not in (State.IDLE, State.CLOSED))
    assert conversation.state is (State.DISCONNECTING if farewell else State.CLOSED)


def test_a_request_needs_attributes() -> None:
    conversation, _ = associated("wrapper")
    for attributes in ([], [ENERGY] * 256):
        with pytest.raises(LocalProtocolError, match="attributes"):
            conversation.get(attributes)
    assert conversation.state is State.ASSOCIATED


def test_how_many_attributes_fit() -> None:
    conversation, meter = associated("wrapper")
    assert conversation.fits([ENERGY] * 200, 255) == 121
    assert conversation.fits([ENERGY] * 200, 32) == 32
    assert conversation.fits([ENERGY] * 3, 32) == 3
    assert conversation.fits([], 32) == 1
    assert len(meter.apdu(conversation.get([ENERGY] * 121))) <= 1224


@pytest.mark.parametrize(
    ("password", "expected"), [("12345678", b"12345678"), ("hex:00ff41", b"\x00\xffA"), ("ñ", "ñ".encode()), ("x" * 128, b"x" * 128)]
)
def test_password_in_the_association_request(password: str, expected: bytes) -> None:
    conversation = Conversation(settings("wrapper", authentication="low", password=password))
    assert bytes([0x80, len(expected)]) + expected in conversation.open()


@pytest.mark.parametrize("password", ["hex:secret", "secret" * 40])
def test_a_password_that_cannot_be_sent_is_not_shown(password: str) -> None:
    with pytest.raises(ValueError, match="password") as error:
        Conversation(settings("wrapper", authentication="low", password=password))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_trace_hides_the_password(framing: Name) -> None:
    conversation = Conversation(settings(framing, authentication="low", password="12345678"))
    request = conversation.open()
    if framing == "hdlc":
        assert conversation.trace(request, sent=True) == f"-> {SNRM.hex()} | SNRM"
        request = transmitted(conversation.receive(UA))
    line = conversation.trace(request, sent=True)
    assert "3132333435363738" not in line
    assert "ac0a8008" + "**" * 8 + "be10" in line
    assert line.endswith("AARQ")
    echo = [conversation.trace(request[:40], sent=False), conversation.trace(request[40:], sent=False)]
    assert not any(part in line for line in echo for part in ("313233", "343536", "353637", "363738"))


def test_trace_hides_a_password_cut_into_segments() -> None:
    password = "correct horse battery staple"
    conversation = Conversation(settings("hdlc", authentication="low", password=password))
    conversation.open()
    lines = []
    request = transmitted(conversation.receive(ScriptedMeter.frame(FrameType.UA, bytes.fromhex("818003060120"))))
    for nr in (1, 2, 3):
        lines.append(conversation.trace(request, sent=True))
        events = kept(conversation.receive(ScriptedMeter.frame(FrameType.RR, nr=nr)))
        request = transmitted(events)
    assert decode(request).type in (FrameType.I, FrameType.RR)
    pairs = {password[i : i + 3].encode().hex() for i in range(len(password) - 2)}
    assert not any(pair in line for pair in pairs for line in lines)


def test_trace_in_words() -> None:
    conversation, meter = associated("hdlc")
    apdu = meter.apdu(conversation.get([ENERGY]))
    answer = meter.answer(reply(apdu, "01", "001101"))
    number = apdu[2] & 0x0F
    assert conversation.trace(answer, sent=False) == f"<- {answer.hex()} | I S=1 R=2 GET-response-normal #{number} 1"
    assert conversation.trace(answer[:5], sent=False).endswith("| part of a message")
    assert conversation.trace(b"xx" + answer, sent=False).count("2 bytes: ") == 1
    wrapper, meter = associated("wrapper")
    apdu = meter.apdu(wrapper.get([ENERGY]))
    line = wrapper.trace(meter.answer(reply(apdu, "01", "001101")), sent=False)
    assert line.endswith(f"1 to 16 GET-response-normal #{apdu[2] & 0x0F} 1")


def script(framing: Name) -> Iterator[bytes]:
    """What a meter sends in the course of a conversation, without regard to the client."""
    meter = ScriptedMeter(framing)
    if meter.hdlc:
        yield UA
    meter.nr = 1
    yield meter.answer(AARE)
    for number in range(16):
        meter.nr = 2 + number % 3
        yield meter.answer(bytes.fromhex(f"c403c{number:x}0200060000012301" + "03"))
        yield meter.answer(bytes.fromhex(f"c402c{number:x}00000000010002090c"))
    yield meter.answer(bytes.fromhex("d80101"))
    yield meter.answer(RLRE)


@given(st.sampled_from(FRAMINGS), st.data())
def test_mutated_streams_never_raise(framing: Name, data: st.DataObject) -> None:
    stream = bytearray(b"".join(data.draw(st.lists(st.sampled_from(list(script(framing))), max_size=12))))
    stream[:0] = b"".join(list(script(framing))[:2])
    for _ in range(data.draw(st.integers(0, 6))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    conversation = Conversation(settings(framing))
    conversation.open()
    position = 0
    while position < len(stream):
        size = data.draw(st.integers(1, 60))
        piece = bytes(stream[position : position + size])
        position += size
        assert conversation.trace(piece, sent=False)
        for event in conversation.receive(piece):
            if isinstance(event, Transmit) and framing == "hdlc":
                assert [item for item in FrameScanner().feed(event.data) if isinstance(item, Frame)]
        if conversation.state is State.ASSOCIATED:
            conversation.get([ENERGY, CLOCK])


@given(st.data())
def test_the_pieces_in_which_bytes_arrive_do_not_matter(data: st.DataObject) -> None:
    """With HDLC, whose frames have checksums; a damaged wrapper message is judged by what has arrived behind it."""
    conversation, meter = associated("hdlc")
    apdu = meter.apdu(conversation.get([CLOCK]))
    stream = bytearray(meter.answer(reply(apdu, "02", "00" + "00000001" + "0005" + "090c07d20c")))
    meter.nr = (meter.nr + 1) % 8
    stream += meter.answer(reply(apdu, "02", "01" + "00000002" + "0009" + CLOCK_DATA[3:].hex()))
    stream += meter.answer(RLRE) + stream[5:]
    for _ in range(data.draw(st.integers(0, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    other = copy.deepcopy(conversation)
    assert kept(whole(conversation, bytes(stream))) == kept(bytewise(other, bytes(stream)))
    assert conversation.state is other.state


@given(st.sampled_from(FRAMINGS), st.lists(st.binary(max_size=50), max_size=5))
def test_random_bytes_never_raise(framing: Name, pieces: list[bytes]) -> None:
    conversation, _ = associated(framing)
    conversation.get([ENERGY])
    for piece in pieces:
        assert kept(conversation.receive(piece)) == []
    assert conversation.state is State.READING


@given(st.sampled_from(FRAMINGS), st.binary(max_size=60))
def test_random_apdus_never_raise(framing: Name, apdu: bytes) -> None:
    for state in (State.ASSOCIATED, State.READING, State.RELEASING):
        conversation, meter = associated(framing)
        if state is State.READING:
            meter.apdu(conversation.get([ENERGY]))
        if state is State.RELEASING:
            meter.apdu(conversation.release())
        conversation.receive(meter.answer(apdu))
