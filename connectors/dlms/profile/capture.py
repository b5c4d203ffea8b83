"""What a profile captures, and how: its capture objects, capture period and sort method, and a key for each column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from connectors.dlms.cosem import CosemError
from connectors.dlms.events import Attribute, CosemData
from connectors.dlms.plan import CLOCK_TIME, SCALER_UNIT
from model.obis import format_logical_name
from model.settings.profile import ProfileSettings, parse_captured_object
from model.settings.template import ReadSettings

PROFILE_GENERIC = 7
BUFFER, CAPTURE_OBJECTS, CAPTURE_PERIOD, SORT_METHOD, ENTRIES_IN_USE, PROFILE_ENTRIES = 2, 3, 4, 5, 7, 8
"""Attributes of Profile Generic, IEC 62056-6-2 clause 4.3.6."""

LAST_IN_FIRST_OUT = 2
"""Sort method: the newest row comes first."""

_UNIX_TIME = (1, 1)
"""Groups C and D of a Data object that holds the UNIX time, IEC 62056-6-1 table 8."""

MAX_COLUMNS = 255


@dataclass(frozen=True, slots=True)
class Column:
    """A captured object: an attribute, or with `data_index` above 0 one element of it."""

    class_id: int
    logical_name: bytes
    attribute: int
    data_index: int = 0

    @property
    def is_clock(self) -> bool:
        """Whether it is the time at which the row was captured."""
        if (self.class_id, self.attribute) == CLOCK_TIME:
            return True
        return self.class_id == 1 and self.attribute == 2 and tuple(self.logical_name[2:4]) == _UNIX_TIME

    @property
    def scaler_unit(self) -> Attribute | None:
        """Where its scaler and unit are; None where it has none."""
        index = SCALER_UNIT.get((self.class_id, self.attribute))
        return None if index is None else Attribute(self.class_id, self.logical_name, index)

    @property
    def source(self) -> Attribute:
        """The attribute that is captured."""
        return Attribute(self.class_id, self.logical_name, self.attribute)

    @property
    def name(self) -> str:
        """Its OBIS code, with attribute and element where they are not the usual ones."""
        element = f"[{self.data_index}]" if self.data_index else ""
        return format_logical_name(self.logical_name) + (f"@{self.attribute}" if self.attribute != 2 else "") + element


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a profile before a row of it is read.

    `period` is zero where rows are captured upon events. `scalers` has the power of ten and unit of those columns that
    have one and whose could be read.
    """

    columns: tuple[Column, ...]
    period: timedelta
    newest_first: bool
    entries_in_use: int | None
    profile_entries: int | None
    scalers: Mapping[Column, tuple[int, int]] = field(default_factory=dict)

    @property
    def clock(self) -> int:
        """Position of the column with the time of capture.

        :raises CosemError: when there is none.
        """
        for position, column in enumerate(self.columns):
            if column.is_clock:
                return position
        raise CosemError("the profile captures no clock, so that its rows have no time")


def capture_objects(data: CosemData) -> tuple[Column, ...]:
    """The columns that attribute 3 of a profile names.

    :raises CosemError: when it is no list of capture objects.
    """
    if not isinstance(data, list) or not 1 <= len(data) <= MAX_COLUMNS:
        raise CosemError(f"{data!r:.80} is no list of capture objects")
    return tuple(_column(item) for item in data)


def _column(data: CosemData) -> Column:
    if isinstance(data, list) and len(data) in (3, 4):
        class_id, name, attribute, index = (*data, 0)[:4]
        if type(class_id) is int and isinstance(name, bytes) and len(name) == 6 and type(attribute) is int and type(index) is int:
            return Column(class_id, name, attribute, index)
    raise CosemError(f"{data!r:.80} is no capture object")


@dataclass(frozen=True, slots=True)
class Naming:
    """The key of each column, None for one that is left out, and which column is the status word."""

    keys: tuple[str | None, ...]
    status: int | None


def name_columns(columns: tuple[Column, ...], settings: ProfileSettings, reads: Mapping[str, ReadSettings]) -> Naming:
    """Keys of `columns`: as the settings say, else as `reads` calls the same attribute, else the OBIS code.

    Of columns that would get one key the later ones are called by their full name.
    """
    given = settings.captured_keys()
    known = {(read.logical_name, read.attribute): key for key, read in reversed(list(reads.items()))}
    status = _status_column(columns, settings)
    keys: list[str | None] = []
    for position, column in enumerate(columns):
        place = (column.logical_name, column.attribute)
        key: str | None
        if column.is_clock and place not in given:
            key = None
        elif position == status and settings.status is not None:
            key = settings.status.key
        elif place in given:
            key = given[place]
        else:
            key = known.get(place) or column.name
        keys.append(column.name if key is not None and key in keys else key)
    return Naming(tuple(keys), status)


def possible_keys(settings: ProfileSettings, reads: Mapping[str, ReadSettings]) -> list[str]:
    """Keys that columns of this profile may have, as far as can be told before its capture objects are read."""
    given = [key for key in settings.captured_keys().values() if key is not None]
    return given or list(reads)


def _status_column(columns: tuple[Column, ...], settings: ProfileSettings) -> int | None:
    if settings.status is None:
        return None
    if settings.status.object is not None:
        wanted = parse_captured_object(settings.status.object)
        return next((n for n, column in enumerate(columns) if (column.logical_name, column.attribute) == wanted), None)
    return next((n for n, c in enumerate(columns) if c.class_id == 1 and c.logical_name[2] == 96 and c.logical_name[3] in (5, 10)), None)
