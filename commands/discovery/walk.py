"""Walks the object list of one meter: asks the association for it, then each interesting object for what it is and says.

One attribute per request, one after the other: gentle, and every meter can do it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from connectors.dlms.cosem import CosemError, render, scaler_unit
from connectors.dlms.events import Attribute, AttributeResult, CosemData
from connectors.dlms.plan import SCALER_UNIT
from connectors.dlms.profile.capture import CAPTURE_OBJECTS, CAPTURE_PERIOD, ENTRIES_IN_USE, PROFILE_GENERIC, Column, capture_objects
from connectors.dlms.session import ListRefused, Session
from model.errors import MeterError
from model.messages import ErrorKind, Value
from model.obis import format_logical_name

ASSOCIATION_LN, ASSOCIATION_SN = 15, 12
CURRENT_ASSOCIATION = bytes([0, 0, 40, 0, 0, 255])
BASE_OF_ASSOCIATION = 0xFA00
"""The short name of the current association (IEC 62056-6-2, reserved base names)."""

DATA, REGISTER, EXTENDED_REGISTER, DEMAND_REGISTER, CLOCK = 1, 3, 4, 5, 8
_VALUES = {DATA: (2,), REGISTER: (2,), EXTENDED_REGISTER: (2,), DEMAND_REGISTER: (2, 3), CLOCK: (2,)}
"""Class -> attributes that are read."""

MOST_OBJECTS = 5000


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One entry of the object list; `base_name` for meters with short names."""

    class_id: int
    version: int
    logical_name: bytes
    base_name: int | None = None

    @property
    def obis(self) -> str:
        """The logical name as people write it."""
        return format_logical_name(self.logical_name)


@dataclass(frozen=True, slots=True)
class FoundValue:
    """One attribute that was read: its value, scaler and unit code, or why there is none."""

    item: ListedObject
    attribute: int
    value: Value | None
    scaler: int | None = None
    unit: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FoundProfile:
    """One Profile Generic object; `period` in seconds, 0 where rows are captured upon events."""

    item: ListedObject
    columns: tuple[Column, ...] = ()
    period: int = 0
    entries: int | None = None
    problem: str = ""


@dataclass
class FoundMeter:
    """What a walk found so far; an interrupted one is of use too."""

    objects: Sequence[ListedObject] = ()
    values: list[FoundValue] = field(default_factory=list)
    profiles: list[FoundProfile] = field(default_factory=list)
    seconds: float = 0.0
    exchanges: int = 0
    stopped: str = ""
    """Why the walk ended before its end; empty where it did not."""

    @property
    def seconds_per_exchange(self) -> float | None:
        """How long this meter takes for one."""
        return self.seconds / self.exchanges if self.exchanges else None


async def walk(session: Session, short_names: bool, found: FoundMeter, advanced: Callable[[str, int, int], None]) -> None:
    """Fill in `found` over a session that is associated; a link that fails on the way is opened again once.

    :arg advanced: told what is asked for now, and how many of how many objects are done.
    :raises MeterError: when the object list cannot be read.
    """
    found.objects = await _object_list(session, short_names)
    wanted = [item for item in found.objects if item.class_id in _VALUES or item.class_id == PROFILE_GENERIC]
    asker = _Asker(session, found)
    for done, item in enumerate(wanted):
        advanced(item.obis, done, len(wanted))
        try:
            await (_profile(asker, item) if item.class_id == PROFILE_GENERIC else _values(asker, item))
        except MeterError as fault:
            found.stopped = f"at {item.obis} (class {item.class_id}): {fault.what}"
            return
    advanced("", len(wanted), len(wanted))


async def _object_list(session: Session, short_names: bool) -> list[ListedObject]:
    class_id = ASSOCIATION_SN if short_names else ASSOCIATION_LN
    base = BASE_OF_ASSOCIATION if short_names else None
    try:
        (result,) = await session.get((Attribute(class_id, CURRENT_ASSOCIATION, 2, base),))
    except ListRefused as refusal:
        raise MeterError(refusal.kind, f"the object list is refused: {refusal}", _LIST_REMEDY) from None
    except MeterError as fault:
        raise MeterError(fault.kind, f"when asked for its object list: {fault.what}", _LIST_REMEDY) from None
    if result.error is not None:
        raise MeterError(result.error, f"the object list cannot be read: {result.error_detail}", _LIST_REMEDY)
    entry = _short_entry if short_names else _long_entry
    objects = [found for item in result.data if (found := entry(item)) is not None] if isinstance(result.data, list) else []
    if not objects:
        raise MeterError(ErrorKind.DECODE, "the object list is empty or no list", _LIST_REMEDY)
    return list({(item.class_id, item.logical_name): item for item in objects[:MOST_OBJECTS]}.values())


_LIST_REMEDY = "ask as another client (--set client_sap=..., with its password), or write the template from the meter's papers"


def _long_entry(item: CosemData) -> ListedObject | None:
    if isinstance(item, list) and len(item) >= 3:
        class_id, version, name = item[:3]
        if type(class_id) is int and type(version) is int and isinstance(name, bytes) and len(name) == 6:
            return ListedObject(class_id, version, name)
    return None


def _short_entry(item: CosemData) -> ListedObject | None:
    if isinstance(item, list) and len(item) == 4:
        base, class_id, version, name = item
        if type(base) is int and type(class_id) is int and type(version) is int and isinstance(name, bytes) and len(name) == 6:
            return ListedObject(class_id, version, name, base & 0xFFFF)
    return None


class _Asker:
    """Asks for one attribute, and again once on a new link where the first one failed."""

    def __init__(self, session: Session, found: FoundMeter) -> None:
        self._session = session
        self._found = found
        self._failures = 0

    async def __call__(self, item: ListedObject, index: int) -> AttributeResult:
        attribute = Attribute(item.class_id, item.logical_name, index, item.base_name)
        for last in (False, True):
            begun = time.monotonic()
            try:
                if not self._session.usable():
                    await self._session.associate()
                    begun = time.monotonic()
                (result,) = await self._session.get((attribute,))
            except ListRefused as refusal:
                return AttributeResult(attribute, None, refusal.kind, str(refusal))
            except MeterError as fault:
                await self._session.abandon()
                if not last:
                    continue
                self._failures += 1
                if self._failures > 2:  # not this attribute, but the meter or its line
                    raise
                return AttributeResult(attribute, None, fault.kind, f"the meter falls silent when asked: {fault.what}")
            self._found.seconds += time.monotonic() - begun
            self._found.exchanges += 1
            self._failures = 0
            return result
        raise AssertionError


async def _values(ask: _Asker, item: ListedObject) -> None:
    scaler, unit, checked = None, None, False
    for index in _VALUES[item.class_id]:
        result = await ask(item, index)
        if result.error is not None:
            ask._found.values.append(FoundValue(item, index, None, problem=result.error_detail or result.error.value))
            continue
        where = SCALER_UNIT.get((item.class_id, index))
        problem = ""
        if where is not None and not checked:
            checked = True
            scale = await ask(item, where)
            try:
                scaler, unit = (None, None) if scale.error is not None else scaler_unit(scale.data)
            except CosemError:
                scaler, unit = None, None
        if where is not None and scaler is None:
            problem = "its scaler cannot be read"
        ask._found.values.append(_found_value(item, index, result, scaler, unit, problem))


def _found_value(item: ListedObject, index: int, result: AttributeResult, scaler: int | None, unit: int | None, problem: str) -> FoundValue:
    try:
        value = render(result.data, result.attribute)
    except CosemError as error:
        return FoundValue(item, index, None, scaler, unit, problem or str(error))
    return FoundValue(item, index, value, scaler, unit, problem)


async def _profile(ask: _Asker, item: ListedObject) -> None:
    captured = await ask(item, CAPTURE_OBJECTS)
    try:
        if captured.error is not None:
            raise CosemError(captured.error_detail or captured.error.value)
        columns = capture_objects(captured.data)
    except CosemError as error:
        ask._found.profiles.append(FoundProfile(item, problem=str(error)))
        return
    period = await ask(item, CAPTURE_PERIOD)
    entries = await ask(item, ENTRIES_IN_USE)
    problem = "" if any(column.is_clock for column in columns) else "it captures no clock, so that its rows have no time"
    ask._found.profiles.append(
        FoundProfile(
            item, columns, period.data if type(period.data) is int else 0, entries.data if type(entries.data) is int else None, problem
        )
    )
