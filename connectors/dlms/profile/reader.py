"""Keeps up with one profile of one meter, step by step: its shape, the rows since the bookmark, the gaps, then rest until the next.

A step is one request with all of its blocks, then someone else may use the meter. What a step brought stands; what was
cut short is asked for again. Rows are read from the oldest to the newest, so that the bookmark says it all.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import structlog

from connectors.dlms.backoff import Backoff
from connectors.dlms.profile.access import ALWAYS, BufferAccess, BufferBusy, BufferRefused, Fetched, Way
from connectors.dlms.profile.capture import Naming, Shape, name_columns
from connectors.dlms.profile.gap_news import GapNews
from connectors.dlms.profile.intervals import interval_cycles
from connectors.dlms.profile.ledger import Ledger, LostGap, OpenGap
from connectors.dlms.profile.rows import PIECE, Row
from connectors.dlms.profile.selection import Range
from connectors.dlms.profile.survey import Survey, Unreadable
from connectors.dlms.session import Session
from model.errors import MeterError
from model.messages import Cycle, ErrorKind, Gap, Origin, Outcome, ReadError
from model.settings.meter import MeterSettings
from model.settings.profile import ProfileSettings
from model.settings.template import ReadSettings
from model.timestamps import utc_now

LOG_EVERY = 900.0
"""Seconds between two looks at a profile without a capture period, where the settings do not say."""

SHORTEST_EVERY = 1.0
"""Seconds: no profile is asked more often by itself."""

SETTLING = 0.05
"""Parts of a capture period, at most `MOST_SETTLING` seconds, after its end before the row is asked for: the meter's clock lags."""
MOST_SETTLING = 20.0

RETRY = 300.0
"""Seconds until a profile that the meter refuses is tried again."""

BUSY_PAUSE = 30.0
"""Seconds until a meter that said "temporary-failure" is asked again."""

FIRST_ROWS = 16
"""Capture periods that the first request spans: nobody knows yet how slow the meter is, and others may wait for the line."""

FEWEST_ROWS = 4
"""Capture periods that a request spans at least, however often the link is cut."""

GROWTH = 2.0
"""Largest growth of the stretch asked for from one request to the next."""

LONGEST_LEAP = 16
"""Chunks that one request spans at most while there are no rows at all."""

DEFAULT_OVERLAP = 3600.0
"""Seconds of overlap for profiles without a capture period."""

LOG_MEMORY = 5000
"""Rows near the bookmark of which is remembered that they were handed over."""

log = structlog.get_logger(__name__)


def no_recalls() -> Iterable[datetime]:
    """Nobody gave anything up."""
    return ()


@dataclass(frozen=True, slots=True)
class Progress:
    """What one step brought, in the order in which it is handed over, and the reader's state once it is."""

    profile: str
    cycles: tuple[Cycle, ...]
    gaps: tuple[Gap, ...]
    state: dict[str, Any]


class ProfileReader:
    """One profile of one meter.

    :arg meter: its settings.
    :arg name: the profile's name in the template.
    :arg reads: what the template reads, for the keys of columns.
    :arg ledger: what is known to be read.
    :arg recalled: intervals that were given up before they were delivered, to be asked for again; each is told once.
    :arg pace: seconds that a step should take at most.
    :arg clock: the time now, aware UTC.
    """

    def __init__(
        self,
        meter: MeterSettings,
        name: str,
        settings: ProfileSettings,
        reads: Mapping[str, ReadSettings],
        ledger: Ledger,
        recalled: Callable[[], Iterable[datetime]] = no_recalls,
        pace: float = 30.0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._meter = meter
        self._name = name
        self._settings = settings
        self._reads = reads
        self._ledger = ledger
        self._recalled = recalled
        self._pace = pace
        self._clock = clock
        self._survey = Survey(settings, meter.with_list_max if meter.with_list else 1)
        self._access = BufferAccess(meter.id, settings, clock)
        self._shape: Shape | None = None
        self._naming: Naming | None = None
        self._errors: tuple[ReadError, ...] = ()
        self._capture_period = ledger.period
        self._cursor: datetime | None = None
        self._looked_back = False
        self._oldest: datetime | None = None
        self._caught_up = False
        self._began = clock()
        self._to_fill: list[OpenGap] | None = None
        self._chunk = settings.chunk
        self._leap = 1
        self._next = time.monotonic()
        self._handed: dict[datetime, Row] = {}
        self._fault = ""
        self._backoff = Backoff(meter.backoff_min, meter.backoff_max)
        self._log = log.bind(meter=meter.id, profile=name)
        self._gaps = GapNews(meter.id, name, ledger, clock())

    @property
    def ledger(self) -> Ledger:
        """What is read and what is missing."""
        return self._ledger

    @property
    def way(self) -> Way:
        """How rows are asked for."""
        return self._access.way

    def wait(self) -> float:
        """Seconds until there is something to ask for."""
        now = time.monotonic()
        return max(0.0, self._next - now, self._backoff.remaining(now))

    def hasten(self) -> None:
        """Begin the next round now instead of when new rows are expected."""
        self._next = time.monotonic()

    def forget(self) -> None:
        """Another meter may have taken the place of this one: its shape is read anew."""
        self._shape = None
        self._survey = Survey(self._settings, self._meter.with_list_max if self._meter.with_list else 1)

    async def step(self, session: Session) -> Progress | None:
        """The next request; None where it brought nothing to hand over.

        :raises MeterError: as `Session.get`; the same is asked for at the next step, in smaller parts.
        """
        try:
            if self._shape is None:
                return await self._look(session)
            return await self._advance(session, self._shape)
        except (Unreadable, BufferRefused) as refusal:
            return self._refused(refusal.kind, str(refusal))
        except BufferBusy as busy:
            self._log.info("profile is not available at the moment", cause=str(busy), again_in=BUSY_PAUSE)
            self._next = time.monotonic() + BUSY_PAUSE
            return None
        except (MeterError, asyncio.CancelledError):
            self._shorten()
            self._backoff.failed(time.monotonic())
            raise

    async def _look(self, session: Session) -> Progress | None:
        self._shape = shape = await self._survey.step(session)
        if shape is None:
            return None
        self._naming = naming = name_columns(shape.columns, self._settings, self._reads)
        self._errors = tuple(
            ReadError(key, ErrorKind.ACCESS, f"{column.name} of profile {self._name}: {self._survey.unscaled[column]}", _SCALER_REMEDY)
            for column, key in zip(shape.columns, naming.keys, strict=True)
            if column in self._survey.unscaled and key is not None
        )
        if self._capture_period != shape.period:
            self._ledger.period = shape.period
        self._capture_period = shape.period
        self._stretch(FIRST_ROWS * shape.period.total_seconds())
        self._log.info(
            "profile found",
            columns=[column.name for column in shape.columns],
            period=shape.period.total_seconds(),
            entries_in_use=shape.entries_in_use,
            profile_entries=shape.profile_entries,
        )
        return None

    async def _advance(self, session: Session, shape: Shape) -> Progress | None:
        now = self._clock()
        if self._cursor is None and self._to_fill is None:
            self._ledger.recall(self._recalled(), now)
            self._cursor = self._start(now)
            self._began = now
            self._caught_up = False
            self._looked_back = False
        if not self._looked_back and self._goes_far_back(now):
            self._looked_back = True
            return await self._look_back(session, shape, now)
        if self._cursor is not None:
            return await self._catch_up(session, shape, self._cursor, now)
        return await self._fill(session, shape, now)

    def _start(self, now: datetime) -> datetime:
        last = self._ledger.last
        if last is None:
            return now - timedelta(seconds=self._settings.horizon)
        return min(last, now)

    def _goes_far_back(self, now: datetime) -> bool:
        """Whether there is a long way to go, chunk by chunk."""
        starts = [gap.start for gap in self._to_fill or ()] if self._cursor is None else [self._cursor]
        return any(now - start > timedelta(seconds=2 * self._settings.chunk) for start in starts)

    async def _look_back(self, session: Session, shape: Shape, now: datetime) -> Progress | None:
        """Where does the meter's memory begin? What is missing before that need not be asked for."""
        self._oldest = oldest = await self._access.oldest(session, shape)
        if oldest is None:
            return None
        lost = self._ledger.begins_at(oldest)
        if self._cursor is not None and oldest > self._cursor:
            self._cursor = min(oldest, now)
        return self._progress((), lost, now)

    async def _catch_up(self, session: Session, shape: Shape, start: datetime, now: datetime) -> Progress | None:
        """The next rows after the bookmark."""
        span = timedelta(seconds=self._chunk) * self._leap
        end = min(start + span, now + (shape.period or timedelta(minutes=1)))
        fetched = await self._fetch(session, shape, start, end, self._ledger.last)
        covered_end = min(max(end if fetched.covered is ALWAYS else min(end, fetched.covered.end), start), end)
        if fetched.covered is ALWAYS:
            covered_end = end = now + shape.period
        self._caught_up = covered_end >= now
        progress = await self._take(fetched, Range(start, covered_end), now)
        self._leap = 1 if fetched.rows else min(self._leap * 2, LONGEST_LEAP)
        if self._caught_up:
            self._cursor, self._leap = None, 1
            # What was found missing in this round is asked for in the next one; a whole buffer has answered for all of them.
            asked = fetched.covered is ALWAYS
            self._to_fill = [] if asked else [gap for gap in self._ledger.gaps if gap.since < self._began]
            self._settle(now)
        else:
            self._cursor = covered_end if covered_end > start else end
        return progress

    async def _fill(self, session: Session, shape: Shape, now: datetime) -> Progress | None:
        """The next open gap, in parts where it is long."""
        while self._to_fill:
            gap = self._to_fill[0]
            if not any(known.start <= gap.end and known.end >= gap.start for known in self._ledger.gaps):
                self._to_fill.pop(0)
                continue
            end = min(gap.end, gap.start + timedelta(seconds=self._chunk))
            fetched = await self._fetch(session, shape, gap.start, end, None)
            self._to_fill.pop(0)
            if end < gap.end:
                self._to_fill.insert(0, OpenGap(end, gap.end, gap.answers, gap.since, gap.dropped))
            progress = await self._take(fetched, Range(gap.start, end), now)
            if not self._to_fill:
                self._settle(now)
            return progress
        self._settle(now)
        return None

    def _settle(self, now: datetime) -> None:
        """Rest until new rows are expected, unless there are gaps to ask for."""
        if self._to_fill:
            return
        self._to_fill = None
        period = self._capture_period.total_seconds()
        every = max(SHORTEST_EVERY, self._settings.every or period or LOG_EVERY)
        phase = self._ledger.phase.total_seconds() if period else 0.0
        settling = min(SETTLING * period, MOST_SETTLING) if period else 0.0
        ahead = every - (now.timestamp() - phase - settling) % every
        self._next = time.monotonic() + ahead

    def _overlapping(self, start: datetime, end: datetime) -> Range:
        """A stretch with a little more at both ends: meters may or may not include the limits."""
        period = self._capture_period.total_seconds()
        overlap = timedelta(seconds=self._settings.overlap if self._settings.overlap is not None else period or DEFAULT_OVERLAP)
        return Range(start - overlap, end + overlap)

    async def _take(self, fetched: Fetched, asked: Range, now: datetime) -> Progress | None:
        """Sort out what is news and make cycles of it."""
        rows = self._fresh(fetched.rows)
        stretch = (ALWAYS.start, ALWAYS.end) if fetched.covered is ALWAYS else (asked.start, asked.end)
        news, lost = self._ledger.take([row.at for row in fetched.rows], stretch, now)
        if self._oldest is not None:
            lost += self._ledger.begins_at(self._oldest)
        fresh = [row for row in rows if row.at in news or self._is_log]
        self._remember(fresh)
        if fetched.faults:
            self._log.warning("rows of the profile cannot be used", problems=list(fetched.faults[:3]))
        self._fault = ""
        self._backoff.succeeded()
        cycles: list[Cycle] = []
        for first in range(0, len(fresh), PIECE):
            if first:
                await asyncio.sleep(0)  # the other meters
            cycles += self._cycles(fresh[first : first + PIECE], now)
        return self._progress(cycles, lost, now)

    @property
    def _is_log(self) -> bool:
        return not self._capture_period

    def _fresh(self, rows: Sequence[Row]) -> list[Row]:
        """Without what was handed over before, as far as that is remembered: beyond the bookmark, and in an event log around it."""
        last = self._ledger.last
        edge = None if last is None else last.replace(microsecond=0) if self._is_log else None
        first = 0 if edge is None else bisect_left(rows, edge, key=_captured)
        known = bisect_right(rows, max(self._handed, default=_NEVER), key=_captured)
        return [row for row in rows[first:known] if self._handed.get(row.at) != row] + list(rows[max(first, known) :])

    def _remember(self, rows: Sequence[Row]) -> None:
        last = self._ledger.last
        if last is None:
            return
        edge = last.replace(microsecond=0) if self._is_log else last
        self._handed = {at: row for at, row in self._handed.items() if at >= edge}
        self._handed.update((row.at, row) for row in rows[-LOG_MEMORY:] if row.at >= edge)

    def _cycles(self, rows: Sequence[Row], now: datetime) -> list[Cycle]:
        assert self._shape is not None and self._naming is not None
        return interval_cycles(self._meter.id, rows, self._shape, self._naming, self._settings, now, self._errors)

    def _progress(self, cycles: Sequence[Cycle], lost: Sequence[LostGap], now: datetime) -> Progress | None:
        gaps = self._gaps.changes(lost, now, self._caught_up)
        if not cycles and not gaps:
            return None
        return Progress(self._name, tuple(cycles), tuple(gaps), self._ledger.snapshot())

    def _refused(self, kind: ErrorKind, detail: str) -> Progress | None:
        """The profile cannot be read: said once, and tried again later."""
        self._next = time.monotonic() + RETRY
        self._cursor, self._to_fill = None, None
        self.forget()
        if detail == self._fault:
            return None
        self._fault = detail
        now = self._clock()
        error = ReadError(self._name, kind, f"profile {self._settings.obis}: {detail}", _REFUSED_REMEDY)
        self._log.warning("profile cannot be read", kind=kind.value, cause=detail, remedy=_REFUSED_REMEDY)
        failed = Cycle(self._meter.id, now, now, 0.0, Outcome.FAILED, errors=(error,), origin=Origin.PROFILE, received=now)
        return Progress(self._name, (failed,), (), self._ledger.snapshot())

    async def _fetch(self, session: Session, shape: Shape, start: datetime, end: datetime, before: datetime | None) -> Fetched:
        """The rows from `start` to `end`; how long that took says how much to ask for next."""
        begun, asked = time.monotonic(), self._overlapping(start, end)
        fetched = await self._access.fetch(session, shape, asked, before)
        if fetched.rows and fetched.covered is not ALWAYS:
            rate = (asked.end - asked.start).total_seconds() / max(time.monotonic() - begun, 1e-3)
            self._stretch(min(self._chunk * GROWTH, rate * self._pace))
        return fetched

    def _shorten(self) -> None:
        """Ask for less at a time: the link is cut before so much has come."""
        self._leap = 1
        self._stretch(self._chunk / 2)

    def _stretch(self, seconds: float) -> None:
        least = FEWEST_ROWS * self._capture_period.total_seconds() or self._settings.chunk
        self._chunk = min(self._settings.chunk, max(least, seconds))


def _captured(row: Row) -> datetime:
    return row.at


_NEVER = datetime(1, 1, 1, tzinfo=timezone.utc)
_SCALER_REMEDY = "allow the client to read the scaler of this object; without it the column's numbers mean nothing"
_REFUSED_REMEDY = "check the profile's OBIS code, and that this client may read it and its attributes 2 to 8"
