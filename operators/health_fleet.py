"""Adds up the reports of all meters, window by window. Pure: no clock, no I/O, every method is told the time."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, cast

from model.messages import FLEET, HealthReport
from model.timestamps import from_ms, to_ms
from operators.health_window import Sample, WindowGrid, add_violations

VERSION = 1
"""Of the state; another version is not read."""

_SUMMED = (
    "cycles",
    "ok",
    "partial",
    "failed",
    "with_values",
    "readings",
    "rejected",
    "published",
    "cycles_published",
    "published_late",
    "exchanges",
    "associations",
)


@dataclass(slots=True)
class FleetWindow:
    """One open window: the sums so far and how many meters have reported. Times in ms."""

    reported: int = 0
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_SUMMED, 0))
    read_times: Sample = field(default_factory=Sample)
    last_good: int | None = None
    clock_offset: float | None = None
    error: tuple[int, str] | None = None
    violations: list[tuple[str, int, str]] = field(default_factory=list)
    invocation_counter: int | None = None
    gaps_open: int = 0
    gaps_lost: int = 0
    gap_since: int | None = None
    gap_reason: str | None = None

    def add(self, report: HealthReport) -> None:
        """Add one meter's report."""
        for name in _SUMMED:
            self.sums[name] += getattr(report, name)
        for seconds in report.read_times:
            self.read_times.add(seconds)
        if report.last_good is not None:
            good = to_ms(report.last_good)
            self.last_good = good if self.last_good is None else min(self.last_good, good)
        if report.clock_offset is not None:
            self.clock_offset = max(self.clock_offset or 0.0, report.clock_offset, key=lambda offset: (abs(offset), offset))
        if report.last_error is not None:
            worst = (report.failed, f"{report.meter}: {report.last_error}")
            self.error = worst if self.error is None else max(self.error, worst)
        if report.violations:
            more = [(found.violation.value, found.count, f"{report.meter}: {found.detail}") for found in report.violations]
            sums = add_violations([*self.violations, *more])
            self.violations = [(found.violation.value, found.count, found.detail) for found in sums]
        if report.invocation_counter is not None:
            self.invocation_counter = max(self.invocation_counter or 0, report.invocation_counter)
        self.gaps_open += report.gaps_open
        self.gaps_lost += report.gaps_lost
        if report.gap_since is not None:
            since = to_ms(report.gap_since)
            self.gap_since = since if self.gap_since is None else min(self.gap_since, since)
        if report.gap_reason is not None:
            self.gap_reason = f"{report.meter}: {report.gap_reason}"


class FleetWindows:
    """The open windows of the whole fleet.

    A window is reported as soon as `meters` of them have reported it, or when it is due (a meter that was never seen does
    not report). A meter's report that comes later still is added to the next window: totals over time stay right.

    In the fleet's report `last_good` is the oldest among the meters' last good readings, `clock_offset` the largest, and
    `last_error` that of the meter with the most failed cycles.
    """

    def __init__(self, grid: WindowGrid, meters: int | None) -> None:
        self._grid = grid
        self._meters = meters
        self._reported: int | None = None
        self._windows: dict[int, FleetWindow] = {}

    def due(self) -> datetime | None:
        """When the oldest open window is to be reported, complete or not; None while none is open."""
        return from_ms(self._grid.due(min(self._windows))) if self._windows else None

    def add(self, report: HealthReport, now: datetime) -> None:
        """Add one meter's report that arrived at `now`."""
        number = self._grid.number(to_ms(report.start))
        if self._reported is not None and self._reported >= self._grid.number(to_ms(now)):
            self._reported = min(self._reported, number - 1)  # the host's clock was set back
        if self._reported is None or number > self._reported:
            window = self._windows.setdefault(number, FleetWindow())
            window.reported += 1
        else:
            window = self._windows.setdefault(self._reported + 1, FleetWindow())
        window.add(report)

    def close(self, now: datetime) -> list[HealthReport]:
        """The reports that are complete or due at `now`, oldest first; their windows are closed for good."""
        last_due = self._grid.last_due(to_ms(now))
        ready = [number for number, window in self._windows.items() if number <= last_due or window.reported == self._meters]
        if not ready:
            return []
        self._reported = max(ready)
        return [self._report(number) for number in sorted(self._windows) if number <= self._reported]

    def state(self) -> dict[str, Any]:
        """A copy of everything, in plain types."""
        windows = {number: asdict(window) for number, window in self._windows.items()}
        return {"version": VERSION, "reported": self._reported, "windows": windows}

    @classmethod
    def restored(cls, state: dict[str, Any], grid: WindowGrid, meters: int | None) -> FleetWindows:
        """The windows as `state` (of this VERSION and of a grid with the same length) left them."""
        windows = cls(grid, meters)
        windows._reported = state["reported"]
        for number, saved in state["windows"].items():
            windows._windows[number] = FleetWindow(**{**saved, "read_times": Sample(**saved["read_times"])})
        return windows

    def _report(self, number: int) -> HealthReport:
        window = self._windows.pop(number)
        return HealthReport(
            meter=FLEET,
            start=from_ms(self._grid.start(number)),
            end=from_ms(self._grid.start(number + 1)),
            **cast("dict[str, Any]", window.sums),
            read_times=tuple(window.read_times.kept),
            last_good=None if window.last_good is None else from_ms(window.last_good),
            clock_offset=window.clock_offset,
            last_error=None if window.error is None else window.error[1],
            violations=add_violations(window.violations),
            invocation_counter=window.invocation_counter,
            gaps_open=window.gaps_open,
            gaps_lost=window.gaps_lost,
            gap_since=None if window.gap_since is None else from_ms(window.gap_since),
            gap_reason=window.gap_reason,
        )
