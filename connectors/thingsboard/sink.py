"""`thingsboard-out`: delivers readings, health reports and alerts to ThingsBoard through a durable outbox and one MQTT session.

Parallelism: none; the single partition "thingsboard" owns the only session, wherever the engine places it. Guarantee: at
least once; `write_batch` returns when the batch is on the disk (fsync), and a record leaves the disk when ThingsBoard has
acknowledged it. A repeat is harmless, since ThingsBoard overwrites on equal device, key and ts. Snapshot: a version mark
and which outbox it was, the outbox is the state: another one than before is said, since what waited in the former is in no
account any more. Blocks: `write_batch` for one commit, never for the network; with `when_full: block` until
there is room, see `intake`. A disk that refuses ends nothing: what comes waits in memory.

With `api: device` there is one meter and its device is the session's own; fleet reports are left out there, since the
meter's own report says the same under the same keys.
"""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
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
from connectors.thingsboard.intake import Intake
from connectors.thingsboard.outbox import Device, Outbox
from connectors.thingsboard.outbox_schema import FILE_NAME
from connectors.thingsboard.outbox_state import standing_alert
from connectors.thingsboard.outbox_trouble import OutboxTrouble
from connectors.thingsboard.ownership import Ownership
from connectors.thingsboard.payload import GATEWAY_ITSELF, Record
from connectors.thingsboard.records import alert_records, reading_records, report_record, tags_record
from connectors.thingsboard.session import Session
from model.cluster import Place
from model.errors import StorageError
from model.messages import FLEET, Alert, HealthReport, Reading
from model.node import BuildContext, NodeType, Ports
from model.opening import Opening, merge_after_opening
from model.session_record import SessionRecord
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings
from model.settings.thingsboard import OutboxSettings
from model.stop import Stop
from model.timestamps import to_ms, utc_now

PARTITION = "thingsboard"

DRAIN = 1.5
"""Seconds that a stop may spend on delivering what waits."""

OPEN_AGAIN = 2.0
"""Seconds between two attempts to open the outbox on a disk that refuses."""

_ALONE = Place()

log = structlog.get_logger()
Snapshot = dict[str, Any]


Item = Union[Reading, HealthReport, Alert, Opening]


class Devices:
    """What ThingsBoard knows meters as: device name, type and tags, as the pipeline's settings and the readings say."""

    def __init__(self, pipeline: PipelineSettings) -> None:
        self._meters = {meter.id: meter for meter in pipeline.meters}
        self._tags: dict[str, dict[str, str]] = {}

    def name(self, meter: str) -> str:
        """The device of a meter; the gateway itself for FLEET and everything that is not a meter."""
        known = self._meters.get(meter)
        return GATEWAY_ITSELF if known is None else known.device

    def of(self, readings: Sequence[Reading]) -> list[Device]:
        """The devices of these readings, with the tags known by now."""
        ts = to_ms(utc_now())
        seen: dict[str, dict[str, str]] = {}
        for reading in readings:
            if reading.meter in self._meters:
                tags = seen[reading.meter] = self._tags.setdefault(reading.meter, dict(self._meters[reading.meter].tags))
                tags.update(reading.tags)
        devices = []
        for meter, tags in seen.items():
            device = self._meters[meter].device
            record = tags_record(device, meter, tags, ts) if tags else None
            devices.append(Device(device, self._meters[meter].device_type, record))
        return devices


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
    ) -> None:
        settings = pipeline.thingsboard.outbox
        self._pipeline, self._resolve, self._record, self._former = pipeline, resolve, record, former
        self._devices = Devices(pipeline)
        self._fleet_reports = pipeline.thingsboard.api == "gateway"
        self._path = pipeline.state_dir / FILE_NAME
        self._bulletin = bulletin_of(self._path)
        self._trouble = OutboxTrouble(self._bulletin.post, time.time)
        self._intake = Intake(self._trouble, settings.memory_readings, settings.when_full, settings.block_at_most, stopping)
        self._opened: Opened | None = None
        self._open_at = 0.0
        self._over = False
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

        :raises OwnershipError: when the disk was not usable at the start, and another process owns the session meanwhile.
        """
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
        settings, state_dir = self._pipeline.thingsboard, self._pipeline.state_dir
        _make_directory(state_dir)
        address = parse_address(self._resolve(settings.url))
        context = tls_context(settings) if address.tls else None
        with ExitStack() as undo:
            ownership = undo.enter_context(Ownership(str(address), settings.session_credentials(), state_dir))
            name = client_id(state_dir, settings.client_id)
            outbox = Outbox(self._path, settings.outbox.keep_receipts, bounds=_bounds(settings.outbox), trouble=self._trouble)
            undo.callback(outbox.close)
            session = Session(settings, address, name, outbox, context, standing_alert(self._path), self._record)
            session.start()
            undo.pop_all()
        return Opened(ownership, outbox, session)


class ThingsBoardSink(FixedPartitionedSink[Item, Snapshot]):
    """The sink with its single partition.

    :arg pipeline: meters, state_dir and the ThingsBoard section.
    :arg resolve: turns the ThingsBoard url into one that can be dialled, in the process that owns the session.
    :arg stop: ends a wait for room.
    :arg record: told what becomes of the session.
    :arg place: this process; over several hosts one of them has the outbox on its disk, always the same.
    """

    def __init__(
        self,
        pipeline: PipelineSettings,
        resolve: Callable[[str], str],
        stop: Stop,
        record: SessionRecord | None = None,
        place: Place = _ALONE,
    ) -> None:
        self._pipeline = pipeline
        self._place = place
        self._resolve = resolve
        self._stop = stop
        self._record = record or SessionRecord()
        self._built: ThingsBoardPartition | None = None

    def list_parts(self) -> list[str]:
        """The single partition; every process that may have it lists it, one builds it."""
        return [PARTITION] if self._place.keeps else []

    def part_fn(self, item_key: str) -> int:
        """All keys go to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot | None) -> ThingsBoardPartition:
        """Open outbox and session, or go on with those that are open.

        Bytewax builds the partition twice when it resumes and an operator whose timer ran out meanwhile emits something before
        the partition's own snapshot is loaded: once for that item, once for the snapshot; then it closes the first one.
        """
        former = resume_state.get("outbox") if isinstance(resume_state, dict) else None
        successor = None if self._built is None else self._built.hand_over()
        if successor is not None:
            successor.compare_with(former)
        self._built = successor or ThingsBoardPartition(self._pipeline, self._resolve, self._stop.requested, self._record, former)
        return self._built


@operator
def thingsboard_out(step_id: str, *ups: KeyedStream[Any], sink: ThingsBoardSink) -> None:
    """Deliver `ups` to ThingsBoard; the streams are keyed by meter."""
    op.output("deliver", merge_after_opening("inputs", *ups), sink)


def _bounds(settings: OutboxSettings) -> Bounds:
    return Bounds(settings.max_size or math.inf, settings.max_readings or math.inf, settings.max_age or math.inf, settings.when_full)


def _make_directory(state_dir: Path) -> None:
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"state_dir {state_dir} cannot be made: {error.strerror or error}"
        raise StorageError(what, "set state_dir to a directory this user can write to") from error


def _build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    sink = ThingsBoardSink(context.pipeline, context.resolve_thingsboard, context.stop, context.session, context.place)
    thingsboard_out(context.node_id, *inputs, sink=sink)
    return {}


NODE = NodeType(
    name="thingsboard-out",
    summary="Delivers readings, health reports and alerts to ThingsBoard; durable, acknowledged, one session.",
    settings=NodeSettings,
    accepts=(Reading, HealthReport, Alert),
    emits={},
    example="- id: out\n  type: thingsboard-out\n  inputs: [checked, health, alerts]\n",
    build=_build,
)
