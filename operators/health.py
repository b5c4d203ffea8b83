"""Node type `health`: what happened to every meter, and to all together, in each window of time.

Windows are aligned to the wall clock. Each meter that was ever seen gets a report for each window, even if nothing came:
a quiet meter is what the report is for. One more report per window, with meter "*", adds up all meters.

Why not `bytewax.operators.windowing`: a fold window exists only for keys that got an item, `SystemClock` ends the flow when
the host's clock steps back, `EventClock` busy-loops when a key lags behind, and the end of the input closes windows
early, so that a restart would report them twice. Here windows close by the clock alone; what is open at a stop is in
the snapshot and is reported after the next start.

State: per meter the open windows (a few numbers per cycle), for the fleet the sums of the open windows. The length of the
window is part of the inner step ids, so windows of two lengths never mix. A meter taken out of pipeline.yaml is forgotten.

Wire it to the outputs whose readings are meant to arrive: behind a `filter` node, a cycle without a change is not published.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

import bytewax.operators as op
import structlog
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from pydantic import Field

from model.messages import FLEET, Cycle, Gap, HealthReport, Reading, Receipt, Rejection
from model.node import MAIN, BuildContext, NodeType, Ports
from model.percent import percent_text
from model.restored import restored
from model.settings.base import Duration
from model.settings.node import NodeSettings
from model.timestamps import utc_now
from operators import health_fleet, health_window
from operators.health_fleet import FleetWindows
from operators.health_window import HealthInput, MeterWindows, WindowGrid

log = structlog.get_logger()

GRACE = timedelta(seconds=2)
"""How long the fleet's report waits for the reports of meters on other workers."""


class Clock(Protocol):
    """The host's time, aware UTC. A class, because Bytewax cannot take a Callable annotation apart on Python 3.10."""

    def __call__(self) -> datetime:
        """Now."""
        ...


State = dict[str, Any] | None


class HealthSettings(NodeSettings):
    """Settings of a health node."""

    window: Duration = Field(default=60.0, ge=1, le=86400, description="Length of a window, aligned to the wall clock.")
    wait: Duration = Field(default=5.0, le=3600, description="How long after a window's end its receipts may still come.")


class MeterHealth(StatefulBatchLogic[HealthInput, HealthReport, State]):
    """The windows of one meter; wakes up when the oldest is to be reported."""

    def __init__(self, state: State, grid: WindowGrid, meters: frozenset[str] | None, clock: Clock) -> None:
        self._grid = grid
        self._meters = meters
        self._clock = clock
        self._windows = restored(
            state, frozenset({health_window.VERSION}), lambda readable: MeterWindows.restored(readable, grid), "health"
        )

    def on_batch(self, values: list[HealthInput]) -> tuple[Iterable[HealthReport], bool]:
        """Count what came."""
        now = self._clock()
        for message in values:
            if self._windows is None:
                self._windows = MeterWindows(message.meter, self._grid, now)
            self._windows.add(message, now)
        return [], not self._configured()

    def on_notify(self) -> tuple[Iterable[HealthReport], bool]:
        """Report what is due."""
        if self._windows is None or not self._configured():
            return [], self.DISCARD
        return self._windows.close(self._clock()), self.RETAIN

    def notify_at(self) -> datetime | None:
        """When the oldest open window is to be reported; at once if the meter was taken out of the configuration."""
        if self._windows is None:
            return None
        return self._windows.due() if self._configured() else self._clock()

    def snapshot(self) -> State:
        """A copy of the open windows."""
        return None if self._windows is None else self._windows.state()

    def _configured(self) -> bool:
        return self._windows is None or self._meters is None or self._windows.meter in self._meters


class FleetHealth(StatefulBatchLogic[HealthReport, HealthReport, State]):
    """The windows of the whole fleet; wakes up when the oldest can wait no longer for a meter's report."""

    def __init__(self, state: State, grid: WindowGrid, meters: int | None, clock: Clock) -> None:
        self._clock = clock
        versions = frozenset({health_fleet.VERSION})
        known = restored(state, versions, lambda readable: FleetWindows.restored(readable, grid, meters), "health", FLEET)
        self._windows = FleetWindows(grid, meters) if known is None else known

    def on_batch(self, values: list[HealthReport]) -> tuple[Iterable[HealthReport], bool]:
        """Add the meters' reports; emit the fleet's when all have come."""
        now = self._clock()
        for report in values:
            self._windows.add(report, now)
        return self._windows.close(now), self.RETAIN

    def on_notify(self) -> tuple[Iterable[HealthReport], bool]:
        """Report what is due."""
        return self._windows.close(self._clock()), self.RETAIN

    def notify_at(self) -> datetime | None:
        """When the oldest open window is to be reported, complete or not."""
        return self._windows.due()

    def snapshot(self) -> State:
        """A copy of the open windows."""
        return self._windows.state()


def _fleet_key(item: tuple[str, HealthReport]) -> tuple[str, HealthReport]:
    return FLEET, item[1]


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


@operator
def health(
    step_id: str,
    *ups: KeyedStream[Any],
    settings: HealthSettings,
    meters: frozenset[str] | None = None,
    clock: Clock = utc_now,
) -> KeyedStream[HealthReport]:
    """Fold cycles, readings, rejections and receipts into reports per meter and for the fleet.

    :arg ups: streams keyed by meter.
    :arg meters: the configured meters; others are not counted. None counts whatever comes, and lets the fleet's report
        always wait for the grace time.
    """
    length, wait = _milliseconds(settings.window), _milliseconds(settings.wait)
    meter_grid = WindowGrid(length, wait)
    fleet_grid = WindowGrid(length, wait + _milliseconds(GRACE.total_seconds()))
    known = None if meters is None else len(meters)
    inputs = op.merge("inputs", *ups)
    per_meter = op.stateful_batch(f"meters_{length}ms", inputs, partial(MeterHealth, grid=meter_grid, meters=meters, clock=clock))
    one_key = op.map("fleet_key", per_meter, _fleet_key)
    fleet = op.stateful_batch(f"fleet_{length}ms", one_key, partial(FleetHealth, grid=fleet_grid, meters=known, clock=clock))
    return op.inspect("log", op.merge("reports", per_meter, fleet), log_report)


def log_report(_step_id: str, item: tuple[str, HealthReport]) -> None:
    """Log the fleet's report at INFO and a meter's at DEBUG."""
    report = item[1]
    say = log.info if report.meter == FLEET else log.debug
    say(summary(report), meter=report.meter, details=_counts(report))


def summary(report: HealthReport) -> str:
    """The report in one line, with the counts that matter."""
    p50, p95, age = report.read_time(0.5), report.read_time(0.95), report.age()
    return " | ".join(
        (
            f"cycles {report.cycles}",
            f"published {report.cycles_published} ({percent_text(report.cycles_published, report.cycles)})",
            f"ok {report.ok} partial {report.partial} failed {report.failed}",
            f"readings {report.readings}",
            f"rejected {report.rejected}",
            *((f"gaps {report.gaps_open} open {report.gaps_lost} lost",) if report.gaps_open or report.gaps_lost else ()),
            f"read p50 {_read_time(p50)} p95 {_read_time(p95)}",
            f"{'oldest' if report.meter == FLEET else 'last'} good {_age(age)}",
        )
    )


def _read_time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f} s"


def _counts(report: HealthReport) -> dict[str, Any]:
    return {
        "start": report.start.isoformat(),
        "cycles": report.cycles,
        "with_values": report.with_values,
        "cycles_published": report.cycles_published,
        "published": report.published,
        "published_late": report.published_late,
        "exchanges": report.exchanges,
        "associations": report.associations,
        "last_error": report.last_error,
        "gaps_open": report.gaps_open,
        "gaps_lost": report.gaps_lost,
        "violations": sum(found.count for found in report.violations),
    }


def build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    """Add the node to the flow."""
    meters = frozenset(meter.id for meter in context.pipeline.meters)
    return {MAIN: health(context.node_id, *inputs, settings=context.settings, meters=meters)}


NODE = NodeType(
    name="health",
    summary="Reports per window of time, for each meter and for all, what was read, rejected and published.",
    settings=HealthSettings,
    accepts=(Cycle, Reading, Rejection, Receipt, Gap),
    emits={MAIN: HealthReport},
    example="""\
- id: health
  type: health
  inputs: [meters, checked, checked.rejected, receipts]
  settings: {window: 60s, wait: 5s}
""",
    build=build,
)
