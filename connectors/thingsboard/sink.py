"""`thingsboard-out`: delivers readings, health reports and alerts to ThingsBoard, each session with a durable outbox of its own.

Parallelism: one partition per session, which owns it and its outbox; one process of a cluster has it, over several hosts process 0,
and the meters of a session are delivered by it alone (`model.assignment`). Where `token` names the only session the one partition
is "thingsboard". What is about no meter (reports on all of them, alerts about sessions) goes to the first session that takes
meters. Guarantee: at least once; `write_batch` returns when the batch is on the disk (fsync), and a record leaves the disk when
ThingsBoard has acknowledged it. A repeat is harmless, since ThingsBoard overwrites on equal device, key and ts. Snapshot: a version
mark and which outbox it was, the outbox is the state: another one than before is said, since what waited in the former is in no
account any more. Blocks: `write_batch` for one commit, never for the network; with `when_full: block` until there is room, see
`intake`. A disk that refuses ends nothing: what comes waits in memory.

With `api: device` each session has one meter and its device is the session's own; fleet reports are left out there, since a
meter's own report is told under the same keys.

A session that was taken out of the configuration stays in the recovery store for ever, and Bytewax does not resume without its
partition: that is `Parked` then. Its outbox is left alone, see `forgotten`.
"""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import bytewax.operators as op
import structlog
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.disk import may_heal
from connectors.thingsboard.bounds import Bounds
from connectors.thingsboard.bulletin import bulletin_of
from connectors.thingsboard.client_id import client_id
from connectors.thingsboard.connection import parse_address, tls_context
from connectors.thingsboard.devices import Devices
from connectors.thingsboard.intake import Intake
from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.outbox_state import standing_alert
from connectors.thingsboard.outbox_trouble import OutboxTrouble
from connectors.thingsboard.ownership import Ownership
from connectors.thingsboard.payload import Record
from connectors.thingsboard.records import alert_records, reading_records, report_record
from connectors.thingsboard.session import Session
from connectors.thingsboard.session_names import outbox_file, subject_of
from model.assignment import Assignment
from model.cluster import Place
from model.errors import OwnershipError, PipelineError, StorageError
from model.messages import FLEET, Alert, HealthReport, Reading
from model.node import BuildContext, NodeType, Ports
from model.opening import Opening, merge_after_opening
from model.session_record import SessionRecord, SessionRecords
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings
from model.settings.thingsboard import SINGLE, OutboxSettings
from model.stop import Stop

DELIVER_STEP = "deliver"

DRAIN = 1.5
"""Seconds that a stop may spend on delivering what waits."""

OPEN_AGAIN = 2.0
"""Seconds between two attempts to open the outbox on a disk that refuses."""

_ALONE = Place()

log = structlog.get_logger()
Snapshot = dict[str, Any]


Item = Union[Reading, HealthReport, Alert, Opening]


@dataclass(frozen=True)
class Opened:
    """What there is once the disk lets it be."""

    ownership: Ownership
    outbox: Outbox
    session: Session


class ThingsBoardPartition(StatefulSinkPartition[Item, Snapshot]):
    """The outbox and the session behind it.

    A disk that is full or read-only at the start is no reason to end: items wait in memory, and opening is tried again.

    :arg resolve: turns the url into one that can be dialled.
    :arg stopping: whether the process is to end.
    :arg record: told what becomes of the session.
    :arg former: the identity of the outbox that the session used before; None where nobody knows.
    :arg session: its name.
    :raises OwnershipError: when another process on this host has the session or the outbox.
    :raises StorageError: when state_dir cannot be used and that will not heal by itself.
    """

    def __init__(
        self,
        pipeline: PipelineSettings,
        resolve: Callable[[str], str],
        stopping: Callable[[], bool],
        record: SessionRecord,
        former: str | None = None,
        session: str = SINGLE,
    ) -> None:
        settings = pipeline.thingsboard.outbox
        self._pipeline, self._resolve, self._record, self._former = pipeline, resolve, record, former
        self._session = session
        self._devices = Devices(pipeline, session)
        self._fleet_reports = pipeline.thingsboard.api == "gateway"
        self._path = outbox_file(pipeline.state_dir, session)
        self._bulletin = bulletin_of(self._path)
        self._trouble = OutboxTrouble(self._bulletin.post, time.time, subject_of(session))
        self._intake = Intake(self._trouble, settings.memory_readings, settings.when_full, settings.block_at_most, stopping)
        self._opened: Opened | None = None
        self._open_at = 0.0
        self._over = False
        with self._named_in_the_log():
            self._open()

    def hand_over(self) -> ThingsBoardPartition | None:
        """Another partition with everything that this one has, which closes nothing from now on; None when it is closed."""
        if self._over:
            return None
        successor = copy.copy(self)
        self._over = True
        return successor

    def write_batch(self, items: list[Item]) -> None:
        """Keep the items; they are on the disk when this returns, or in memory while the disk refuses.

        :raises OwnershipError: when the disk was not usable at the start, and another process owns the session meanwhile; and
            when an item belongs to another session.
        """
        if not self._devices.all_of_them:
            for item in items:
                if not isinstance(item, Opening) and not self._devices.belongs(item.meter):
                    raise _came_astray(item.meter, self._session)
        with self._named_in_the_log():
            self._write(items)

    def _write(self, items: list[Item]) -> None:
        if self._opened is None and time.monotonic() >= self._open_at:
            self._open()
        readings = [item for item in items if isinstance(item, Reading)]
        records: list[Record] = reading_records(readings, self._devices.name)
        for item in items:
            if isinstance(item, HealthReport) and (self._fleet_reports or item.meter != FLEET):
                records.append(report_record(item, self._devices.name))
            elif isinstance(item, Alert):
                records += alert_records(item, self._devices.name)
        self._intake.put(records, self._devices.of(readings))
        if self._opened is not None:
            self._opened.session.notify()

    def snapshot(self) -> Snapshot:
        """Which outbox it is; the outbox is the state."""
        if self._opened is not None:
            self._former = self._opened.outbox.identity()
        return {"version": 1, "outbox": self._former}

    def close(self) -> None:
        """Deliver what is possible within `DRAIN` seconds if there is a connection, close the outbox, give the locks back; never raises."""
        if self._over:
            return
        self._over = True
        with self._named_in_the_log():
            self._close()

    def _close(self) -> None:
        try:
            self._intake.close()
            if self._opened is None:
                return
            self._opened.session.notify()
            ended = self._opened.session.stop(DRAIN)
            waiting = self._opened.outbox.depth
            if ended:
                self._opened.outbox.close()
                self._opened.ownership.release()
            log.info("outbox closed", waiting=waiting)
        except Exception:  # close() must not raise: Bytewax would abort the process
            log.exception("the ThingsBoard session did not close cleanly")

    def _named_in_the_log(self) -> AbstractContextManager[Any]:
        """What is logged within says which of several sessions it is about."""
        return nullcontext() if self._session == SINGLE else structlog.contextvars.bound_contextvars(session=self._session)

    def _open(self) -> None:
        try:
            self._opened = self._everything()
        except StorageError as error:
            if not may_heal(error, self._path):
                raise
            self._open_at = time.monotonic() + OPEN_AGAIN
            remedy = "free space on the disk of state_dir, or check it and mount it writable again"
            self._trouble.disk(f"{error.what}; nothing is delivered, readings wait in memory", remedy)
            return
        self._intake.open(self._opened.outbox)
        log.info("outbox opened", waiting=self._opened.outbox.depth)
        self._look_at_the_room(self._opened.outbox)
        self.compare_with(self._former)

    def compare_with(self, former: str | None) -> None:
        """Say so where the outbox is another one than the session used before.

        :arg former: its identity; None where nobody knows.
        """
        if self._opened is None or former is None or former == self._opened.outbox.identity():
            return
        evidence = f"the outbox {self._path} is not the one that the session used before: what waited in the former is not delivered"
        remedy = "find it: on the host that had the session before, or in a backup; stop the flow and run python -m commands take-over FILE"
        self._trouble.file_replaced(evidence, remedy)

    def _look_at_the_room(self, outbox: Outbox) -> None:
        """A disk that is smaller than the bound fills up before the outbox does; better known before the outage."""
        bound = self._pipeline.thingsboard.outbox.max_size
        room = shutil.disk_usage(self._path.parent).free + outbox.load.size
        if bound > room:
            log.warning(
                "the disk has less room than the outbox may take; in a long outage it fills up first",
                free=f"{room / 1e9:.1f} GB",
                max_size=f"{bound / 1e9:.1f} GB",
                remedy="lower thingsboard.outbox.max_size, so that its policy decides, or put state_dir on a larger disk",
            )

    def _everything(self) -> Opened:
        settings, state_dir = self._pipeline.thingsboard.of_session(self._session), self._pipeline.state_dir
        _make_directory(state_dir)
        address = parse_address(self._resolve(settings.url))
        context = tls_context(settings) if address.tls else None
        with ExitStack() as undo:
            ownership = undo.enter_context(Ownership(str(address), settings.session_credentials(), state_dir, session=self._session))
            client = client_id(state_dir, settings.client_id, self._session)
            outbox = Outbox(self._path, settings.outbox.keep_receipts, bounds=_bounds(settings.outbox), trouble=self._trouble)
            undo.callback(outbox.close)
            session = Session(settings, address, client, outbox, context, standing_alert(self._path), self._record, self._session)
            session.start()
            undo.pop_all()
        return Opened(ownership, outbox, session)


class Parked(StatefulSinkPartition[Item, Snapshot]):
    """The partition of a session that is configured no more: no item belongs to it, and it opens nothing."""

    def __init__(self, former: str | None) -> None:
        self._former = former

    def write_batch(self, items: list[Item]) -> None:
        """Nothing ever comes.

        :raises OwnershipError: when something does.
        """
        for item in items:
            if not isinstance(item, Opening):
                raise _came_astray(item.meter, "earlier")

    def snapshot(self) -> Snapshot:
        """As that of the partition it stands for."""
        return {"version": 1, "outbox": self._former}


class ThingsBoardSink(FixedPartitionedSink[Item, Snapshot]):
    """The sink, with a partition for each session.

    :arg pipeline: meters, state_dir and the ThingsBoard section.
    :arg resolve: turns the ThingsBoard url into one that can be dialled, in the process that owns the session.
    :arg stop: ends a wait for room.
    :arg records: told what becomes of the sessions.
    :arg place: this process among those that run the flow.
    :arg in_store: partitions of which the recovery store holds a state.
    """

    def __init__(
        self,
        pipeline: PipelineSettings,
        resolve: Callable[[str], str],
        stop: Stop,
        records: SessionRecords | None = None,
        place: Place = _ALONE,
        in_store: frozenset[str] = frozenset(),
    ) -> None:
        self._pipeline = pipeline
        self._resolve = resolve
        self._stop = stop
        self._records = SessionRecords() if records is None else records
        assignment = Assignment(pipeline.thingsboard)
        self._sessions = {subject_of(session): session for session in assignment.sessions}
        self._mine = [part for part, session in self._sessions.items() if place.keeps_one(session, assignment.sessions)]
        self._parked = sorted(in_store - self._sessions.keys())
        if self._parked and place.spans_hosts:
            raise _cannot_be_parked(self._parked)
        order = sorted({*self._sessions, *self._parked})
        self._first = order.index(subject_of(assignment.first))
        self._index = {_opening_key(session): order.index(part) for part, session in self._sessions.items()}
        for session, meters in assignment.meters(meter.id for meter in pipeline.meters).items():
            self._index.update(dict.fromkeys(meters, order.index(subject_of(session))))
        self._built: dict[str, ThingsBoardPartition] = {}

    @property
    def opening_keys(self) -> tuple[str, ...]:
        """A key for each partition, so that all sessions open at the start, also those that have nothing to do yet."""
        return tuple(map(_opening_key, self._sessions.values()))

    def list_parts(self) -> list[str]:
        """The sessions of this process, and those that are parked."""
        return [*self._mine, *self._parked]

    def part_fn(self, item_key: str) -> int:
        """The place of the meter's session among all partitions in the order of their names, which is how Bytewax counts them."""
        return self._index.get(item_key, self._first)

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot | None) -> ThingsBoardPartition | Parked:
        """Open outbox and session, or go on with those that are open.

        Bytewax builds a partition twice when it resumes and an operator whose timer ran out meanwhile emits something before
        the partition's own snapshot is loaded: once for that item, once for the snapshot; then it closes the first one.
        """
        former = resume_state.get("outbox") if isinstance(resume_state, dict) else None
        if for_part not in self._sessions:
            return Parked(former)
        before = self._built.get(for_part)
        successor = None if before is None else before.hand_over()
        if successor is not None:
            successor.compare_with(former)
        session = self._sessions[for_part]
        record = self._records.of(session)
        self._built[for_part] = successor or ThingsBoardPartition(
            self._pipeline, self._resolve, self._stop.requested, record, former, session
        )
        return self._built[for_part]


@operator
def thingsboard_out(step_id: str, *ups: KeyedStream[Any], sink: ThingsBoardSink) -> None:
    """Deliver `ups` to ThingsBoard; the streams are keyed by meter."""
    op.output(DELIVER_STEP, merge_after_opening("inputs", *ups, keys=sink.opening_keys), sink)


def _opening_key(session: str) -> str:
    """No meter and no subject of an alert has a space in its name."""
    return f"opening {session}"


def _cannot_be_parked(partitions: Sequence[str]) -> PipelineError:
    """The recovery store is on one host, so the others do not know of these partitions, and would count without them."""
    names = ", ".join(part.removeprefix(f"{SINGLE}-") for part in partitions)
    return PipelineError(
        f"a session that was taken out of the configuration is still in the recovery store: {names}",
        "over several hosts keep it among thingsboard.sessions, with meters: [], or begin with an empty store: python -m commands "
        "recovery --set-aside",
    )


def _came_astray(meter: str, session: str) -> OwnershipError:
    """Bytewax counts partitions over all processes of a cluster, so processes that know different ones would mix meters up."""
    return OwnershipError(
        f"something of {meter} came to the session {session}, which it does not belong to: the processes of the cluster have "
        "different sessions or meters in their pipeline.yaml, or different recovery stores",
        "give all of them the same pipeline.yaml and start all of them anew; if that does not help, begin with an empty recovery store: "
        "python -m commands recovery --set-aside",
    )


def _bounds(settings: OutboxSettings) -> Bounds:
    return Bounds(settings.max_size or math.inf, settings.max_readings or math.inf, settings.max_age or math.inf, settings.when_full)


def _make_directory(state_dir: Path) -> None:
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"state_dir {state_dir} cannot be made: {error.strerror or error}"
        raise StorageError(what, "set state_dir to a directory this user can write to") from error


def _build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    in_store = context.remembered(f"{context.flow.flow_id}.{context.node_id}.{DELIVER_STEP}")
    sink = ThingsBoardSink(context.pipeline, context.resolve_thingsboard, context.stop, context.sessions, context.place, in_store)
    thingsboard_out(context.node_id, *inputs, sink=sink)
    return {}


NODE = NodeType(
    name="thingsboard-out",
    summary="Delivers readings, health reports and alerts to ThingsBoard; durable, acknowledged, one session or several.",
    settings=NodeSettings,
    accepts=(Reading, HealthReport, Alert),
    emits={},
    example="- id: out\n  type: thingsboard-out\n  inputs: [checked, health, alerts]\n",
    build=_build,
)
