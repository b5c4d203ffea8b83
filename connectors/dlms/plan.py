"""Decides what one cycle asks a meter for: which attributes, and which scaler belongs to which value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.dlms.events import Attribute
from model.settings.template import ReadSettings

SCALER_UNIT = {
    (3, 2): 3,  # Register: value -> scaler_unit
    (4, 2): 3,  # Extended Register: value -> scaler_unit
    (5, 2): 4,  # Demand Register: current_average_value -> scaler_unit
    (5, 3): 4,  # Demand Register: last_average_value -> scaler_unit
}
"""(class, attribute) of a scaled value -> attribute that holds its scaler and unit, IEC 62056-6-2 clauses 4.3.2 to 4.3.4."""

CLOCK_TIME = (8, 2)
"""(class, attribute) of a Clock's time, IEC 62056-6-2 clause 4.5.1."""


@dataclass(frozen=True, slots=True)
class PlannedRead:
    """One key of the template: the attribute to read, and where its scaler and unit are (None: it has none)."""

    key: str
    attribute: Attribute
    scaler_unit: Attribute | None

    @property
    def is_clock(self) -> bool:
        """Whether the value is the meter's own time."""
        return (self.attribute.class_id, self.attribute.index) == CLOCK_TIME


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What one cycle reads, in the order of the template."""

    reads: tuple[PlannedRead, ...]

    def attributes(self) -> tuple[Attribute, ...]:
        """The values to ask for, each once even where two keys name it."""
        return tuple(dict.fromkeys(read.attribute for read in self.reads))

    def scalers(self) -> tuple[Attribute, ...]:
        """The scaler and unit attributes the values need, each once."""
        return tuple(dict.fromkeys(read.scaler_unit for read in self.reads if read.scaler_unit is not None))


def plan_reads(reads: Mapping[str, ReadSettings]) -> ReadPlan:
    """The plan for a meter whose template and overrides ask for `reads` (key -> attribute)."""
    return ReadPlan(tuple(_plan_read(key, read) for key, read in reads.items()))


def _plan_read(key: str, read: ReadSettings) -> PlannedRead:
    scaler = SCALER_UNIT.get((read.class_id, read.attribute))
    return PlannedRead(
        key=key,
        attribute=Attribute(read.class_id, read.logical_name, read.attribute, read.base_name),
        scaler_unit=None if scaler is None else Attribute(read.class_id, read.logical_name, scaler, read.base_name),
    )
