"""From the buffer of a profile to its intervals: decoded row by row, compression undone, in order, each time once.

Nothing here knows what a value is for; a row that cannot be read is reported and costs no other row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import lt

from connectors.dlms.axdr import Reader
from connectors.dlms.cosem import elements
from connectors.dlms.events import CosemData
from connectors.dlms.profile.capture import Shape
from connectors.dlms.profile.row_times import row_times
from connectors.dlms.profile.uniform_rows import uniform_rows
from model.settings.profile import ProfileSettings
from model.tuples import kept_in_a_tuple, maker

PIECE = 100
"""Rows decoded at a stretch."""

_APART = timedelta(milliseconds=1)


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class Row:
    """One row: when it was captured, UTC, and what was captured, one value per column of the profile; None for no value."""

    at: datetime
    values: tuple[CosemData, ...]


_row = maker(Row)


@dataclass(frozen=True, slots=True)
class Buffer:
    """The rows of one answer, oldest first, each time once; `faults` says what was wrong with rows that are left out.

    `count` is the number of rows that arrived.
    """

    rows: tuple[Row, ...]
    faults: tuple[str, ...]
    count: int


def decode_pieces(data: bytes) -> Iterator[list[CosemData]]:
    """The rows that `data`, an encoded buffer, holds: `PIECE` at a time, so that others get their turn in between, or all of them
    where that takes no longer.

    It says itself where it ends; some meters send leftovers behind it.

    :raises CosemError: when the bytes are no array of rows; rows already given stand.
    """
    alike = uniform_rows(data)
    if alike is not None:
        yield alike
        return
    piece: list[CosemData] = []
    reader = Reader(data)
    for row in elements(reader):
        piece.append(row)
        if len(piece) == PIECE:
            yield piece
            piece = []
    yield piece


def arrange(raw: Sequence[CosemData], shape: Shape, settings: ProfileSettings, before: datetime | None = None) -> Buffer:
    """The intervals of `raw`, the rows of a buffer in the order in which they came.

    Of rows with the same time the one captured last counts: a clock that was set back, or the same row twice. In an event
    log two different events may happen in one second: the later ones are set apart by a millisecond each.

    :arg before: see `row_times`.
    :raises CosemError: when the profile captures no clock.
    """
    clock, width = shape.clock, len(shape.columns)
    whole = [row for row in raw if type(row) is list and len(row) == width]
    faults = [f"{len(raw) - len(whole)} rows do not have the {width} columns that are captured"] if len(whole) < len(raw) else []
    stamps = [row[clock] for row in whole]
    times = row_times(stamps, settings, shape.period, shape.newest_first, before)
    repeats = settings.nulls == "repeat" or (settings.nulls == "auto" and any(stamp is None for stamp in stamps))
    filled = _repeated(whole, clock) if repeats else list(map(tuple, whole))
    unknown = [time for time in times if not isinstance(time, datetime)]
    if unknown:
        faults.append(f"{len(unknown)} rows left out, the first because: {unknown[0]}")
        filled = [values for time, values in zip(times, filled, strict=True) if isinstance(time, datetime)]
    known = [time for time in times if isinstance(time, datetime)] if unknown else times
    rows = list(map(_row, zip(known, filled, strict=True)))
    if shape.newest_first:
        rows.reverse()
    return Buffer(tuple(_in_order(rows, is_log=not shape.period)), tuple(faults), len(raw))


def _repeated(rows: Sequence[Sequence[CosemData]], clock: int) -> list[tuple[CosemData, ...]]:
    """Null-data replaced by the value of the row before, in the order in which the meter sent them."""
    filled: list[tuple[CosemData, ...]] = []
    last: tuple[CosemData, ...] = ()
    for row in rows:
        last = tuple(last[n] if value is None and last and n != clock else value for n, value in enumerate(row))
        filled.append(last)
    return filled


def _in_order(rows: Sequence[Row], is_log: bool) -> Sequence[Row]:
    times = [row.at for row in rows]
    if all(map(lt, times, times[1:])):
        return rows
    if not is_log:
        return [row for _, row in sorted({row.at: row for row in rows}.items())]
    taken: dict[datetime, Row] = {}
    seen: set[tuple[datetime, str]] = set()
    for row in sorted(rows, key=lambda row: row.at):
        same = (row.at, repr(row.values))
        at = row.at
        while same not in seen and at in taken:
            at += _APART
        if same not in seen:
            taken[at] = Row(at, row.values)
            seen.add(same)
    return [row for _, row in sorted(taken.items())]
