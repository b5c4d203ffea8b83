from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

import pytest
from gurux_dlms.enums import Unit
from hypothesis import given
from hypothesis import strategies as st

from model.units import (
    DECIMAL_PLACES,
    UNIT_SYMBOLS,
    Conversion,
    conversion,
    convert,
    is_known_unit,
    power_of_ten,
    similar_unit,
    unit_symbol,
)

RAW = st.integers(min_value=-(2**63), max_value=2**64 - 1)
SCALER = st.integers(min_value=-128, max_value=127)


@pytest.mark.parametrize(
    ("code", "symbol"),
    [(27, "W"), (30, "Wh"), (32, "varh"), (33, "A"), (35, "V"), (44, "Hz"), (9, "°C"), (13, "m³"), (19, "L"), (56, "%"), (174, "Btu/d")],
)
def test_symbol_of_a_code(code: int, symbol: str) -> None:
    assert unit_symbol(code) == symbol


@pytest.mark.parametrize("code", [None, 0, 255])
def test_unitless_has_no_symbol(code: int | None) -> None:
    assert unit_symbol(code) is None


@pytest.mark.parametrize("code", [58, 100, 200, 253])
def test_reserved_code_is_not_taken_for_another_unit(code: int) -> None:
    assert unit_symbol(code) == f"unit {code}"


def test_table_has_the_codes_that_another_implementation_knows() -> None:
    assert set(UNIT_SYMBOLS) == {int(unit) for unit in Unit} - {0, 255}


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (1500, "Wh", "kWh", "1.500"),
        (2, "kWh", "Wh", "2000"),
        (1, "GWh", "MWh", "1000"),
        (1, "kWh", "J", "3600000"),
        (3600, "J", "Wh", "1"),
        (1, "J", "kWh", "0.000000277777778"),
        (10, "J", "Wh", "0.002777777777778"),
        (Decimal("12.5"), "kW", "W", "12500"),
        (Decimal("0.25"), "MW", "kW", "250"),
        (1234, "VA", "kVA", "1.234"),
        (1234, "var", "kvar", "1.234"),
        (1234, "varh", "kvarh", "1.234"),
        (1234, "VAh", "kVAh", "1.234"),
        (20, "kV", "V", "20000"),
        (Decimal("0.23"), "V", "mV", "230"),
        (5, "mA", "A", "0.005"),
        (1, "kHz", "Hz", "1000"),
        (20, "°C", "K", "293.15"),
        (Decimal("273.15"), "K", "°C", "0.00"),
        (212, "°F", "°C", "100"),
        (3, "m³", "L", "3000"),
        (5, "L", "m³", "0.005"),
        (1, "bar", "Pa", "100000"),
        (1013, "hPa", "bar", "1.013"),
        (90, "min", "h", "1.5"),
        (2, "h", "s", "7200"),
        (1, "Ah", "C", "3600"),
        (36, "m³/h", "L/s", "10"),
    ],
)
def test_conversion(value: int | Decimal, source: str, target: str, expected: str) -> None:
    assert convert(value, source, target) == Decimal(expected)


def test_trailing_zeros_show_the_resolution() -> None:
    assert str(power_of_ten(-2)(23010)) == "230.10"
    assert str(convert(1500, "Wh", "kWh")) == "1.500"


def test_int_stays_int_where_nothing_comes_after_the_point() -> None:
    assert type(convert(2, "kWh", "Wh")) is int
    assert type(power_of_ten(3)(7)) is int
    assert type(power_of_ten(0)(7)) is int
    assert type(power_of_ten(-1)(70)) is Decimal
    raw_in_milliwatt_hours = power_of_ten(-3).then(conversion("kWh", "Wh"))
    assert raw_in_milliwatt_hours(123456) == 123456 and type(raw_in_milliwatt_hours(1)) is int


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("Wh", "kW", "cannot convert Wh to kW: energy is not power"),
        ("varh", "kWh", "cannot convert varh to kWh: reactive energy is not energy"),
        ("V", "A", "cannot convert V to A: voltage is not current"),
        ("Wh", "KWh", "cannot convert Wh to KWh: KWh is not a unit with a known conversion; did you mean kWh?"),
        ("unit 58", "V", "cannot convert unit 58 to V: unit 58 is not a unit with a known conversion"),
    ],
)
def test_impossible_conversion_says_why(source: str, target: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        conversion(source, target)


def test_same_unit_needs_no_table() -> None:
    assert conversion("dBm", "dBm").is_identity
    assert conversion("m3", "m³").is_identity


def test_similar_unit_prefers_other_case() -> None:
    assert similar_unit("KWH") == "kWh"
    assert similar_unit("MWH") == "MWh"
    assert similar_unit("completely different") is None
    assert is_known_unit("kvarh") and not is_known_unit("KVARH")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("change", [power_of_ten(-1), conversion("J", "Wh"), conversion("°C", "K")])
def test_what_is_not_finite_is_an_arithmetic_error(value: str, change: Conversion) -> None:
    with pytest.raises(ArithmeticError):
        change(Decimal(value))


def test_power_of_ten_in_a_decimal_is_written_out() -> None:
    assert str(power_of_ten(0)(Decimal("2.3E+2"))) == "230"
    assert str(power_of_ten(2)(Decimal("2.35"))) == "235"


@given(RAW, SCALER)
def test_scaling_is_exact(raw: int, scaler: int) -> None:
    value = power_of_ten(scaler)(raw)
    assert type(value) is (int if scaler >= 0 else Decimal)
    assert Fraction(value) == Fraction(raw) * Fraction(10) ** scaler
    assert isinstance(value, int) or value.as_tuple().exponent == scaler


@given(RAW, st.integers(-9, 9), st.sampled_from(["Wh", "kWh", "MWh", "GWh", "J", "kJ"]), st.sampled_from(["J", "kJ", "MJ"]))
def test_terminating_conversion_is_exact_and_can_be_undone(raw: int, scaler: int, source: str, target: str) -> None:
    value = power_of_ten(scaler)(raw)
    there = convert(value, source, target)
    assert Fraction(there) == Fraction(value) * conversion(source, target).factor
    back = convert(there, target, source)
    assert abs(Fraction(back) - Fraction(value)) <= Fraction(1, 2 * 10**DECIMAL_PLACES)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4))
def test_temperature_can_be_undone_exactly(degrees: Decimal) -> None:
    assert convert(convert(degrees, "°C", "K"), "K", "°C") == degrees
