from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.meter import axdr
from simulator.meter.axdr import DataError, Tag, TypedValue

LEAVES = st.one_of(
    st.just(axdr.NULL),
    st.booleans().map(axdr.boolean),
    st.integers(-(2**31), 2**31 - 1).map(lambda value: TypedValue(Tag.DOUBLE_LONG, value)),
    st.integers(0, 2**32 - 1).map(axdr.double_long_unsigned),
    st.integers(0, 2**64 - 1).map(lambda value: TypedValue(Tag.LONG64_UNSIGNED, value)),
    st.integers(-128, 127).map(axdr.integer),
    st.integers(0, 255).map(axdr.enum),
    st.floats(allow_nan=False).map(lambda value: TypedValue(Tag.FLOAT64, value)),
    st.binary(max_size=300).map(axdr.octet_string),
    st.text("01", max_size=40).map(axdr.bit_string),
    st.text(max_size=20).map(lambda value: TypedValue(Tag.UTF8_STRING, value)),
    st.binary(min_size=12, max_size=12).map(lambda value: TypedValue(Tag.DATE_TIME, value)),
)
VALUES = st.recursive(LEAVES, lambda items: st.lists(items, max_size=4).map(axdr.array), max_leaves=12)


@given(VALUES)
def test_what_is_encoded_is_decoded_again(value: TypedValue) -> None:
    encoded = axdr.encode(value)
    assert axdr.decode(encoded) == (value, len(encoded))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (axdr.structure(axdr.integer(-2), axdr.enum(35)), "0202 0FFE 1623"),
        (axdr.array([axdr.long_unsigned(1)] * 130), "018182" + "120001" * 130),
        (axdr.bit_string("101"), "0403A0"),
        (axdr.visible_string("1.0"), "0A03312E30"),
        (TypedValue(Tag.FLOAT32, 1.5), "173FC00000"),
        (axdr.long(-60), "10FFC4"),
    ],
)
def test_encodings_of_the_standard(value: TypedValue, encoded: str) -> None:
    assert axdr.encode(value) == bytes.fromhex(encoded)


@given(st.binary(max_size=60))
def test_garbage_is_a_data_error_and_nothing_else(data: bytes) -> None:
    try:
        value, end = axdr.decode(data)
    except DataError:
        return
    assert end <= len(data)
    assert value.tag in Tag


@pytest.mark.parametrize("data", [b"", b"\x63", b"\x12\x00", b"\x09\x85\xff\xff\xff\xff\xff", b"\x01\xff", b"\x02\x01" * 400 + b"\x00"])
def test_cut_unknown_and_too_deep_data_are_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        axdr.decode(data)


def test_plain_values_lose_their_types_only() -> None:
    value = axdr.structure(axdr.unsigned(1), axdr.array([axdr.NULL, axdr.octet_string(b"x")]))
    assert axdr.plain(value) == [1, [None, b"x"]]
    assert math.isnan(axdr.plain(TypedValue(Tag.FLOAT64, math.nan)))
