"""The answers about meters: a page of the table, one meter, one curve, and what is missing."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from connectors.archive.reader import ArchivedReport
from connectors.archive.survey import ArchiveSurvey
from connectors.thingsboard.outbox_state import profile_records
from dashboard.answers import (
    ErrorShown,
    Gaps,
    GapShown,
    LedgerRow,
    MeterDetail,
    MeterPage,
    MeterRow,
    MeterWindow,
    ProfileDay,
    ProfileShown,
    Readings,
    RejectionShown,
    ValueShown,
)
from dashboard.archive_pool import TookTooLongError
from dashboard.configuration import ConfiguredMeter, ConfiguredProfile
from dashboard.fleet import MeterGlance
from dashboard.installation import Installation
from flows.interval_ledger import interval_accounts
from model.errors import StorageError
from model.messages import Gap, Reading
from model.timestamps import from_ms, to_ms

WINDOWS = 60
NEWEST = 100
DAYS = 62
"""Days of a profile that are shown."""

VALUES = 200
"""Values of one meter that are shown."""

MOST_GAPS = 1_000
POINTS = 2_000
"""Points of a curve."""

_COUNTING = 0.1
"""Seconds that counting one meter's records in the outbox may take."""

_DAY = timedelta(days=1)


class UnknownMeterError(LookupError):
    """Neither pipeline.yaml nor the archive has such a meter."""


def meter_page(installation: Installation, search: str, state: str, sort: str, limit: int, offset: int) -> MeterPage:
    """Some of the meters, each with its newest values."""
    found = installation.archive_glance.get().fleet.select(search, state, sort)
    shown = found[offset : offset + limit]
    values = _latest(installation, shown)
    return MeterPage(total=len(found), offset=offset, meters=[MeterRow(**_row(meter, values.get(meter.id, []))) for meter in shown])


def meter_detail(installation: Installation, meter_id: str) -> MeterDetail:
    """All about one meter.

    :raises UnknownMeterError: nothing is known of it.
    """
    glance = installation.archive_glance.get().fleet.meters.get(meter_id)
    if glance is None:
        raise UnknownMeterError(meter_id)
    settings = glance.configured
    about = {"tags": dict(settings.tags) if settings else {}, "interval": settings.interval if settings else None}
    try:
        with installation.archive.survey() as survey:
            return MeterDetail(
                **_row(glance, survey.latest_of(meter_id)),
                **about,
                reports=[_report(report) for report in reversed(survey.newest_reports(meter_id, WINDOWS))],
                errors=[
                    ErrorShown(at=at, key=error.key, kind=error.kind.value, detail=error.detail, remedy=error.remedy)
                    for at, error in survey.newest_errors(meter_id, NEWEST)
                ],
                rejections=[
                    RejectionShown(
                        at=found.reading.ts,
                        key=found.reading.key,
                        value=found.reading.value,
                        unit=found.reading.unit,
                        rule=found.rule,
                        reason=found.reason,
                    )
                    for found in survey.newest_rejections(meter_id, NEWEST)
                ],
                gaps=[_gap(gap) for gap in survey.gaps(meter_id)[:MOST_GAPS]],
                profiles=_profiles(survey, settings, meter_id, installation.now()),
            )
    except StorageError:  # said by /health
        return MeterDetail(**_row(glance, []), **about, reports=[], errors=[], rejections=[], gaps=[], profiles=[])


def readings(installation: Installation, meter: str, key: str, start: datetime, end: datetime, limit: int) -> Readings:
    """One curve, thinned to `limit` points."""
    try:
        with installation.archive.survey() as survey:
            curve = survey.curve(meter, key, start, end, limit)
    except TookTooLongError:
        raise
    except StorageError:  # said by /health
        return Readings(meter=meter, key=key, unit=None, points=[], thinned=False)
    return Readings(
        meter=meter, key=key, unit=curve.unit, points=[(point.ts, point.number) for point in curve.points], thinned=curve.thinned
    )


def gaps(installation: Installation, meter: str | None) -> Gaps:
    """What is missing, of one meter or of all; of one meter also the profiles that miss nothing."""
    try:
        with installation.archive.survey() as survey:
            found = survey.gaps(meter)
            ledger = _ledger(installation, survey, meter)
    except TookTooLongError:
        raise
    except StorageError:
        return Gaps(ledger=[], gaps=[], truncated=False)
    return Gaps(
        ledger=ledger[:MOST_GAPS],
        gaps=[_gap(gap) for gap in found[:MOST_GAPS]],
        truncated=len(found) > MOST_GAPS or len(ledger) > MOST_GAPS,
    )


def _latest(installation: Installation, meters: Sequence[MeterGlance]) -> dict[str, Sequence[Reading]]:
    if not meters:
        return {}
    try:
        with installation.archive.survey() as survey:
            return {meter.id: survey.latest_of(meter.id) for meter in meters}
    except StorageError:
        return {}


def _row(meter: MeterGlance, values: Iterable[Reading]) -> dict[str, object]:
    settings, report = meter.configured, meter.report
    return {
        "id": meter.id,
        "name": meter.id if settings is None else settings.name,
        "template": None if settings is None else settings.template,
        "connect": None if settings is None else settings.connect,
        "removed": settings is None,
        "state": meter.state,
        "success": meter.success,
        "last_good": None if meter.last_good is None else from_ms(meter.last_good),
        "read_p50": None if report is None else report.read_p50,
        "read_p95": None if report is None else report.read_p95,
        "gaps_open": meter.gaps_open,
        "gaps_lost": meter.gaps_lost,
        "last_error": None if report is None else report.last_error,
        "values": [ValueShown(key=reading.key, value=reading.value, unit=reading.unit, ts=reading.ts) for reading in list(values)[:VALUES]],
    }


def _report(archived: ArchivedReport) -> MeterWindow:
    report = archived.report
    return MeterWindow(
        start=report.start,
        end=report.end,
        cycles=report.cycles,
        ok=report.ok,
        partial=report.partial,
        failed=report.failed,
        published=report.published,
        rejected=report.rejected,
        read_p50=archived.read_p50,
        read_p95=archived.read_p95,
    )


def _gap(gap: Gap) -> GapShown:
    return GapShown(
        meter=gap.meter,
        profile=gap.profile,
        start=gap.start,
        end=gap.end,
        intervals=gap.intervals,
        state=gap.state.value,
        since=gap.since,
        reason=gap.reason,
    )


def _profiles(survey: ArchiveSurvey, settings: ConfiguredMeter | None, meter: str, now: datetime) -> list[ProfileShown]:
    profiles = () if settings is None else settings.profiles
    found = []
    for profile, key, period in _columns(survey, profiles, meter):
        days: list[ProfileDay] = []
        if key is not None and period is not None and not profile.is_log:
            days = _days(survey, meter, key, profile.name, period, now)
        found.append(ProfileShown(name=profile.name, obis=profile.obis, period=period, days=days))
    return found


def _columns(
    survey: ArchiveSurvey, profiles: Sequence[ConfiguredProfile], meter: str
) -> Iterable[tuple[ConfiguredProfile, str | None, float | None]]:
    """Each profile with one key that it feeds, the one with the fewest other values, and the seconds between two of its values.

    Which keys a profile feeds, only the meter tells; those that no other profile names are taken for the one that names none.
    """
    shares: dict[str, tuple[float, list[int]]] = {}
    for key in survey.keys(meter) if profiles else ():
        times, share = survey.profile_intervals(meter, key)
        if times:
            shares[key] = (share, times)
    named = {key for profile in profiles for key in profile.keys}
    for profile in profiles:
        mine = [key for key in shares if key in profile.keys] or [key for key in shares if key not in named]
        best = max(mine, key=lambda key: (shares[key][0], key), default=None)
        yield profile, best, None if best is None else period_of(shares[best][1])


def period_of(times: Sequence[int]) -> float | None:
    """Seconds between two values, most often; None where fewer than two are known. `times` in ms, newest first."""
    steps = Counter(later - earlier for later, earlier in pairwise(times) if later > earlier)
    return None if not steps else steps.most_common(1)[0][0] / 1000


def _days(survey: ArchiveSurvey, meter: str, key: str, profile: str, period: float, now: datetime) -> list[ProfileDay]:
    """The newest days, from the first that has a value or a gap until today; a value belongs to the day in which its interval ends."""
    since = datetime(now.year, now.month, now.day, tzinfo=now.tzinfo) - (DAYS - 1) * _DAY
    counts = {from_ms(count.day * 86_400_000).date(): count for count in survey.intervals_per_day(meter, key, since)}
    missing = _missing_per_day([gap for gap in survey.gaps(meter) if gap.profile == profile], period)
    known = sorted({*counts, *(day for day in missing if day >= since.date())})
    if not known:
        return []
    days = []
    day = known[0]
    while day <= min(now.date(), max(known[-1], now.date())):
        count = counts.get(day)
        read = 0 if count is None else count.read
        expected = read + missing.get(day, 0)
        if known[0] < day < now.date():
            expected = max(expected, round(_DAY.total_seconds() / period))  # where gaps are not archived
        days.append(ProfileDay(day=day, expected=expected, read=read, missing=expected - read))
        day += _DAY
    return days


def _missing_per_day(found: Iterable[Gap], period: float) -> dict[date, int]:
    """Intervals of gaps by the day (UTC) in which they end."""
    missing: Counter[date] = Counter()
    step = max(1, round(period * 1000))
    for gap in found:
        moment, end = to_ms(gap.start), to_ms(gap.end)
        while moment <= end:
            day = from_ms(moment).date()
            midnight = (moment // 86_400_000 + 1) * 86_400_000
            count = max(1, (min(end, midnight - 1) - moment) // step + 1)
            missing[day] += count
            moment += count * step
    return dict(missing)


def _ledger(installation: Installation, survey: ArchiveSurvey, meter: str | None) -> list[LedgerRow]:
    rows = {(line.meter, line.profile): line for line in survey.ledger(meter, MOST_GAPS + 1)}
    if meter is None:
        return [
            LedgerRow(
                meter=line.meter,
                profile=line.profile,
                read=line.read,
                waiting=None,
                delivered=None,
                open=line.open,
                lost=line.lost,
                oldest=None,
                newest=None,
            )
            for line in rows.values()
        ]
    whole, outboxes = installation.configured.settings, installation.outbox.get().states
    if whole is not None and all(
        outbox.exact for outbox in outboxes.values()
    ):  # else an outbox is so full that looking through it takes long
        since = installation.now() - DAYS * _DAY
        return [LedgerRow.model_validate(each) for each in interval_accounts(whole, survey, survey.gaps(meter), since, meter)]
    settings = installation.configured.meters.get(meter)
    profiles = [] if settings is None else [profile for profile in settings.profiles if not profile.is_log]
    waiting = _waiting(installation.outboxes.values(), meter) if len(profiles) == 1 else None
    ledger = []
    for profile, key, _ in _columns(survey, profiles, meter):
        kept = None if key is None else survey.intervals(meter, key)
        line = rows.get((meter, profile.name))
        read = max(0 if kept is None else kept.read, 0 if line is None else line.read)
        ledger.append(
            LedgerRow(
                meter=meter,
                profile=profile.name,
                read=read,
                waiting=waiting,
                delivered=None if waiting is None else max(0, read - waiting),
                open=0 if line is None else line.open,
                lost=0 if line is None else line.lost,
                oldest=None if kept is None else from_ms(kept.first),
                newest=None if kept is None else from_ms(kept.last),
            )
        )
    return ledger


def _waiting(paths: Iterable[Path], meter: str) -> int | None:
    """In all outboxes: the meter may have moved to another session."""
    try:
        found = [profile_records(path, meter, _COUNTING) for path in paths if path.exists()]
    except (StorageError, OSError, sqlite3.Error):
        return None
    known = [count for count in found if count is not None]
    return sum(known) if len(known) == len(found) else None
