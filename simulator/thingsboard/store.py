"""What the stand-in accepted: time series, attributes and types of the devices, as ThingsBoard would keep them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from simulator.thingsboard.payload import Record, StoredValue

DEFAULT_TYPE = "default"


@dataclass(frozen=True)
class Latest:
    """The newest value of one key of one device; `ts` in milliseconds since 1970 UTC."""

    device: str
    key: str
    ts: int
    value: StoredValue


@dataclass
class StoredDevice:
    """One device: its type as first given, (key, ts in ms) -> value, and its client attributes."""

    name: str
    device_type: str = DEFAULT_TYPE
    points: dict[tuple[str, int], StoredValue] = field(default_factory=dict)
    latest: dict[str, tuple[int, StoredValue]] = field(default_factory=dict)
    attributes: dict[str, StoredValue] = field(default_factory=dict)
    repeated_same: int = 0
    repeated_other: int = 0

    def write(self, record: Record) -> list[tuple[str, StoredValue]]:
        """Keep a record, overwriting what has the same key and ts; the values that changed something."""
        changed = []
        for key, value in record.values.items():
            place = (key, record.ts)
            if place not in self.points:
                changed.append((key, value))
            elif _same(self.points[place], value):
                self.repeated_same += 1
            else:
                self.repeated_other += 1
                changed.append((key, value))
            self.points[place] = value
            if key not in self.latest or self.latest[key][0] <= record.ts:
                self.latest[key] = (record.ts, value)
        return changed

    def bound(self, most: int) -> None:
        """Forget the points written first, down to `most`; the latest values stay known."""
        for place in list(self.points)[: max(0, len(self.points) - most)]:
            del self.points[place]


class Journal(Protocol):
    """Keeps what a store accepts beyond the life of the process."""

    def devices(self) -> Iterable[StoredDevice]:
        """What an earlier run has kept."""

    def add_device(self, name: str, device_type: str) -> None:
        """A device has been created."""

    def add_points(self, name: str, ts: int, values: list[tuple[str, StoredValue]]) -> None:
        """Values of one timestamp are new or have changed."""

    def add_attributes(self, name: str, values: dict[str, StoredValue]) -> None:
        """Client attributes have been set."""


class Store:
    """All devices, in memory.

    :arg journal: told of everything new; it fills the store at the start.
    :arg most_points: how many points are kept per device; None for all. A bounded store cannot recognize a repeat of
        what it has forgotten.
    """

    def __init__(self, journal: Journal | None = None, most_points: int | None = None) -> None:
        self.most_points = most_points
        self._journal = journal
        self._devices: dict[str, StoredDevice] = {}
        for device in journal.devices() if journal else ():
            self._devices[device.name] = device

    def __iter__(self) -> Iterator[StoredDevice]:
        return iter(self._devices.values())

    def __len__(self) -> int:
        return len(self._devices)

    def __contains__(self, name: object) -> bool:
        return name in self._devices

    def get_or_create(self, name: str, device_type: str = DEFAULT_TYPE) -> StoredDevice:
        """The device; it is created with this type when unknown, and keeps the type it was created with."""
        device = self._devices.get(name)
        if device is None:
            device = self._devices[name] = StoredDevice(name, device_type)
            if self._journal:
                self._journal.add_device(name, device_type)
        return device

    def write_telemetry(self, name: str, records: Iterable[Record]) -> int:
        """Keep the records of a device; the number of data points they had."""
        device = self.get_or_create(name)
        points = 0
        for record in records:
            changed = device.write(record)
            points += len(record.values)
            if self._journal and changed:
                self._journal.add_points(name, record.ts, changed)
        # Half as much again before anything is dropped, so that not every write copies the keys.
        if self.most_points is not None and len(device.points) > self.most_points + self.most_points // 2:
            device.bound(self.most_points)
        return points

    def write_attributes(self, name: str, values: dict[str, StoredValue]) -> None:
        """Keep client attributes of a device."""
        self.get_or_create(name).attributes.update(values)
        if self._journal:
            self._journal.add_attributes(name, values)


def _same(left: StoredValue, right: StoredValue) -> bool:
    """Equal in type too: ThingsBoard keeps 1, 1.0, "1" and true apart."""
    return type(left) is type(right) and left == right
