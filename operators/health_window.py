"""Counts what happened to one meter, window by window. Pure: no clock, no I/O, every method is told the time.

Windows are aligned to the wall clock and tumble. A cycle belongs to the window in which it started, with its readings and
receipts, whenever those arrive; a notification that a meter pushed counts as a cycle, of the window of its timestamp while
that is open, else of the one in which it arrives. A profile value belongs to the window in which it arrives. A window is reported
`wait` after its end. What comes later still is counted, in the window that is current then: totals over time stay right.

A cycle that came in only after its window's end and is not acknowledged when the report is made moves to the next window:
it has not had its time yet, and counting it as lost would show a healthy meter at 92 % in every window.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Union

from model.messages import Cycle, Gap, HealthReport, Origin, Outcome, Reading, Receipt, Rejection, Violation, ViolationCount
from model.timestamps import from_ms, to_ms
from operators.health_gaps import OpenGaps

HealthInput = Union[Cycle, Reading, Rejection, Receipt, Gap]

VERSION = 1
"""Of the state; another version is not read."""

READ_TIMES_MAX = 10_000
"""Read times in one report; above it, a uniform sample."""

_EMPTY_WINDOWS_MAX = 3
"""After a pause (stop, suspended host, clock set forward) this many windows without items are still reported."""

_random = random.Random(0)  # thins statistics; nothing depends on its secrecy


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """Numbers the windows: number n covers [n * length, (n + 1) * length) ms since 1970 UTC, and is due `wait` ms after."""

    length: int
    wait: int

    def number(self, ms: int) -> int:
        """The window that contains `ms`."""
        return ms // self.length

    def start(self, number: int) -> int:
        """Where a window begins, in ms."""
        return number * self.length

    def due(self, number: int) -> int:
        """When a window is to be reported, in ms."""
        return self.start(number + 1) + self.wait

    def last_due(self, ms: int) -> int:
        """The newest window that is to be reported at `ms`."""
        return (ms - self.wait) // self.length - 1


@dataclass(slots=True)
class Sample:
    """At most READ_TIMES_MAX of the numbers added, each with the same chance to be kept (Vitter's algorithm R)."""

    kept: list[float] = field(default_factory=list)
    seen: int = 0

    def add(self, number: float) -> None:
        """Count one more number, and perhaps keep it."""
        self.seen += 1
        if len(self.kept) < READ_TIMES_MAX:
            self.kept.append(number)
            return
        place = _random.randrange(self.seen)
        if place < READ_TIMES_MAX:
            self.kept[place] = number


@dataclass(slots=True)
class Poll:
    """What is known of one cycle, polled or pushed; `outcome` is None while only its readings or receipts have come. Times in ms."""

    outcome: str | None = None
    arrived: int = 0
    duration: float = 0.0
    exchanges: int = 0
    associated: bool = False
    clock_offset: float | None = None
    error: str | None = None
    pushed: bool = False
    readings: int = 0
    rejected: int = 0
    published: int = 0
    violations: list[tuple[str, int, str]] = field(default_factory=list)
    invocation_counter: int | None = None

    def note(self, cycle: Cycle, now_ms: int) -> None:
        """Take over what the cycle says."""
        self.outcome = cycle.outcome.value
        self.pushed = cycle.origin is Origin.PUSH
        self.arrived = now_ms
        self.duration = cycle.duration
        self.exchanges = cycle.exchanges
        self.associated = cycle.associated
        self.clock_offset = cycle.clock_offset
        self.violations = [(found.violation.value, found.count, found.detail) for found in cycle.violations]
        self.invocation_counter = cycle.invocation_counter
        if cycle.errors:
            first = cycle.errors[0]
            self.error = f"{first.kind.value}: {first.detail}" + ("" if first.key is None else f" ({first.key})")

    @property
    def has_values(self) -> bool:
        """Whether the cycle gave at least one accepted reading (an acknowledged one was accepted)."""
        return self.outcome is not None and (self.readings > 0 or self.published > 0)


@dataclass(slots=True)
class Window:
    """One open window: its cycles by start (ms), and what belongs to no cycle (profile values, late receipts)."""

    polls: dict[int, Poll] = field(default_factory=dict)
    readings: int = 0
    rejected: int = 0
    published: int = 0
    published_late: int = 0
    last_good: int | None = None
    lost: int = 0
    lost_reason: str | None = None

    def absorb(self, other: Window) -> None:
        """Add everything of `other`."""
        self.polls.update(other.polls)
        self.readings += other.readings
        self.rejected += other.rejected
        self.published += other.published
        self.published_late += other.published_late
        self.lost += other.lost
        self.lost_reason = other.lost_reason or self.lost_reason
        self.last_good = latest(self.last_good, other.last_good)


def latest(one: int | None, other: int | None) -> int | None:
    """The later of two times, either of which may be missing."""
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def add_violations(found: Iterable[tuple[str, int, str]]) -> tuple[ViolationCount, ...]:
    """One entry per kind of violation, with the sum and the last detail."""
    sums: dict[str, tuple[int, str]] = {}
    for name, count, detail in found:
        sums[name] = sums.get(name, (0, ""))[0] + count, detail
    return tuple(ViolationCount(Violation(name), *sums[name]) for name in sorted(sums))


class MeterWindows:
    """The open windows of one meter. Once it exists, every window gets a report, also when nothing came."""

    def __init__(self, meter: str, grid: WindowGrid, now: datetime) -> None:
        self.meter = meter
        self._grid = grid
        self._first = grid.number(to_ms(now))  # older ones may still get items, but are not reported empty
        self._oldest = grid.last_due(to_ms(now)) + 1
        self._windows: dict[int, Window] = {}
        self._last_good: int | None = None
        self._gaps = OpenGaps()

    def due(self) -> datetime:
        """When the oldest open window is to be reported."""
        return from_ms(self._grid.due(self._oldest))

    def add(self, message: HealthInput, now: datetime) -> None:
        """Count one message that arrived at `now`."""
        now_ms = to_ms(now)
        self._follow_clock(now_ms)
        if isinstance(message, Cycle) and message.origin is Origin.PROFILE:
            return  # an interval of the meter's own memory is no attempt to read it; its readings and gaps are counted
        if isinstance(message, Gap):
            lost = self._gaps.note(message)
            if lost:
                window = self._current(now_ms)
                window.lost += lost
                window.lost_reason = message.reason
        elif isinstance(message, Cycle):
            self._poll(to_ms(message.started), now_ms).note(message, now_ms)
        elif isinstance(message, Reading):
            self._add_reading(message, now_ms)
        elif isinstance(message, Rejection):
            if message.reading.origin is not Origin.PROFILE:
                self._poll(to_ms(message.reading.ts), now_ms).rejected += 1
            else:
                self._current(now_ms).rejected += 1
        else:
            self._add_receipt(message, now_ms)

    def close(self, now: datetime) -> list[HealthReport]:
        """The reports that are due at `now`, oldest first; their windows are closed for good."""
        last = self._grid.last_due(to_ms(now))
        if last < self._oldest:
            return []
        filled = {number for number in self._windows if number <= last}
        recent = range(max(self._oldest, self._first, last + 1 - _EMPTY_WINDOWS_MAX), last + 1)
        self._oldest = last + 1
        return [self._report(number) for number in sorted(filled.union(recent))]

    def state(self) -> dict[str, Any]:
        """A copy of everything, in plain types."""
        return {
            "version": VERSION,
            "meter": self.meter,
            "first": self._first,
            "oldest": self._oldest,
            "last_good": self._last_good,
            "gaps": self._gaps.state(),
            "windows": {number: asdict(window) for number, window in self._windows.items()},
        }

    @classmethod
    def restored(cls, state: dict[str, Any], grid: WindowGrid) -> MeterWindows:
        """The windows as `state` (of this VERSION and of a grid with the same length) left them."""
        windows = cls(state["meter"], grid, from_ms(0))
        windows._first = state["first"]
        windows._oldest = state["oldest"]
        windows._last_good = state["last_good"]
        windows._gaps = OpenGaps.restored(state.get("gaps", []))
        for number, saved in state["windows"].items():
            polls = {ts: Poll(**poll) for ts, poll in saved["polls"].items()}
            windows._windows[number] = Window(**{**saved, "polls": polls})
        return windows

    def _follow_clock(self, now_ms: int) -> None:
        """When the host's clock was set back by a window or more, count from the new time on instead of waiting for the old one."""
        current = self._grid.number(now_ms)
        if self._oldest <= current + 1:
            return
        self._first = self._oldest = current
        if self._last_good is not None:
            self._last_good = min(self._last_good, now_ms)
        ahead = Window()
        for number in sorted(self._windows):
            ahead.absorb(self._windows.pop(number))
        self._windows[current] = ahead

    def _window(self, number: int) -> Window:
        return self._windows.setdefault(number, Window())

    def _current(self, now_ms: int) -> Window:
        return self._window(max(self._grid.number(now_ms), self._oldest))

    def _known_poll(self, ts: int) -> Poll | None:
        return next((window.polls[ts] for window in self._windows.values() if ts in window.polls), None)

    def _is_open(self, ts: int, now_ms: int) -> bool:
        """Whether the window of `ts` can still take it: not reported yet, and not further ahead than clocks may differ."""
        return self._oldest <= self._grid.number(ts) <= self._grid.number(now_ms) + 1

    def _poll(self, ts: int, now_ms: int) -> Poll:
        known = self._known_poll(ts)
        if known is not None:
            return known
        window = self._window(self._grid.number(ts)) if self._is_open(ts, now_ms) else self._current(now_ms)
        return window.polls.setdefault(ts, Poll())

    def _add_reading(self, reading: Reading, now_ms: int) -> None:
        if reading.origin is Origin.POLL:
            self._poll(to_ms(reading.ts), now_ms).readings += 1
            return
        window = self._current(now_ms)
        if reading.origin is Origin.PUSH:
            notification = self._poll(to_ms(reading.ts), now_ms)
            notification.pushed = True
            notification.readings += 1
        else:
            window.readings += 1
        window.last_good = latest(window.last_good, min(to_ms(reading.read_at), now_ms))

    def _add_receipt(self, receipt: Receipt, now_ms: int) -> None:
        """Share the acknowledged readings evenly among the polls of the receipt, which does not say how many each had."""
        if not receipt.poll_timestamps:
            self._current(now_ms).published += receipt.readings
            return
        share, rest = divmod(receipt.readings, len(receipt.poll_timestamps))
        for place, moment in enumerate(sorted(receipt.poll_timestamps)):
            ts, readings = to_ms(moment), share + (1 if place < rest else 0)
            if self._is_open(ts, now_ms) or self._known_poll(ts) is not None:
                self._poll(ts, now_ms).published += readings
            else:
                self._current(now_ms).published_late += readings

    def _report(self, number: int) -> HealthReport:
        window = self._windows.pop(number, None) or Window()
        self._postpone(window, self._grid.start(number + 1))
        polls = sorted(window.polls.items())
        cycles = [poll for _, poll in polls if poll.outcome is not None]
        late = sum(poll.published for ts, poll in polls if poll.outcome is None and self._grid.number(ts) < number)
        times = Sample()
        for poll in cycles:
            if poll.outcome != Outcome.FAILED.value and not poll.pushed:
                times.add(poll.duration)
        self._last_good = latest(self._last_good, window.last_good)
        for ts, poll in polls:
            if poll.readings and not poll.pushed:  # a meter's own time may be any; when it was heard is in the window
                self._last_good = latest(self._last_good, ts)
        return HealthReport(
            meter=self.meter,
            start=from_ms(self._grid.start(number)),
            end=from_ms(self._grid.start(number + 1)),
            cycles=len(cycles),
            ok=sum(poll.outcome == Outcome.OK.value for poll in cycles),
            partial=sum(poll.outcome == Outcome.PARTIAL.value for poll in cycles),
            failed=sum(poll.outcome == Outcome.FAILED.value for poll in cycles),
            with_values=sum(poll.has_values for poll in cycles),
            readings=window.readings + sum(poll.readings for _, poll in polls),
            rejected=window.rejected + sum(poll.rejected for _, poll in polls),
            published=window.published + sum(poll.published for _, poll in polls) - late,
            cycles_published=sum(poll.published > 0 for poll in cycles),
            published_late=window.published_late + late,
            exchanges=sum(poll.exchanges for poll in cycles),
            associations=sum(poll.associated for poll in cycles),
            read_times=tuple(times.kept),
            last_good=None if self._last_good is None else from_ms(self._last_good),
            clock_offset=next((poll.clock_offset for poll in reversed(cycles) if poll.clock_offset is not None), None),
            last_error=next((poll.error for poll in reversed(cycles) if poll.error is not None), None),
            violations=add_violations(found for poll in cycles for found in poll.violations),
            invocation_counter=max((poll.invocation_counter for poll in cycles if poll.invocation_counter is not None), default=None),
            gaps_open=self._gaps.intervals,
            gaps_lost=window.lost,
            gap_since=None if self._gaps.since is None else from_ms(self._gaps.since),
            gap_reason=window.lost_reason,
        )

    def _postpone(self, window: Window, end: int) -> None:
        """Move what came in after the window's end and still waits for its receipt to the oldest window that stays open."""
        waiting = {ts: poll for ts, poll in window.polls.items() if poll.has_values and not poll.published and poll.arrived >= end}
        if waiting:
            window.polls = {ts: poll for ts, poll in window.polls.items() if ts not in waiting}
            self._window(self._oldest).polls.update(waiting)
