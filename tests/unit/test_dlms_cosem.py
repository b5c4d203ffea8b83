"""COSEM data: every simple type, what people see of it, clocks, scalers, and data that is damaged or malicious."""

from __future__ import annotations

import contextlib
import struct
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.cosem import MAX_VALUES, CosemError, clock_time, decode, render, scaler_unit
from connectors.dlms.events import Attribute, CosemData

NAME = bytes([1, 0, 1, 8, 0, 255])
REGISTER = Attribute(3, NAME, 2)
DATA = Attribute(1, NAME, 2)
CLOCK = Attribute(8, bytes([0, 0, 1, 0, 0, 255]), 2)
GUIDE = bytes.fromhex("07D20C04030A060BFF007800")
"""A vendor's guide: Wednesday 4 December 2002 10:06:12, deviation 120 minutes, status 0."""


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", None),
        ("0300", False),
        ("0301", True),
        ("03ff", True),
        ("0403a0", "101"),
        ("0400", ""),
        ("040affc0", "1111111111"),
        ("05fffffffe", -2),
        ("06fffffffe", 0xFFFFFFFE),
        ("0903000102", b"\x00\x01\x02"),
        ("0900", b""),
        ("098103010203", b"\x01\x02\x03"),
        ("0a03414243", "ABC"),
        ("0a02e4c3", "äÃ"),
        ("0c03c3a441", "äA"),
        ("0d42", 42),
        ("0ffe", -2),
        ("10fffe", -2),
        ("11fe", 254),
        ("12fffe", 65534),
        ("14fffffffffffffffe", -2),
        ("15fffffffffffffffe", 2**64 - 2),
        ("161e", 30),
        ("173dcccccd", Decimal("0.1")),
        ("1743668000", Decimal("230.5")),
        ("1742c80000", Decimal("100")),
        ("177f7fffff", Decimal("3.4028235E+38")),
        ("1700000001", Decimal("1E-45")),
        ("173eaaaaab", Decimal("0.33333334")),
        ("17ff800000", None),
        ("177fc00000", None),
        ("073dcccccd", Decimal("0.1")),
        ("183fb999999999999a", Decimal("0.1")),
        ("187ff8000000000000", None),
        ("1907d20c04030a060bff007800", datetime(2002, 12, 4, 10, 6, 11, tzinfo=timezone(timedelta(minutes=-120)))),
        ("1907d20c04030a060b328000ff", datetime(2002, 12, 4, 10, 6, 11, 500_000)),
        ("19ffffffffffffffffff8000ff", "****-**-**T**:**:**"),
        ("1a07d20c0403", "2002-12-04"),
        ("1affff0c0403", "****-12-04"),
        ("1b0a060b00", "10:06:11"),
        ("1b0a060b32", "10:06:11.50"),
        ("1b0affffff", "10:**:**"),
        ("ff", None),
        ("0100", []),
        ("0102110111ff", [1, 255]),
        ("02020ffd1623", [-3, 35]),
        ("0201010211010900", [[1, b""]]),
    ],
)
def test_types(data: str, value: CosemData) -> None:
    decoded = decode(bytes.fromhex(data))
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("1312" + "06" + "000100020003", [1, 2, 3]),
        ("1302" + "02" + "1112" + "06" + "010002" + "030004", [[1, 2], [3, 4]]),
        ("1301" + "000211" + "04" + "01020304", [[1, 2], [3, 4]]),
        ("1309" + "05" + "0141" + "024243", [b"A", b"BC"]),
        ("1312" + "00", []),
        ("0202" + "1312020007" + "1105", [[7], 5]),
    ],
)
def test_compact_array(data: str, value: CosemData) -> None:
    assert decode(bytes.fromhex(data)) == value


def test_the_seconds_of_the_guide() -> None:
    """0B is 11: the guide's own text says 12."""
    assert render(GUIDE, CLOCK) == "2002-12-04T10:06:11-02:00"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "announced"),
        ("06000001", "4 bytes are announced but only 3"),
        ("0600000001ff", "1 bytes too many"),
        ("63", "type 99 is unknown"),
        ("1c01", "type 28 is unknown"),
        ("09ff", "length"),
        ("0980", "length"),
        ("0984ffffffff00", "announced"),
        ("0184ffffffff00", "4294967295 elements"),
        ("0dff", "BCD"),
        ("0101" * 40 + "00", "deeper than 16"),
        ("13" + "02" + "01" * 0 + "0201" * 30, "deeper"),
        ("130001ff", "no size"),
        ("131103010203ff", "too many"),
        ("1312030001ff", "announced"),
        ("1363" + "0101", "type 99"),
        ("130101" + "00", "announced"),
    ],
)
def test_damaged_data(data: str, why: str) -> None:
    with pytest.raises(CosemError, match=why):
        decode(bytes.fromhex(data))


@pytest.mark.parametrize("element", ["00", "0200"])
def test_a_few_bytes_cannot_fill_the_memory(element: str) -> None:
    """A compact-array of arrays of 65535 arrays of 65535 nulls or empty structures each, and one byte of contents."""
    nested = bytes.fromhex("13" + "0202" + "11" + "01ffff01ffff" + element + "01" + "05")
    with pytest.raises(CosemError, match=f"more than {MAX_VALUES} values"):
        decode(nested)


def test_the_error_is_a_value_error() -> None:
    assert issubclass(CosemError, ValueError)


@given(st.binary(max_size=100))
def test_any_bytes_decode_or_raise_the_one_error(data: bytes) -> None:
    with contextlib.suppress(CosemError):
        value = decode(data)
        render(value, CLOCK)
        clock_time(value)
        scaler_unit(value)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_is_the_shortest_exact_number(number: float) -> None:
    raw = struct.pack(">f", number)
    value = decode(b"\x17" + raw)
    assert isinstance(value, Decimal)
    assert struct.pack(">f", float(value)) == raw
    assert len(value.normalize().as_tuple().digits) <= 9


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_float64_is_exact(number: float) -> None:
    value = decode(b"\x18" + struct.pack(">d", number))
    assert isinstance(value, Decimal)
    assert float(value) == number


@pytest.mark.parametrize(
    ("data", "attribute", "value"),
    [
        (5, REGISTER, 5),
        (True, DATA, True),
        (Decimal("0.1"), REGISTER, Decimal("0.1")),
        ("text\0\0", DATA, "text"),
        ("a\0b", DATA, "ab"),
        ("101", DATA, "101"),
        (b"KFM 00012345\0\0", DATA, "KFM 00012345"),
        (b"", DATA, ""),
        (b"\0\0\0", DATA, "000000"),
        (b"\xde\xad\xbe\xef", DATA, "deadbeef"),
        (b"tab\t", DATA, "74616209"),
        (NAME, Attribute(3, NAME, 1), "1.0.1.8.0.255"),
        (NAME, DATA, "0100010800ff"),
        (b"ABCDEF", Attribute(7, NAME, 1), "65.66.67.68.69.70"),
        (GUIDE, CLOCK, "2002-12-04T10:06:11-02:00"),
        (GUIDE, Attribute(4, NAME, 5), "2002-12-04T10:06:11-02:00"),
        (GUIDE, Attribute(5, NAME, 6), "2002-12-04T10:06:11-02:00"),
        (GUIDE, Attribute(5, NAME, 7), "2002-12-04T10:06:11-02:00"),
        (GUIDE, DATA, "07d20c04030a060bff007800"),
        (bytes.fromhex("07E80A1B0702000000FFC481"), CLOCK, "2024-10-27T02:00:00+01:00"),
        (bytes.fromhex("07E80A1B0702000032800000"), CLOCK, "2024-10-27T02:00:00.50"),
        (bytes.fromhex("FFFF0AFF07020000FF8000FF"), CLOCK, "****-10-**T02:00:00"),
        (bytes(12), CLOCK, "0000-00-00T00:00:00+00:00"),
        (datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc), DATA, "2024-01-02T03:04:05+00:00"),
        ([1, None, b"\xff", b"ok", "ä", Decimal("0.1"), Decimal("100"), [True, []]], DATA, '[1,null,"ff","ok","ä",0.1,100,[true,[]]]'),
    ],
)
def test_what_people_see(data: CosemData, attribute: Attribute, value: object) -> None:
    rendered = render(data, attribute)
    assert rendered == value
    assert type(rendered) is type(value)


def test_null_shows_nothing() -> None:
    with pytest.raises(CosemError, match="null-data"):
        render(None, DATA)


@pytest.mark.parametrize(
    ("data", "moment"),
    [
        (GUIDE, datetime(2002, 12, 4, 12, 6, 11, tzinfo=timezone.utc)),
        (bytes.fromhex("07E80A1B0702000000FFC481"), datetime(2024, 10, 27, 1, 0, tzinfo=timezone.utc)),
        (bytes.fromhex("07E80A1B0702000000FF8881"), datetime(2024, 10, 27, 0, 0, tzinfo=timezone.utc)),
        (bytes.fromhex("07E80A1B070200FFFF000000"), datetime(2024, 10, 27, 2, 0, tzinfo=timezone.utc)),
        (decode(b"\x19" + GUIDE), datetime(2002, 12, 4, 12, 6, 11, tzinfo=timezone.utc)),
        (bytes.fromhex("07E80A1B0702000000800000"), None),
        (bytes.fromhex("FFFF0A1B0702000000000000"), None),
        (bytes.fromhex("07E8FD1B0702000000000000"), None),
        (bytes.fromhex("07E80A1B07FFFF0000000000"), None),
        (bytes.fromhex("0001010107000000000168" + "00").replace(b"\x01\x68", b"\xfe\x98"), None),
        (bytes(12), None),
        (bytes(11), None),
        ("2024", None),
        (5, None),
        (None, None),
    ],
)
def test_clock_time(data: CosemData, moment: datetime | None) -> None:
    assert clock_time(data) == moment


def test_scaler_and_unit() -> None:
    assert scaler_unit(decode(bytes.fromhex("02020ffe161e"))) == (-2, 30)


@pytest.mark.parametrize("data", [None, 5, [], [1], [1, 2, 3], [1, "V"], [True, 30], [None, 30], [1, 300], [200, 30], b"\x02\x02"])
def test_no_scaler_and_unit(data: CosemData) -> None:
    with pytest.raises(CosemError, match="is not a scaler and a unit"):
        scaler_unit(data)


def test_a_date_time_that_was_encoded_twice() -> None:
    twice = bytes.fromhex("090c07ea0b18020b030200000000")
    clock = Attribute(8, bytes([0, 0, 1, 0, 0, 255]), 2)
    assert render(twice, clock) == render(twice[2:], clock) == "2026-11-24T11:03:02+00:00"
    assert clock_time(twice) == datetime(2026, 11, 24, 11, 3, 2, tzinfo=timezone.utc)
    assert render(twice, Attribute(1, bytes([0, 0, 96, 1, 0, 255]), 2)) == twice.hex()
