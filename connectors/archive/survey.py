"""What a page asks of the archive: all meters at a glance, the newest of everything, and curves of a bounded number of points.

Every question is bounded: it hops over the primary keys, has a limit, or is given up after a while (`give_up_after`), so that no
read transaction stays open long enough to keep the writer's WAL from being checkpointed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from connectors.archive import queries
from connectors.archive.reader import ArchivedReport, ArchiveReader, alert_of, reading_of, report_of
from connectors.patience import give_up_after
from model.messages import FLEET, Alert, ErrorKind, ReadError, Rejection
from model.timestamps import from_ms, to_ms

PROBED = 2_000
"""Rows of one series that are looked at to tell whether a profile feeds it."""

EXACT = 40_000
"""Rows up to which a curve is thinned by the extremes of all of them, more than a year of quarter hours; of more, each bucket's first
rows are looked at."""


class LatestReport(NamedTuple):
    """The newest health report of one meter, as lean as ten thousand of them need to be. Times are ms since 1970 UTC, read times s."""

    meter: str
    start: int
    end: int
    cycles: int
    ok: int
    partial: int
    failed: int
    last_good: int | None
    read_p50: float | None
    read_p95: float | None
    last_error: str | None
    gaps_open: int


class LatestCycle(NamedTuple):
    """The newest cycle of one meter. Times are ms since 1970 UTC, the duration s."""

    meter: str
    started: int
    due: int
    duration: float
    outcome: str


class LedgerLine(NamedTuple):
    """One profile of one meter, counted in intervals, as of its newest gap."""

    meter: str
    profile: str
    read: int
    open: int
    lost: int


class Point(NamedTuple):
    """One point of a curve; `number` is None for what is not a number."""

    ts: int
    number: float | None


class DayCount(NamedTuple):
    """Intervals of a load profile that were read of one day: days since 1970 UTC, how many, ts of the first and the last (ms)."""

    day: int
    read: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class RaisedAlert:
    """An alert that was raised, and when it was cleared; None while it stands."""

    alert: Alert
    cleared: datetime | None


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one series in order of time; `thinned` when there are more than are given."""

    unit: str | None
    points: Sequence[Point]
    thinned: bool


class ArchiveSurvey(ArchiveReader):
    """A reader with the page's questions. Times of arguments are aware UTC."""

    @contextmanager
    def give_up_after(self, seconds: float) -> Iterator[None]:
        """Questions inside that take longer in all are given up, see `patience`.

        :raises sqlite3.OperationalError: when they are.
        """
        with give_up_after(self._database, seconds):
            yield

    def latest_reports(self) -> dict[str, LatestReport]:
        """The newest report of every meter that has one, without the fleet's."""
        rows = self._database.execute(queries.LATEST_REPORTS).fetchall()
        return {row[0]: LatestReport._make(row) for row in rows if row[0] != FLEET}

    def newest_reports(self, meter: str, limit: int) -> list[ArchivedReport]:
        """The newest reports of a meter or of the FLEET, newest first."""
        return [report_of(row) for row in self._rows(queries.NEWEST_REPORTS, (meter, limit))]

    def latest_cycle_of_each(self) -> dict[str, LatestCycle]:
        """The newest cycle of every meter."""
        return {row[0]: LatestCycle._make(row[:5]) for row in self._database.execute(queries.LATEST_CYCLES).fetchall()}

    def gap_totals(self) -> dict[str, tuple[int, int]]:
        """Open and lost intervals of every meter that has gaps."""
        return {meter: (int(open_), int(lost)) for meter, open_, lost in self._rows(queries.GAP_TOTALS)}

    def ledger(self, meter: str | None, limit: int) -> list[LedgerLine]:
        """Every profile that ever had a gap, of one meter or of all."""
        return [LedgerLine._make(row[:5]) for row in self._rows(queries.GAP_LEDGER, {"meter": meter, "limit": limit})]

    def newest_errors(self, meter: str, limit: int) -> list[tuple[datetime, ReadError]]:
        """Errors of a meter with the start of their cycle, newest first."""
        return [
            (from_ms(started), ReadError(key, ErrorKind(kind), detail, remedy))
            for started, key, kind, detail, remedy in self._rows(queries.NEWEST_ERRORS, (meter, limit))
        ]

    def newest_rejections(self, meter: str, limit: int) -> list[Rejection]:
        """Rejected readings of a meter, newest first."""
        found = [
            Rejection(reading_of(row[:8]), rule=row[8], reason=row[9])
            for (key,) in self._rows(queries.REJECTED_KEYS, {"meter": meter})
            for row in self._rows(queries.NEWEST_REJECTIONS, (meter, key, limit))
        ]
        return sorted(found, key=lambda rejection: rejection.reading.ts, reverse=True)[:limit]

    def newest_alerts(self, limit: int) -> list[RaisedAlert]:
        """Alerts that were raised, newest first, each with its end."""
        rows = self._rows(queries.NEWEST_ALERTS, (limit,))
        return [RaisedAlert(alert_of(row[:7]), None if row[7] is None else from_ms(row[7])) for row in rows]

    def error_kinds(self, start: datetime, end: datetime) -> dict[str, int]:
        """How many errors of each kind cycles had that began in [start, end)."""
        return {kind: int(count) for kind, count in self._rows(queries.ERROR_KINDS, {"start": to_ms(start), "end": to_ms(end)})}

    def keys(self, meter: str) -> list[str]:
        """The keys of which a meter has readings."""
        return [key for (key,) in self._rows(queries.KEYS, {"meter": meter})]

    def profile_intervals(self, meter: str, key: str) -> tuple[list[int], float]:
        """Of the newest rows of one series those from a load profile: their ts in ms, newest first, and their share (0.0 to 1.0)."""
        rows = self._database.execute(queries.ORIGINS, {"meter": meter, "key": key, "limit": PROBED}).fetchall()
        found = [ts for ts, origin in rows if origin == "profile"]
        return found, len(found) / len(rows) if rows else 0.0

    def intervals_per_day(self, meter: str, key: str, since: datetime) -> list[DayCount]:
        """Load profile values of one series by their day (UTC), without days that have none."""
        return [DayCount._make(row) for row in self._rows(queries.INTERVALS_PER_DAY, {"meter": meter, "key": key, "start": to_ms(since)})]

    def intervals(self, meter: str, key: str) -> DayCount | None:
        """All load profile values of one series: how many, the first and the last; None without any."""
        count, first, last = next(self._rows(queries.INTERVALS, {"meter": meter, "key": key}))
        return DayCount(0, count, first, last) if count else None

    def curve(self, meter: str, key: str, start: datetime, end: datetime, most: int) -> Curve:
        """The readings of one series in [start, end); of more than `most` the least and the greatest of each of `most` / 2 buckets."""
        span = {"meter": meter, "key": key, "start": to_ms(start), "end": to_ms(end)}
        rows = self._database.execute(queries.POINTS, {**span, "limit": most + 1}).fetchall()
        unit = next((unit for _, _, unit in reversed(rows) if unit is not None), None)
        if len(rows) <= most:
            return Curve(unit, [Point(ts, number) for ts, number, _ in rows], thinned=False)
        first, last = next(self._rows(queries.SPAN, span))
        width = max(1, -(-(last + 1 - first) // max(1, most // 2)))
        (count,) = next(self._rows(f"SELECT count(*) FROM ({queries.POINTS})", {**span, "limit": EXACT + 1}))  # noqa: S608
        if count <= EXACT:
            values = {"meter": meter, "key": key, "start": first, "end": last + 1, "width": width}
            found = {(ts, number) for _, ts, number in self._rows(queries.EXTREMES, values)}
        else:
            found = self._sampled(meter, key, range(first, last + 1, width), width, EXACT // max(1, most // 2))
        return Curve(unit, [Point(ts, number) for ts, number in sorted(found)], thinned=True)

    def _sampled(self, meter: str, key: str, starts: range, width: int, most: int) -> set[tuple[int, float]]:
        """The extremes among the first `most` rows of each bucket."""
        found: set[tuple[int, float]] = set()
        for start in starts:
            bucket = {"meter": meter, "key": key, "start": start, "end": start + width, "limit": most}
            rows = self._database.execute(queries.POINTS, bucket).fetchall()
            numbers = [(number, ts) for ts, number, _ in rows if number is not None]
            if numbers:
                found |= {(ts, number) for number, ts in (min(numbers), max(numbers))}
        return found
