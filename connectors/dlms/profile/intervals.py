"""From a row of a profile to the Cycle of one interval: keys, scalers, the status word and the texts of events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from connectors.dlms.cosem import CosemError, render
from connectors.dlms.events import CosemData
from connectors.dlms.profile.capture import Naming, Shape
from connectors.dlms.profile.rows import Row
from model.messages import Cycle, Origin, Outcome, RawValue, ReadError, Value
from model.settings.profile import ProfileSettings, StatusSettings

TEXT_SUFFIX = "_text"
"""Behind the key of an event code: the key of its text."""


def interval_cycles(
    meter: str,
    rows: Iterable[Row],
    shape: Shape,
    naming: Naming,
    settings: ProfileSettings,
    received: datetime,
    errors: tuple[ReadError, ...] = (),
) -> Iterator[Cycle]:
    """A Cycle for each row that has at least one value: its timestamp is the row's, `received` when it was read.

    :arg errors: what is wrong with columns of every row.
    """
    for row in rows:
        values = tuple(_values(row, shape, naming, settings))
        if values:
            yield Cycle(
                meter=meter,
                due=row.at,
                started=row.at,
                duration=0.0,
                outcome=Outcome.PARTIAL if errors else Outcome.OK,
                values=values,
                errors=errors,
                origin=Origin.PROFILE,
                received=received,
            )


def _values(row: Row, shape: Shape, naming: Naming, settings: ProfileSettings) -> Iterator[RawValue]:
    for position, (column, key, data) in enumerate(zip(shape.columns, naming.keys, row.values, strict=True)):
        if key is None or data is None:
            continue
        if column.scaler_unit is not None and column not in shape.scalers:
            continue  # without its scaler a number says nothing
        if position == naming.status and settings.status is not None:
            yield from _status(data, settings.status)
            continue
        try:
            value = render(data, column.source)
        except CosemError:
            continue
        scaler, unit = shape.scalers.get(column, (None, None))
        yield RawValue(key, value) if isinstance(value, (str, bool)) else RawValue(key, value, scaler, unit)
        if settings.events and type(value) is int and value in settings.events:
            yield RawValue(key + TEXT_SUFFIX, settings.events[value])


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
