"""All meters at a glance: what the newest window says of each, and which of them a page shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.archive.survey import ArchiveSurvey, LatestCycle, LatestReport
from dashboard.answers import MeterCounts, MeterState
from dashboard.configuration import Configured, ConfiguredMeter

STALE_WINDOWS = 3
"""Windows after which the last one tells nothing of the present."""

STALE_MS = 90_000
"""Milliseconds that are added to that: windows are reported some seconds after their end."""

_WORST_FIRST: Mapping[str, int] = {"red": 0, "yellow": 1, "unknown": 2, "green": 3}


@dataclass(frozen=True, slots=True)
class MeterGlance:
    """One meter: `configured` is None for one that only the archive knows. Times are ms since 1970 UTC."""

    id: str
    state: MeterState
    configured: ConfiguredMeter | None
    report: LatestReport | None = None
    cycle: LatestCycle | None = None
    gaps_open: int = 0
    gaps_lost: int = 0

    @property
    def success(self) -> float | None:
        """Cycles of the last window that were ok over all of them."""
        return self.report.ok / self.report.cycles if self.report is not None and self.report.cycles else None

    @property
    def last_good(self) -> int | None:
        """When the last good reading was made."""
        if self.report is not None:
            return self.report.last_good
        return self.cycle.started if self.cycle is not None and self.cycle.outcome == "ok" else None

    @property
    def read_time(self) -> float | None:
        """Seconds within which nearly all cycles of the last window were read."""
        return None if self.report is None else self.report.read_p95


@dataclass(frozen=True)
class Fleet:
    """All meters, in order of their ids."""

    meters: Mapping[str, MeterGlance] = field(default_factory=dict)

    def counts(self) -> MeterCounts:
        """How many are in which state."""
        states = Counter(meter.state for meter in self.meters.values())
        return MeterCounts(
            total=len(self.meters), green=states["green"], yellow=states["yellow"], red=states["red"], unknown=states["unknown"]
        )

    def gaps(self) -> tuple[int, int]:
        """Open and lost intervals."""
        return sum(meter.gaps_open for meter in self.meters.values()), sum(meter.gaps_lost for meter in self.meters.values())

    def unreachable(self) -> list[str]:
        """Configured meters that gave nothing in their last window."""
        return [meter.id for meter in self.meters.values() if meter.state == "red" and meter.configured is not None]

    def select(self, search: str, state: str, sort: str) -> Sequence[MeterGlance]:
        """The meters whose id, device, template, address or tags contain all words of `search`, in the order `sort` says.

        :arg sort: id, or one of the others for the worst first; a minus turns it round.
        """
        words = search.casefold().split()
        found = [
            meter for meter in self.meters.values() if (not state or meter.state == state) and all(word in _words(meter) for word in words)
        ]
        name = sort.removeprefix("-")
        if name != "id":
            found.sort(key=_ORDERS[name])
        if sort.startswith("-"):
            found.reverse()
        return found


def look_at_fleet(survey: ArchiveSurvey, configured: Configured, now_ms: int) -> Fleet:
    """What the archive says of all meters, those of pipeline.yaml and those that only it knows."""
    reports = survey.latest_reports()
    without = len(reports) < len(configured.meters)
    cycles = survey.latest_cycle_of_each() if without or not reports else {}
    gaps = survey.gap_totals()
    glances = {}
    for meter in sorted({*configured.meters, *reports, *cycles, *survey.meters()}):
        settings, report, cycle = configured.meters.get(meter), reports.get(meter), cycles.get(meter)
        open_, lost = gaps.get(meter, (0, 0))
        open_ = max(open_, 0 if report is None else report.gaps_open)
        state = state_of(report, cycle, open_, None if settings is None else settings.interval, now_ms)
        glances[meter] = MeterGlance(meter, state, settings, report, cycle, open_, lost)
    return Fleet(glances)


def fleet_without_archive(configured: Configured) -> Fleet:
    """The meters of pipeline.yaml, of which nothing is known."""
    return Fleet({name: MeterGlance(name, "unknown", meter) for name, meter in sorted(configured.meters.items())})


def state_of(report: LatestReport | None, cycle: LatestCycle | None, gaps_open: int, interval: float | None, now_ms: int) -> MeterState:
    """Green: every cycle of the last window was ok. Yellow: some failed or were partial, or intervals are missing. Red: none was good.

    A window without a cycle, of a meter that is read less often than windows end, or that calls in by itself, is judged by the age
    of its last good reading. Unknown: nothing is in the archive, or nothing of late, as when the flow does not run.

    :arg interval: seconds between its cycles.
    """
    every = 0 if interval is None else int(interval * 1000)
    if report is None:
        return _state_of_cycle(cycle, gaps_open, every, now_ms)
    length = report.end - report.start
    if now_ms - report.end > STALE_WINDOWS * max(length, every) + STALE_MS:
        return "unknown"
    if report.cycles:
        if not report.ok + report.partial:
            return "red"
        return "green" if report.ok == report.cycles and not gaps_open else "yellow"
    if report.last_good is None:
        return "unknown" if cycle is None else "red"
    if report.end - report.last_good > 2 * every + length:
        return "red"
    return "yellow" if gaps_open else "green"


def _state_of_cycle(cycle: LatestCycle | None, gaps_open: int, every: int, now_ms: int) -> MeterState:
    """Where no health node reports."""
    if cycle is None or now_ms - cycle.started > STALE_WINDOWS * max(every, 60_000) + STALE_MS:
        return "unknown"
    if cycle.outcome == "failed":
        return "red"
    return "green" if cycle.outcome == "ok" and not gaps_open else "yellow"


def _words(meter: MeterGlance) -> str:
    return meter.id.casefold() if meter.configured is None else meter.configured.words


_ORDERS: Mapping[str, Callable[[MeterGlance], Any]] = {
    "state": lambda meter: _WORST_FIRST[meter.state],
    "last_good": lambda meter: meter.last_good or 0,
    "read_time": lambda meter: -(meter.read_time or 0.0),
    "gaps": lambda meter: (-meter.gaps_open, -meter.gaps_lost),
    "success": lambda meter: 2.0 if meter.success is None else meter.success,
}
"""The worst first."""
