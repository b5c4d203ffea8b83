"""What ThingsBoard knows the meters of one session as."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.thingsboard.outbox import Device
from connectors.thingsboard.payload import GATEWAY_ITSELF
from connectors.thingsboard.records import tags_record
from model.assignment import Assignment
from model.messages import Reading
from model.settings.pipeline import PipelineSettings
from model.settings.thingsboard import SINGLE
from model.timestamps import to_ms, utc_now


class Devices:
    """Device name, type and tags of the meters of a session, as the pipeline's settings and the readings say."""

    def __init__(self, pipeline: PipelineSettings, session: str = SINGLE) -> None:
        assignment = Assignment(pipeline.thingsboard)
        self._meters = {meter.id: meter for meter in pipeline.meters if assignment.of(meter.id) == session}
        self.all_of_them = len(assignment.sessions) == 1
        """Whether there is no other session that anything could belong to."""
        others = (meter.id for meter in pipeline.meters if meter.id not in self._meters)
        self._others = frozenset(others) if session == assignment.first else None
        self._tags: dict[str, dict[str, str]] = {}

    def belongs(self, key: str) -> bool:
        """Whether what flows under this key is this session's: its own meters, and to the first one all that is about no meter."""
        return key in self._meters or (self._others is not None and key not in self._others)

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
