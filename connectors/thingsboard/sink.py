"""`thingsboard-out`: delivers readings, health reports and alerts to ThingsBoard through a durable outbox and one MQTT session.

Parallelism: none; the single partition "thingsboard" owns the only session, wherever the engine places it. Guarantee: at
least once; `write_batch` returns when the batch is on the disk (fsync), and a record leaves the disk when ThingsBoard has
acknowledged it. A repeat is harmless, since ThingsBoard overwrites on equal device, key and ts. Snapshot: a version mark
only, the outbox is the state. Blocks: `write_batch` for one commit; never for the network.

With `api: device` there is one meter and its device is the session's own; fleet reports are left out there, since the
meter's own report says the same under the same keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Union

import bytewax.operators as op
import structlog
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.thingsboard.client_id import client_id
from connectors.thingsboard.connection import parse_address, tls_context
from connectors.thingsboard.outbox import Device, Outbox
from connectors.thingsboard.outbox_schema import FILE_NAME
from connectors.thingsboard.outbox_state import standing_alert
from connectors.thingsboard.ownership import Ownership
from connectors.thingsboard.payload import GATEWAY_ITSELF, Record
from connectors.thingsboard.records import alert_records, reading_records, report_record, tags_record
from connectors.thingsboard.session import Session
from model.errors import StorageError
from model.messages import FLEET, Alert, HealthReport, Reading
from model.node import BuildContext, NodeType, Ports
from model.opening import Opening, merge_after_opening
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings
from model.timestamps import to_ms, utc_now

PARTITION = "thingsboard"

DRAIN = 1.5
"""Seconds that a stop may spend on delivering what waits."""

log = structlog.get_logger()
Snapshot = dict[str, int]


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


class ThingsBoardPartition(StatefulSinkPartition[Item, Snapshot]):
    """The outbox and the session behind it.

    :arg resolve: turns the url into one that can be dialled.
    :raises OwnershipError: when another process on this host has the session or the outbox.
    :raises StorageError: when state_dir cannot be used.
    """

    def __init__(self, pipeline: PipelineSettings, resolve: Callable[[str], str]) -> None:
        settings = pipeline.thingsboard
        self._devices = Devices(pipeline)
        self._fleet_reports = settings.api == "gateway"
        _make_directory(pipeline)
        address = parse_address(resolve(settings.url))
        context = tls_context(settings) if address.tls else None
        credentials = (settings.username or "", settings.token.get_secret_value())
        with ExitStack() as undo:
            self._ownership = undo.enter_context(Ownership(str(address), credentials, pipeline.state_dir))
            name = client_id(pipeline.state_dir, settings.client_id)
            self._outbox = Outbox(pipeline.state_dir / FILE_NAME, settings.outbox.keep_receipts)
            undo.callback(self._outbox.close)
            standing = standing_alert(pipeline.state_dir / FILE_NAME)
            self._session = Session(settings, address, name, self._outbox, context, standing)
            self._session.start()
            undo.pop_all()
        log.info("outbox opened", waiting=self._outbox.depth, server=str(address))

    def write_batch(self, items: list[Item]) -> None:
        """Keep the items; they are on the disk when this returns.

        :raises StorageError: when they cannot be kept, now or by the session's thread.
        """
        readings = [item for item in items if isinstance(item, Reading)]
        records: list[Record] = reading_records(readings, self._devices.name)
        for item in items:
            if isinstance(item, HealthReport) and (self._fleet_reports or item.meter != FLEET):
                records.append(report_record(item, self._devices.name))
            elif isinstance(item, Alert):
                records += alert_records(item, self._devices.name)
        self._outbox.append(records, self._devices.of(readings))
        self._session.notify()

    def snapshot(self) -> Snapshot:
        """A version mark; the outbox is the state."""
        return {"version": 1}

    def close(self) -> None:
        """Deliver what is possible within `DRAIN` seconds if there is a connection, close the outbox, give the locks back; never raises."""
        try:
            ended = self._session.stop(DRAIN)
            waiting = self._outbox.depth
            if ended:
                self._outbox.close()
                self._ownership.release()
            log.info("outbox closed", waiting=waiting)
        except Exception:  # close() must not raise: Bytewax would abort the process
            log.exception("the ThingsBoard session did not close cleanly")


class ThingsBoardSink(FixedPartitionedSink[Item, Snapshot]):
    """The sink with its single partition.

    :arg pipeline: meters, state_dir and the ThingsBoard section.
    :arg resolve: turns the ThingsBoard url into one that can be dialled, in the process that owns the session.
    """

    def __init__(self, pipeline: PipelineSettings, resolve: Callable[[str], str]) -> None:
        self._pipeline = pipeline
        self._resolve = resolve

    def list_parts(self) -> list[str]:
        """The single partition; every process lists it, one builds it."""
        return [PARTITION]

    def part_fn(self, item_key: str) -> int:
        """All keys go to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot | None) -> ThingsBoardPartition:
        """Open outbox and session."""
        return ThingsBoardPartition(self._pipeline, self._resolve)


@operator
def thingsboard_out(step_id: str, *ups: KeyedStream[Any], sink: ThingsBoardSink) -> None:
    """Deliver `ups` to ThingsBoard; the streams are keyed by meter."""
    op.output("deliver", merge_after_opening("inputs", *ups), sink)


def _make_directory(pipeline: PipelineSettings) -> None:
    try:
        pipeline.state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"state_dir {pipeline.state_dir} cannot be made: {error.strerror or error}"
        raise StorageError(what, "set state_dir to a directory this user can write to") from error


def _build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    thingsboard_out(context.node_id, *inputs, sink=ThingsBoardSink(context.pipeline, context.resolve_thingsboard))
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
