"""What ThingsBoard is sent: records, value rules, topics and packets. Pure functions, no I/O.

Value rules (ThingsBoard's `JsonConverter`, default configuration):
- A JSON number with a fraction part is stored as a double, one without as a long. A Decimal is written digit by digit, so no
  binary float ever comes between.
- A number with more than 16 decimal places, or an integer beyond 64 bits, is stored as a string. It is sent as one.
- A JSON *string* that `NumberUtils.isParsable` accepts (digits, at most one point that is not last, an optional leading
  minus) is cast to a number unless the server runs with JSON_TYPE_CAST_ENABLED=false, which a client cannot see: a serial
  number 00012345 becomes 12345. No spelling of the string escapes the cast, so such a text is sent with one space behind
  it. The space is not a digit, so the value stays a string with all its digits; it cannot be seen in a dashboard, and trimming
  gives the identifier back (`original_text`).
- U+0000 cannot be stored by PostgreSQL (the write fails after the acknowledgement); it is sent as U+FFFD.
- Null is skipped by the server; there is none here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import orjson

from model.messages import Value

Api = Literal["gateway", "device"]

GATEWAY_ITSELF = ""
"""The device of a record that speaks for the gateway and not for a meter."""

MOST_DECIMALS = 16
LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1

MOST_RECORD_BYTES = 16_384
"""A record is made several of the same timestamp above this size, so that it fits the packets of a server with default limits."""

_LONGEST_PLAIN = 400
_CAST_GUARD = " "


class Kind(str, Enum):
    """What a record is to ThingsBoard."""

    TELEMETRY = "telemetry"
    ATTRIBUTES = "attributes"


@dataclass(frozen=True)
class Record:
    """One entry of the outbox: {"ts","values"} of one device, or attributes of one device, already encoded.

    :arg device: name in ThingsBoard, `GATEWAY_ITSELF` for the gateway.
    :arg meter: the meter it came from, or FLEET.
    :arg ts: milliseconds since 1970 UTC.
    :arg payload: JSON of the record.
    :arg origin: poll, profile or push for readings; report, alert or tags otherwise.
    :arg readings: how many readings are in it; 0 for everything that is not a reading.
    :arg read_at: when the oldest of them was read, milliseconds since 1970 UTC.
    :arg points: how many values the payload has, as rate limits count them.
    """

    device: str
    meter: str
    kind: Kind
    ts: int
    payload: bytes
    origin: str
    readings: int
    read_at: int
    points: int


def is_cast(text: str) -> bool:
    """Whether ThingsBoard would turn this string into a number (commons-lang `NumberUtils.isParsable`)."""
    digits = text[1:] if text.startswith("-") else text
    return not text.endswith(".") and digits.count(".") <= 1 and digits.replace(".", "", 1).isdecimal()


def original_text(text: str) -> str:
    """The text before it was guarded against the cast."""
    return text[:-1] if text.endswith(_CAST_GUARD) and is_cast(text[:-1]) else text


def encode_record(ts: int, values: Mapping[str, Value]) -> bytes:
    """One telemetry record, {"ts": ms, "values": {...}}."""
    return orjson.dumps({"ts": ts, "values": _prepared(values)})


def encode_values(values: Mapping[str, Value]) -> bytes:
    """A plain object of values: attributes."""
    return orjson.dumps(_prepared(values))


def encode_connect(device: str, device_type: str) -> bytes:
    """The message that announces a device to the gateway API."""
    return orjson.dumps({"device": _storable(device), "type": _storable(device_type)})


def split_values(values: Mapping[str, Value], most_bytes: int = MOST_RECORD_BYTES) -> Iterator[dict[str, Value]]:
    """The values in groups that encode to about `most_bytes` at most; a single larger value stands alone."""
    group: dict[str, Value] = {}
    size = 0
    for key, value in values.items():
        length = len(encode_values({key: value}))
        if group and size + length > most_bytes:
            yield group
            group, size = {}, 0
        group[key] = value
        size += length
    if group:
        yield group


def divided(record: Record, most_bytes: int) -> tuple[Record, ...]:
    """The record as several of the same timestamp, each at most `most_bytes` long where its keys allow it.

    Values are copied character by character. Empty when the record has a single key or its payload is damaged.
    """
    try:
        content = json.loads(record.payload, parse_float=_verbatim, parse_int=_verbatim)
        values: dict[str, Any] = dict(content if record.kind is Kind.ATTRIBUTES else content["values"])
    except (ValueError, TypeError, KeyError):
        return ()
    frame = len(_framed(record, {}))
    groups: list[dict[str, Any]] = []
    room = 0
    for key, value in values.items():
        length = len(orjson.dumps({key: value})) - 1  # one brace stands for the comma
        if not groups or length > room:
            groups.append({})
            room = most_bytes - frame + 1
        groups[-1][key] = value
        room -= length
    if len(groups) < 2:
        return ()
    repeats = max(0, record.readings - len(values)) if record.readings else 0
    parts = []
    for group in groups:
        readings, repeats = (len(group) + repeats, 0) if record.readings else (0, 0)
        parts.append(replace(record, payload=_framed(record, group), readings=readings, points=len(group)))
    return tuple(parts)


def _verbatim(number: str) -> orjson.Fragment:
    return orjson.Fragment(number.encode())


def _framed(record: Record, values: dict[str, Any]) -> bytes:
    return orjson.dumps(values if record.kind is Kind.ATTRIBUTES else {"ts": record.ts, "values": values})


def _prepared(values: Mapping[str, Value]) -> dict[str, Any]:
    return {_storable(key): _json_value(value) for key, value in values.items()}


def _json_value(value: Value) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if LONG_MIN <= value <= LONG_MAX else str(value)
    if isinstance(value, float):  # a custom mapping may yield one; its shortest digits are what it meant
        return _json_decimal(Decimal(repr(value)))
    if isinstance(value, Decimal):
        return _json_decimal(value)
    text = _storable(value)
    return text + _CAST_GUARD if is_cast(text) else text


def _json_decimal(value: Decimal) -> Any:
    if not value.is_finite() or abs(value.adjusted()) > _LONGEST_PLAIN:
        return str(value)
    plain = f"{value:f}"
    whole, point, fraction = plain.partition(".")
    if not point:
        number = int(plain)
        return number if LONG_MIN <= number <= LONG_MAX else plain
    if len(fraction) > MOST_DECIMALS:
        fraction = fraction[:MOST_DECIMALS] + fraction[MOST_DECIMALS:].rstrip("0")
        plain = f"{whole}.{fraction}"
    return plain if len(fraction) > MOST_DECIMALS else orjson.Fragment(plain.encode())


def _storable(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


CONNECT_TOPIC = "v1/gateway/connect"

_TOPICS: Mapping[tuple[bool, Kind], str] = {
    (True, Kind.TELEMETRY): "v1/gateway/telemetry",
    (True, Kind.ATTRIBUTES): "v1/gateway/attributes",
    (False, Kind.TELEMETRY): "v1/devices/me/telemetry",
    (False, Kind.ATTRIBUTES): "v1/devices/me/attributes",
}


def named(api: Api, device: str) -> bool:
    """Whether a packet must name the device: through the gateway API, unless it is the gateway itself."""
    return api == "gateway" and device != GATEWAY_ITSELF


def topic(api: Api, device: str, kind: Kind) -> str:
    """Where records of this device go."""
    return _TOPICS[named(api, device), kind]


def encode_packet(api: Api, device: str, kind: Kind, payloads: Sequence[bytes]) -> bytes:
    """The payload of one PUBLISH: records of one device; the array is mandatory in the gateway API.

    Attributes are one record per packet.
    """
    body = payloads[0] if kind is Kind.ATTRIBUTES else b"[" + b",".join(payloads) + b"]"
    return b"{" + orjson.dumps(_storable(device)) + b":" + body + b"}" if named(api, device) else body


def publish_header(topic_name: str) -> int:
    """Bytes of an MQTT PUBLISH besides its payload, at most: fixed header, topic, packet id, length of the properties."""
    return 5 + 2 + len(topic_name) + 2 + 1


def packet_overhead(api: Api, device: str, kind: Kind) -> int:
    """Bytes of an MQTT PUBLISH besides the records and the commas between them: header and name."""
    return publish_header(topic(api, device, kind)) + len(encode_packet(api, device, kind, [b""]))


def how_many_fit(payloads: Iterable[bytes], room: int) -> int:
    """How many of the first records fit into `room` bytes together, commas counted."""
    count = 0
    for payload in payloads:
        room -= len(payload) + (1 if count else 0)
        if room < 0:
            break
        count += 1
    return count
