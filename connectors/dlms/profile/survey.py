"""Finds out what a profile captures, one exchange at a time, so that polls go in between; read once and remembered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from connectors.dlms.cosem import CosemError, scaler_unit
from connectors.dlms.events import Attribute, AttributeResult, CosemData
from connectors.dlms.profile.capture import (
    CAPTURE_OBJECTS,
    CAPTURE_PERIOD,
    ENTRIES_IN_USE,
    LAST_IN_FIRST_OUT,
    PROFILE_ENTRIES,
    PROFILE_GENERIC,
    SORT_METHOD,
    Column,
    Shape,
    capture_objects,
)
from connectors.dlms.session import ListRefused, Session
from model.messages import ErrorKind
from model.settings.profile import ProfileSettings

MAX_PERIOD = 366 * 86400


class Unreadable(Exception):
    """The profile cannot be read: its own attributes are refused or make no sense. The message is for people."""

    def __init__(self, kind: ErrorKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class Survey:
    """What is known so far of one profile's shape."""

    def __init__(self, settings: ProfileSettings, most: int) -> None:
        self._settings = settings
        self._most = most
        self._known: dict[Attribute, AttributeResult] = {}
        self._own = {
            index: Attribute(PROFILE_GENERIC, settings.logical_name, index, settings.base_name)
            for index in (CAPTURE_OBJECTS, CAPTURE_PERIOD, SORT_METHOD, ENTRIES_IN_USE, PROFILE_ENTRIES)
        }

    async def step(self, session: Session) -> Shape | None:
        """Ask for what is missing, in one exchange; the shape as soon as nothing is.

        :raises MeterError: as `Session.get`; what is known stays known.
        :raises Unreadable: when the profile cannot be read at all.
        """
        missing = self._missing()
        if missing:
            count = session.fits(missing, self._most) if session.with_list else 1
            await self._ask(session, missing[:count])
        return None if self._missing() else self._shape()

    @property
    def unscaled(self) -> Mapping[Column, str]:
        """Columns whose scaler could not be read, and why."""
        found: dict[Column, str] = {}
        for column in self._columns():
            if column.scaler_unit is not None and _scaler(self._known.get(column.scaler_unit)) is None:
                result = self._known.get(column.scaler_unit)
                found[column] = "its scaler cannot be read" + (f": {result.error_detail}" if result is not None else "")
        return found

    def _missing(self) -> list[Attribute]:
        wanted = list(self._own.values())
        if self._own[CAPTURE_OBJECTS] in self._known:
            wanted += [column.scaler_unit for column in self._columns() if column.scaler_unit is not None]
        return [attribute for attribute in dict.fromkeys(wanted) if attribute not in self._known]

    async def _ask(self, session: Session, attributes: list[Attribute]) -> None:
        try:
            results = await session.get(attributes)
        except ListRefused as refusal:
            if len(attributes) > 1:
                self._most = 1
                return
            results = (AttributeResult(attributes[0], None, refusal.kind, str(refusal)),)
        if len(results) > 1 and any(result.error is not None for result in results):
            self._most = 1  # one attribute that a meter lacks may spoil a list
            results = tuple(result for result in results if result.error is None)
        self._known.update((result.attribute, result) for result in results)

    def _columns(self) -> tuple[Column, ...]:
        result = self._known[self._own[CAPTURE_OBJECTS]]
        if result.error is not None:
            raise Unreadable(result.error, f"the capture objects cannot be read: {result.error_detail}")
        try:
            return capture_objects(result.data)
        except CosemError as error:
            raise Unreadable(ErrorKind.DECODE, str(error)) from error

    def _shape(self) -> Shape:
        columns = self._columns()
        scalers = {c: found for c in columns if c.scaler_unit is not None and (found := _scaler(self._known[c.scaler_unit])) is not None}
        shape = Shape(
            columns=columns,
            period=timedelta(seconds=_number(self._data(CAPTURE_PERIOD), MAX_PERIOD) or 0),
            newest_first=self._data(SORT_METHOD) == LAST_IN_FIRST_OUT,
            entries_in_use=_number(self._data(ENTRIES_IN_USE), 0xFFFFFFFF),
            profile_entries=_number(self._data(PROFILE_ENTRIES), 0xFFFFFFFF),
            scalers=scalers,
        )
        try:
            assert shape.clock >= 0
        except CosemError as error:
            raise Unreadable(ErrorKind.DECODE, str(error)) from error
        return shape

    def _data(self, index: int) -> CosemData:
        return self._known[self._own[index]].data


def _number(data: CosemData, most: int) -> int | None:
    return data if type(data) is int and 0 <= data <= most else None


def _scaler(result: AttributeResult | None) -> tuple[int, int] | None:
    if result is None or result.error is not None:
        return None
    try:
        return scaler_unit(result.data)
    except CosemError:
        return None
