"""Checks along time: how one value of one meter goes on from what it was before.

The last plausible value is the baseline. A reading that does not go on from it (a counter that fell, a step that is
too large) is rejected and the baseline stays, so that one bad value does not make the next good one look bad. Because
a counter may have been exchanged or reset for good, the rejected readings of a monotonic value are followed too:
once `exchange_after` of them have risen from one new level without going back, that level is the new baseline. Equal
readings count for nothing there, so a fault that reads 0 for a while is not taken for a new meter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from model.messages import Reading, Value
from model.units import Number
from operators.validation.checks import Finding
from operators.validation.rules import MonotonicRule, Rules, StepRule
from operators.values import quantity

FROZEN_READINGS = 3
"""Equal readings in a row before a value is called frozen: two may be equal by chance with a long gap between them."""

_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Progress:
    """Where one value of one meter stands; plain, so that it can be stored."""

    baseline: Number | None = None
    baseline_at: datetime | None = None
    candidate: Number | None = None
    candidate_at: datetime | None = None
    candidate_risen: int = 0
    same: Value | None = None
    same_since: datetime | None = None
    same_count: int = 0

    def as_tuple(self) -> tuple[Any, ...]:
        """All of it, in the order of the fields; Progress(*values) makes it again."""
        return (
            self.baseline,
            self.baseline_at,
            self.candidate,
            self.candidate_at,
            self.candidate_risen,
            self.same,
            self.same_since,
            self.same_count,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """What became of a reading: a finding, or accepted; `note` says when an unusual one was accepted, and why."""

    finding: Finding | None = None
    note: str = ""


_PLAIN = Step()


class ProgressRules:
    """The rules along time for one key.

    :arg rules: of these, max_step, monotonic and frozen.
    """

    def __init__(self, rules: Rules) -> None:
        self._step = rules.max_step
        self._monotonic = rules.monotonic
        self._frozen = rules.frozen

    @property
    def needed(self) -> bool:
        """Whether there is anything to judge along time."""
        return not (self._step is None and self._monotonic is None and self._frozen is None)

    def advance(self, progress: Progress, reading: Reading) -> Step:
        """Judge a reading that is newer than all before it, and note it in `progress`."""
        value = reading.value
        step = _PLAIN
        if (self._step is not None or self._monotonic is not None) and not isinstance(value, str):
            step = self._continue(progress, value, reading)
        if self._frozen is not None:
            frozen = self._unchanged(progress, reading, self._frozen)
            if step.finding is None and frozen is not None:
                return Step(frozen)
        return step

    def _continue(self, progress: Progress, value: Number, reading: Reading) -> Step:
        if progress.baseline is None or progress.baseline_at is None:
            return _accept(progress, value, reading.ts, _PLAIN)
        allowed = None if self._step is None else _allowed(self._step, progress.baseline_at, reading.ts)
        change = _difference(value, progress.baseline)
        note = ""
        if self._monotonic is not None and change < 0:
            forward = _rolled_over(self._monotonic, progress.baseline, value, allowed)
            if forward is None:
                shown = f"{quantity(value, reading.unit)} is less than {quantity(progress.baseline)} before"
                return self._exchange(self._monotonic, progress, value, reading, Finding("monotonic", shown))
            change, note = forward, f"counter rolled over from {quantity(progress.baseline)} to {quantity(value, reading.unit)}"
        if allowed is not None and abs(change) > allowed:
            finding = Finding(
                "max_step",
                f"{quantity(value, reading.unit)} after {quantity(progress.baseline)} is a step of {quantity(abs(change))}, "
                f"limit {quantity(allowed.normalize())} in {(reading.ts - progress.baseline_at).total_seconds():g} s",
            )
            return Step(finding) if self._monotonic is None else self._exchange(self._monotonic, progress, value, reading, finding)
        return _accept(progress, value, reading.ts, Step(note=note) if note else _PLAIN)

    def _exchange(self, rule: MonotonicRule, progress: Progress, value: Number, reading: Reading, finding: Finding) -> Step:
        """Follow a counter that left its baseline; accept its new level once it has shown that it counts from there."""
        if self._goes_on(progress, value, reading.ts):
            progress.candidate_risen += value != progress.candidate
        else:
            progress.candidate_risen = 1
        progress.candidate, progress.candidate_at = value, reading.ts
        if not rule.exchange_after or progress.candidate_risen < rule.exchange_after:
            return Step(finding)
        note = (
            f"meter exchanged or counter reset: {progress.candidate_risen} readings rise from a new level, "
            f"{quantity(value, reading.unit)} is the baseline after {quantity(progress.baseline or 0)}"
        )
        return _accept(progress, value, reading.ts, Step(note=note))

    def _goes_on(self, progress: Progress, value: Number, ts: datetime) -> bool:
        if progress.candidate is None or progress.candidate_at is None or value < progress.candidate:
            return False
        return self._step is None or _difference(value, progress.candidate) <= _allowed(self._step, progress.candidate_at, ts)

    def _unchanged(self, progress: Progress, reading: Reading, limit: float) -> Finding | None:
        if reading.value != progress.same or progress.same_since is None:
            progress.same, progress.same_since, progress.same_count = reading.value, reading.ts, 1
            return None
        progress.same_count += 1
        seconds = (reading.ts - progress.same_since).total_seconds()
        if seconds <= limit or progress.same_count < FROZEN_READINGS:
            return None
        return Finding("frozen", f"{quantity(reading.value, reading.unit)} has not changed for {seconds:g} s, limit {limit:g} s")


def _difference(after: Number, before: Number) -> Decimal:
    return Decimal(after) - Decimal(before)


def _accept(progress: Progress, value: Number, ts: datetime, step: Step) -> Step:
    progress.baseline, progress.baseline_at = value, ts
    progress.candidate, progress.candidate_at, progress.candidate_risen = None, None, 0
    return step


def _allowed(rule: StepRule, before: datetime, now: datetime) -> Decimal:
    """The largest change from `before` to `now`."""
    gap = now - before
    if gap.total_seconds() <= rule.per:
        return rule.change
    return rule.change * (gap // _MICROSECOND) / (Decimal(repr(rule.per)) * 1_000_000)


def _rolled_over(rule: MonotonicRule, before: Number, now: Number, allowed: Decimal | None) -> Decimal | None:
    """How far the counter went on if it rolled over; None if that is not what happened.

    With a step limit the way over the top must be within it; without one, the counter must have been in the last
    tenth of its range and be in the first.
    """
    size = rule.size
    if size is None or not 0 <= now < size or before >= size:
        return None
    forward = _difference(now, before) + size
    plausible = forward <= allowed if allowed is not None else before >= size * 9 / 10 and now <= size / 10
    return forward if plausible else None
