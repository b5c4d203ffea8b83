"""From a row of a profile to the Cycle of one interval: keys, scalers, the status word and the texts of events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import repeat
from typing import NamedTuple

from connectors.dlms.cosem import CosemError, render
from connectors.dlms.events import Attribute, CosemData
from connectors.dlms.profile.capture import Naming, Shape
from connectors.dlms.profile.rows import Row
from model.messages import Cycle, Origin, Outcome, RawValue, ReadError, Value
from model.settings.profile import ProfileSettings, StatusSettings
from model.tuples import maker

_cycle, _raw_value = maker(Cycle), maker(RawValue)

TEXT_SUFFIX = "_text"
"""Behind the key of an event code: the key of its text."""


def interval_cycles(
    meter: str,
    rows: Sequence[Row],
    shape: Shape,
    naming: Naming,
    settings: ProfileSettings,
    received: datetime,
    errors: tuple[ReadError, ...] = (),
) -> list[Cycle]:
    """A Cycle for each row that has at least one value: its timestamp is the row's, `received` when it was read.

    :arg errors: what is wrong with columns of every row.
    """
    columns = _columns(shape, naming, settings)
    outcome = Outcome.PARTIAL if errors else Outcome.OK
    found = _numbers(rows, columns, settings)
    if found is None:
        some = [(row, values) for row in rows if (values := tuple(_values(row, columns, settings)))]
        rows, found = [row for row, _ in some], [values for _, values in some]
    at = [row.at for row in rows]
    # Field by field, in the order of Cycle's: this is done for millions of rows.
    same = (repeat(outcome), found, repeat(errors), repeat(0), repeat(False), repeat(None), repeat(()), repeat(None))
    return list(map(_cycle, zip(repeat(meter), at, at, repeat(0.0), *same, repeat(Origin.PROFILE), repeat(received))))


class _Column(NamedTuple):
    """What becomes of one column that has a key; `is_status` where it is the status word."""

    position: int
    key: str
    source: Attribute
    is_status: bool
    scaler: int | None
    unit: int | None


def _columns(shape: Shape, naming: Naming, settings: ProfileSettings) -> list[_Column]:
    """Without those whose numbers say nothing because their scaler is unknown."""
    found = []
    for position, (column, key) in enumerate(zip(shape.columns, naming.keys, strict=True)):
        if key is None or (column.scaler_unit is not None and column not in shape.scalers):
            continue
        is_status = position == naming.status and settings.status is not None
        found.append(_Column(position, key, column.source, is_status, *shape.scalers.get(column, (None, None))))
    return found


def _numbers(rows: Sequence[Row], columns: Sequence[_Column], settings: ProfileSettings) -> list[tuple[RawValue, ...]] | None:
    """As `_values`, of all rows, where all that is there are whole numbers that mean themselves, as in nearly every load profile; else
    None."""
    if settings.events or settings.status is not None:
        return None
    made = []
    captured = list(zip(*(row.values for row in rows), strict=True))
    for position, key, _, _, scaler, unit in columns:
        numbers = captured[position]
        if set(map(type, numbers)) != {int}:
            return None
        made.append(map(_raw_value, zip(repeat(key), numbers, repeat(scaler), repeat(unit))))
    return list(zip(*made, strict=True))


def _values(row: Row, columns: Sequence[_Column], settings: ProfileSettings) -> Iterator[RawValue]:
    for column in columns:
        data = row.values[column.position]
        if data is None:
            continue
        if column.is_status and settings.status is not None:
            yield from _status(data, settings.status)
            continue
        if type(data) is int:
            yield RawValue(column.key, data, column.scaler, column.unit)
            if settings.events and data in settings.events:
                yield RawValue(column.key + TEXT_SUFFIX, settings.events[data])
            continue
        try:
            value = render(data, column.source)
        except CosemError:
            continue
        yield RawValue(column.key, value) if isinstance(value, (str, bool)) else RawValue(column.key, value, column.scaler, column.unit)


def _status(data: CosemData, settings: StatusSettings) -> Iterator[RawValue]:
    """The status word as it came, and what it means where a table says so; no flag set is the empty list, "ok"."""
    number = status_number(data)
    word: Value | None = data if isinstance(data, (int, str)) else number
    if word is None or number is None:
        return
    yield RawValue(settings.key, word)
    if settings.values:
        yield RawValue(settings.flags_key, settings.values.get(number, f"code {number}"))
    elif settings.bits:
        names = [settings.bits.get(bit, f"bit {bit}") for bit in set_bits(data)]
        yield RawValue(settings.flags_key, ",".join(names) or "ok")


def status_number(data: CosemData) -> int | None:
    """A status word as a number; None where it is neither number, bits nor bytes."""
    if isinstance(data, bool) or data is None:
        return None
    if isinstance(data, int):
        return data
    if isinstance(data, bytes):
        return int.from_bytes(data, "big")
    if isinstance(data, str) and data and set(data) <= {"0", "1"}:
        return int(data, 2)
    return None


def set_bits(data: CosemData) -> list[int]:
    """The numbers of the bits that are set: 0 is the lowest of a number, and the first of a bit-string."""
    if isinstance(data, str):
        return [place for place, bit in enumerate(data) if bit == "1"]
    number = status_number(data)
    return [] if number is None or number < 0 else [bit for bit in range(number.bit_length()) if number >> bit & 1]
