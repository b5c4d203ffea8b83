"""`dlms-in`: polls DLMS meters, one partition per meter, and emits one Cycle per meter and interval.

Parallelism: meters; Bytewax spreads the partitions over all workers. Guarantee: every due cycle gives exactly one
`Cycle`, also when the meter cannot be reached; a live register cannot be read again, so what was read after the last
snapshot and not yet stored is lost by a kill -9 and nothing else is. Snapshot: a version mark only. Blocks: nothing;
the meters are read on a background asyncio loop, `next_batch` starts a cycle there and later picks it up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from typing import Any

import bytewax.operators as op
import structlog
from bytewax.dataflow import Dataflow, operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream
from pydantic import Field

from connectors.dlms.loop import submit
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll, failed_cycle
from connectors.dlms.session import Session
from model.messages import Cycle, ErrorKind, ReadError
from model.node import MAIN, BuildContext, NodeType, Ports
from model.settings.meter import MeterSettings
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings
from model.stop import Stop

WAKE_GRID = 0.1
"""Seconds: wakes fall on this grid, so that thousands of partitions share one activation of the worker."""

WAKE_LIMIT = 1.0
"""Seconds: no partition sleeps longer, else it would hold back the epochs of other workers and delay a stop."""

START_SPACING = 0.05
"""Seconds between the first cycles of two meters, unless the interval is too short for all of them."""

STOP_TIMEOUT = 3.0
"""Seconds from the request to stop until a partition ends even if its meter did not say goodbye."""

log = structlog.get_logger(__name__)
Snapshot = dict[str, int]


class DlmsInSettings(NodeSettings):
    """Which meters this node reads."""

    meters: list[str] = Field(default=["*"], min_length=1, description="Patterns of meter ids, such as lab-*; all meters where left out.")


class Schedule:
    """When cycles are due: a grid of `interval` seconds that starts at `first`, in monotonic time.

    A cycle that ran past the next due time is followed at once; due times that passed entirely are counted as skipped.
    """

    def __init__(self, first: float, interval: float) -> None:
        self._next = first
        self._interval = interval

    @property
    def next_due(self) -> float:
        """Monotonic time of the next due cycle."""
        return self._next

    def skipped(self, now: float) -> list[float]:
        """Due times that are over, each by a whole interval or more, and will not be served; they are taken off."""
        missed: list[float] = []
        while now >= self._next + self._interval:
            missed.append(self.take())
        return missed

    def take(self) -> float:
        """Take off and return the next due time."""
        due, self._next = self._next, self._next + self._interval
        return due


class MeterPartition(StatefulSourcePartition[tuple[str, Cycle], Snapshot]):
    """One meter: starts its cycles on schedule and picks them up when they are done."""

    def __init__(self, meter: MeterSettings, poll: MeterPoll, schedule: Schedule, stop: Stop) -> None:
        self._meter = meter
        self._poll = poll
        self._schedule = schedule
        self._stop = stop
        self._running: Future[Cycle] | None = None
        self._closing: Future[None] | None = None
        self._close_deadline = 0.0

    def next_batch(self) -> list[tuple[str, Cycle]]:
        """The cycles that are finished; starts the next one when it is due.

        :raises StopIteration: when a stop was requested and the association is released.
        """
        if self._stop.requested():
            return self._finish()
        now = time.monotonic()
        cycles = self._finished()
        if self._running is None:
            cycles += [self._skip(due) for due in self._schedule.skipped(now)]
            if now >= self._schedule.next_due:
                self._running = submit(self._poll.cycle(_wall_clock(self._schedule.take())))
        return [(self._meter.id, cycle) for cycle in cycles]

    def next_awake(self) -> datetime:
        """At the next due time or, while a cycle runs, soon; on the common grid and never far ahead."""
        ahead = 0.0 if self._running or self._closing else self._schedule.next_due - time.monotonic()
        wake = time.time() + min(max(ahead, 0.001), WAKE_LIMIT)
        return datetime.fromtimestamp(math.ceil(wake / WAKE_GRID) * WAKE_GRID, tz=timezone.utc)

    def snapshot(self) -> Snapshot:
        """A version mark; an instantaneous value has no position to return to."""
        return {"version": 1}

    def close(self) -> None:
        """Give the meter back where a stop did not already do so; never raises, never waits."""
        if self._closing is None:
            self._poll.stop()
            submit(self._poll.close())

    def _finished(self) -> list[Cycle]:
        if self._running is None or not self._running.done():
            return []
        cycle, self._running = self._running.result(), None
        return [cycle]

    def _skip(self, due: float) -> Cycle:
        reason = ReadError(
            None,
            ErrorKind.TIMEOUT,
            "skipped: the cycle before was still running",
            "lengthen interval or read fewer attributes: this meter or its line is slower than its schedule",
        )
        return failed_cycle(self._meter.id, _wall_clock(due), datetime.now(timezone.utc), reason)

    def _finish(self) -> list[tuple[str, Cycle]]:
        """Let the running exchange end, then release the association, without waiting on the worker's thread."""
        now = time.monotonic()
        if self._close_deadline == 0.0:
            self._close_deadline = now + STOP_TIMEOUT
            self._poll.stop()
        cycles = [(self._meter.id, cycle) for cycle in self._finished() if cycle.values]
        if self._running is None and self._closing is None:
            self._closing = submit(self._poll.close())
        if cycles:
            return cycles
        if (self._closing is not None and self._closing.done()) or now >= self._close_deadline:
            raise StopIteration
        return []


class DlmsSource(FixedPartitionedSource[tuple[str, Cycle], Snapshot]):
    """All meters of one `dlms-in` node; a meter is the unit of parallelism, read by exactly one worker.

    :arg pipeline: templates and intervals.
    :arg meters: the meters to read.
    :arg resolve: see `Session`.
    :arg stop: ends the input.
    """

    def __init__(self, pipeline: PipelineSettings, meters: Sequence[MeterSettings], resolve: Callable[[str, str], str], stop: Stop) -> None:
        self._pipeline = pipeline
        self._meters = {meter.id: meter for meter in meters}
        self._rank = {meter.id: rank for rank, meter in enumerate(meters)}
        self._resolve = resolve
        self._stop = stop

    def list_parts(self) -> list[str]:
        """The meter ids."""
        return list(self._meters)

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot | None) -> MeterPartition:
        """The partition of one meter; its first cycle is spaced from those of the others."""
        meter = self._meters[for_part]
        interval = self._pipeline.interval(meter)
        spacing = min(START_SPACING, interval / len(self._meters))
        plan = plan_reads(self._pipeline.reads(meter))
        poll = MeterPoll(meter, plan, interval, Session(meter, self._resolve))
        return MeterPartition(meter, poll, Schedule(time.monotonic() + spacing * self._rank[for_part], interval), self._stop)


def _wall_clock(due: float) -> datetime:
    """The UTC time of a monotonic due time, as the clock stands now."""
    return datetime.now(timezone.utc) + timedelta(seconds=due - time.monotonic())


@operator
def dlms_in(step_id: str, flow: Dataflow, source: DlmsSource) -> KeyedStream[Cycle]:
    """Poll the meters of `source`; the stream is keyed by meter id."""
    return op.input("poll", flow, source)


def _build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    patterns = context.settings.meters
    meters = [meter for meter in context.pipeline.meters if any(fnmatchcase(meter.id, pattern) for pattern in patterns)]
    source = DlmsSource(context.pipeline, meters, context.resolve_meter, context.stop)
    return {MAIN: dlms_in(context.node_id, context.flow, source)}


NODE = NodeType(
    name="dlms-in",
    summary="Polls DLMS/COSEM meters; one Cycle per meter and interval, also when a meter cannot be read.",
    settings=DlmsInSettings,
    accepts=(),
    emits={MAIN: Cycle},
    example="- id: meters\n  type: dlms-in\n",
    build=_build,
)
