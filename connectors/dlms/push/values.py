"""From the body of a notification to the values of a meter, by what its template says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from connectors.dlms.axdr import CosemError
from connectors.dlms.cosem import render
from connectors.dlms.events import Attribute, CosemData
from connectors.dlms.plan import SCALER_UNIT
from connectors.dlms.push.notification import Notification
from connectors.dlms.push.objects import PushedObject, objects
from model.messages import ErrorKind, RawValue, ReadError
from model.obis import format_logical_name
from model.settings.notification import NotificationSettings
from model.settings.template import ReadSettings

VALUE = 2
"""The attribute that a body means which gives OBIS codes only."""
_LONGEST_SHAPE = 300
"""Characters of the description of a body."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a notification gave: values by key, and why others gave none."""

    values: tuple[RawValue, ...]
    errors: tuple[ReadError, ...]


@dataclass(frozen=True, slots=True)
class _Item:
    key: str
    data: CosemData
    scaler_unit: tuple[int, int] | None


class Interpreter:
    """Reads the notifications of meters of one kind.

    A pattern of the template that fits the body goes first, then the OBIS codes in the body. Values for which the template
    has no key are left out: the template says what is wanted.

    :arg reads: key -> what it is, as for polling.
    :arg push: patterns, and the scalers that notifications do not state.
    """

    def __init__(self, reads: Mapping[str, ReadSettings], push: NotificationSettings) -> None:
        self._reads = reads
        self._push = push
        self._keys: dict[bytes, list[tuple[str, Attribute]]] = {}
        for key, read in reads.items():
            attribute = Attribute(read.class_id, read.logical_name, read.attribute)
            self._keys.setdefault(read.logical_name, []).append((key, attribute))

    def read(self, notification: Notification) -> Contents:
        """The values that `notification` holds for the keys of the template."""
        items = list(self._items(notification))
        if not items:
            return Contents((), (self._nothing(notification),))
        values: list[RawValue] = []
        errors: list[ReadError] = []
        for item in items:
            result = self._value(item)
            if isinstance(result, RawValue):
                values.append(result)
            else:
                errors.append(result)
        return Contents(tuple(values), tuple(errors))

    def _items(self, notification: Notification) -> Iterator[_Item]:
        if notification.attribute is not None:
            found = [PushedObject(notification.attribute.logical_name, notification.body, None, notification.attribute)]
        else:
            for pattern in self._push.patterns:
                if _fits(pattern, notification.body):
                    yield from (_Item(key, data, None) for key, data in _placed(pattern, notification.body) if key in self._reads)
                    return
            found = objects(notification.body)
        for pushed in found:
            for key in self._keys_of(pushed):
                yield _Item(key, pushed.data, pushed.scaler_unit)

    def _keys_of(self, pushed: PushedObject) -> list[str]:
        known = self._keys.get(pushed.logical_name, [])
        if pushed.attribute is not None:
            return [key for key, attribute in known if attribute == pushed.attribute]
        meant = [key for key, attribute in known if attribute.index == VALUE]
        return meant or [key for key, _ in known[:1]]

    def _value(self, item: _Item) -> RawValue | ReadError:
        read = self._reads[item.key]
        try:
            value = render(item.data, Attribute(read.class_id, read.logical_name, read.attribute))
        except CosemError as error:
            kind = ErrorKind.NO_VALUE if item.data is None else ErrorKind.DECODE
            return ReadError(item.key, kind, str(error))
        scaled = (read.class_id, read.attribute) in SCALER_UNIT
        if not isinstance(value, (int, Decimal)) or isinstance(value, bool) or not (scaled or item.scaler_unit):
            return RawValue(item.key, value)
        if item.scaler_unit is not None:
            return RawValue(item.key, value, *item.scaler_unit)
        stated = self._push.units.get(item.key)
        if stated is not None:
            return RawValue(item.key, value, stated.scaler, stated.unit_code)
        return ReadError(
            item.key,
            ErrorKind.DECODE,
            f"{format_logical_name(read.logical_name)} is pushed as {value} without a scaler, so its magnitude is not known",
            f"state it in the template: push: {{units: {{{item.key}: {{scaler: ..., unit: ...}}}}}}",
        )

    def _nothing(self, notification: Notification) -> ReadError:
        if notification.attribute is not None:
            names = [_attribute_text(notification.attribute)]
        else:
            names = [format_logical_name(pushed.logical_name) for pushed in objects(notification.body)]
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            what = f"the notification holds {shown}, none of which the template reads; its shape is {shape(notification.body)}"
            return ReadError(None, ErrorKind.DECODE, what, "add the wanted ones under read in the template, or a pattern of this shape")
        what = f"the notification has no OBIS codes and fits no pattern; it is {shape(notification.body)}"
        return ReadError(None, ErrorKind.DECODE, what, "add a pattern of this shape under push: patterns in the meter's template")


def _fits(pattern: list[Any], body: CosemData) -> bool:
    if not isinstance(body, list) or len(body) != len(pattern):
        return False
    return all(_fits_item(inner, item) for inner, item in zip(pattern, body, strict=True))


def _fits_item(inner: Any, item: CosemData) -> bool:
    """Null takes anything, a key a value that has no parts, a list a structure or array of its shape."""
    return inner is None or (_fits(inner, item) if isinstance(inner, list) else not isinstance(item, list))


def _placed(pattern: list[Any], body: CosemData) -> Iterator[tuple[str, CosemData]]:
    for inner, item in zip(pattern, body if isinstance(body, list) else [], strict=True):
        if isinstance(inner, list):
            yield from _placed(inner, item)
        elif inner is not None:
            yield inner, item


def _attribute_text(attribute: Attribute) -> str:
    return f"{format_logical_name(attribute.logical_name)} class {attribute.class_id} attribute {attribute.index}"


def shape(body: CosemData) -> str:
    """What a body looks like, for whoever writes a pattern: `[7 bytes, number, [number, null]]`."""
    text = _shape(body)
    return text if len(text) <= _LONGEST_SHAPE else f"{text[:_LONGEST_SHAPE]}..."


def _shape(data: CosemData) -> str:
    if isinstance(data, list):
        return f"[{', '.join(_shape(item) for item in data[:40])}]"
    if isinstance(data, bytes):
        return f"{len(data)} bytes"
    if data is None:
        return "null"
    return "text" if isinstance(data, str) else "number"
