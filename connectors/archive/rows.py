"""Turns messages into rows of the archive, and values back into what they were."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Union

from model.messages import Alert, Cycle, Gap, HealthReport, Message, Origin, Reading, Receipt, Rejection, Value
from model.timestamps import to_ms

READINGS = "readings"
"""Of readings: the view; `recent` says which of its tables takes a row."""

Cell = Union[int, float, str, None]
Row = tuple[Cell, ...]


def rows_of(message: Message) -> Iterator[tuple[str, Row]]:
    """The rows a message becomes: table name and cells in the order of the table's columns."""
    if isinstance(message, Reading):
        yield READINGS, (message.meter, message.key, to_ms(message.ts), *_value_cells(message))
    elif isinstance(message, Cycle):
        yield from _cycle_rows(message)
    elif isinstance(message, Rejection):
        reading = message.reading
        yield "rejections", (reading.meter, reading.key, to_ms(reading.ts), message.rule, message.reason, *_value_cells(reading))
    elif isinstance(message, Receipt):
        times = (to_ms(message.acknowledged), to_ms(message.oldest), to_ms(message.newest))
        yield "receipts", (message.meter, *times, message.readings, len(message.poll_timestamps), message.delay)
    elif isinstance(message, HealthReport):
        yield "reports", _report_row(message)
    elif isinstance(message, Gap):
        yield "gaps", _gap_row(message)
    elif isinstance(message, Alert):
        yield "alerts", _alert_row(message)


def restore_value(type_name: str, text: str) -> Value:
    """The exact value that `type` and `value` of a row stand for.

    :raises ValueError: for a type this version does not know.
    """
    if type_name == "int":
        return int(text)
    if type_name == "decimal":
        return Decimal(text)
    if type_name == "str":
        return text
    if type_name == "bool":
        return text == "true"
    raise ValueError(f"the archive holds a value of unknown type {type_name!r}; it was written by a newer version")


def _value_cells(reading: Reading) -> Row:
    return (*_text_type_number(reading.value), reading.unit, reading.origin.value, to_ms(reading.read_at))


def _text_type_number(value: Value) -> tuple[str, str, float | None]:
    if isinstance(value, bool):  # before int: a bool is one
        return "true" if value else "false", "bool", float(value)
    if isinstance(value, int):
        return str(value), "int", _number(value)
    if isinstance(value, Decimal):
        return str(value), "decimal", _number(value)
    return value, "str", None


def _number(value: int | Decimal) -> float | None:
    """`value` as a finite float, None where there is none that large."""
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _cycle_rows(cycle: Cycle) -> Iterator[tuple[str, Row]]:
    if cycle.origin is Origin.PROFILE and cycle.values:
        return  # its readings say it all
    started = to_ms(cycle.started)
    yield (
        "cycles",
        (
            cycle.meter,
            started,
            to_ms(cycle.due),
            cycle.duration,
            cycle.outcome.value,
            len(cycle.values),
            len(cycle.errors),
            cycle.exchanges,
            int(cycle.associated),
            cycle.clock_offset,
        ),
    )
    for place, error in enumerate(cycle.errors):
        yield "errors", (cycle.meter, started, place, error.key, error.kind.value, error.detail, error.remedy)
    for found in cycle.violations:
        yield "violations", (cycle.meter, started, found.violation.value, found.count, found.detail)


def _report_row(report: HealthReport) -> Row:
    return (
        report.meter,
        to_ms(report.start),
        to_ms(report.end),
        report.cycles,
        report.ok,
        report.partial,
        report.failed,
        report.with_values,
        report.readings,
        report.rejected,
        report.published,
        report.cycles_published,
        report.published_late,
        report.exchanges,
        report.associations,
        report.read_time(0.5),
        report.read_time(0.95),
        None if report.last_good is None else to_ms(report.last_good),
        report.clock_offset,
        report.last_error,
        json.dumps([[found.violation.value, found.count, found.detail] for found in report.violations]),
        report.invocation_counter,
        report.gaps_open,
        report.gaps_lost,
        None if report.gap_since is None else to_ms(report.gap_since),
        report.gap_reason,
    )


def _gap_row(gap: Gap) -> Row:
    times = (to_ms(gap.start), to_ms(gap.end), gap.intervals, gap.state.value, to_ms(gap.since), to_ms(gap.at))
    return (gap.meter, gap.profile, *times, gap.reason, gap.open_total, gap.lost_total, gap.read_total)


def _alert_row(alert: Alert) -> Row:
    return (alert.subject, alert.kind, to_ms(alert.ts), int(alert.raised), alert.severity.value, alert.evidence, alert.remedy)
