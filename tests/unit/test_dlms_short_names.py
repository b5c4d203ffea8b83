"""READ by short names without sockets: the object list, blocks, errors, and what must not be taken for an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.apdu import read
from connectors.dlms.apdu.get import Stale
from connectors.dlms.apdu.replies import ReadResponse
from connectors.dlms.apdu.short_names import ShortNames, block_request, capacity, read_request
from connectors.dlms.axdr import CosemError
from connectors.dlms.conversation import Conversation
from connectors.dlms.events import Answered, Associated, Attribute, AttributeResult, Discarded, Dropped, Event, ServiceRefused, Transmit
from connectors.dlms.hdlc.frame import Address, Frame, FrameType
from connectors.dlms.states import LocalProtocolError, State
from connectors.dlms.wrapper import wrap
from model.messages import ErrorKind
from model.settings.meter import MeterSettings

ENERGY = Attribute(3, bytes([1, 0, 1, 8, 0, 255]), 2)
SCALER = Attribute(3, bytes([1, 0, 1, 8, 0, 255]), 3)
CLOCK = Attribute(8, bytes([0, 0, 1, 0, 0, 255]), 2)
ABSENT = Attribute(3, bytes([1, 0, 99, 8, 0, 255]), 2)
GIVEN = Attribute(3, bytes([1, 0, 32, 7, 0, 255]), 2, 0x6200)

AARE = bytes.fromhex("6129a109060760857405080102a203020100a305a103020100be10040e0800065f1f04001012000200fa00")
"""Accepted for short names: READ, lists and blocks, PDU size 512."""
LIST_DATA = bytes.fromhex("0102" + "0204108800120003110009060100010800ff" + "0204102bc0120008110009060000010000ff")
"""Energy at 8800 (negative on the wire), clock at 2BC0."""
LIST = bytes.fromhex("0c0100") + LIST_DATA
LIST_REQUEST = "050102fa08"


def settings(**more: Any) -> MeterSettings:
    base = {"id": "m1", "connect": "tcp://127.0.0.1:4059", "template": "t", "framing": "wrapper", "referencing": "short"}
    return MeterSettings.model_validate({**base, **more})


def answer(apdu: str | bytes) -> bytes:
    return wrap(1, 16, bytes.fromhex(apdu) if isinstance(apdu, str) else apdu)


def associated(**more: Any) -> Conversation:
    conversation = Conversation(settings(**more))
    request = conversation.open()
    assert bytes.fromhex("a109060760857405080102") in request  # short names without ciphering
    assert conversation.receive(answer(AARE)) == [Associated(True, True, 512, 0)]
    return conversation


def ready(**more: Any) -> Conversation:
    """A conversation that has read the object list."""
    conversation = associated(**more)
    conversation.get([CLOCK])
    conversation.receive(answer(LIST))
    conversation.receive(answer("0c010000"))
    assert conversation.state is State.ASSOCIATED
    return conversation


def sent(events: list[Event]) -> str:
    (event,) = events
    assert isinstance(event, Transmit)
    return event.data[8:].hex()


def test_a_value_may_be_refused_with_the_words_that_refused_the_list() -> None:
    conversation = associated()
    conversation.get([ENERGY, GIVEN])
    conversation.receive(answer("0c010103"))
    (event,) = conversation.receive(answer("0c010103"))
    assert isinstance(event, Answered)
    assert event.results[1].error_detail == "read-write-denied"


def blocks(data: bytes, size: int, first: int = 1) -> Iterator[str]:
    for offset in range(0, len(data), size):
        part = data[offset : offset + size]
        last = offset + size >= len(data)
        yield f"0c0102{last:02x}{first + offset // size:04x}{len(part):02x}{part.hex()}"


def test_a_name_is_looked_up_once_and_attributes_are_eight_apart() -> None:
    conversation = associated()
    assert conversation.get([ENERGY, SCALER, CLOCK])[8:].hex() == LIST_REQUEST
    assert conversation.listing
    assert sent(conversation.receive(answer(LIST))) == "0503" + "028808" + "028810" + "022bc8"
    assert not conversation.listing
    results = conversation.receive(answer("0c03" + "000600000123" + "0002020f00161e" + "0103"))
    denied = AttributeResult(CLOCK, None, ErrorKind.ACCESS, "read-write-denied")
    assert results == [Answered((AttributeResult(ENERGY, 0x123), AttributeResult(SCALER, [0, 30]), denied))]
    assert conversation.get([ENERGY])[8:].hex() == "0501028808"


@pytest.mark.parametrize("last", ["0c0100" + LIST_DATA.hex(), next(blocks(b"\x01\x00" + LIST_DATA, 100))])
def test_an_object_list_that_comes_twice_is_no_value(last: str) -> None:
    conversation = associated()
    conversation.get([ENERGY])
    request, repeated = conversation.receive(answer(last) + answer(last))
    assert isinstance(request, Transmit)
    assert isinstance(repeated, Discarded)
    assert conversation.receive(answer("0c01001105")) == [Answered((AttributeResult(ENERGY, 5),))]


def test_the_object_list_itself_may_be_asked_for() -> None:
    conversation = associated()
    listed = Attribute(12, bytes([0, 0, 40, 0, 0, 255]), 2, 0xFA00)
    conversation.get([ENERGY, listed])
    assert sent(conversation.receive(answer(LIST))) == "0502" + "028808" + "02fa08"
    (event,) = conversation.receive(answer("0c02" + "001105" + "00" + LIST_DATA.hex()))
    assert isinstance(event, Answered)


def test_the_list_outlives_the_association_until_another_meter_may_be_there() -> None:
    conversation = ready()
    conversation.open()
    conversation.receive(answer(AARE))
    assert conversation.get([ENERGY])[8:].hex() == "0501028808"
    conversation.forget()
    conversation.open()
    conversation.receive(answer(AARE))
    assert conversation.get([ENERGY])[8:].hex() == LIST_REQUEST


def test_what_the_list_lacks_is_answered_without_the_meter_until_the_next_association() -> None:
    conversation = ready()
    detail = "object-undefined: the meter's object list has no 1.0.99.8.0.255 of class 3"
    nothing = AttributeResult(ABSENT, None, ErrorKind.ACCESS, detail)
    assert conversation.without_asking([ABSENT]) == (nothing,)
    with pytest.raises(LocalProtocolError):
        conversation.get([ABSENT])
    assert conversation.get([ABSENT, ENERGY])[8:].hex() == "0501028808"
    assert conversation.receive(answer("0c01001105")) == [Answered((nothing, AttributeResult(ENERGY, 5)))]
    conversation.open()
    conversation.receive(answer(AARE))
    assert conversation.without_asking([ABSENT]) is None


def test_a_base_name_from_the_template_needs_no_list() -> None:
    conversation = associated()
    assert conversation.get([GIVEN])[8:].hex() == "0501026208"


def test_an_attribute_beyond_the_last_name_is_no_request() -> None:
    beyond = Attribute(3, GIVEN.logical_name, 9, 0xFFF0)
    (result,) = associated().without_asking([beyond]) or ()
    assert result.error_detail == "attribute 9 lies beyond the largest short name"


@pytest.mark.parametrize(
    "refusal",
    [
        "0c010103",
        "0e050502",
        "d80102",
        "0c0100ff",
        "0c01001105",
        "0c0100" + "0101" + "1105",
        "0c02",
        "0c",
        "0c010005",
        "0c0102010001041105",
    ],
)
def test_without_a_list_what_has_a_name_is_still_read(refusal: str) -> None:
    conversation = associated()
    conversation.get([ENERGY, GIVEN])
    assert sent(conversation.receive(answer(refusal))) == "0501026208"
    (event,) = conversation.receive(answer("0c010012090b"))
    assert isinstance(event, Answered)
    energy, given_ = event.results
    assert energy.error is ErrorKind.ACCESS
    assert energy.error_detail.startswith("the meter's object list cannot be read: ")
    assert "base_name" in energy.error_detail
    assert given_ == AttributeResult(GIVEN, 0x090B)
    assert conversation.without_asking([ENERGY]) is not None


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("before", [b"\x01\x00", b"\x00", b""], ids=["as the standard says", "without number", "bare"])
def test_a_list_in_blocks(before: bytes, first: int) -> None:
    conversation = associated()
    conversation.get([ENERGY])
    parts = list(blocks(before + LIST_DATA, 10, first))
    for number, part in enumerate(parts[:-1], start=first):
        assert sent(conversation.receive(answer(part))) == f"050105{number:04x}"
        assert isinstance(conversation.receive(answer(part))[0], Discarded)
    assert sent(conversation.receive(answer(parts[-1]))) == "0501028808"


@pytest.mark.parametrize("before", ["02" + "00", "00", ""], ids=["as the standard says", "without number", "without first choice"])
def test_values_in_blocks(before: str) -> None:
    conversation = ready()
    conversation.get([ENERGY, CLOCK])
    whole = bytes.fromhex(before + "0600000123" + "00" + "090c07d20c04030a060bff007800")
    *first, last = blocks(whole, 7)
    for part in first:
        sent(conversation.receive(answer(part)))
    (event,) = conversation.receive(answer(last))
    assert isinstance(event, Answered)
    assert [result.data for result in event.results] == [0x123, bytes.fromhex("07d20c04030a060bff007800")]


@pytest.mark.parametrize(
    "reply",
    [
        "0c010201000500",  # the first block is number 5
        "0c020011050011",  # cut short
        "0c03001105001105001105",  # three answers
        "0c01001105",  # one
        "0c02031105001105",  # an unknown choice
        "0c02001105001105ff",  # too long
        "0e050301",
    ],
)
def test_what_is_no_answer_to_this_request_is_refused_and_the_association_lives(reply: str) -> None:
    conversation = ready()
    conversation.get([ENERGY, CLOCK])
    assert isinstance(conversation.receive(answer(reply))[0], ServiceRefused)
    assert conversation.state is State.ASSOCIATED


def test_errors_of_the_service_are_named() -> None:
    conversation = ready()
    conversation.get([ENERGY])
    assert conversation.receive(answer("0e050502")) == [ServiceRefused("confirmed-service-error read: access object-access-violated")]


def test_a_get_response_is_no_answer_to_a_read_nor_the_other_way_round() -> None:
    conversation = ready()
    conversation.get([ENERGY])
    assert isinstance(conversation.receive(answer("c401c10011ff"))[0], Discarded)
    logical = Conversation(settings(referencing="logical"))
    logical.open()
    logical.receive(answer(AARE))
    logical.get([ENERGY])
    assert isinstance(logical.receive(answer("0c01001105"))[0], Discarded)


def test_a_read_is_repeated_only_where_frames_are_numbered() -> None:
    conversation = ready()
    assert conversation.may_repeat
    conversation.get([ENERGY])
    assert not conversation.may_repeat
    hdlc = Conversation(settings(framing="hdlc", association="pre-established"))
    hdlc.open()
    hdlc.receive(Frame(FrameType.UA, Address(16), Address(1)).encode())
    hdlc.get([GIVEN])
    assert hdlc.may_repeat


def test_a_meter_that_gives_up_upon_the_list_is_said_to() -> None:
    conversation = Conversation(settings(framing="hdlc", association="pre-established"))
    conversation.open()
    conversation.receive(Frame(FrameType.UA, Address(16), Address(1)).encode())
    conversation.get([ENERGY])
    (event,) = conversation.receive(Frame(FrameType.FRMR, Address(16), Address(1)).encode())
    assert isinstance(event, Dropped)
    assert "object list" in event.detail
    assert "base_name" in event.detail


def test_requests_are_cut_to_the_meters_pdu_size() -> None:
    assert [capacity(size) for size in (0, 1, 5, 8, 12, 512, 65535)] == [255, 1, 1, 1, 3, 169, 255]
    for size in (12, 64, 200, 512):
        assert len(read_request([(0xFFFF, b"")] * capacity(size))) <= size
    assert len(read_request([(1, b"")] * 255)) == 1 + 2 + 3 * 255
    assert block_request(0x1234).hex() == "0501051234"
    assert associated().fits([ENERGY] * 300, 300) == 169


@pytest.mark.parametrize(
    "data", [None, 5, [5], [[1, 2, 3]], [["x", 3, 0, b"123456"]], [[0x20000, 3, 0, b"123456"]], [[True, 3, 0, b"123456"]]]
)
def test_what_is_no_object_list(data: Any) -> None:
    with pytest.raises(CosemError):
        ShortNames().learn(data)


@given(st.binary(max_size=60), st.lists(st.binary(max_size=40), max_size=6))
def test_whatever_arrives_nothing_is_raised(first: bytes, more: list[bytes]) -> None:
    names = ShortNames()
    request = read.Read([ENERGY, GIVEN], names)
    for results in (first, *more):
        step = request.receive(ReadResponse(results))
        assert isinstance(step, (read.Ask, Answered, ServiceRefused, Stale))
        if isinstance(step, Answered):
            assert len(step.results) == 2


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_whatever_arrives_as_blocks_nothing_is_raised(parts: list[bytes]) -> None:
    request = read.Read([ENERGY], ShortNames())
    for number, part in enumerate(parts, start=1):
        step = request.receive(ReadResponse(bytes([1, 2, number == len(parts)]) + number.to_bytes(2, "big") + bytes([len(part)]) + part))
        assert isinstance(step, (read.Ask, Answered, ServiceRefused, Stale))


def test_a_list_of_more_objects_than_there_are_names_is_not_believed() -> None:
    with pytest.raises(CosemError, match="8192 entries"):
        ShortNames().learn([[8, 3, 0, bytes(6)]] * 8192)


def test_of_a_list_what_makes_sense_is_believed_and_the_first_of_two_names() -> None:
    names = ShortNames()
    names.learn([[0x100, 3, 0, ENERGY.logical_name], 5, [0x200, 3, 0, ENERGY.logical_name], ["x", 8, 0, CLOCK.logical_name]])
    assert names.find(ENERGY) == 0x108
    assert names.find(CLOCK) is None
