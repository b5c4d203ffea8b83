"""What ThingsBoard makes of a JSON payload: records with typed values, or the way it refuses it.

Source: ThingsBoard's JsonConverter, JsonMqttAdaptor and AbstractGatewaySessionHandler. Three things can be wrong, and
ThingsBoard answers each differently: not JSON or not the expected shape (`PayloadError`), a value of a type its code
does not expect (`UnexpectedTypeError`, which it does not catch), a gateway message that names no device
(`NothingInItError`). Gson, which it uses, also accepts some text that is not JSON; this parser does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn, Union

StoredValue = Union[bool, int, float, str]

_LONG_MIN, _LONG_MAX = -(2**63), 2**63 - 1
_MOST_DECIMALS = 16
_LARGEST_EXPONENT = 10_000
"""Beyond this ThingsBoard would try to write out that many digits; refused here."""


class PayloadError(ValueError):
    """The payload is not JSON, or not of the shape the topic demands."""


class UnexpectedTypeError(PayloadError):
    """A field has a type that ThingsBoard's code trips over instead of refusing it."""


class NothingInItError(PayloadError):
    """A gateway message without a single usable device."""


class JsonNumber(str):
    """The text of a number as it stood in the payload: 1.0 and 1 are stored differently."""

    __slots__ = ()


@dataclass(frozen=True)
class Record:
    """The values of one timestamp, `ts` in milliseconds since 1970 UTC."""

    ts: int
    values: Mapping[str, StoredValue]


def parse_json(payload: bytes) -> Any:
    """The payload's JSON with numbers as `JsonNumber`.

    :raises PayloadError: when it is not JSON.
    """
    text = payload.decode("utf-8", errors="replace")
    try:
        document = json.loads(text, parse_int=JsonNumber, parse_float=JsonNumber, parse_constant=_no_constant)
        if "\\ud" in text.lower():
            _json_text(document).encode("utf-8")  # an escaped half of a surrogate pair cannot be stored
        return document
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"the payload is not JSON: {error}") from error


def parse_telemetry(document: Any, received: int) -> list[Record]:
    """The records of a device's telemetry: {"ts","values"}, a plain object of values, or an array of these.

    :arg received: the time of arrival in ms, for values without a timestamp.
    :raises PayloadError: for any other shape.
    """
    entries = document if isinstance(document, list) else [document]
    return [_record(entry, received) for entry in entries]


def parse_gateway_telemetry(entries: list[Any], received: int) -> list[Record]:
    """The records of one device in a gateway's telemetry; `metadata` in an entry is taken out.

    :raises PayloadError: for anything that is not an object of values.
    """
    records = []
    for entry in entries:
        if isinstance(entry, dict) and "metadata" in entry:
            _check_metadata(entry["metadata"])
            entry = {key: value for key, value in entry.items() if key != "metadata"}
        records.append(_record(entry, received))
    return records


def parse_values(document: Any) -> dict[str, StoredValue]:
    """The values of an object, by ThingsBoard's rules for types; nulls are left out.

    :raises PayloadError: when it is not an object.
    """
    if not isinstance(document, dict):
        raise PayloadError(f"an object of values was expected, not {_kind(document)}")
    return {key: _stored(value) for key, value in document.items() if value is not None}


def as_text(value: Any, field: str) -> str:
    """A string field, as Gson's getAsString gives it (numbers and booleans become text).

    :raises UnexpectedTypeError: when it is absent, null or not a primitive.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return str(value)
    raise UnexpectedTypeError(f"{field!r} is {_kind(value)}, a string was expected")


def _record(entry: Any, received: int) -> Record:
    if not isinstance(entry, dict):
        raise PayloadError(f"an object was expected, not {_kind(entry)}")
    if "ts" in entry and "values" in entry:
        return Record(_timestamp(entry["ts"]), parse_values(entry["values"]))
    return Record(received, parse_values(entry))


def _timestamp(value: Any) -> int:
    """Milliseconds; a number is cut to an integer, a string must be one."""
    try:
        if isinstance(value, JsonNumber):
            number = Decimal(value)
            if abs(number.adjusted()) > _LARGEST_EXPONENT:
                raise UnexpectedTypeError("'ts' is out of range")
            ts = int(number)
        elif isinstance(value, str):
            ts = int(value) if value.lstrip("+-").isdecimal() else _unexpected_ts(value)
        else:
            _unexpected_ts(value)
    except (InvalidOperation, ValueError) as error:
        raise UnexpectedTypeError("'ts' is not a number of milliseconds") from error
    if not _LONG_MIN <= ts <= _LONG_MAX:
        raise UnexpectedTypeError("'ts' does not fit 64 bits")
    return ts


def _unexpected_ts(value: Any) -> NoReturn:
    raise UnexpectedTypeError(f"'ts' is {_kind(value)}, milliseconds were expected")


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or any(metadata.get(name) is None for name in ("connector", "receivedTs", "publishedTs")):
        raise PayloadError("'metadata' needs connector, receivedTs and publishedTs")


def _stored(value: Any) -> StoredValue:
    if isinstance(value, bool):
        return value
    if isinstance(value, JsonNumber):
        return _number(value)
    if isinstance(value, str):
        return _number(value) if _is_parsable(value) else value
    return _json_text(value)


def _json_text(value: Any) -> str:
    """JSON again, each number with the digits it came with."""
    if isinstance(value, JsonNumber):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(map(_json_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json_text(key)}:{_json_text(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def _is_parsable(text: str) -> bool:
    """Whether a string is cast to a number: digits with at most one point, which is not last, and an optional minus
    (commons-lang NumberUtils.isParsable). "1e5" and "+5" stay strings, "00012345" does not."""
    digits = text[1:] if text.startswith("-") else text
    return not text.endswith(".") and digits.count(".") <= 1 and digits.replace(".", "", 1).isdecimal()


def _number(text: str) -> StoredValue:
    """A long, a double, or the digits as a string where neither holds them (JsonConverter.buildNumericKeyValueProto)."""
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise PayloadError("a number's exponent is out of range") from error
    if abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise PayloadError("a number has too many digits")
    scale = -int(number.as_tuple().exponent)
    simple_double = "." in text and "e" not in text.lower()
    if number == number.to_integral_value() and not simple_double:
        return int(number) if _LONG_MIN <= number <= _LONG_MAX else f"{number.to_integral_value():f}"
    if scale > _MOST_DECIMALS:
        return f"{number:f}"
    double = float(number) + 0.0  # a BigDecimal has no negative zero
    if double in (float("inf"), float("-inf")):
        raise PayloadError("a number does not fit a double")
    return double


def _kind(value: Any) -> str:
    """The JSON type of a value, for messages that must not repeat the value."""
    if value is None:
        return "null"
    if isinstance(value, JsonNumber):
        return "a number"
    names: dict[type, str] = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "something else")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
