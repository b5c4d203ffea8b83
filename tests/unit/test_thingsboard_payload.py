from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.thingsboard.payload import (
    GATEWAY_ITSELF,
    Kind,
    Record,
    divided,
    encode_connect,
    encode_packet,
    encode_record,
    encode_values,
    how_many_fit,
    is_cast,
    original_text,
    packet_overhead,
    split_values,
    topic,
)
from model.messages import Value
from simulator.thingsboard.payload import parse_json, parse_values


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (300, b"300"),
        (Decimal("300.001"), b"300.001"),
        (Decimal("0.1") + Decimal("0.2"), b"0.3"),
        (Decimal("230.40"), b"230.40"),
        (Decimal("3E+2"), b"300"),
        (Decimal("-5E-3"), b"-0.005"),
        (Decimal("0.1234567890123456"), b"0.1234567890123456"),
        (Decimal("0.12345678901234567"), b'"0.12345678901234567"'),
        (Decimal("0.12345678901234560"), b"0.1234567890123456"),
        (2**63 - 1, b"9223372036854775807"),
        (2**63, b'"9223372036854775808"'),
        (-(2**63), b"-9223372036854775808"),
        (-(2**63) - 1, b'"-9223372036854775809"'),
        (Decimal(2**63), b'"9223372036854775808"'),
        (Decimal("NaN"), b'"NaN"'),
        (Decimal("1E+1000000"), b'"1E+1000000"'),
        (True, b"true"),
        (False, b"false"),
        ("on", b'"on"'),
        ("00012345", b'"00012345 "'),
        ("-7", b'"-7 "'),
        (".5", b'".5 "'),
        ("1e5", b'"1e5"'),
        ("+5", b'"+5"'),
        ("5.", b'"5."'),
        ("", b'""'),
        ("a\0b", '"a\ufffdb"'.encode()),
    ],
)
def test_value_rules(value: Value, wire: bytes) -> None:
    assert encode_values({"k": value}) == b'{"k":' + wire + b"}"


def test_a_float_from_a_custom_mapping_keeps_its_shortest_digits() -> None:
    broken: Any = 0.1
    assert encode_values({"k": broken}) == b'{"k":0.1}'


@given(st.text())
def test_the_server_keeps_every_text_a_text(text: str) -> None:
    stored = parse_values(parse_json(encode_values({"k": text})))["k"]
    assert isinstance(stored, str)
    plain = text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    assert stored in (plain, plain + " ")
    assert original_text(stored) == plain or is_cast(plain[:-1])


@given(st.integers(min_value=-(2**70), max_value=2**70), st.integers(min_value=-16, max_value=6))
def test_the_server_stores_the_nearest_double_or_the_exact_integer(raw: int, scaler: int) -> None:
    value = Decimal(raw).scaleb(scaler)
    stored = parse_values(parse_json(encode_values({"k": value})))["k"]
    if isinstance(stored, str):
        assert Decimal(stored) == value
    elif isinstance(stored, float):
        assert stored == float(value)
    else:
        assert stored == value


def test_a_record_and_a_packet() -> None:
    first, second = encode_record(5, {"a": 1}), encode_record(6, {"a": Decimal("1.5")})
    packet = encode_packet("gateway", 'meter "1"', Kind.TELEMETRY, [first, second])
    assert json.loads(packet) == {'meter "1"': [{"ts": 5, "values": {"a": 1}}, {"ts": 6, "values": {"a": 1.5}}]}
    assert json.loads(encode_packet("device", "meter", Kind.TELEMETRY, [first])) == [{"ts": 5, "values": {"a": 1}}]
    assert json.loads(encode_packet("gateway", "m", Kind.ATTRIBUTES, [encode_values({"site": "n"})])) == {"m": {"site": "n"}}
    assert json.loads(encode_packet("device", "m", Kind.ATTRIBUTES, [encode_values({"site": "n"})])) == {"site": "n"}
    assert json.loads(encode_connect("m", "three-phase")) == {"device": "m", "type": "three-phase"}


def test_topics() -> None:
    assert topic("gateway", "m", Kind.TELEMETRY) == "v1/gateway/telemetry"
    assert topic("gateway", "m", Kind.ATTRIBUTES) == "v1/gateway/attributes"
    assert topic("gateway", GATEWAY_ITSELF, Kind.TELEMETRY) == "v1/devices/me/telemetry"
    assert topic("device", "m", Kind.TELEMETRY) == "v1/devices/me/telemetry"
    assert topic("device", "m", Kind.ATTRIBUTES) == "v1/devices/me/attributes"


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=20), st.integers(min_value=0, max_value=400))
def test_packets_stay_within_the_limit(payloads: list[bytes], room: int) -> None:
    count = how_many_fit(payloads, room)
    assert len(b",".join(payloads[:count])) <= room
    assert count == len(payloads) or len(b",".join(payloads[: count + 1])) > room


def test_the_overhead_is_everything_but_the_records() -> None:
    for api, device in (("gateway", "m"), ("gateway", GATEWAY_ITSELF), ("device", "m")):
        records = [encode_record(1, {"a": 1}), encode_record(2, {"a": 2})]
        payload = encode_packet(api, device, Kind.TELEMETRY, records)  # type: ignore[arg-type]
        header = 1 + 4 + 2 + len(topic(api, device, Kind.TELEMETRY)) + 2 + 1  # type: ignore[arg-type]
        assert header + len(payload) == packet_overhead(api, device, Kind.TELEMETRY) + len(b",".join(records))  # type: ignore[arg-type]


def test_large_records_are_split_and_complete() -> None:
    values: dict[str, Value] = {f"k{number}": "x" * 100 for number in range(100)}
    parts = list(split_values(values, 1_000))
    assert len(parts) > 1
    assert all(len(encode_values(part)) <= 1_000 for part in parts)
    assert {key: value for part in parts for key, value in part.items()} == values
    assert list(split_values({"big": "x" * 5_000, "small": 1}, 1_000)) == [{"big": "x" * 5_000}, {"small": 1}]


_EXACT = {"a": 1, "b": Decimal("0.1234567890123456"), "c": "00012345", "d": True, "e": 2**63 - 1, "f": Decimal("230.40")}


@pytest.mark.parametrize("kind", [Kind.TELEMETRY, Kind.ATTRIBUTES])
@pytest.mark.parametrize("most_bytes", [1, 40, 60])
def test_a_record_that_is_too_large_becomes_several_with_the_same_characters(kind: Kind, most_bytes: int) -> None:
    whole = encode_values(_EXACT) if kind is Kind.ATTRIBUTES else encode_record(7, _EXACT)
    parts = divided(Record("M1", "m1", kind, 7, whole, "poll", 8, 9, len(_EXACT)), most_bytes)
    assert len(parts) > 1
    found: dict[str, str] = {}
    for part in parts:
        content = json.loads(part.payload, parse_float=str, parse_int=str)
        values = content if kind is Kind.ATTRIBUTES else content["values"]
        assert len(part.payload) <= most_bytes or len(values) == 1
        assert part.points == len(values)
        found.update(values)
    original = json.loads(whole, parse_float=str, parse_int=str)
    assert found == (original if kind is Kind.ATTRIBUTES else original["values"])
    assert sum(part.readings for part in parts) == 8
    assert {(part.device, part.meter, part.ts, part.read_at, part.origin) for part in parts} == {("M1", "m1", 7, 9, "poll")}


@pytest.mark.parametrize("payload", [encode_record(7, {"only": "x" * 500}), b"", b"{", b"[]", b'{"ts":7}'])
def test_a_single_key_or_a_damaged_payload_cannot_be_divided(payload: bytes) -> None:
    assert divided(Record("M1", "m1", Kind.TELEMETRY, 7, payload, "poll", 1, 9, 1), 10) == ()
