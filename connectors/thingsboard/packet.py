"""One PUBLISH on its way to ThingsBoard, and the queues from which packets are made."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from connectors.thingsboard.outbox import Pending
from connectors.thingsboard.payload import Kind, publish_header

Track = Literal["attributes", "live", "backlog"]
"""Why a record goes when it goes: see `dispatch`."""

Group = tuple[str, str, Kind]
"""Device, meter and kind: what records of one packet have in common."""

Groups = OrderedDict[Group, deque[Pending]]


@dataclass(frozen=True)
class Packet:
    """One PUBLISH. Without records it announces a device. `points` is the number of values, as rate limits count."""

    topic: str
    payload: bytes
    device: str
    pending: tuple[Pending, ...]
    points: int
    track: Track = "live"

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """The row ids of its records."""
        return tuple(entry.id for entry in self.pending)

    @property
    def size(self) -> int:
        """Bytes of the whole MQTT packet."""
        return publish_header(self.topic) + len(self.payload)


def group_of(entry: Pending) -> Group:
    """The group a record belongs to."""
    return entry.record.device, entry.record.meter, entry.record.kind
