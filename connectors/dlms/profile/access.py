"""How rows are got out of one meter's profile: by range, by entry where range is refused, whole as a last resort.

Which way works is found out once and remembered. Long answers are decoded piece by piece, so that other meters on the
same loop are read meanwhile.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum

import structlog

from connectors.dlms.cosem import CosemError
from connectors.dlms.events import Attribute, AttributeResult, CosemData
from connectors.dlms.profile.capture import BUFFER, ENTRIES_IN_USE, PROFILE_GENERIC, Shape
from connectors.dlms.profile.rows import Buffer, Row, arrange, decode_pieces
from connectors.dlms.profile.selection import Range, by_entry, by_range, widened
from connectors.dlms.session import ListRefused, Session
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.profile import ProfileSettings

FIRST_GUESS = 50
"""Entries of an event log that are read at first; then twice as many, until what is wanted is reached."""

MOST_GUESSES = 16
"""Requests by entry for one stretch of time at most."""

SILENCES = 2
"""Requests of one kind without a reply, none of that kind ever answered, after which the next kind is tried."""

DOUBTS = 3
"""Failures in a row of a way that worked before, each followed by a new link, after which it is believed that it works no more."""

ALWAYS = Range(datetime(1970, 1, 1, tzinfo=timezone.utc), datetime(2200, 1, 1, tzinfo=timezone.utc))

_TEMPORARY = ("temporary-failure",)

log = structlog.get_logger(__name__)


class Way(Enum):
    """How rows are asked for, in the order in which the ways are tried."""

    RANGE = "by range"
    ENTRY = "by entry"
    WHOLE = "whole"


class BufferRefused(Exception):
    """The meter refuses its buffer in every way, or answers with what is none. The message is for people."""

    def __init__(self, kind: ErrorKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class BufferBusy(Exception):
    """The meter cannot give its buffer at the moment, and says so."""


class _NotThisWay(Exception):
    """The meter refuses this way of asking; another one may do."""

    def __init__(self, kind: ErrorKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Fetched:
    """Rows in ascending order, and the stretch of time of which they are all that the meter has."""

    rows: tuple[Row, ...]
    covered: Range
    faults: tuple[str, ...] = ()


class BufferAccess:
    """The buffer of one profile of one meter.

    :arg meter: the meter's id, for the log.
    :arg clock: the time now, aware UTC.
    """

    def __init__(self, meter: str, settings: ProfileSettings, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._clock = clock
        self._ways = list(Way)
        self._proven: set[Way] = set()
        self._silent = 0
        self._doubted = 0
        self._log = log.bind(meter=meter, profile=settings.obis)

    @property
    def way(self) -> Way:
        """The way that is in use."""
        return self._ways[0]

    async def fetch(self, session: Session, shape: Shape, wanted: Range, before: datetime | None) -> Fetched:
        """The rows of `wanted` at least.

        :arg before: the newest row known to be older than `wanted`.
        :raises MeterError: as `Session.get`.
        :raises BufferRefused: when no way works.
        :raises BufferBusy: when it has to be asked later.
        """
        while True:
            way = self.way
            try:
                fetched = await self._fetch(way, session, shape, wanted, before)
            except MeterError as fault:
                self._unanswered(way, fault)
                raise
            except (_NotThisWay, CosemError) as refusal:
                kind = refusal.kind if isinstance(refusal, _NotThisWay) else ErrorKind.DECODE
                self._doubt(way, str(refusal))
                if not self._give_up(way, str(refusal)):
                    raise BufferRefused(kind, f"{way.value}: {refusal}") from refusal
                continue
            self._proven.add(way)
            self._silent = self._doubted = 0
            return fetched

    async def oldest(self, session: Session, shape: Shape) -> datetime | None:
        """When the oldest row in memory was captured; None where the meter does not tell.

        :raises MeterError: as `Session.get`.
        """
        try:
            position = await self._in_use(session) if shape.newest_first else 1
            buffer = await self._entries(session, shape, position, position)
        except (_NotThisWay, CosemError):
            return None
        return buffer.rows[0].at if len(buffer.rows) == 1 else None

    def _doubt(self, way: Way, why: str) -> None:
        """A way that worked before and fails now may work again on a new link: some meters go on with what a cut left unfinished.

        :raises MeterError: unless that was tried often enough.
        """
        if way in self._proven and self._doubted < DOUBTS:
            self._doubted += 1
            raise MeterError(ErrorKind.PROTOCOL, f"the profile was readable {way.value} before, now: {why}")
        self._doubted = 0

    def _give_up(self, way: Way, why: str) -> bool:
        """Whether there is another way; a way that worked before stays the first choice."""
        if len(self._ways) == 1 or way in self._proven:
            return False
        self._ways.pop(0)
        self._log.info("profile is read in another way", refused=way.value, reason=why, now=self.way.value)
        return True

    def _unanswered(self, way: Way, fault: MeterError) -> None:
        if fault.kind is not ErrorKind.TIMEOUT or way in self._proven:
            return
        self._silent += 1
        if self._silent >= SILENCES:
            self._silent = 0
            self._give_up(way, fault.what)

    async def _fetch(self, way: Way, session: Session, shape: Shape, wanted: Range, before: datetime | None) -> Fetched:
        if way is Way.RANGE:
            return await self._by_range(session, shape, wanted, before)
        if way is Way.ENTRY:
            return await self._by_entry(session, shape, wanted)
        buffer = await self._buffer(session, shape, b"", None)
        return Fetched(buffer.rows, ALWAYS, buffer.faults)

    async def _by_range(self, session: Session, shape: Shape, wanted: Range, before: datetime | None) -> Fetched:
        asked = widened(wanted, self._settings)
        buffer = await self._buffer(session, shape, by_range(shape.columns[shape.clock], asked, self._settings), before)
        return Fetched(buffer.rows, wanted, buffer.faults)

    async def _by_entry(self, session: Session, shape: Shape, wanted: Range) -> Fetched:
        """Entries are counted from the oldest here; where they must be is worked out from the capture period."""
        count = await self._in_use(session)
        rows: dict[datetime, Row] = {}
        faults: list[str] = []
        back = self._entries_since(wanted.start, shape.period)
        stretch = FIRST_GUESS if not shape.period else math.ceil((wanted.end - wanted.start) / shape.period) + 4
        first = max(1, count - back + 1)
        reached_start = False
        for _ in range(MOST_GUESSES):
            if count == 0:
                break
            last = min(count, first + stretch - 1)
            buffer = await self._entries(session, shape, *self._numbered(first, last, count, shape))
            rows.update((row.at, row) for row in buffer.rows)
            faults += buffer.faults
            reached_start = reached_start or first == 1 or (bool(rows) and min(rows) <= wanted.start)
            if not reached_start:
                back = min(count, 2 * back)
                first = max(1, count - back + 1)
                continue
            if last == count or (buffer.rows and buffer.rows[-1].at >= wanted.end):
                return Fetched(tuple(row for _, row in sorted(rows.items())), wanted, tuple(faults))
            first = last + 1
        found = sorted(rows)
        covered = Range(wanted.start, min(found[-1], wanted.end)) if found and reached_start else wanted
        return Fetched(tuple(rows[at] for at in found), covered, tuple(faults))

    def _entries_since(self, start: datetime, period: timedelta) -> int:
        if not period:
            return FIRST_GUESS
        return max(1, math.ceil((self._clock() - start) / period) + 2)

    @staticmethod
    def _numbered(first: int, last: int, count: int, shape: Shape) -> tuple[int, int]:
        return (count - last + 1, count - first + 1) if shape.newest_first else (first, last)

    async def _entries(self, session: Session, shape: Shape, first: int, last: int) -> Buffer:
        return await self._buffer(session, shape, by_entry(first, last), None)

    async def _in_use(self, session: Session) -> int:
        result = await self._get(session, self._attribute(ENTRIES_IN_USE))
        if type(result.data) is not int or result.data < 0:
            raise _NotThisWay(ErrorKind.DECODE, f"{result.data!r:.40} is no number of entries in use")
        return result.data

    async def _buffer(self, session: Session, shape: Shape, selection: bytes, before: datetime | None) -> Buffer:
        result = await self._get(session, self._attribute(BUFFER, selection, as_encoded=True))
        assert isinstance(result.data, bytes)
        rows: list[CosemData] = []
        for piece in decode_pieces(result.data):
            if rows:
                await asyncio.sleep(0)  # the other meters
            rows += piece
        return arrange(rows, shape, self._settings, before)

    async def _get(self, session: Session, attribute: Attribute) -> AttributeResult:
        try:
            (result,) = await session.get((attribute,))
        except ListRefused as refusal:
            raise _NotThisWay(refusal.kind, str(refusal)) from refusal
        if result.error is not None:
            if any(word in result.error_detail for word in _TEMPORARY):
                raise BufferBusy(result.error_detail)
            raise _NotThisWay(result.error, result.error_detail)
        return result

    def _attribute(self, index: int, selection: bytes = b"", as_encoded: bool = False) -> Attribute:
        settings = self._settings
        return Attribute(PROFILE_GENERIC, settings.logical_name, index, settings.base_name, selection, as_encoded)


def times(rows: Sequence[Row]) -> list[datetime]:
    """When the rows were captured."""
    return [row.at for row in rows]
