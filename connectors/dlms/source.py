"""`dlms-in`: polls DLMS meters, one partition per meter, and emits one Cycle per meter and interval.

Parallelism: meters; Bytewax spreads the partitions over all workers. The meters of a shared line are listed in one
process of a cluster only, and so read there, by whichever worker, over the one background loop. Guarantee: every due
cycle gives exactly one `Cycle`, also when the meter cannot be reached; a live register cannot be read again, so what was
read after the last snapshot and not yet stored is lost by a kill -9 and nothing else is. Snapshot: a version mark only.
Blocks: nothing; the meters are read on a background asyncio loop that also keeps their schedule, `next_batch` takes what
is finished.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream
from pydantic import Field

from connectors.dlms.access import Access, OwnConnection
from connectors.dlms.gate import Gate
from connectors.dlms.invocation_counters import FILE_NAME as COUNTERS
from connectors.dlms.invocation_counters import InvocationCounters
from connectors.dlms.known_meters import remember
from connectors.dlms.line import join_line
from connectors.dlms.loop import submit
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.schedule import Schedule, ScheduledPoll
from connectors.dlms.session import Session
from model.cluster import Place
from model.messages import Cycle
from model.node import MAIN, BuildContext, NodeType, Ports
from model.settings.limits import LimitsSettings
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

STOP_TIMEOUT = 2.8
"""Seconds from the request to stop until a partition ends even if its meter did not say goodbye."""

Snapshot = dict[str, int]

_ALONE = Place()


class DlmsInSettings(NodeSettings):
    """Which meters this node reads; those with connect: push are left out."""

    meters: list[str] = Field(default=["*"], min_length=1, description="Patterns of meter ids, such as lab-*; all meters where left out.")


class MeterPartition(StatefulSourcePartition[tuple[str, Cycle], Snapshot]):
    """One meter: takes the cycles that its poll on the background loop has finished."""

    def __init__(self, meter: str, poll: ScheduledPoll, stop: Stop) -> None:
        self._meter = meter
        self._poll = poll
        self._stop = stop
        self._running = submit(poll.run())
        stop.on_request(poll.stop)

    def next_batch(self) -> list[tuple[str, Cycle]]:
        """The cycles that are finished.

        :raises StopIteration: when a stop was requested and the association is released, or `STOP_TIMEOUT` is over.
        """
        stopping, ended = self._stop.requested(), self._running.done()
        if ended and not stopping:
            self._running.result()  # a defect of ours: better the whole flow ends than one meter falls silent unnoticed
        cycles = [(self._meter, cycle) for cycle in self._poll.take()]
        if stopping and not cycles and (ended or self._stop.elapsed() >= STOP_TIMEOUT):
            raise StopIteration
        return cycles

    def next_awake(self) -> datetime:
        """When a cycle may be ready, or soon while one is read; on the common grid and never far ahead."""
        ahead = 0.0 if self._stop.requested() else self._poll.idle_for()
        wake = time.time() + min(max(ahead, 0.001), WAKE_LIMIT)
        return datetime.fromtimestamp(math.ceil(wake / WAKE_GRID) * WAKE_GRID, tz=timezone.utc)

    def snapshot(self) -> Snapshot:
        """A version mark; an instantaneous value has no position to return to."""
        return {"version": 1}

    def close(self) -> None:
        """Give the meter back where a stop did not already do so; never raises, never waits."""
        self._poll.stop()


class ParkedPartition(StatefulSourcePartition[tuple[str, Cycle], Snapshot]):
    """A meter that is no longer in pipeline.yaml but may still be in the recovery store: ends at once."""

    def next_batch(self) -> list[tuple[str, Cycle]]:
        """Nothing, for ever.

        :raises StopIteration: always.
        """
        raise StopIteration

    def snapshot(self) -> Snapshot:
        """As that of a meter."""
        return {"version": 1}


class DlmsSource(FixedPartitionedSource[tuple[str, Cycle], Snapshot]):
    """All meters of one `dlms-in` node; a meter is the unit of parallelism, read by exactly one worker.

    :arg pipeline: templates and intervals.
    :arg meters: the meters to read.
    :arg known: the file that remembers the meters of this node, see `known_meters`.
    :arg resolve: see `Session`.
    :arg stop: ends the input.
    :arg place: this process among those that read the meters.
    """

    def __init__(
        self,
        pipeline: PipelineSettings,
        meters: Sequence[MeterSettings],
        known: Path,
        resolve: Callable[[str, str], str],
        stop: Stop,
        place: Place = _ALONE,
    ) -> None:
        self._pipeline = pipeline
        self._known = known
        self._meters = {meter.id: meter for meter in meters}
        self._rank = {meter.id: rank for rank, meter in enumerate(meters)}
        self._resolve = resolve
        self._stop = stop
        self._lines = pipeline.shared_lines()
        self._elsewhere = place.elsewhere(self._lines)
        self._gate = _process_gate(pipeline.limits)
        self._counters = InvocationCounters(pipeline.state_dir / COUNTERS)

    def list_parts(self) -> list[str]:
        """The meter ids, those of removed meters included; without those on lines that another process owns.

        :raises StorageError: when the list of known meters cannot be used.
        """
        return sorted(remember(self._known, self._meters) - self._elsewhere)

    def build_part(
        self, step_id: str, for_part: str, resume_state: Snapshot | None
    ) -> StatefulSourcePartition[tuple[str, Cycle], Snapshot]:
        """The partition of one meter; its first cycle is spaced from those of the others."""
        if for_part not in self._meters:
            return ParkedPartition()
        meter = self._meters[for_part]
        interval = self._pipeline.interval(meter)
        spacing = min(START_SPACING, interval / len(self._meters))
        plan = plan_reads(self._pipeline.reads(meter))
        access = self._access(meter)
        poll = MeterPoll(meter, plan, interval, Session(meter, self._resolve, self._counters, access), access)
        schedule = Schedule(time.monotonic() + spacing * self._rank[for_part], interval)
        return MeterPartition(for_part, ScheduledPoll(for_part, poll, schedule), self._stop)

    def _access(self, meter: MeterSettings) -> Access:
        line = self._lines.get(meter.id)
        return OwnConnection(meter, self._gate) if line is None else join_line(line, meter, self._gate)


_gates: dict[tuple[int, float], Gate] = {}


def _process_gate(limits: LimitsSettings) -> Gate:
    """The one gate of this process, whichever node asks."""
    key = (limits.connections, limits.new_connections_per_second)
    return _gates.setdefault(key, Gate(*key))


@operator
def dlms_in(step_id: str, flow: Dataflow, source: DlmsSource) -> KeyedStream[Cycle]:
    """Poll the meters of `source`; the stream is keyed by meter id."""
    return op.input("poll", flow, source)


def _build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    patterns = context.settings.meters
    polled = (meter for meter in context.pipeline.meters if meter.is_polled)
    meters = [meter for meter in polled if any(fnmatchcase(meter.id, pattern) for pattern in patterns)]
    known = context.pipeline.state_dir / f"meters-{context.node_id}.json"
    source = DlmsSource(context.pipeline, meters, known, context.resolve_meter, context.stop, context.place)
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
