"""`dlms-in`: polls DLMS meters, one partition per meter, and emits one Cycle per meter and interval.

Parallelism: meters; Bytewax spreads the partitions over all workers. The meters of a shared line are listed in one
process of a cluster only, and so read there, by whichever worker, over the one background loop. Over several hosts each meter
stays with one process, see `model.cluster`, and serial ports are those of process 0's host. Guarantee: every due
cycle gives exactly one `Cycle`, also when the meter cannot be reached; a live register cannot be read again, so what was
read after the last snapshot and not yet stored is lost by a kill -9 and nothing else is. Snapshot: a version mark only.
Blocks: nothing; the meters are read on a background asyncio loop that also keeps their schedule, `next_batch` takes what
is finished.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeGuard, Union, cast

import bytewax.operators as op
import structlog
from bytewax.dataflow import Dataflow, operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream
from pydantic import Field

from connectors.dlms.access import Access, OwnConnection
from connectors.dlms.background_work import BackgroundWork
from connectors.dlms.backlog import Backlog
from connectors.dlms.gate import Gate
from connectors.dlms.invocation_counters import FILE_NAME as COUNTERS
from connectors.dlms.invocation_counters import InvocationCounters
from connectors.dlms.known_meters import remember
from connectors.dlms.line import join_line
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.profile.backfill import Backfill
from connectors.dlms.profile.capture import possible_keys
from connectors.dlms.profile.ledger import Ledger
from connectors.dlms.profile.reader import ProfileReader, no_recalls
from connectors.dlms.profile.recalls import RECALLS, Recalls
from connectors.dlms.schedule import Schedule, ScheduledPoll
from connectors.dlms.session import Session
from model.cluster import Place
from model.epochs import EpochLength, EpochsOfWorkers
from model.messages import Cycle, Gap
from model.node import MAIN, Bookmark, BuildContext, NodeType, Ports, no_bookmark
from model.parked import ParkedPartition
from model.restored import restored
from model.settings.limits import LimitsSettings
from model.settings.meter import MeterSettings
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings
from model.settings.profile import ProfileSettings
from model.settings.template import ReadSettings
from model.stop import Stop
from model.wake import Wakes

VERSION = 2
"""Of the snapshot; version 1 had no profiles."""

CHUNKS_DOUBTED = 2
"""Chunks of a load profile that are read again where only the archive tells how far it was read."""

MIN_PACE = 0.3
"""Seconds that a request for a load profile is meant to take at least."""

START_SPACING = 0.05
"""Seconds between the first cycles of two meters, unless the interval is too short for all of them."""

POLL_STEP = "poll"
"""Name of the input step inside the node's; with the node's id it is what the recovery store files partitions under."""

COUNTER = "counter"
"""Key of the snapshot: how far the invocation counter may have been used, see `Session.counter_state`."""

Snapshot = dict[str, Any]
"""`version`; `profiles`: the ledger of each load profile, which says what is read and what is missing; `COUNTER` of a ciphered meter."""

Item = Union[Cycle, Gap]


_ALONE = Place()

log = structlog.get_logger(__name__)


class DlmsInSettings(NodeSettings):
    """Which meters this node reads; those with connect: push are left out."""

    meters: list[str] = Field(default=["*"], min_length=1, description="Patterns of meter ids, such as lab-*; all meters where left out.")


class MeterPartition(StatefulSourcePartition[tuple[str, Item], Snapshot]):
    """One meter: takes the cycles that its poll on the background loop has finished."""

    def __init__(
        self, meter: str, poll: ScheduledPoll, stop: Stop, wakes: Wakes, counter: Callable[[], dict[str, Any] | None] = lambda: None
    ) -> None:
        self._wakes = wakes
        self._meter = meter
        self._counter = counter
        self._poll = poll
        self._stop = stop
        self._work = BackgroundWork(poll.run(), poll.stop, stop)

    def next_batch(self) -> list[tuple[str, Item]]:
        """What is finished.

        :raises StopIteration: when a stop was requested and the association is released, or `STOP_TIMEOUT` is over.
        """
        self._wakes.woke()
        may_end = self._work.may_end()
        items = [(self._meter, item) for item in self._poll.take()]
        if may_end and not items:
            raise StopIteration
        return items

    def next_awake(self) -> datetime:
        """When a cycle may be ready, or soon while one is read; on the common grid and never far ahead."""
        return self._wakes.next(0.0 if self._stop.requested() else self._poll.idle_for())

    def snapshot(self) -> Snapshot:
        """What is read of the load profiles, and how far the counter was used; an instantaneous value has no position to return to."""
        self._wakes.epoch_ended()
        counter = self._counter()
        return {"version": VERSION, "profiles": self._poll.position, **({} if counter is None else {COUNTER: counter})}

    def close(self) -> None:
        """Give the meter back where a stop did not already do so; never raises, never waits."""
        self._poll.stop()


class DlmsSource(FixedPartitionedSource[tuple[str, Item], Snapshot]):
    """All meters of one `dlms-in` node; a meter is the unit of parallelism, read by exactly one worker.

    :arg pipeline: templates and intervals.
    :arg meters: the meters to read.
    :arg known: the file that remembers the meters of this node, see `known_meters`.
    :arg resolve: see `Session`.
    :arg stop: ends the input.
    :arg place: this process among those that read the meters.
    :arg bookmark: where to go on with a load profile of which the recovery store knows nothing.
    :arg recalls: load profile intervals that were given up before they were delivered; None where nobody tells.
    :arg in_store: the meters of which the recovery store holds a partition.
    :arg epochs: see `BuildContext`.
    """

    def __init__(
        self,
        pipeline: PipelineSettings,
        meters: Sequence[MeterSettings],
        known: Path,
        resolve: Callable[[str, str], str],
        stop: Stop,
        place: Place = _ALONE,
        bookmark: Bookmark = no_bookmark,
        recalls: Recalls | None = None,
        in_store: frozenset[str] = frozenset(),
        epochs: EpochLength | None = None,
    ) -> None:
        self._epochs = EpochsOfWorkers(epochs)
        self._pipeline = pipeline
        self._in_store = in_store
        self._known = known
        self._meters = {meter.id: meter for meter in meters}
        self._rank = {meter.id: rank for rank, meter in enumerate(meters)}
        self._resolve = resolve
        self._stop = stop
        self._lines = pipeline.shared_lines()
        self._elsewhere = _read_elsewhere(meters, self._lines, place)
        self._gate = _process_gate(pipeline.limits)
        self._bookmark = bookmark
        self._recalls = recalls
        self._counters = InvocationCounters(pipeline.state_dir / COUNTERS)

    def list_parts(self) -> list[str]:
        """The meter ids, those of removed meters included; without those on lines that another process owns.

        :raises StorageError: when the list of known meters cannot be used.
        """
        self._stop.attend()
        return sorted(remember(self._known, self._in_store.union(self._meters)) - self._elsewhere)

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot | None) -> StatefulSourcePartition[tuple[str, Item], Snapshot]:
        """The partition of one meter; its first cycle is spaced from those of the others."""
        if for_part not in self._meters:
            return ParkedPartition(resume_state or {"version": VERSION, "profiles": {}})
        meter = self._meters[for_part]
        interval = self._pipeline.interval(meter)
        spacing = min(START_SPACING, interval / len(self._meters))
        plan = plan_reads(self._pipeline.reads(meter))
        access = self._access(meter)
        session = Session(meter, self._resolve, self._counters, access)
        if isinstance(resume_state, dict):
            session.restore_counter(resume_state.get(COUNTER))
        known = _ledgers(resume_state)
        poll = MeterPoll(meter, plan, interval, session, access, self._backfill(meter, interval, access, known))
        schedule = Schedule(time.monotonic() + spacing * self._rank[for_part], interval)
        return MeterPartition(
            for_part,
            ScheduledPoll(for_part, poll, schedule, _backlog),
            self._stop,
            Wakes(self._epochs.here(), for_part),
            lambda: session.counter_state,
        )

    def _backfill(self, meter: MeterSettings, interval: float, access: Access, known: dict[str, Any]) -> Backfill:
        """The meter's load profiles; a step should leave time for the polls, and for the other meters of a shared line."""
        reads = self._pipeline.reads(meter)
        pace = max(MIN_PACE, access.turn_limit(interval) / 2)
        readers = {}
        for name, settings in self._pipeline.profiles(meter).items():
            ledger = self._ledger(meter, settings, reads, known.get(name))
            recalled = no_recalls if self._recalls is None else self._recalls.asker(meter.id)
            readers[name] = ProfileReader(meter, name, settings, reads, ledger, recalled, pace)
        return Backfill(readers)

    def _ledger(self, meter: MeterSettings, settings: ProfileSettings, reads: dict[str, ReadSettings], known: Snapshot | None) -> Ledger:
        kept = restored(known, frozenset({1, VERSION}), Ledger.restore, f"load profile {settings.obis}", meter.id)
        if kept is not None:
            return kept
        newest = self._bookmark(meter.id, possible_keys(settings, reads))
        if newest is None:
            return Ledger()
        log.info("load profile goes on from what was kept", meter=meter.id, profile=settings.obis, newest=newest.isoformat())
        # What was read last before a kill may have been kept but not be on its way to ThingsBoard.
        return Ledger(last=newest - timedelta(seconds=CHUNKS_DOUBTED * settings.chunk))

    def _access(self, meter: MeterSettings) -> Access:
        line = self._lines.get(meter.id)
        return OwnConnection(meter, self._gate) if line is None else join_line(line, meter, self._gate)


def _read_elsewhere(meters: Sequence[MeterSettings], lines: Mapping[str, str], place: Place) -> frozenset[str]:
    """The meters that other processes read, as far as that is not left to the engine."""
    if not place.spans_hosts:
        return place.elsewhere(lines)
    here = {meter.id for meter in meters if meter.address.is_serial_port}
    others = {meter.id: lines.get(meter.id, meter.id) for meter in meters if meter.id not in here}
    return place.elsewhere(others) | (frozenset() if place.keeps else frozenset(here))


def _ledgers(state: Snapshot | None) -> dict[str, Any]:
    """The ledgers in a snapshot, by profile, each with the snapshot's version."""
    if not isinstance(state, dict) or not isinstance(state.get("profiles", {}), dict):
        return {}
    version = {"version": state.get("version")}
    return {name: {**ledger, **version} for name, ledger in state.get("profiles", {}).items() if isinstance(ledger, dict)}


_backlog = Backlog()
"""Of all nodes of this process."""

_gates: dict[tuple[int, float], Gate] = {}


def _process_gate(limits: LimitsSettings) -> Gate:
    """The one gate of this process, whichever node asks."""
    key = (limits.connections, limits.new_connections_per_second)
    return _gates.setdefault(key, Gate(*key))


@dataclass(frozen=True)
class Items:
    """The two outputs of `dlms_in`."""

    cycles: KeyedStream[Cycle]
    gaps: KeyedStream[Gap]


@operator
def dlms_in(step_id: str, flow: Dataflow, source: DlmsSource) -> Items:
    """Poll the meters of `source`; the streams are keyed by meter id."""
    both = op.input(POLL_STEP, flow, source)
    branched = op.branch("kind", both, _is_cycle)
    return Items(branched.trues, cast("KeyedStream[Gap]", branched.falses))


def _is_cycle(item: tuple[str, Item]) -> TypeGuard[tuple[str, Cycle]]:
    return isinstance(item[1], Cycle)


def _build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    patterns = context.settings.meters
    polled = (meter for meter in context.pipeline.meters if meter.is_polled)
    meters = [meter for meter in polled if any(fnmatchcase(meter.id, pattern) for pattern in patterns)]
    known = context.pipeline.state_dir / f"meters-{context.node_id}.json"
    recalls = Recalls(context.pipeline.state_dir / RECALLS)
    in_store = context.remembered(f"{context.flow.flow_id}.{context.node_id}.{POLL_STEP}")
    source = DlmsSource(
        context.pipeline,
        meters,
        known,
        context.resolve_meter,
        context.stop,
        context.place,
        context.bookmark,
        recalls,
        in_store,
        context.epochs,
    )
    items = dlms_in(context.node_id, context.flow, source)
    return {MAIN: items.cycles, "gaps": items.gaps}


NODE = NodeType(
    name="dlms-in",
    summary="Polls DLMS/COSEM meters and reads their load profiles; one Cycle per meter and interval, also when a meter cannot be read.",
    settings=DlmsInSettings,
    accepts=(),
    emits={MAIN: Cycle, "gaps": Gap},
    example="- id: meters\n  type: dlms-in\n",
    build=_build,
)
