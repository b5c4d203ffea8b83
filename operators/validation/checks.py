"""Checks that need one reading only: the same reading always gets the same finding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

from model.messages import Origin, Reading, Value
from operators.validation.rules import Rules
from operators.values import quantity


class Finding(NamedTuple):
    """The rule that a reading broke, and the evidence."""

    rule: str
    reason: str


Check = Callable[[Reading], "Finding | None"]


def checks_for(rules: Rules) -> tuple[Check, ...]:
    """The checks that `rules` ask for, cheapest and most telling first."""
    checks: list[Check] = []
    if rules.numeric:
        checks.append(_number)
    if rules.future is not None:
        checks.append(_future(rules.future))
    if rules.stale is not None:
        checks.append(_stale(rules.stale))
    if rules.allowed is not None:
        checks.append(_allowed(rules.allowed))
    if rules.min is not None:
        checks.append(_min(rules.min))
    if rules.max is not None:
        checks.append(_max(rules.max))
    return tuple(checks)


def _number(reading: Reading) -> Finding | None:
    value = reading.value
    if isinstance(value, (bool, str)):
        return Finding("number", f"{value!r} is not a number, and the rules for {reading.key} need one")
    if isinstance(value, Decimal) and not value.is_finite():
        return Finding("number", f"{value} is not a finite number")
    return None


def _min(limit: Decimal) -> Check:
    def check(reading: Reading) -> Finding | None:
        if reading.value >= limit:  # type: ignore[operator]  # _number came first
            return None
        return Finding("min", f"{quantity(reading.value, reading.unit)} is below the minimum {quantity(limit)}")

    return check


def _max(limit: Decimal) -> Check:
    def check(reading: Reading) -> Finding | None:
        if reading.value <= limit:  # type: ignore[operator]  # _number came first
            return None
        return Finding("max", f"{quantity(reading.value, reading.unit)} is above the maximum {quantity(limit)}")

    return check


def _kind(value: Value) -> tuple[str, Value]:
    """Keeps apart what Python takes for equal: True and 1."""
    return ("flag" if isinstance(value, bool) else "text" if isinstance(value, str) else "number", value)


def _allowed(values: Sequence[Value]) -> Check:
    known = frozenset(_kind(value) for value in values)
    shown = ", ".join(quantity(value) for value in values)

    def check(reading: Reading) -> Finding | None:
        if _kind(reading.value) in known:
            return None
        return Finding("allowed", f"{quantity(reading.value, reading.unit)} is not one of {shown}")

    return check


def _stale(limit: float) -> Check:
    oldest = timedelta(seconds=limit)

    def check(reading: Reading) -> Finding | None:
        if reading.origin is Origin.PROFILE:
            return None  # what a meter remembers is old by nature
        age = reading.read_at - reading.ts
        if age <= oldest:
            return None
        seconds = age.total_seconds()
        return Finding("stale", f"the timestamp {reading.ts.isoformat()} was {seconds:g} s old when read, limit {limit:g} s")

    return check


def _future(limit: float) -> Check:
    farthest = timedelta(seconds=limit)

    def check(reading: Reading) -> Finding | None:
        ahead = reading.ts - reading.read_at
        if ahead <= farthest:
            return None
        seconds = ahead.total_seconds()
        return Finding("future", f"the timestamp {reading.ts.isoformat()} was {seconds:g} s ahead when read, limit {limit:g} s")

    return check
