"""Which intervals of one profile are read, which are missing, and which will stay so. Pure: told what was asked and answered.

The bookmark, `last`, is the newest interval that was handed over; everything up to it is read, except the open gaps. So the bookmark
only moves forward, rows are read from the oldest to the newest, and whatever is cut short is asked for again from the
bookmark. Expected is a row on each point of the grid that the capture period spans, from the first row ever seen. A gap
is asked for again until the meter has answered `ENOUGH_ANSWERS` requests for it without those rows, or its memory is
known to begin later; then it is lost for good, with the reason. Event logs have no period, hence no gaps.

The bookmark never lies ahead of our clock: of a meter whose clock is ahead the newest rows are read twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise, repeat
from operator import eq, sub
from typing import Any

from model.timestamps import from_ms, to_ms

ENOUGH_ANSWERS = 2
"""Answers without a row after which it is lost."""

TELLING, MOST_ROWS = 8, 0.8
"""An answer of more rows than this, of which this part is equally far apart, shows how often the meter really captures."""

_EPOCH = from_ms(0)
_JITTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class OpenGap:
    """Missing rows from `start` to `end`, both included. `answers`: how often the meter answered without them; `since`: when it was
    first noticed; `dropped`: the rows were read, but given up before they were delivered."""

    start: datetime
    end: datetime
    answers: int
    since: datetime
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class LostGap:
    """Rows from `start` to `end` that the meter does not have (any more), and why."""

    start: datetime
    end: datetime
    since: datetime
    reason: str


def _plain(gap: OpenGap) -> list[Any]:
    return [to_ms(gap.start), to_ms(gap.end), gap.answers, to_ms(gap.since), gap.dropped]


def _gap(plain: list[Any]) -> OpenGap:
    start, end, answers, since, dropped = plain
    return OpenGap(from_ms(start), from_ms(end), answers, from_ms(since), dropped)


@dataclass
class Ledger:
    """The state of one profile.

    :arg stalled: what the meter should have recorded since `last` where it has recorded nothing for long; told, not asked for.
    :arg period: how often rows are captured; zero until it is known, and for event logs.
    """

    last: datetime | None = None
    gaps: list[OpenGap] = field(default_factory=list)
    period: timedelta = timedelta()
    phase: timedelta = timedelta()
    read: int = 0
    lost: int = 0
    stalled: OpenGap | None = None

    def snapshot(self) -> dict[str, Any]:
        """Plain data for the recovery store."""
        return {
            "last": None if self.last is None else to_ms(self.last),
            "gaps": [_plain(gap) for gap in self.gaps],
            "stalled": None if self.stalled is None else _plain(self.stalled),
            "period": self.period.total_seconds(),
            "phase": self.phase.total_seconds(),
            "read": self.read,
            "lost": self.lost,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Ledger:
        """The ledger whose `snapshot` was taken."""
        return cls(
            last=None if state["last"] is None else from_ms(state["last"]),
            gaps=[_gap(plain) for plain in state["gaps"]],
            stalled=None if state.get("stalled") is None else _gap(state["stalled"]),
            period=timedelta(seconds=state["period"]),
            phase=timedelta(seconds=state["phase"]),
            read=state["read"],
            lost=state["lost"],
        )

    def expected(self, start: datetime, end: datetime) -> int:
        """How many grid points lie from `start` to `end`, both included."""
        return 0 if not self.period or end < start else (end - start) // self.period + 1

    @property
    def missing(self) -> int:
        """How many intervals are missing in the open gaps."""
        return sum(self.expected(gap.start, gap.end) for gap in self.gaps)

    def take(self, times: Sequence[datetime], asked: tuple[datetime, datetime], now: datetime) -> tuple[set[datetime], list[LostGap]]:
        """The meter answered the request for `asked` (both ends included) completely, with rows at `times` (ascending).

        :returns: the times that are news and to be handed over, and the gaps that are lost from now on.
        """
        if self._is_whole(times):
            return self._whole(times, asked, now)
        self._learn_grid(times)
        news = {time for time in times if self.last is None or time > self.last or self._in_gap(time)}
        lost = self._answered(times, asked)
        previous = self.last
        for time in times:
            if previous is not None and time > previous:
                self._skip(previous, time, now)
            if previous is None or time > previous:
                previous = time
        if previous is not None:
            ceiling = now if self.last is None else max(now, self.last)
            self.last = min(previous, ceiling)
        self.read += len(news)
        self._condense()
        return news, lost

    def _is_whole(self, times: Sequence[datetime]) -> bool:
        """Whether nothing is missing between these rows, none of them fills a gap and some are news, as nearly always."""
        if not self.period or len(times) <= TELLING or (self.last is not None and times[-1] <= self.last):
            return False
        period, first = self.period, times[0] - self._tolerance
        return all(gap.end < first for gap in self.gaps) and all(map(eq, map(sub, times[1:], times), repeat(period)))

    def _whole(self, times: Sequence[datetime], asked: tuple[datetime, datetime], now: datetime) -> tuple[set[datetime], list[LostGap]]:
        """As `take`, for rows that are whole: only what is missing before the first one has to be looked for."""
        self.phase = (times[0] - _EPOCH) % self.period
        news = times if self.last is None else times[bisect_right(times, self.last) :]
        lost = self._answered(times, asked)
        if self.last is not None:
            self._skip(self.last, news[0], now)
        self.last = min(times[-1], now if self.last is None else max(now, self.last))
        self.read += len(news)
        self._condense()
        return set(news), lost

    def recall(self, times: Iterable[datetime], now: datetime) -> None:
        """Rows at `times` were given up before they were delivered: ask for them again."""
        for time in sorted(times):
            if self.last is not None and time <= self.last and not self._in_gap(time):
                self.gaps.append(OpenGap(time, time, 0, now, dropped=True))
        self._condense()

    def begins_at(self, oldest: datetime) -> list[LostGap]:
        """The meter's memory begins at `oldest`: what is missing before it is lost."""
        lost: list[LostGap] = []
        kept: list[OpenGap] = []
        for gap in self.gaps:
            if gap.start >= oldest - self._tolerance:
                kept.append(gap)
                continue
            end = min(gap.end, self._before(oldest)) if self.period else gap.end
            lost.append(LostGap(gap.start, end, gap.since, f"the meter's memory begins at {oldest.isoformat()}"))
            if end < gap.end:
                kept.append(replace(gap, start=end + self.period))
        self.gaps = kept
        self.lost += sum(max(1, self.expected(gap.start, gap.end)) for gap in lost)
        return lost

    @property
    def _tolerance(self) -> timedelta:
        return min(self.period / 4, _JITTER)

    def _in_gap(self, time: datetime) -> bool:
        return any(gap.start - self._tolerance <= time <= gap.end + self._tolerance for gap in self.gaps)

    def _learn_grid(self, times: Sequence[datetime]) -> None:
        """How far apart and where on the grid most rows are; a few rows off it (power failure, clock set) change nothing.

        Some meters capture less often than their capture period says, or were set to another one: then that is no gap.
        """
        if self.period and len(times) > TELLING:
            spacings = Counter(later - earlier for earlier, later in pairwise(times))
            spacing, count = spacings.most_common(1)[0]
            if count >= MOST_ROWS * (len(times) - 1):
                self.period = spacing
        if self.period and len(times) > 1:
            places = Counter((time - _EPOCH) % self.period for time in times)
            place, count = places.most_common(1)[0]
            if count > 1 or len(times) > 3:
                self.phase = place

    def _on_grid(self, moment: datetime) -> bool:
        beyond = (moment - _EPOCH - self.phase) % self.period if self.period else timedelta()
        return beyond <= self._tolerance or self.period - beyond <= self._tolerance

    def _after(self, moment: datetime) -> datetime:
        """The first grid point later than `moment`."""
        return moment + self.period - (moment - _EPOCH - self.phase) % self.period

    def _before(self, moment: datetime) -> datetime:
        """The last grid point earlier than `moment`."""
        beyond = (moment - _EPOCH - self.phase) % self.period
        return moment - (beyond or self.period)

    def _skip(self, previous: datetime, time: datetime, now: datetime) -> None:
        """Note the grid points between two rows that follow each other."""
        if not self.period:
            return
        first, last = self._after(previous + self._tolerance), self._before(time - self._tolerance)
        if first <= last:
            self.gaps.append(OpenGap(first, last, 1, now))

    def _answered(self, times: Sequence[datetime], asked: tuple[datetime, datetime]) -> list[LostGap]:
        """Close what arrived of the open gaps, count the answer for what did not, give up what was asked for enough."""
        lost: list[LostGap] = []
        kept: list[OpenGap] = []
        for gap in self.gaps:
            if gap.end < asked[0] - self._tolerance or gap.start > asked[1] + self._tolerance:
                kept.append(gap)
                continue
            for part, answered in self._parts(gap, times, asked):
                counted = replace(part, answers=part.answers + answered)
                if counted.answers >= ENOUGH_ANSWERS and part.dropped and not self._on_grid(part.start):
                    continue  # it was a row of another profile of this meter
                if counted.answers >= ENOUGH_ANSWERS:
                    lost.append(
                        LostGap(
                            part.start, part.end, part.since, f"the meter answered {counted.answers} requests for them without these rows"
                        )
                    )
                else:
                    kept.append(counted)
        self.gaps = kept
        self.lost += sum(max(1, self.expected(gap.start, gap.end)) for gap in lost)
        return lost

    def _parts(self, gap: OpenGap, times: Sequence[datetime], asked: tuple[datetime, datetime]) -> list[tuple[OpenGap, int]]:
        """What is left of a gap, each part with whether it was asked for: grid points next to each other and alike."""
        near = [time for time in times if gap.start - self._tolerance <= time <= gap.end + self._tolerance]
        parts: list[tuple[OpenGap, int]] = []
        point = gap.start
        while point <= gap.end:
            if not any(abs(time - point) <= self._tolerance for time in near):
                answered = int(asked[0] - self._tolerance <= point <= asked[1] + self._tolerance)
                if parts and parts[-1][1] == answered and self.period and parts[-1][0].end == point - self.period:
                    parts[-1] = (replace(parts[-1][0], end=point), answered)
                else:
                    parts.append((replace(gap, start=point, end=point), answered))
            point += self.period or timedelta(days=36500)
        return parts

    def _condense(self) -> None:
        """Gaps next to each other of which the same is known become one."""
        self.gaps.sort(key=lambda gap: gap.start)
        joined: list[OpenGap] = []
        for gap in self.gaps:
            before = joined[-1] if joined else None
            if before is not None and self._joins(before, gap):
                joined[-1] = replace(before, end=max(before.end, gap.end), since=min(before.since, gap.since))
            else:
                joined.append(gap)
        self.gaps = joined

    def _joins(self, before: OpenGap, gap: OpenGap) -> bool:
        alike = (before.answers, before.dropped) == (gap.answers, gap.dropped)
        return bool(self.period) and alike and gap.start - before.end <= self.period
