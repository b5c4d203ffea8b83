"""Finds out what the values in a notification's body are: from OBIS codes beside them, or from the list of pushed objects.

Bodies known from the field:
- an array of structures {obis, value} and {obis, value, {scaler, unit}} (Aidon, Landis+Gyr);
- one flat list of a name and then obis, value, obis, value (Kamstrup), each value perhaps followed by {scaler, unit} (Sagemcom);
- the push object list first, then one value per object of it (IDIS package 2, IEC 62056-6-2 clause Push setup).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from connectors.dlms.axdr import CosemError
from connectors.dlms.cosem import scaler_unit
from connectors.dlms.events import Attribute, CosemData
from connectors.dlms.plan import SCALER_UNIT

_OBIS_SIZE = 6
_SCALERS = {(class_id, scaler) for (class_id, _), scaler in SCALER_UNIT.items()}
"""(class, attribute) of every scaler_unit."""


@dataclass(frozen=True, slots=True)
class PushedObject:
    """One value and what it is; `attribute` where the notification says it, else only the logical name is known."""

    logical_name: bytes
    data: CosemData
    scaler_unit: tuple[int, int] | None = None
    attribute: Attribute | None = None


def objects(body: CosemData) -> list[PushedObject]:
    """The values in `body` that say what they are; none where it holds no OBIS code."""
    return _listed(body) or list(_named(body))


def _listed(body: CosemData) -> list[PushedObject]:
    """The values behind a push object list, which itself may be one of the objects it lists."""
    if not isinstance(body, list) or len(body) < 2 or not isinstance(body[0], list):
        return []
    attributes = [_definition(item) for item in body[0]]
    values = body if len(attributes) == len(body) else body[1:]
    if not attributes or len(attributes) != len(values) or None in attributes:
        return []
    known = [(attribute, data) for attribute, data in zip(attributes, values, strict=True) if attribute is not None and data is not body[0]]
    scalers = {
        (attribute.logical_name, attribute.class_id): found
        for attribute, data in known
        if (attribute.class_id, attribute.index) in _SCALERS and (found := _scaler_unit(data)) is not None
    }
    return [PushedObject(attribute.logical_name, data, _scaler_of(attribute, scalers), attribute) for attribute, data in known]


def _scaler_of(attribute: Attribute, scalers: dict[tuple[bytes, int], tuple[int, int]]) -> tuple[int, int] | None:
    is_scaled = (attribute.class_id, attribute.index) in SCALER_UNIT
    return scalers.get((attribute.logical_name, attribute.class_id)) if is_scaled else None


def _definition(item: CosemData) -> Attribute | None:
    """An entry of a push object list: class, logical name, attribute, data index, and in later versions restrictions."""
    if not isinstance(item, list) or len(item) < 4:
        return None
    class_id, name, index, data_index = item[:4]
    if type(class_id) is int and isinstance(name, bytes) and len(name) == _OBIS_SIZE and type(index) is int and type(data_index) is int:
        return Attribute(class_id, name, index)
    return None


def _named(body: CosemData) -> Iterator[PushedObject]:
    if not isinstance(body, list):
        return
    position = 0
    while position < len(body):
        item = body[position]
        position += 1
        if isinstance(item, list):
            yield from _named(item)
        elif isinstance(item, bytes) and len(item) == _OBIS_SIZE and position < len(body):
            data = body[position]
            scaler = _scaler_unit(body[position + 1]) if position + 1 < len(body) else None
            position += 1 if scaler is None else 2
            yield PushedObject(item, data, scaler)


def _scaler_unit(data: CosemData) -> tuple[int, int] | None:
    try:
        return scaler_unit(data)
    except CosemError:
        return None
