"""Units of measurement: the codes of DLMS and exact conversion between units of one dimension.

The codes are those of the enumeration `unit` in IEC 62056-6-2, attribute scaler_unit of interface class 3 Register
(DLMS UA Blue Book, table of units). Symbols are written as in that table, with m³ for m3, L for l and % for percentage.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import Union

Number = Union[int, Decimal]

DECIMAL_PLACES = 15
"""Places kept where a conversion has no finite decimal expansion (J to Wh divides by 3600); ThingsBoard stores numbers
with more than 16 places as text."""

UNITLESS = 255

_SYMBOLS: dict[int, str] = {
    1: "a",
    2: "mo",
    3: "wk",
    4: "d",
    5: "h",
    6: "min",
    7: "s",
    8: "°",
    9: "°C",
    10: "currency",
    11: "m",
    12: "m/s",
    13: "m³",
    14: "m³",  # corrected volume
    15: "m³/h",
    16: "m³/h",  # corrected volume flux
    17: "m³/d",
    18: "m³/d",  # corrected volume flux
    19: "L",
    20: "kg",
    21: "N",
    22: "Nm",
    23: "Pa",
    24: "bar",
    25: "J",
    26: "J/h",
    27: "W",
    28: "VA",
    29: "var",
    30: "Wh",
    31: "VAh",
    32: "varh",
    33: "A",
    34: "C",
    35: "V",
    36: "V/m",
    37: "F",
    38: "Ω",
    39: "Ωm²/m",
    40: "Wb",
    41: "T",
    42: "A/m",
    43: "H",
    44: "Hz",
    45: "1/(Wh)",
    46: "1/(varh)",
    47: "1/(VAh)",
    48: "V²h",
    49: "A²h",
    50: "kg/s",
    51: "S",
    52: "K",
    53: "1/(V²h)",
    54: "1/(A²h)",
    55: "1/m³",
    56: "%",
    57: "Ah",
    60: "Wh/m³",
    61: "J/m³",
    62: "mol%",
    63: "g/m³",
    64: "Pa·s",
    65: "J/kg",
    66: "g/cm²",
    67: "atm",
    70: "dBm",
    71: "dBµV",
    72: "dB",
    128: "in",
    129: "ft",
    130: "lb",
    131: "°F",
    132: "°R",
    133: "in²",
    134: "ft²",
    135: "ac",
    136: "in³",
    137: "ft³",
    138: "ac·ft",
    139: "gal(imp)",
    140: "gal(US)",
    141: "lbf",
    142: "psi",
    143: "lb/ft³",
    144: "lb/(ft·s)",
    145: "ft²/s",
    146: "Btu",
    147: "thm(EC)",
    148: "thm(US)",
    149: "Btu/lb",
    150: "Btu/ft³",
    151: "ft³",  # volume, as meter constant
    152: "ft/s",
    153: "ft³/s",
    154: "ft³/min",
    155: "ft³/h",
    156: "ft³/d",
    157: "ac·ft/s",
    158: "ac·ft/min",
    159: "ac·ft/h",
    160: "ac·ft/d",
    161: "gal(imp)",  # volume, as meter constant
    162: "gal(imp)/s",
    163: "gal(imp)/min",
    164: "gal(imp)/h",
    165: "gal(imp)/d",
    166: "gal(US)",  # volume, as meter constant
    167: "gal(US)/s",
    168: "gal(US)/min",
    169: "gal(US)/h",
    170: "gal(US)/d",
    171: "Btu/s",
    172: "Btu/min",
    173: "Btu/h",
    174: "Btu/d",
    254: "other",
}

UNIT_SYMBOLS: Mapping[int, str] = MappingProxyType(_SYMBOLS)
"""DLMS unit code -> symbol. 58, 59, 68, 69, 73 to 127 and 175 to 252 are reserved, 253 refers to an extended table."""


def unit_symbol(code: int | None) -> str | None:
    """The symbol of a DLMS unit code: 30 -> "Wh".

    None for 255 (unitless), for 0 (outside the table; meters send it for "not set") and for None. A code that the
    table does not define becomes "unit 58", so that it can be seen and is never taken for another unit.
    """
    if code is None or code in (0, UNITLESS):
        return None
    return _SYMBOLS.get(code) or f"unit {code}"


def unit_code(symbol: str) -> int | None:
    """The DLMS unit code of a symbol, "Wh" -> 30; None where the table has none."""
    return next((code for code, known in _SYMBOLS.items() if known == symbol), None)


@dataclass(frozen=True, slots=True)
class _Unit:
    """base = value * factor + zero, where base is the unit of the dimension that has factor 1 and zero 0."""

    dimension: str
    factor: Fraction
    zero: Fraction = Fraction(0)


_PREFIXES = {"": 0, "µ": -6, "m": -3, "h": 2, "k": 3, "M": 6, "G": 9}


def _prefixed(dimension: str, symbol: str, prefixes: str, factor: Fraction | int = 1) -> dict[str, _Unit]:
    """The unit itself and its decimal multiples, one prefix letter each."""
    return {prefix + symbol: _Unit(dimension, Fraction(10) ** _PREFIXES[prefix] * factor) for prefix in ["", *prefixes]}


_UNITS: dict[str, _Unit] = {
    **_prefixed("energy", "J", "kMG"),
    **_prefixed("energy", "Wh", "mkMG", 3600),
    "Nm": _Unit("energy", Fraction(1)),
    **_prefixed("power", "W", "mkMG"),
    "J/h": _Unit("power", Fraction(1, 3600)),
    **_prefixed("apparent power", "VA", "kMG"),
    **_prefixed("reactive power", "var", "kMG"),
    **_prefixed("apparent energy", "VAh", "kMG"),
    **_prefixed("reactive energy", "varh", "kMG"),
    **_prefixed("voltage", "V", "µmkM"),
    **_prefixed("current", "A", "µmk"),
    **_prefixed("charge", "C", "mk"),
    **_prefixed("charge", "Ah", "mk", 3600),
    **_prefixed("resistance", "Ω", "mkM"),
    **_prefixed("frequency", "Hz", "mkM"),
    "K": _Unit("temperature", Fraction(1)),
    "°C": _Unit("temperature", Fraction(1), Fraction("273.15")),
    "°F": _Unit("temperature", Fraction(5, 9), Fraction("459.67") * Fraction(5, 9)),
    "m³": _Unit("volume", Fraction(1)),
    **_prefixed("volume", "L", "m", Fraction(1, 1000)),
    "m³/s": _Unit("volume flow", Fraction(1)),
    "m³/h": _Unit("volume flow", Fraction(1, 3600)),
    "m³/d": _Unit("volume flow", Fraction(1, 86400)),
    "L/s": _Unit("volume flow", Fraction(1, 1000)),
    "L/min": _Unit("volume flow", Fraction(1, 60_000)),
    "L/h": _Unit("volume flow", Fraction(1, 3_600_000)),
    **_prefixed("pressure", "Pa", "hkM"),
    **_prefixed("pressure", "bar", "m", 100_000),
    "atm": _Unit("pressure", Fraction(101_325)),
    "g/cm²": _Unit("pressure", Fraction("98.0665")),
    **_prefixed("time", "s", "µm"),
    "min": _Unit("time", Fraction(60)),
    "h": _Unit("time", Fraction(3600)),
    "d": _Unit("time", Fraction(86400)),
    "wk": _Unit("time", Fraction(7 * 86400)),
    **_prefixed("mass", "g", "mk", Fraction(1, 1000)),
    "t": _Unit("mass", Fraction(1000)),
    "m": _Unit("length", Fraction(1)),
    "mm": _Unit("length", Fraction(1, 1000)),
    "km": _Unit("length", Fraction(1000)),
}
# Other spellings people write, on the same footing as the symbol.
_UNITS |= {
    "l": _UNITS["L"],
    "m3": _UNITS["m³"],
    "m3/h": _UNITS["m³/h"],
    "ohm": _UNITS["Ω"],
    "degC": _UNITS["°C"],
    "VAr": _UNITS["var"],
    "kVAr": _UNITS["kvar"],
    "VArh": _UNITS["varh"],
    "kVArh": _UNITS["kvarh"],
}

# Wide enough for any scaler (-128 to 127) on any float64; what does not fit raises instead of being rounded.
_EXACT = Context(prec=1000, Emax=99_999, Emin=-99_999, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_ONE = Decimal(1)


def _terminating(number: Fraction) -> tuple[int, int] | None:
    """(mantissa, exponent) in lowest terms with number == mantissa * 10**exponent; None if there is no such pair."""
    denominator, twos, fives = number.denominator, 0, 0
    while denominator % 2 == 0:
        denominator, twos = denominator // 2, twos + 1
    while denominator % 5 == 0:
        denominator, fives = denominator // 5, fives + 1
    if denominator != 1:
        return None
    places = max(twos, fives)
    mantissa, exponent = number.numerator * 10**places // number.denominator, -places
    while mantissa and mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, exponent + 1
    return mantissa, exponent


def _without_positive_exponent(number: Decimal) -> Decimal:
    return _EXACT.quantize(number, _ONE) if number.as_tuple().exponent > 0 else number  # type: ignore[operator]


class Conversion:
    """value * factor + offset, exact wherever the result has a finite number of decimal places.

    An int stays an int where the factor is a whole power of ten times an int (1 kWh = 1000 Wh), otherwise it becomes a
    Decimal with the places that the factor gives it, trailing zeros kept: 23010 * 10**-2 is 230.10, so that all values
    of one register have the same type and show its resolution. A Decimal stays a Decimal. No result has a positive
    exponent: 2.3E+2 is 230. Without a finite expansion the result is rounded half to even to DECIMAL_PLACES places.
    """

    __slots__ = ("_exponent", "_mantissa", "_shift", "_terminates", "factor", "offset")

    def __init__(self, factor: Fraction, offset: Fraction = Fraction(0)) -> None:
        self.factor = factor
        self.offset = offset
        scale, shift = _terminating(factor), _terminating(offset)
        self._terminates = scale is not None and shift is not None
        self._mantissa, self._exponent = scale or (0, 0)
        self._shift = _EXACT.scaleb(Decimal(shift[0]), shift[1]) if shift is not None and offset else None

    @property
    def is_identity(self) -> bool:
        """Whether every value stays as it is."""
        return self.factor == 1 and self.offset == 0

    def then(self, following: Conversion) -> Conversion:
        """Both conversions as one, so that nothing is rounded in between."""
        return Conversion(self.factor * following.factor, self.offset * following.factor + following.offset)

    def __call__(self, value: Number) -> Number:
        """The converted value.

        :raises ArithmeticError: for infinity and not-a-number, and for numbers of more than a thousand digits.
        """
        if not self._terminates:
            return self._rounded(value)
        if isinstance(value, int):
            return self._of_int(value)
        product = _EXACT.scaleb(_EXACT.multiply(value, Decimal(self._mantissa)), self._exponent)
        if not product.is_finite():
            raise InvalidOperation(f"{value} is not a finite number")
        return _without_positive_exponent(product if self._shift is None else _EXACT.add(product, self._shift))

    def _of_int(self, value: int) -> Number:
        product: int = value * self._mantissa
        if self._exponent >= 0:
            product *= 10**self._exponent
            return product if self._shift is None else _EXACT.add(Decimal(product), self._shift)
        scaled = _EXACT.scaleb(Decimal(product), self._exponent)
        return scaled if self._shift is None else _EXACT.add(scaled, self._shift)

    def _rounded(self, value: Number) -> Decimal:
        if isinstance(value, Decimal) and not value.is_finite():
            raise InvalidOperation(f"{value} is not a finite number")
        exact = Fraction(value) * self.factor + self.offset
        rounded = _EXACT.scaleb(Decimal(round(exact * 10**DECIMAL_PLACES)), -DECIMAL_PLACES)
        return _without_positive_exponent(_EXACT.normalize(rounded))


def power_of_ten(scaler: int) -> Conversion:
    """The conversion from a meter's raw integer to the quantity: value * 10**scaler."""
    return Conversion(Fraction(10) ** scaler)


def is_known_unit(symbol: str) -> bool:
    """Whether `symbol` can be converted from and to; others are names only."""
    return symbol in _UNITS


def similar_unit(symbol: str) -> str | None:
    """The known unit that was probably meant by `symbol` ("KWh" -> "kWh"), if any."""
    same_letters = [known for known in _UNITS if known.casefold() == symbol.casefold()]
    if same_letters:
        return max(same_letters, key=lambda known: sum(a == b for a, b in zip(known, symbol, strict=True)))
    return next(iter(difflib.get_close_matches(symbol, _UNITS, n=1, cutoff=0.7)), None)


@lru_cache(maxsize=1024)
def conversion(source: str, target: str) -> Conversion:
    """The exact conversion from `source` to `target`, two symbols such as "Wh" and "kWh".

    :raises ValueError: when one of them is not known or they measure different things.
    """
    if source == target:
        return Conversion(Fraction(1))
    for symbol in (source, target):
        if symbol not in _UNITS:
            similar = similar_unit(symbol)
            hint = f"; did you mean {similar}?" if similar else ""
            raise ValueError(f"cannot convert {source} to {target}: {symbol} is not a unit with a known conversion{hint}")
    have, want = _UNITS[source], _UNITS[target]
    if have.dimension != want.dimension:
        raise ValueError(f"cannot convert {source} to {target}: {have.dimension} is not {want.dimension}")
    return Conversion(have.factor / want.factor, (have.zero - want.zero) / want.factor)


def convert(value: Number, source: str, target: str) -> Number:
    """`value` in the unit `target`: convert(1500, "Wh", "kWh") is Decimal("1.500").

    :raises ValueError: when the units are not known or measure different things.
    :raises ArithmeticError: for infinity and not-a-number.
    """
    return conversion(source, target)(value)
