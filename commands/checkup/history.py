"""The archive: can it be read, does it grow into a full disk, how much of what was read arrived, and what is missing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from commands.checkup.area import Area, Site, ago, note_damaged_aside
from connectors.archive.reader import ArchiveReader
from connectors.archive.schema import FILE_NAME
from connectors.disk import is_damage
from model.errors import StorageError
from model.finding import PUBLISH_CRITICAL, PUBLISH_MINOR, Degree, clipped
from model.messages import FLEET, Gap, GapState, HealthReport
from model.percent import percent_text

WINDOWS = 10
"""Latest windows that are judged together."""

SPAN = timedelta(hours=2)
"""How far back reports are asked for."""

OPEN_TOO_LONG = timedelta(hours=1)
LOST_LATELY = timedelta(days=7)


_DAMAGE_REMEDY = "restart the flow: it moves a damaged archive aside and keeps what can be read of it; then check the disk (dmesg)"


class UnreadableError(Exception):
    """The archive cannot be read; what and remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


@contextmanager
def archive_of(site: Site) -> Iterator[ArchiveReader | None]:
    """The archive; None where there is none (yet).

    :raises UnreadableError: when it is there and cannot be read.
    """
    path = site.state_dir / FILE_NAME
    try:
        if not path.exists():
            yield None
            return
        with ArchiveReader(path) as archive:
            yield archive
    except StorageError as error:
        raise UnreadableError(error.what, _DAMAGE_REMEDY if is_damage(error.__cause__) else error.remedy) from error
    except sqlite3.DatabaseError as error:
        remedy = _DAMAGE_REMEDY
        if isinstance(error, sqlite3.OperationalError):
            remedy = "try again; if it stays so, end the program that holds the file (a database shell, a backup)"
        raise UnreadableError(f"{path}: {error}", remedy) from error
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror or error}", "run this as a user who may read it") from error


def look_at_archive(area: Area, site: Site) -> None:
    """Whether it can be read, and whether what is newest in it is new."""
    if site.keeper is not None:
        area.fact(f"it is on {site.keeper}")
        return
    note_damaged_aside(area, site.state_dir / FILE_NAME)
    try:
        with archive_of(site) as archive:
            if archive is None:
                area.fact("there is none yet")
                return
            problems = archive.integrity_problems()
            latest = archive.latest_report(FLEET)
    except UnreadableError as error:
        area.critical(f"it cannot be read: {error.what}", error.remedy)
        return
    if problems:
        what = f"it is damaged: {clipped(problems, 2)}"
        area.critical(what, _DAMAGE_REMEDY)
        return
    age = "no report yet" if latest is None else f"the latest report ended {ago(latest.report.end, site.now)}"
    area.fact(f"can be read; {age}")


def look_at_rate(area: Area, site: Site) -> None:
    """Cycles that ThingsBoard acknowledged, against cycles read, in the latest windows of all meters."""
    if site.keeper is not None:
        return
    try:
        with archive_of(site) as archive:
            if archive is None:
                return
            reports = [kept.report for kept in archive.reports(FLEET, site.now - SPAN, site.now + timedelta(minutes=1))]
    except UnreadableError:
        return
    windows = [report for report in reports if report.cycles][-WINDOWS:]
    if not windows:
        if site.running:
            area.fact("no window with cycles within the last two hours")
        return
    _judge_rate(area, windows)
    _look_at_freshness(area, site, reports[-1])


def _judge_rate(area: Area, windows: list[HealthReport]) -> None:
    cycles = sum(report.cycles for report in windows)
    published = sum(report.cycles_published for report in windows)
    failed = sum(report.failed for report in windows)
    unacknowledged = sum(max(0, report.with_values - report.cycles_published) for report in windows)
    refused = max(0, cycles - published - failed - unacknowledged)
    parts = [
        (failed, "failed at the meters", "see meters"),
        (unacknowledged, "read but not acknowledged by ThingsBoard", "see session and outbox; nothing is lost, readings wait"),
        (refused, "without an accepted value", "look at the rejections of the meters (validate)"),
    ]
    span = f"in {len(windows)} windows until {windows[-1].end:%H:%M:%S} UTC"
    what = f"{published} of {cycles} cycles were published ({percent_text(published, cycles)}) {span}"
    causes = [(count, where, remedy) for count, where, remedy in sorted(parts, key=lambda part: -part[0]) if count]
    if causes:
        what += ": " + ", ".join(f"{count} {where}" for count, where, _ in causes)
    share = published / cycles
    if share >= PUBLISH_MINOR:
        area.fact(what)
    else:
        remedy = "; ".join(remedy for count, _, remedy in causes if 4 * count >= cycles - published)
        area.note(Degree.CRITICAL if share < PUBLISH_CRITICAL else Degree.MINOR, what, remedy)


def _look_at_freshness(area: Area, site: Site, latest: HealthReport) -> None:
    """Reports come once per window; where none comes the archive is not written, or the flow stands still."""
    if not site.running or any(site.now - status.started < SPAN / 10 for status in site.running):
        return
    overdue = 3 * (latest.end - latest.start) + timedelta(seconds=60)
    if site.now - latest.end > overdue:
        what = f"the flow runs, but its latest report in the archive ended {ago(latest.end, site.now)}"
        what += ": the archive is not written, or the flow is stuck"
        area.critical(what, "see disk and flow; look for `archive` in the log")


def look_at_gaps(area: Area, site: Site) -> None:
    """Missing load profile intervals: asked for again, or lost for good."""
    if site.keeper is not None:
        area.fact(f"the archive that knows them is on {site.keeper}")
        return
    try:
        with archive_of(site) as archive:
            gaps = [] if archive is None else archive.gaps()
    except UnreadableError:
        area.not_seen("the archive cannot be read")
        return
    waiting = [gap for gap in gaps if gap.state is GapState.OPEN]
    lost = [gap for gap in gaps if gap.state is GapState.LOST]
    late = [gap for gap in waiting if site.now - gap.since > OPEN_TOO_LONG]
    fresh = [gap for gap in lost if site.now - gap.at <= LOST_LATELY]
    if fresh:
        newest = max(fresh, key=lambda gap: gap.at)
        what = f"{_intervals(fresh)} lost for good, of {_whose(fresh)}; the latest, {_span(newest)}: {newest.reason}"
        remedy = (
            "they cannot be had back; python -m commands gaps tells which. Against the next time: read more often than the meter forgets"
        )
        area.minor(what, remedy)
    if late:
        oldest = min(late, key=lambda gap: gap.since)
        what = f"{_intervals(late)} missing for more than an hour, of {_whose(late)}; the oldest, {_span(oldest)}: {oldest.reason}"
        area.minor(what, "they are asked for again until the meter gives them: see meters; python -m commands gaps tells which")
    if not area.findings:
        area.fact(f"{sum(gap.intervals for gap in waiting)} intervals open, {sum(gap.intervals for gap in lost)} ever lost")


def _intervals(gaps: list[Gap]) -> str:
    count = sum(gap.intervals for gap in gaps)
    return f"{count} load profile interval{'' if count == 1 else 's'}"


def _whose(gaps: list[Gap]) -> str:
    return clipped(sorted({f"{gap.meter} ({gap.profile})" for gap in gaps}))


def _span(gap: Gap) -> str:
    return f"{gap.meter} {gap.start:%Y-%m-%d %H:%M} to {gap.end:%H:%M} UTC"


def age_of_archive(site: Site) -> tuple[datetime, int] | None:
    """When its oldest row was written, and how many bytes it has; None where that is not known."""
    path = site.state_dir / FILE_NAME
    try:
        with archive_of(site) as archive:
            first = None if archive is None else archive.first_report()
        size = sum(file.stat().st_size for file in (path, path.with_name(f"{FILE_NAME}-wal")) if file.exists())
    except (UnreadableError, OSError):
        return None
    return None if first is None else (first, size)
