"""Requests byte by byte, replies as meters send them, and one GET followed to its end."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.apdu import names
from connectors.dlms.apdu.get import MAX_ANSWER, Get, NextBlock, Stale
from connectors.dlms.apdu.replies import (
    AssociationAccepted,
    AssociationRefused,
    GetBlock,
    GetList,
    GetNormal,
    Other,
    Released,
    ServiceError,
    parse,
)
from connectors.dlms.apdu.requests import RequestBuilder, list_capacity
from connectors.dlms.cosem import CosemError
from connectors.dlms.events import Answered, Attribute, AttributeResult, ServiceRefused
from model.messages import ErrorKind

ENERGY = Attribute(3, bytes([1, 0, 1, 8, 0, 255]), 2)
SCALER = Attribute(3, bytes([1, 0, 1, 8, 0, 255]), 3)
CLOCK = Attribute(8, bytes([0, 0, 1, 0, 0, 255]), 2)

CONTEXT = "a109060760857405080101"
ACCEPTED = "a203020100" + "a305a103020100"
INITIATE = "be10040e" + "0800065f1f0400001214" + "04c80007"
AARE = bytes.fromhex("6129" + CONTEXT + ACCEPTED + INITIATE)
"""Accepted; conformance block-transfer-with-get, multiple-references, get, selective-access; PDU size 1224."""


def aare(result: int, diagnostic: str, information: str = "") -> bytes:
    body = bytes.fromhex(CONTEXT + f"a2030201{result:02x}" + diagnostic + information)
    return bytes([0x61, len(body)]) + body


def user(code: int) -> str:
    return f"a305a1030201{code:02x}"


def test_aarq_without_authentication() -> None:
    """Application context logical names without ciphering; conformance 00 12 14; PDU size 1024."""
    request = RequestBuilder(None, 1024).associate()
    assert request.hex() == "601d" + CONTEXT + "be10040e" + "01000000065f1f0400001214" + "0400"


def test_aarq_with_low_level_security() -> None:
    """The same with sender-acse-requirements, mechanism low and the password as calling-authentication-value."""
    request = RequestBuilder(b"12345678", 65535).associate()
    security = "8a020780" + "8b0760857405080201" + "ac0a80083132333435363738"
    assert request.hex() == "6036" + CONTEXT + security + "be10040e" + "01000000065f1f0400001214" + "ffff"


def test_aarq_with_an_empty_password() -> None:
    assert "ac028000" in RequestBuilder(b"", 1024).associate().hex()


def test_aarq_is_the_same_each_time() -> None:
    builder = RequestBuilder(b"secret", 512)
    assert builder.associate() == builder.associate()


def test_a_password_that_no_aarq_can_hold() -> None:
    longest = RequestBuilder(b"x" * 128, 512).associate()
    assert longest[1] == len(longest) - 2
    with pytest.raises(ValueError, match="at most 128 bytes"):
        RequestBuilder(b"x" * 129, 512)


def test_get_requests(capfd: pytest.CaptureFixture[str]) -> None:
    builder = RequestBuilder(None, 1024)
    assert builder.get([ENERGY], 5).hex() == "c001c5" + "00030100010800ff0200"
    assert builder.get([ENERGY, CLOCK], 6).hex() == "c003c6" + "02" + "00030100010800ff0200" + "00080000010000ff0200"
    assert builder.next_block(1, 6).hex() == "c002c600000001"
    assert builder.release().hex() == "6203800100"
    assert capfd.readouterr() == ("", "")


def test_a_part_of_an_attribute_is_asked_for_behind_what_asks_for_all_of_it() -> None:
    builder = RequestBuilder(None, 1024)
    for selection in (b"\x01\x02", b"\x02" * 200):
        part = Attribute(7, bytes([1, 0, 99, 1, 0, 255]), 2, selection=selection)
        assert builder.get([part], 5).hex() == "c001c5" + "00070100630100ff02" + "01" + selection.hex()
        both = builder.get([ENERGY, part], 5).hex()
        assert both == "c003c5" + "02" + "00030100010800ff0200" + "00070100630100ff02" + "01" + selection.hex()


def test_long_lists_are_one_request() -> None:
    """gurux itself would cut a list after ten attributes."""
    builder = RequestBuilder(None, 1024)
    assert len(builder.get([ENERGY] * 32, 1)) == 4 + 320
    request = builder.get([ENERGY] * 200, 1)
    assert (request[3:5].hex(), len(request)) == ("81c8", 5 + 2000)


@pytest.mark.parametrize(("size", "count"), [(0, 255), (64, 5), (10, 1), (125, 12), (65535, 255)])
def test_how_many_attributes_fit(size: int, count: int) -> None:
    assert list_capacity(size) == count
    if count not in (1, 255):
        assert len(RequestBuilder(None, 1024).get([ENERGY] * count, 1)) <= size


def test_aare_accepted() -> None:
    reply = parse(AARE)
    assert reply == AssociationAccepted(conformance=0x001214, max_pdu_size=1224)
    assert (reply.with_list, reply.block_transfer) == (True, True)


@pytest.mark.parametrize(
    ("information", "conformance", "size"),
    [
        ("be0f040d" + "0800065f0400000010" + "00800007", 0x10, 128),
        ("be11040f" + "080100065f1f0400000010" + "00000007", 0x10, 0),
        ("be10040e" + "0800065f1f0400001a1d" + "ffff0007", 0x1A1D, 65535),
    ],
)
def test_aare_variants(information: str, conformance: int, size: int) -> None:
    """The older one-byte tag of the conformance; a quality of service and PDU size 0 (unlimited); all services."""
    assert parse(aare(0, user(0), information)) == AssociationAccepted(conformance, size)


def test_aare_with_titles_and_challenge_of_the_meter() -> None:
    extra = "a40a04084d4d4d0000bc614e" + "88020780" + "890760857405080201" + "aa0480024142"
    assert parse(aare(0, user(0), extra + INITIATE)) == AssociationAccepted(0x1214, 1224, challenge=b"AB")


def test_aare_that_waits_for_authentication() -> None:
    assert parse(aare(0, user(14), INITIATE)) == AssociationAccepted(0x1214, 1224, authentication_due=True)


@pytest.mark.parametrize(
    ("reply", "detail", "remedy"),
    [
        (aare(1, user(13)), "rejected-permanent, authentication-failure", "password"),
        (aare(1, user(3)), "calling-AP-title-not-recognized", "client_sap"),
        (aare(1, user(2)), "application-context-name-not-supported", "client_sap"),
        (aare(1, user(9)), "called-AE-qualifier-not-recognized", "server_logical"),
        (aare(1, user(11)), "authentication-mechanism-name-not-recognised", "authentication"),
        (aare(2, user(1)), "rejected-transient, no-reason-given", "wait 15 s"),
        (aare(1, user(0)), "rejected-permanent, no reason", "wait 15 s"),
        (aare(1, "a305a203020102"), "no-common-acse-version", "wait 15 s"),
        (aare(1, user(77)), "diagnostic 77", "client_sap"),
        (aare(1, user(1), "be0604040e010603"), "(confirmed-service-error initiateError: initiate pdu-size-too-short)", "client_sap"),
        (aare(1, ""), "rejected-permanent", "client_sap"),
    ],
)
def test_aare_refused(reply: bytes, detail: str, remedy: str) -> None:
    refused = parse(reply)
    assert isinstance(refused, AssociationRefused)
    assert detail in refused.detail
    assert remedy in refused.remedy


@pytest.mark.parametrize(
    "reply",
    [
        AARE[:-1],
        aare(0, user(0)),
        aare(0, user(0), "be040402ffff"),
        aare(0, user(0), "be10040e" + "0800055f1f0400001214" + "04c80007"),
        aare(0, user(0), "be10040e" + "0800065e1f0400001214" + "04c80007"),
        aare(0, ""),
        bytes.fromhex("6100"),
        b"",
        b"\xc4",
        bytes.fromhex("c409c100"),
        bytes.fromhex("c402c10100000001000501"),
        bytes.fromhex("c402c101000000010001aabb"),
        b"\xd8\x01",
        b"\x0e\x01",
    ],
)
def test_damaged_replies(reply: bytes) -> None:
    with pytest.raises(CosemError):
        parse(reply)


@pytest.mark.parametrize(
    ("reply", "parsed"),
    [
        ("c401c1000600000123", GetNormal(1, bytes.fromhex("000600000123"))),
        ("c4014301" + "03", GetNormal(3, b"\x01\x03")),
        ("c403c1020006000000010103", GetList(1, bytes.fromhex("020006000000010103"))),
        ("c402c2000000000100020102", GetBlock(2, False, 1, b"\x01\x02", None)),
        ("c402c20100000003010f", GetBlock(2, True, 3, b"", 15)),
        ("6303800100", Released()),
        ("d80101", ServiceError("exception-response: service-not-allowed, operation-not-possible", no_association=True)),
        ("d80202", ServiceError("exception-response: service-unknown, service-not-supported", no_association=False)),
        ("d80104", ServiceError("exception-response: service-not-allowed, pdu-too-long", no_association=False)),
        ("d80963", ServiceError("exception-response: 9, 99", no_association=False)),
        ("0e050302", ServiceError("confirmed-service-error read: service service-unsupported", no_association=False)),
        ("0e636363", ServiceError("confirmed-service-error 99: error 99 99", no_association=False)),
        ("0f00000001000900", Other("data-notification")),
        ("ff", Other("APDU ff")),
    ],
)
def test_replies(reply: str, parsed: object) -> None:
    assert parse(bytes.fromhex(reply)) == parsed


@given(st.binary(max_size=80))
def test_any_bytes_are_a_reply_or_an_error(data: bytes) -> None:
    with contextlib.suppress(CosemError):
        parse(data)


@given(st.sampled_from((AARE, aare(1, user(13)))), st.data())
def test_mutated_aare(reply: bytes, data: st.DataObject) -> None:
    mutated = bytearray(reply)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CosemError):
        parse(bytes(mutated))


def step(get: Get, reply: str) -> object:
    parsed = parse(bytes.fromhex(reply))
    assert isinstance(parsed, (GetNormal, GetList, GetBlock))
    return get.receive(parsed)


def test_single_value() -> None:
    assert step(Get([ENERGY], 1), "c401c1000600000123") == Answered((AttributeResult(ENERGY, 0x123),))


def test_single_null() -> None:
    assert step(Get([ENERGY], 1), "c401c10000") == Answered((AttributeResult(ENERGY),))


@pytest.mark.parametrize(
    ("code", "name"), [(3, "read-write-denied"), (4, "object-undefined"), (250, "other-reason"), (99, "data-access-result 99")]
)
def test_single_access_result(code: int, name: str) -> None:
    assert step(Get([ENERGY], 1), f"c401c101{code:02x}") == Answered((AttributeResult(ENERGY, None, ErrorKind.ACCESS, name),))


def test_leftovers_behind_a_single_value_are_not_part_of_it() -> None:
    """As the Clock of a widespread server implementation is answered: the value, and more of the meter's buffer."""
    assert step(Get([ENERGY], 1), "c401c1000600000001" + "090f0600") == Answered((AttributeResult(ENERGY, 1),))


@pytest.mark.parametrize("data", ["0600", "63", ""])
def test_single_value_that_cannot_be_decoded(data: str) -> None:
    answered = step(Get([ENERGY], 1), "c401c100" + data)
    assert isinstance(answered, Answered)
    assert answered.results[0].error is ErrorKind.DECODE
    assert answered.results[0].error_detail


@pytest.mark.parametrize("reply", ["c401c2000600000123", "c403c20100060000012300", "c402c2010000000100020600"])
def test_another_invoke_id_is_stale(reply: str) -> None:
    assert isinstance(step(Get([ENERGY], 1), reply), Stale)


def test_priority_bits_of_the_reply_do_not_matter() -> None:
    assert isinstance(step(Get([ENERGY], 1), "c40101000600000123"), Answered)


def test_list_with_errors_and_null() -> None:
    get = Get([ENERGY, SCALER, CLOCK], 4)
    reply = "c403c4" + "03" + "0104" + "00" + "02020ffe161e" + "0000"
    assert step(get, reply) == Answered(
        (AttributeResult(ENERGY, None, ErrorKind.ACCESS, "object-undefined"), AttributeResult(SCALER, [-2, 30]), AttributeResult(CLOCK))
    )


@pytest.mark.parametrize(
    "reply",
    [
        "c403c401" + "0011ff",
        "c403c403" + "001101" * 3,
        "c403c402" + "001101" + "0063",
        "c403c402" + "001101",
        "c403c402" + "001101" * 2 + "00",
        "c401c40104",
        "c401c4001101",
        "c401c4",
        "c402c40100000001" + "010e",
        "c402c401000000010003" + "020011",
    ],
)
def test_a_list_answered_wrongly_is_refused_as_a_whole(reply: str) -> None:
    assert isinstance(step(Get([ENERGY, SCALER], 4), reply), ServiceRefused)


def test_a_single_request_answered_with_a_list() -> None:
    assert isinstance(step(Get([ENERGY], 4), "c403c401001101"), ServiceRefused)


def test_blocks_are_joined() -> None:
    get = Get([CLOCK], 7)
    assert step(get, "c402c700" + "00000001" + "0003" + "090c07") == NextBlock(1)
    assert step(get, "c402c700" + "00000002" + "0004" + "d20c0403") == NextBlock(2)
    assert step(get, "c402c701" + "00000003" + "0007" + "0a060bff007800") == Answered(
        (AttributeResult(CLOCK, bytes.fromhex("07d20c04030a060bff007800")),)
    )


def test_blocks_of_a_list() -> None:
    get = Get([ENERGY, SCALER], 7)
    assert step(get, "c402c700" + "00000001" + "0005" + "0200060000") == NextBlock(1)
    assert step(get, "c402c701" + "00000002" + "0004" + "01230104") == Answered(
        (AttributeResult(ENERGY, 0x123), AttributeResult(SCALER, None, ErrorKind.ACCESS, "object-undefined"))
    )


def test_a_block_that_states_less_than_it_carries_is_taken_whole_where_only_that_makes_a_value() -> None:
    get = Get([CLOCK], 7)
    assert step(get, "c402c700" + "00000001" + "0003" + "090c07") == NextBlock(1)
    assert step(get, "c402c700" + "00000002" + "0001" + "d20c0403") == NextBlock(2)
    assert step(get, "c402c701" + "00000003" + "0007" + "0a060bff007800") == Answered(
        (AttributeResult(CLOCK, bytes.fromhex("07d20c04030a060bff007800")),)
    )


def test_leftovers_behind_a_block_are_left_out_where_it_makes_a_value_without_them() -> None:
    get = Get([ENERGY, SCALER], 7)
    assert step(get, "c402c700" + "00000001" + "0005" + "0200060000" + "cafe") == NextBlock(1)
    assert step(get, "c402c701" + "00000002" + "0004" + "01230104") == Answered(
        (AttributeResult(ENERGY, 0x123), AttributeResult(SCALER, None, ErrorKind.ACCESS, "object-undefined"))
    )


def test_blocks_counted_from_zero() -> None:
    get = Get([ENERGY], 7)
    assert step(get, "c402c700" + "00000000" + "0001" + "11") == NextBlock(0)
    assert step(get, "c402c701" + "00000001" + "0001" + "05") == Answered((AttributeResult(ENERGY, 5),))


def test_a_repeated_block_is_stale_and_a_missing_one_ends_it() -> None:
    get = Get([ENERGY], 7)
    assert step(get, "c402c700" + "00000001" + "0001" + "11") == NextBlock(1)
    assert isinstance(step(get, "c402c700" + "00000001" + "0001" + "11"), Stale)
    assert isinstance(step(get, "c402c701" + "00000003" + "0001" + "05"), ServiceRefused)


def test_a_block_transfer_that_the_meter_ends() -> None:
    get = Get([ENERGY], 7)
    step(get, "c402c700" + "00000001" + "0001" + "11")
    assert step(get, "c402c701" + "00000002" + "010f") == Answered((AttributeResult(ENERGY, None, ErrorKind.ACCESS, "long-get-aborted"),))


def test_an_answer_without_end_is_given_up() -> None:
    get = Get([ENERGY], 7)
    size = MAX_ANSWER // 4
    outcomes = [get.receive(GetBlock(7, False, number, bytes(size), None)) for number in range(1, 6)]
    assert isinstance(outcomes[3], NextBlock)
    assert isinstance(outcomes[4], ServiceRefused)


@pytest.mark.parametrize(
    ("apdu", "name"),
    [
        ("", "empty"),
        ("60", "AARQ"),
        ("c001c5", "GET-request-normal #5"),
        ("c003c6", "GET-request-with-list #6"),
        ("c402c6", "GET-response-with-datablock #6"),
        ("c499c6", "GET-response-153 #6"),
        ("d8", "exception-response"),
    ],
)
def test_names(apdu: str, name: str) -> None:
    assert names.apdu_name(bytes.fromhex(apdu)) == name
