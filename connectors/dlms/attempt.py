"""What one cycle has learned from the meter so far, and the values and errors that come of it. Pure but for the time of an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from connectors.dlms.cosem import CosemError, clock_time, render, scaler_unit
from connectors.dlms.events import Attribute, AttributeResult
from connectors.dlms.plan import PlannedRead, ReadPlan
from connectors.dlms.with_list import ListCycle
from model.errors import MeterError
from model.messages import ErrorKind, RawValue, ReadError
from model.timestamps import utc_now


@dataclass
class Attempt:
    """What one cycle has learned so far; survives a cut, so that a partial cycle keeps its values."""

    results: dict[Attribute, AttributeResult] = field(default_factory=dict)
    answered: dict[Attribute, datetime] = field(default_factory=dict)
    associated: bool = False
    lists: ListCycle = field(default_factory=ListCycle)
    asked: Sequence[Attribute] = ()

    def take(self, results: Sequence[AttributeResult]) -> None:
        """Keep what has just arrived."""
        now = utc_now()
        for result in results:
            self.results[result.attribute] = result
            self.answered[result.attribute] = now

    def scalers(self, asked: Iterable[Attribute]) -> dict[Attribute, tuple[int, int]]:
        """The power of ten and unit of those scaler attributes of `asked` that were answered; what is none becomes an error."""
        found = {}
        for attribute in asked:
            result = self.results.get(attribute)
            if result is not None and result.error is None:
                try:
                    found[attribute] = scaler_unit(result.data)
                except CosemError as error:
                    self.results[attribute] = AttributeResult(attribute, None, ErrorKind.DECODE, str(error))
        return found


def collect(
    plan: ReadPlan, attempt: Attempt, scalers: Mapping[Attribute, tuple[int, int]], fault: MeterError | None
) -> tuple[list[RawValue], list[ReadError], float | None]:
    """The values of a cycle, what gave none and why, and seconds by which the meter's clock is ahead where it was read.

    :arg scalers: power of ten and unit by the attribute that holds them.
    :arg fault: what ended the cycle early.
    """
    values: list[RawValue] = []
    errors: list[ReadError] = []
    offset: float | None = None
    for read in plan.reads:
        outcome = _value(read, attempt, scalers, fault)
        if isinstance(outcome, RawValue):
            values.append(outcome)
            if read.is_clock:
                offset = _clock_offset(attempt.results[read.attribute], attempt.answered[read.attribute])
        else:
            errors.append(outcome)
    if fault is not None and not values:
        errors = [ReadError(None, fault.kind, fault.what, fault.remedy)]
    return values, errors, offset


def _value(
    read: PlannedRead, attempt: Attempt, scalers: Mapping[Attribute, tuple[int, int]], fault: MeterError | None
) -> RawValue | ReadError:
    for attribute in (read.scaler_unit, read.attribute):
        result = None if attribute is None else attempt.results.get(attribute)
        if result is not None and result.error is not None:
            where = f"attribute {result.attribute.index}: " if result.attribute != read.attribute else ""
            return ReadError(read.key, result.error, where + result.error_detail, _ACCESS_REMEDY)
    result = attempt.results.get(read.attribute)
    scaler = scalers.get(read.scaler_unit) if read.scaler_unit is not None else None
    if result is None or (read.scaler_unit is not None and scaler is None):
        cause = fault or MeterError(ErrorKind.TIMEOUT, "not asked: the pipeline is stopping")
        return ReadError(read.key, cause.kind, cause.what, cause.remedy)
    if result.data is None:
        return ReadError(read.key, ErrorKind.NO_VALUE, "the meter answered null-data", "it has no value for this object (yet)")
    try:
        value = render(result.data, read.attribute)
    except CosemError as error:
        return ReadError(read.key, ErrorKind.DECODE, str(error), _ACCESS_REMEDY)
    if scaler is None or isinstance(value, (str, bool)):
        return RawValue(read.key, value)
    return RawValue(read.key, value, scaler[0], scaler[1])


_ACCESS_REMEDY = "check OBIS code, class and attribute, and that this client may read it; `overrides` can leave the key out"


def _clock_offset(result: AttributeResult, answered: datetime) -> float | None:
    moment = clock_time(result.data)
    return None if moment is None else (moment - answered) / timedelta(seconds=1)
