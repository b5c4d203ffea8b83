"""Reads the archive while the pipeline writes it: read-only, never in the writer's way."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from connectors.archive import queries
from connectors.archive.database import open_reader
from connectors.archive.rows import restore_value
from connectors.archive.schema import SERIES, VERSION, version_of
from model.errors import StorageError
from model.messages import (
    FLEET,
    Alert,
    ErrorKind,
    Gap,
    GapState,
    HealthReport,
    Origin,
    Outcome,
    ReadError,
    Reading,
    Rejection,
    Severity,
    Violation,
    ViolationCount,
)
from model.timestamps import from_ms, to_ms

DEFAULT_LIMIT = 10_000
_QUICK_PAGES = 25_000
"""A hundred megabytes, which are checked in less than a second."""


@dataclass(frozen=True, slots=True)
class ArchivedCycle:
    """A cycle as it is kept: its values are among the readings, only their number is here."""

    meter: str
    started: datetime
    due: datetime
    duration: float
    outcome: Outcome
    value_count: int
    errors: tuple[ReadError, ...]
    exchanges: int
    associated: bool
    clock_offset: float | None
    violations: tuple[ViolationCount, ...] = ()


@dataclass(frozen=True, slots=True)
class ArchivedReport:
    """A health report as it is kept: `read_times` is empty, its quantiles in seconds stand beside it."""

    report: HealthReport
    read_p50: float | None
    read_p95: float | None


@dataclass(frozen=True, slots=True)
class Totals:
    """How much happened in a span of time; `acknowledged` counts readings."""

    cycles: dict[Outcome, int]
    readings: int
    rejections: int
    acknowledged: int


class ArchiveReader:
    """Queries over one archive; spans of time are [start, end), results in order of time. Use it in one thread.

    :raises StorageError: there is no archive, or not one this version can read.
    """

    def __init__(self, path: Path) -> None:
        self._database = open_reader(path)
        try:
            found = version_of(self._database)
        except sqlite3.Error as error:
            self._database.close()
            raise StorageError(f"{path}: cannot be read: {error}", "check that it is an archive of this program") from error
        if found != VERSION:
            self._database.close()
            raise StorageError(
                f"{path}: has archive version {found}, this program reads {VERSION}",
                "run the pipeline once with this version, which brings the archive up to date, or use the version that wrote it",
            )

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def meters(self) -> list[str]:
        """The meters that have cycles or readings in the archive."""
        return sorted({meter for (meter,) in self._rows(queries.METERS)})

    def readings(self, meter: str, start: datetime, end: datetime, *, key: str | None = None, limit: int = DEFAULT_LIMIT) -> list[Reading]:
        """Readings of a meter by their `ts`, of one key or of all; the oldest `limit` of them."""
        sql = queries.READINGS if key is None else queries.READINGS_OF_KEY
        values = {"meter": meter, "key": key, "start": to_ms(start), "end": to_ms(end), "limit": limit}
        return [reading_of(row) for row in self._rows(sql, values)]

    def latest(self) -> list[Reading]:
        """The newest reading of every key of every meter, by meter and key."""
        return [reading for meter in self.meters() for reading in self.latest_of(meter)]

    def latest_of(self, meter: str) -> list[Reading]:
        """The newest reading of every key of one meter, by key."""
        return [reading_of(row) for row in self._rows(queries.LATEST_OF_METER, {"meter": meter})]

    def cycles(self, meter: str, start: datetime, end: datetime, *, limit: int = DEFAULT_LIMIT) -> list[ArchivedCycle]:
        """Cycles of a meter by their start, with their errors; the oldest `limit` of them."""
        span = (to_ms(start), to_ms(end))
        errors: dict[int, list[ReadError]] = {}
        for started, key, kind, detail, remedy in self._rows(queries.ERRORS, (meter, *span)):
            errors.setdefault(started, []).append(ReadError(key, ErrorKind(kind), detail, remedy))
        violations: dict[int, list[ViolationCount]] = {}
        for started, kind, count, detail in self._rows(queries.VIOLATIONS, (meter, *span)):
            violations.setdefault(started, []).append(ViolationCount(Violation(kind), count, detail))
        rows = self._rows(queries.CYCLES, (meter, *span, limit))
        return [_cycle(row, tuple(errors.get(row[1], ())), tuple(violations.get(row[1], ()))) for row in rows]

    def latest_cycles(self) -> list[ArchivedCycle]:
        """The newest cycle of every meter, by meter, without errors and violations."""
        return [_cycle(row, (), ()) for row in self._rows(queries.LATEST_CYCLES)]

    def rejections(self, meter: str, start: datetime, end: datetime, *, limit: int = DEFAULT_LIMIT) -> list[Rejection]:
        """Rejected readings of a meter by their `ts`; the oldest `limit` of them."""
        rows = self._rows(queries.REJECTIONS, {"meter": meter, "start": to_ms(start), "end": to_ms(end), "limit": limit})
        return [Rejection(reading_of(row[:8]), rule=row[8], reason=row[9]) for row in rows]

    def reports(self, meter: str, start: datetime, end: datetime, *, limit: int = DEFAULT_LIMIT) -> list[ArchivedReport]:
        """Health reports of a meter, or of all together (FLEET), by the start of their window; the oldest `limit` of them."""
        return [report_of(row) for row in self._rows(queries.REPORTS, (meter, to_ms(start), to_ms(end), limit))]

    def latest_report(self, meter: str) -> ArchivedReport | None:
        """The newest health report of a meter or of the FLEET; None if there is none."""
        return next((report_of(row) for row in self._rows(queries.LATEST_REPORT, (meter,))), None)

    def alerts(self, start: datetime, end: datetime, *, limit: int = DEFAULT_LIMIT) -> list[Alert]:
        """Alerts raised and cleared, of all subjects; the oldest `limit` of them."""
        return [alert_of(row) for row in self._rows(queries.ALERTS, (to_ms(start), to_ms(end), limit))]

    def standing_alerts(self) -> list[Alert]:
        """Alerts that were raised and not cleared since, the oldest first."""
        return [alert_of(row) for row in self._rows(queries.STANDING_ALERTS)]

    def gaps(self, meter: str | None = None) -> list[Gap]:
        """Missing intervals of load profiles, open and lost, of one meter or of all, by meter, profile and start."""
        return [_gap(row) for row in self._rows(queries.GAPS, {"meter": meter})]

    def newest_of_profile(self, meter: str, key: str) -> datetime | None:
        """The newest load profile value of a meter under `key`."""
        return next((from_ms(ts) for (ts,) in self._rows(queries.NEWEST_OF_PROFILE, {"meter": meter, "key": key})), None)

    def first_report(self) -> datetime | None:
        """When the oldest window ended that the archive knows of, of all meters together; None if there is none."""
        return next((from_ms(ts) for (ts,) in self._rows(queries.FIRST_REPORT, (FLEET,))), None)

    def integrity_problems(self, most: int = 5) -> list[str]:
        """What is wrong with the file's structure (PRAGMA quick_check), where it is small enough for that; [] for nothing.

        Of a large one only the schema's pages and the first and last rows of each table are read.

        :raises sqlite3.DatabaseError: when it is so damaged that it cannot even be looked at.
        """
        (pages,) = next(self._rows("PRAGMA page_count"))
        if pages <= _QUICK_PAGES:
            found = [str(text) for (text,) in self._rows(f"PRAGMA quick_check({int(most)})")]
            return [] if found == ["ok"] else found
        for series in SERIES:
            for order in ("ASC", "DESC"):
                keys = ", ".join(f"{column} {order}" for column in series.prefix)
                list(self._rows(f"SELECT * FROM {series.table} ORDER BY {keys} LIMIT 1"))  # noqa: S608
        return []

    def intervals_read(self, meter: str, keys: Iterable[str], since: datetime) -> dict[int, int]:
        """The load profile intervals with a value under one of `keys`, from `since` on, and when each was read last; milliseconds."""
        return dict(self._rows(queries.INTERVALS_READ, {"meter": meter, "keys": json.dumps(list(keys)), "start": to_ms(since)}))

    def totals(self, start: datetime, end: datetime) -> Totals:
        """What happened to all meters together."""
        span = {"start": to_ms(start), "end": to_ms(end)}
        cycles = dict.fromkeys(Outcome, 0)
        cycles.update({Outcome(outcome): count for outcome, count in self._rows(queries.CYCLE_TOTALS, span)})
        return Totals(
            cycles=cycles,
            readings=self._count(queries.READING_TOTAL, span),
            rejections=self._count(queries.REJECTION_TOTAL, span),
            acknowledged=self._count(queries.ACKNOWLEDGED_TOTAL, span),
        )

    def _rows(self, sql: str, values: Any = ()) -> Iterator[tuple[Any, ...]]:
        return iter(self._database.execute(sql, values))

    def _count(self, sql: str, values: dict[str, int]) -> int:
        return int(next(self._rows(sql, values))[0] or 0)


def reading_of(row: tuple[Any, ...]) -> Reading:
    """The reading in a row of `queries`' reading columns."""
    meter, key, ts, text, type_name, unit, origin, read_at = row
    return Reading(meter, key, restore_value(type_name, text), unit, from_ms(ts), Origin(origin), from_ms(read_at))


def _gap(row: tuple[Any, ...]) -> Gap:
    meter, profile, start, end, intervals, state, since, at, *rest = row
    return Gap(meter, profile, from_ms(start), from_ms(end), intervals, GapState(state), from_ms(since), from_ms(at), *rest)


def _cycle(row: tuple[Any, ...], errors: tuple[ReadError, ...], violations: tuple[ViolationCount, ...]) -> ArchivedCycle:
    meter, started, due, duration, outcome, value_count, exchanges, associated, clock_offset = row
    return ArchivedCycle(
        meter,
        from_ms(started),
        from_ms(due),
        duration,
        Outcome(outcome),
        value_count,
        errors,
        exchanges,
        bool(associated),
        clock_offset,
        violations,
    )


def report_of(row: tuple[Any, ...]) -> ArchivedReport:
    """The report in a row of `queries`' report columns."""
    *row_before, gaps_open, gaps_lost, gap_since, gap_reason = row
    meter, start, end, *numbers, read_p50, read_p95, last_good, clock_offset, last_error, violations, counter = row_before
    counts: dict[str, Any] = dict(zip(queries.REPORT_COUNTS, numbers, strict=True))
    report = HealthReport(
        meter=meter,
        start=from_ms(start),
        end=from_ms(end),
        **counts,
        read_times=(),
        last_good=None if last_good is None else from_ms(last_good),
        clock_offset=clock_offset,
        last_error=last_error,
        violations=tuple(ViolationCount(Violation(kind), count, detail) for kind, count, detail in json.loads(violations)),
        invocation_counter=counter,
        gaps_open=gaps_open,
        gaps_lost=gaps_lost,
        gap_since=None if gap_since is None else from_ms(gap_since),
        gap_reason=gap_reason,
    )
    return ArchivedReport(report, read_p50, read_p95)


def alert_of(row: tuple[Any, ...]) -> Alert:
    """The alert in a row of `queries`' alert columns."""
    kind, subject, severity, raised, ts, evidence, remedy = row
    return Alert(kind, subject, Severity(severity), bool(raised), from_ms(ts), evidence, remedy)
