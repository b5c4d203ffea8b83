"""What is decoded in one pass is what the general decoder finds, on every type and on random data; all else is left to it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.axdr import CosemError, Reader
from connectors.dlms.cosem import elements
from connectors.dlms.profile.rows import decode_pieces
from connectors.dlms.profile.uniform_rows import FEWEST, uniform_rows

CODES = {5: ">i", 6: ">I", 15: ">b", 16: ">h", 17: ">B", 18: ">H", 20: ">q", 21: ">Q", 22: ">B"}


def encoded(rows: list[list[bytes]]) -> bytes:
    count = bytes([len(rows)]) if len(rows) < 0x80 else b"\x82" + len(rows).to_bytes(2, "big")
    return b"\x01" + count + b"".join(b"\x02" + bytes([len(row)]) + b"".join(row) for row in rows)


def reference(data: bytes) -> list[object]:
    return list(elements(Reader(data)))


@st.composite
def alike(draw: st.DrawFn) -> list[list[bytes]]:
    """Rows of the same types and sizes, with any values."""
    types = draw(st.lists(st.sampled_from([*CODES, 9]), min_size=1, max_size=6))
    sizes = [draw(st.integers(0, 20)) if tag == 9 else struct.calcsize(CODES[tag]) for tag in types]
    value = [st.binary(min_size=size, max_size=size) for size in sizes]
    heads = [bytes([tag, size]) if tag == 9 else bytes([tag]) for tag, size in zip(types, sizes, strict=True)]
    row = st.tuples(*value).map(lambda values: [head + each for head, each in zip(heads, values, strict=True)])
    return draw(st.lists(row, min_size=1, max_size=200))


@given(alike())
def test_rows_that_are_alike_are_decoded_as_the_general_decoder_does(rows: list[list[bytes]]) -> None:
    data = encoded(rows)
    found = uniform_rows(data)
    assert (found is None) == (len(rows) < FEWEST)
    assert found is None or found == reference(data)
    assert [row for piece in decode_pieces(data) for row in piece] == reference(data)


@given(alike(), st.data())
def test_damaged_rows_are_decoded_as_the_general_decoder_does_or_not_at_all(rows: list[list[bytes]], data: st.DataObject) -> None:
    whole = bytearray(encoded(rows))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    damaged = bytes(whole[: data.draw(st.integers(len(whole) - 3, len(whole)))])
    found = uniform_rows(damaged)
    if found is not None:
        assert found == reference(damaged)


@given(st.binary(max_size=200))
def test_random_bytes_are_never_taken_for_more_than_they_are(data: bytes) -> None:
    found = uniform_rows(data)
    if found is not None:
        assert found == reference(data)


@pytest.mark.parametrize("odd", [b"\x00", b"\x06\x00\x00\x00", b"\x03\x01", b"\x16\x05", b"\x17\x00\x00\x00\x00", b"\x02\x01\x11\x05"])
def test_one_row_that_is_different_leaves_all_to_the_general_decoder(odd: bytes) -> None:
    rows = [[b"\x06" + n.to_bytes(4, "big")] for n in range(10)]
    rows[7] = [odd]
    assert uniform_rows(encoded(rows)) is None


def test_leftovers_behind_the_array_are_left_to_the_general_decoder() -> None:
    data = encoded([[b"\x11" + bytes([n])] for n in range(10)]) + b"\xff"
    assert uniform_rows(data) is None
    assert [row for piece in decode_pieces(data) for row in piece] == [[n] for n in range(10)]


def test_an_array_that_ends_early_is_an_error_of_the_general_decoder() -> None:
    data = encoded([[b"\x12\x00\x01"] for _ in range(10)])[:-1]
    assert uniform_rows(data) is None
    with pytest.raises(CosemError):
        list(decode_pieces(data))
