"""The TCP wrapper: header, ports, resynchronisation on junk, any chunking."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.events import Discarded
from connectors.dlms.wrapper import WrapperScanner, wrap

ANSWER = bytes.fromhex("c401c1000600000123")
OTHER = bytes.fromhex("c401c2000a05313233343500010001")
MESSAGE = wrap(1, 16, ANSWER)


def scan(data: bytes, cuts: tuple[int, ...] = ()) -> tuple[list[bytes], int]:
    scanner = WrapperScanner(server=1, client=16)
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    items = [item for start, end in itertools.pairwise(bounds) for item in scanner.feed(data[start:end])]
    return [item for item in items if isinstance(item, bytes)], sum(item.count for item in items if isinstance(item, Discarded))


def every_way(data: bytes) -> tuple[list[bytes], int]:
    whole = scan(data)
    assert scan(data, tuple(range(len(data)))) == whole
    return whole


def test_header() -> None:
    assert wrap(16, 1, b"\xc0\x01").hex() == "0001001000010002c001"


def test_messages_back_to_back() -> None:
    assert every_way(MESSAGE + wrap(1, 16, OTHER)) == ([ANSWER, OTHER], 0)


@pytest.mark.parametrize("junk", [b"\0", b"\0\0", b"\0\0\0\1", b"\0\1", b"hello", b"\0\1\0\1\0\x11\0\5abc", b"\0\1\0\1\0\x10\0\0"])
def test_junk_before_a_message(junk: bytes) -> None:
    assert every_way(junk + MESSAGE) == ([ANSWER], len(junk))


def test_messages_of_other_ports_are_discarded_with_a_reason() -> None:
    items = WrapperScanner(server=1, client=16).feed(wrap(2, 16, ANSWER) + MESSAGE)
    assert items[-1] == ANSWER
    reasons = [item.reason for item in items if isinstance(item, Discarded)]
    assert reasons == ["not a message from port 1 to port 16"]


def test_half_a_message_does_not_swallow_the_next() -> None:
    assert every_way(wrap(1, 16, bytes(100))[:20] + MESSAGE)[0] == [ANSWER]


@pytest.mark.parametrize("missing", range(1, len(ANSWER)))
def test_a_message_without_its_end_is_not_completed_from_the_next(missing: int) -> None:
    """The last bytes of the value would be made of the next header: a wrong reading."""
    assert scan(MESSAGE[:-missing] + wrap(1, 16, OTHER)) == ([OTHER], len(MESSAGE) - missing)


def test_a_message_that_contains_another_as_its_data() -> None:
    apdu = b"\xc4" + MESSAGE + b"tail"
    scanner = WrapperScanner(server=1, client=16)
    assert scanner.feed(wrap(1, 16, MESSAGE[:10])) == [MESSAGE[:10]]
    assert ANSWER in scanner.feed(wrap(1, 16, apdu))


def test_a_message_longer_than_the_length_can_say() -> None:
    with pytest.raises(OverflowError):
        wrap(1, 16, bytes(65536))


def test_memory_is_bounded() -> None:
    scanner = WrapperScanner(server=1, client=16)
    scanner.feed(b"\0\1\0\1\0\x10\xff\xff")
    for _ in range(40):
        scanner.feed(b"\xaa" * 4000)
        assert len(scanner._buffer) <= 65_535 + 8
    assert scanner.feed(MESSAGE)[-1] == ANSWER


junk_bytes = st.binary(max_size=12)


@given(
    st.lists(st.tuples(junk_bytes, st.sampled_from((ANSWER, OTHER))), max_size=4),
    junk_bytes,
    st.lists(st.integers(0, 200), max_size=10).map(tuple),
)
def test_good_messages_survive_junk_in_any_pieces(parts: list[tuple[bytes, bytes]], tail: bytes, cuts: tuple[int, ...]) -> None:
    data = b"".join(junk + wrap(1, 16, apdu) for junk, apdu in parts) + tail
    assert scan(data, cuts)[0] == [apdu for _, apdu in parts]
    assert scan(data, cuts) == scan(data)


def test_a_message_that_holds_the_version_is_taken_as_it_is() -> None:
    inside = bytes.fromhex("c401c10006000186a0") + b"\0\1" * 20
    assert every_way(wrap(1, 16, inside)) == ([inside], 0)
    assert every_way(wrap(1, 16, inside) + MESSAGE) == ([inside, ANSWER], 0)
