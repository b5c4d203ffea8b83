"""ThingsBoard's payload rules, as a table: what a JSON value is stored as, and which payloads are refused how."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.thingsboard.payload import (
    PayloadError,
    Record,
    StoredValue,
    UnexpectedTypeError,
    parse_gateway_telemetry,
    parse_json,
    parse_telemetry,
    parse_values,
)

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("1", 1),
        ("-1", -1),
        ("1.0", 1.0),
        ("1.50", 1.5),
        ("300.001", 300.001),
        ("1e2", 100),
        ("1.5e3", 1500),
        ("1.5e0", 1.5),
        ("0.0", 0.0),
        ("9223372036854775807", 9223372036854775807),
        ("-9223372036854775808", -9223372036854775808),
        ("9223372036854775808", "9223372036854775808"),
        ("123456789012345678901234567890123", "123456789012345678901234567890123"),
        ("1E+30", "1" + "0" * 30),
        ("9" * 6000, "9" * 6000),
        ("12345678901234567890.0", 1.2345678901234567e19),
        ("0.1234567890123456", 0.1234567890123456),
        ("0.12345678901234567", "0.12345678901234567"),
        ("1E-17", "0.00000000000000001"),
        ("true", True),
        ("false", False),
        ('"on"', "on"),
        ('""', ""),
        ('"00012345"', 12345),
        ('"-7"', -7),
        ('"1.50"', 1.5),
        ('".5"', 0.5),
        ('"5."', "5."),
        ('"+5"', "+5"),
        ('"-"', "-"),
        ('"."', "."),
        ('"1.2.3"', "1.2.3"),
        ('"1e5"', "1e5"),
        ('" 5"', " 5"),
        ('"0x1F"', "0x1F"),
        ('"SN-00012345"', "SN-00012345"),
        ('"12345678901234567890"', "12345678901234567890"),
        ('{"a":1.50,"b":["x",null,true]}', '{"a":1.50,"b":["x",null,true]}'),
        ("[1]", "[1]"),
    ],
)
def test_a_value_is_stored_as_thingsboard_stores_it(text: str, stored: StoredValue) -> None:
    values = parse_values(parse_json(f'{{"key":{text}}}'.encode()))
    assert values == {"key": stored}
    assert type(values["key"]) is type(stored)


def test_nulls_are_left_out() -> None:
    assert parse_values(parse_json(b'{"a":null,"b":1}')) == {"b": 1}


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ('{"ts":1000,"values":{"v":1}}', [Record(1000, {"v": 1})]),
        ('{"ts":"1000","values":{"v":1}}', [Record(1000, {"v": 1})]),
        ('{"ts":1000.9,"values":{"v":1}}', [Record(1000, {"v": 1})]),
        ('[{"ts":1,"values":{"v":1}},{"ts":2,"values":{"v":2}}]', [Record(1, {"v": 1}), Record(2, {"v": 2})]),
        ('{"v":1,"w":"x"}', [Record(NOW, {"v": 1, "w": "x"})]),
        ('[{"v":1}]', [Record(NOW, {"v": 1})]),
        ('{"ts":1000,"v":1}', [Record(NOW, {"ts": 1000, "v": 1})]),
        ('{"values":{"v":1}}', [Record(NOW, {"values": '{"v":1}'})]),
        ('{"ts":1000,"values":{}}', [Record(1000, {})]),
        ("[]", []),
    ],
)
def test_device_telemetry_comes_in_these_shapes(text: str, records: list[Record]) -> None:
    assert parse_telemetry(parse_json(text.encode()), NOW) == records


@pytest.mark.parametrize("text", ["1", '"x"', "null", "true", "[1]", "[[]]", '{"ts":1,"values":[]}', '{"ts":1,"values":null}'])
def test_any_other_shape_is_refused(text: str) -> None:
    with pytest.raises(PayloadError) as caught:
        parse_telemetry(parse_json(text.encode()), NOW)
    assert not isinstance(caught.value, UnexpectedTypeError)


@pytest.mark.parametrize("ts", ['"2024-01-01"', "null", "true", "{}", '""', "1e400000", "9223372036854775808", '"1.5"'])
def test_a_timestamp_that_is_no_number_trips_thingsboard(ts: str) -> None:
    with pytest.raises(UnexpectedTypeError, match="ts"):
        parse_telemetry(parse_json(f'{{"ts":{ts},"values":{{"v":1}}}}'.encode()), NOW)


@pytest.mark.parametrize(
    "payload", [b"", b"not json", b'{"v":', b'{"v":1}x', b'{"v":NaN}', b'{"v":-Infinity}', b"{'v':1}", b"[" * 100_000, b'{"v":"\\ud800"}']
)
def test_what_is_not_json_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        parse_json(payload)


@pytest.mark.parametrize("number", ["1e10001", "1e-10001", "1e999999999999999999999", "1" * 400 + ".5"])
def test_a_number_beyond_reason_is_refused(number: str) -> None:
    with pytest.raises(PayloadError):
        parse_values(parse_json(f'{{"v":{number}}}'.encode()))


def test_metadata_of_the_gateway_is_not_a_value() -> None:
    entry = '{"ts":1,"values":{"v":1},"metadata":{"connector":"c","receivedTs":1,"publishedTs":2}}'
    assert parse_gateway_telemetry([parse_json(entry.encode())], NOW) == [Record(1, {"v": 1})]
    with pytest.raises(PayloadError, match="metadata"):
        parse_gateway_telemetry([parse_json(b'{"v":1,"metadata":{"connector":"c"}}')], NOW)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_payload_raises_anything_but_payload_errors(payload: bytes) -> None:
    try:
        parse_telemetry(parse_json(payload), NOW)
    except PayloadError:
        return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=8).filter(lambda key: key not in ("ts", "values")), JSON, max_size=4))
def test_every_object_of_values_is_stored_but_for_nulls(values: dict[str, object]) -> None:
    [record] = parse_telemetry(parse_json(json.dumps(values, ensure_ascii=False).encode(errors="replace")), NOW)
    assert record.ts == NOW
    assert len(record.values) == sum(value is not None for value in values.values())
    for value in record.values.values():
        assert not isinstance(value, int) or -(2**63) <= value < 2**63
