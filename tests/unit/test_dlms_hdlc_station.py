"""The client's data link: limits, sequence numbers, segments, repetitions, RNR, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.events import Discarded, Progressed, Transmit
from connectors.dlms.hdlc.frame import Address, Frame, FrameType, decode
from connectors.dlms.hdlc.station import LLC_RESPONSE, MAX_POLLS, LinkBroken, LinkDown, LinkUp, Received, Station, StationEvent

METER = Address(1, 17, 4)
CLIENT = Address(16)
SNRM = bytes.fromhex("7EA00A00020023219318717E")
UA = bytes.fromhex("7EA023210002002373F6C58180140502008006020080070400000001080400000001CE6A7E")
"""A vendor's guide: information fields of 128 bytes, window 1."""

received_frames = st.builds(
    Frame,
    st.sampled_from(FrameType),
    st.sampled_from((CLIENT, Address(17))),
    st.sampled_from((METER, Address(1, 18, 4))),
    st.sampled_from((b"", LLC_RESPONSE)).flatmap(lambda llc: st.binary(max_size=40).map(lambda rest: llc + rest)),
    st.integers(0, 2),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)


def station(size: int = 128) -> Station:
    return Station(CLIENT, METER, size, max_apdu=2000)


def connected(size: int = 128, ua: Frame | None = None) -> Station:
    link = station(size)
    link.connect()
    link.receive(ua or decode(UA))
    return link


def answer(ns: int, nr: int, information: bytes, segmented: bool = False, final: bool = True, llc: bool = True) -> Frame:
    return Frame(FrameType.I, CLIENT, METER, (LLC_RESPONSE if llc else b"") + information, ns, nr, final, segmented)


def plain(frame_type: FrameType, nr: int = 0) -> Frame:
    return Frame(frame_type, CLIENT, METER, nr=nr)


def sent(events: list[StationEvent]) -> Frame:
    assert len(events) == 1
    assert isinstance(events[0], Transmit)
    return decode(events[0].data)


def is_discarded(events: list[StationEvent]) -> bool:
    return len(events) == 1 and isinstance(events[0], Discarded)


def test_snrm_without_parameters_where_they_are_the_defaults() -> None:
    link = station()
    assert link.connect() == SNRM
    assert link.receive(decode(UA)) == [LinkUp(128)]


def test_snrm_proposes_other_sizes_and_window_1() -> None:
    frame = decode(station(512).connect())
    assert frame.information.hex() == "8180140502020006020200070400000001080400000001"


@pytest.mark.parametrize(
    ("parameters", "offered", "size"),
    [
        ("", 512, 128),
        ("818014050201000602004007040000000108040000000" + "1", 512, 64),
        ("8180060501800601f8", 512, 248),
        ("818014050208000602080007040000000108040000000" + "1", 512, 512),
        ("8180120501", 512, 128),
        ("ffff", 512, 128),
        ("81800306020000", 512, 128),
    ],
)
def test_ua_limits_what_is_sent(parameters: str, offered: int, size: int) -> None:
    link = station(offered)
    link.connect()
    assert link.receive(Frame(FrameType.UA, CLIENT, METER, bytes.fromhex(parameters))) == [LinkUp(size)]


def test_sequence_numbers_count_modulo_8() -> None:
    link = connected()
    for i in range(20):
        request = decode(link.send(b"request"))
        assert (request.ns, request.nr, request.final) == (i % 8, i % 8, True)
        assert request.information == b"\xe6\xe6\x00request"
        assert link.receive(answer(i % 8, (i + 1) % 8, b"reply")) == [Received(b"reply")]


def test_long_requests_go_out_in_segments_each_after_an_rr() -> None:
    link = connected(ua=Frame(FrameType.UA, CLIENT, METER, bytes.fromhex("81800306010a")))
    first = decode(link.send(b"0123456789abcdefghij"))
    assert (first.information, first.segmented, first.ns) == (b"\xe6\xe6\x000123456", True, 0)
    assert is_discarded(link.receive(plain(FrameType.RR, nr=0)))
    second = sent(link.receive(plain(FrameType.RR, nr=1)))
    assert (second.information, second.segmented, second.ns) == (b"789abcdefg", True, 1)
    assert is_discarded(link.receive(answer(0, 2, b"too early")))
    third = sent(link.receive(plain(FrameType.RR, nr=2)))
    assert (third.information, third.segmented, third.ns) == (b"hij", False, 2)
    assert link.receive(answer(0, 3, b"reply")) == [Received(b"reply")]


def test_segmented_replies_are_asked_for_with_rr_and_joined() -> None:
    link = connected()
    link.send(b"request")
    assert sent(link.receive(answer(0, 1, b"one ", segmented=True))) == Frame(FrameType.RR, METER, CLIENT, nr=1)
    assert sent(link.receive(answer(1, 1, b"two ", segmented=True, llc=False))) == Frame(FrameType.RR, METER, CLIENT, nr=2)
    assert link.receive(answer(2, 1, b"three", llc=False)) == [Received(b"one two three")]
    assert decode(link.send(b"next")).nr == 3


def test_a_segment_without_the_final_bit_is_acknowledged_too() -> None:
    link = connected()
    link.send(b"request")
    (acknowledgement,) = link.receive(answer(0, 1, b"one ", segmented=True, final=False))
    assert isinstance(acknowledgement, Transmit)
    assert link.receive(answer(1, 1, b"two", llc=False)) == [Received(b"one two")]


@pytest.mark.parametrize(("ns", "nr"), [(7, 1), (1, 1), (1, 0), (0, 2)])
def test_a_frame_with_other_numbers_is_stale(ns: int, nr: int) -> None:
    link = connected()
    link.send(b"request")
    assert is_discarded(link.receive(answer(ns, nr, b"stale")))
    assert link.receive(answer(0, 1, b"reply")) == [Received(b"reply")]


def test_a_meter_that_never_counts_what_it_received_is_read() -> None:
    link = connected()
    for number in range(10):
        link.send(b"request")
        assert is_discarded(link.receive(answer((number - 1) & 7, 0, b"stale")))
        assert link.receive(answer(number & 7, 0, b"reply")) == [Received(b"reply")]


def test_a_meter_that_counts_must_go_on_counting() -> None:
    link = connected()
    link.send(b"one")
    assert link.receive(answer(0, 1, b"reply")) == [Received(b"reply")]
    link.send(b"two")
    assert is_discarded(link.receive(answer(1, 0, b"stale")))


def test_a_repeated_reply_is_discarded() -> None:
    link = connected()
    link.send(b"one")
    link.receive(answer(0, 1, b"reply one"))
    assert is_discarded(link.receive(answer(0, 1, b"reply one")))
    link.send(b"two")
    assert is_discarded(link.receive(answer(0, 1, b"reply one")))
    assert link.receive(answer(1, 2, b"reply two")) == [Received(b"reply two")]


def test_other_stations_on_a_shared_line_are_not_ours() -> None:
    link = connected()
    link.send(b"request")
    assert is_discarded(link.receive(Frame(FrameType.I, CLIENT, Address(1, 18, 4), LLC_RESPONSE + b"x", 0, 1)))
    assert is_discarded(link.receive(Frame(FrameType.I, Address(17), METER, LLC_RESPONSE + b"x", 0, 1)))
    assert is_discarded(link.receive(Frame(FrameType.DM, CLIENT, Address(1, 18, 4))))


def test_resend_gives_the_same_bytes() -> None:
    link = station()
    assert link.connect() == link.resend() == link.resend()
    link.receive(decode(UA))
    assert link.send(b"request") == link.resend() == link.resend()
    poll = sent(link.receive(answer(0, 1, b"part", segmented=True)))
    assert decode(link.resend()) == poll


def test_a_rejected_message_does_not_count() -> None:
    link = connected()
    link.send(b"request")
    assert link.receive(answer(0, 1, b"stale")) == [Received(b"stale")]
    link.reject()
    assert link.receive(answer(0, 1, b"reply")) == [Received(b"reply")]
    assert decode(link.send(b"next")).nr == 1


def test_a_reply_without_llc_bytes_does_not_count() -> None:
    link = connected()
    link.send(b"request")
    assert is_discarded(link.receive(answer(0, 1, b"reply", llc=False)))
    assert link.receive(answer(0, 1, b"reply")) == [Received(b"reply")]


def test_a_meter_that_is_not_ready_is_polled_and_gets_the_same_frame_again() -> None:
    link = connected()
    request = link.send(b"request")
    assert sent(link.receive(plain(FrameType.RNR, nr=0))) == Frame(FrameType.RR, METER, CLIENT, nr=0)
    assert link.receive(plain(FrameType.RR, nr=0)) == [Transmit(request)]
    assert link.receive(answer(0, 1, b"reply")) == [Received(b"reply")]


def test_a_meter_that_took_the_request_but_has_no_answer_yet_is_polled() -> None:
    link = connected()
    link.send(b"request")
    assert sent(link.receive(plain(FrameType.RR, nr=1))).type is FrameType.RR
    assert sent(link.receive(plain(FrameType.RNR, nr=1))).type is FrameType.RR
    assert link.receive(answer(0, 1, b"reply")) == [Received(b"reply")]


def test_polling_at_once_ends_and_goes_on_with_resend() -> None:
    link = connected()
    link.send(b"request")
    for _ in range(MAX_POLLS):
        sent(link.receive(plain(FrameType.RNR, nr=1)))
    assert is_discarded(link.receive(plain(FrameType.RNR, nr=1)))
    assert decode(link.resend()).type is FrameType.RR
    sent(link.receive(plain(FrameType.RNR, nr=1)))


def test_a_late_rr_to_an_earlier_request_starts_no_echo() -> None:
    link = connected()
    link.send(b"one")
    link.receive(answer(0, 1, b"reply"))
    assert is_discarded(link.receive(plain(FrameType.RR, nr=1)))
    link.send(b"two")
    assert is_discarded(link.receive(plain(FrameType.RR, nr=1)))


@pytest.mark.parametrize("frame_type", [FrameType.DM, FrameType.FRMR, FrameType.DISC])
def test_the_meter_ends_the_link(frame_type: FrameType) -> None:
    link = connected()
    link.send(b"request")
    (event,) = link.receive(plain(frame_type))
    assert isinstance(event, LinkBroken)
    assert frame_type.name in event.detail
    assert event.disconnected == (frame_type is FrameType.DM)


@pytest.mark.parametrize("frame_type", [FrameType.UA, FrameType.DM])
def test_disconnect(frame_type: FrameType) -> None:
    link = connected()
    assert decode(link.disconnect()).type is FrameType.DISC
    assert is_discarded(link.receive(answer(0, 0, b"late")))
    assert link.receive(plain(frame_type)) == [LinkDown()]


@pytest.mark.parametrize("frame_type", [FrameType.UA, FrameType.UI, FrameType.RR, FrameType.RNR, FrameType.SNRM])
def test_what_was_not_expected_is_discarded(frame_type: FrameType) -> None:
    assert is_discarded(connected().receive(plain(frame_type)))


def test_an_endless_reply_ends_the_link() -> None:
    link = connected()
    link.send(b"request")
    ns = 0
    for _ in range(100):
        (event,) = link.receive(answer(ns, 1, bytes(100), segmented=True, llc=ns == 0))
        ns = (ns + 1) % 8
        if isinstance(event, LinkBroken):
            break
    assert isinstance(event, LinkBroken)
    assert "2003 bytes" in event.detail


@given(st.lists(received_frames, max_size=20))
def test_no_frame_makes_it_fail(received: list[Frame]) -> None:
    link = connected()
    link.send(b"request")
    for frame in received:
        for event in link.receive(frame):
            if isinstance(event, Transmit):
                decode(event.data)
            if isinstance(event, Received):
                link.send(b"again")
    assert link.resend()


def test_connecting_again_forgets_everything() -> None:
    link = connected()
    link.send(b"request")
    link.receive(answer(0, 1, b"part", segmented=True))
    assert link.connect() == SNRM
    assert is_discarded(link.receive(answer(1, 1, b"part", llc=False)))
    assert link.receive(decode(UA)) == [LinkUp(128)]
    assert link.receive(plain(FrameType.UA)) != [LinkDown()]
    assert decode(link.send(b"request")).ns == 0


UA_WINDOW_7 = Frame(FrameType.UA, CLIENT, METER, bytes.fromhex("8180140502008006020080070400000007080400000001"))


def windowed(offered: int = 7, ua: Frame = UA_WINDOW_7) -> Station:
    """A link on which the meter may send as many frames as both sides agreed to; a request is out."""
    link = Station(CLIENT, METER, 128, max_apdu=2000, window=offered)
    link.connect()
    link.receive(ua)
    link.send(b"?")
    return link


def part(ns: int, final: bool = False, last: bool = False) -> Frame:
    return answer(ns, 1, bytes([ns]), segmented=not last, final=final or last, llc=ns == 0)


def test_a_window_is_offered_and_the_meters_smaller_one_holds() -> None:
    frame = decode(Station(CLIENT, METER, 128, max_apdu=2000, window=5).connect())
    assert frame.information.hex() == "8180140502008006020080070400000001080400000005"
    link = windowed(2)
    assert link.receive(part(0)) == [Progressed()]
    assert sent(link.receive(part(1))).nr == 2  # without the final bit, which some meters forget
    for parameters in ("", "8180030701" + "00", "81800307" + "0103", "8180060701ff0801ff"):
        link = windowed(3, Frame(FrameType.UA, CLIENT, METER, bytes.fromhex(parameters)))
        window = 3 if parameters.endswith(("03", "ff")) else 1
        for ns in range(window - 1):
            assert link.receive(part(ns)) == [Progressed()]
        assert sent(link.receive(part(window - 1))).type is FrameType.RR


def test_the_frames_of_a_window_are_acknowledged_together() -> None:
    link = windowed()
    assert [link.receive(part(ns)) for ns in range(3)] == [[Progressed()]] * 3
    assert sent(link.receive(part(3, final=True))) == Frame(FrameType.RR, METER, CLIENT, nr=4)
    assert link.receive(part(4)) == [Progressed()]
    assert link.receive(part(5, last=True)) == [Received(bytes(range(6)))]


def test_a_frame_that_is_lost_within_a_window_is_asked_for_again() -> None:
    link = windowed()
    link.receive(part(0))
    assert is_discarded(link.receive(part(2)))
    assert sent(link.receive(part(3, final=True))).nr == 1
    assert link.receive(part(1)) == [Progressed()]
    link.receive(part(2))
    assert sent(link.receive(part(3, final=True))).nr == 4
    assert link.receive(part(4, last=True)) == [Received(bytes(range(5)))]


def test_a_window_whose_end_is_lost_is_acknowledged_as_far_as_it_came() -> None:
    link = windowed()
    link.receive(part(0))
    link.receive(part(1))
    assert decode(link.resend()).nr == 2
    assert link.receive(part(2, last=True)) == [Received(bytes(range(3)))]


def test_a_meter_that_never_sends_what_is_missing_is_not_asked_for_ever() -> None:
    link = windowed()
    for _ in range(MAX_POLLS):
        assert sent(link.receive(part(3, final=True))).nr == 0
    assert is_discarded(link.receive(part(3, final=True)))
