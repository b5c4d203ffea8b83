"""How much may wait in the outbox, and what happens to what does not fit. Pure arithmetic, no I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from connectors.thingsboard.payload import Record

Policy = Literal["drop-oldest", "drop-newest", "block"]

ROW_BYTES = 96
"""Bytes that a waiting record takes on the disk besides its payload: names, numbers, its share of the page. Measured."""

SLACK = 256
"""A full outbox is emptied by one part in so many more than needed, so that it is not done for every batch."""


@dataclass(frozen=True)
class Load:
    """How much waits: rows, readings (values), and the bytes they take on the disk."""

    records: int = 0
    readings: int = 0
    size: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(self.records + other.records, self.readings + other.readings, self.size + other.size)

    def __sub__(self, other: Load) -> Load:
        return Load(self.records - other.records, self.readings - other.readings, self.size - other.size)


@dataclass(frozen=True)
class Bounds:
    """The most that may wait.

    :arg size: bytes on the disk. :arg readings: values. :arg age: seconds since they were read. Infinite for no bound.
    :arg policy: what gives way when `size` or `readings` is reached; what is too old is dropped whatever it says.
    """

    size: float = math.inf
    readings: float = math.inf
    age: float = math.inf
    policy: Policy = "drop-oldest"

    def holds(self, load: Load) -> bool:
        """Whether so much may wait."""
        return load.size <= self.size and load.readings <= self.readings

    def reached(self, load: Load) -> bool:
        """Whether nothing more should be added."""
        return load.size >= self.size or load.readings >= self.readings

    def eased(self) -> Bounds:
        """The bounds down to which a full outbox is emptied."""
        return Bounds(_less(self.size), _less(self.readings), self.age, self.policy)

    def fill(self, load: Load) -> float:
        """The fuller of both bounds, 1.0 for full."""
        return max(load.size / self.size, load.readings / self.readings)


UNBOUNDED = Bounds()


def load_of(records: Iterable[Record]) -> Load:
    """What these records add."""
    count = readings = size = 0
    for record in records:
        count, readings, size = count + 1, readings + record.readings, size + len(record.payload) + ROW_BYTES
    return Load(count, readings, size)


def _less(bound: float) -> float:
    return bound if math.isinf(bound) else bound - bound // SLACK
