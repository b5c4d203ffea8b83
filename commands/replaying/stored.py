"""What the archive holds of a span of time: every reading that left a map node then, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from connectors.archive.reader import ArchiveReader
from model.messages import HealthReport, Reading, Rejection
from operators.map import RULE as MAP_RULE

MOST = 2_000_000
"""Readings that are replayed at most; they are held in memory."""

_ALL = 2**62

Identity = tuple[str, str, datetime]
"""Meter, key and timestamp: what makes a reading the same reading."""


def identity(reading: Reading) -> Identity:
    """What makes a reading the same reading."""
    return reading.meter, reading.key, reading.ts


@dataclass(frozen=True, slots=True)
class Stored:
    """Readings in the order in which they were read, and the fate of each.

    :arg rejected: readings that were rejected then, with the rule and the reason.
    :arg unmapped: how many values the map node itself rejected; they never were readings and are not replayed.
    :arg reports: the health reports of the span, of all meters and of the fleet.
    """

    readings: tuple[Reading, ...]
    rejected: dict[Identity, Rejection]
    unmapped: int
    reports: tuple[HealthReport, ...]


class TooMuchError(Exception):
    """The span holds more readings than can be replayed."""


def stored(archive: ArchiveReader, meters: Sequence[str], fleet: str, start: datetime, end: datetime) -> Stored:
    """Everything of `meters` in [start, end).

    :arg fleet: the name under which the reports of all meters together are kept.
    :raises TooMuchError: when it is more than `MOST` readings.
    """
    found: dict[Identity, Reading] = {}
    rejected: dict[Identity, Rejection] = {}
    unmapped = 0
    for meter in meters:
        for rejection in archive.rejections(meter, start, end, limit=MOST + 1):
            if rejection.rule == MAP_RULE:
                unmapped += 1
                continue
            rejected[identity(rejection.reading)] = rejection
            found[identity(rejection.reading)] = rejection.reading
        found.update((identity(reading), reading) for reading in archive.readings(meter, start, end, limit=MOST + 1))
        if len(found) > MOST:
            raise TooMuchError(f"the span holds more than {MOST:,} readings")
    # What was archived as a reading was accepted, also where another node rejected it besides.
    reports = [kept.report for meter in (*meters, fleet) for kept in archive.reports(meter, start, end, limit=_ALL)]
    readings = sorted(found.values(), key=lambda reading: (reading.read_at, reading.ts, reading.meter, reading.key))
    return Stored(tuple(readings), rejected, unmapped, tuple(sorted(reports, key=lambda report: report.end)))
