"""The meters: what the flow's latest cycles say of each, and where nothing runs, whether they can be reached at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from commands.checkup.area import Area, Site, ago
from commands.checkup.history import UnreadableError, archive_of
from commands.checkup.reach import Reach, reach
from commands.configuration import counted
from connectors.archive.reader import ArchivedCycle, ArchiveReader
from model.finding import Degree, clipped
from model.messages import ErrorKind, Outcome, ReadError
from model.settings.meter import MeterSettings

TRIED = 64
"""Addresses that are tried at most."""

IN_A_ROW = 3
"""So many cycles without a value, one after the other, and the meter counts as silent."""

NAMED = 5
"""Meters, or lines, that get a finding of their own; the others are counted."""

_HIDDEN = ErrorKind.CONNECT
"""A meter that fails with this is not held by the flow."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one meter.

    :arg total: it gives no value at all.
    """

    meter: MeterSettings
    what: str
    remedy: str
    kind: ErrorKind | None
    total: bool


def look_at_meters(area: Area, site: Site) -> None:
    """From the archive while the flow runs; by trying to connect otherwise."""
    if not site.polled:
        if site.loaded is not None:
            area.fact("no meter is called; all of them call in")
        return
    if site.keeper is not None:
        area.not_seen(f"their cycles are in the archive on {site.keeper}: ask there")
    elif any(status.unconnected for status in site.running):
        area.not_seen("none is read before the cluster is complete")
    elif site.running:
        _look_at_cycles(area, site)
    else:
        _look_at_reach(area, [meter for meter in site.polled.values() if meter.address.scheme != "sim"])


def _look_at_cycles(area: Area, site: Site) -> None:
    try:
        with archive_of(site) as archive:
            if archive is None:
                area.not_seen("there is no archive to read the latest cycles from: add an archive-out node, or wait for the first cycle")
                return
            cycles = {cycle.meter: cycle for cycle in archive.latest_cycles()}
            faults = [fault for meter in site.polled.values() if (fault := _fault(site, archive, meter, cycles.get(meter.id)))]
    except UnreadableError:
        area.not_seen("the archive cannot be read, and the flow holds the meters")
        return
    silent = [fault for fault in faults if fault.total]
    degree = Degree.CRITICAL if 2 * len(silent) >= len(site.polled) else Degree.MINOR
    _tell(area, site, silent, degree, _tried(silent))
    _tell(area, site, [fault for fault in faults if not fault.total], Degree.MINOR, {})
    good = len(site.polled) - len(faults)
    area.fact(f"{good} of {counted(len(site.polled), 'meter')} gave all values in their latest cycle")


def _fault(site: Site, archive: ArchiveReader, meter: MeterSettings, latest: ArchivedCycle | None) -> Fault | None:
    recent = site.recent(meter)
    if latest is None:
        young = any(site.now - status.started < recent for status in site.running)
        return None if young else Fault(meter, "has no cycle in the archive", "look for its id in the log", None, True)
    if site.now - latest.started > 2 * recent + timedelta(seconds=meter.backoff_max):
        return Fault(meter, f"has not been read since {ago(latest.started, site.now)}", "look for its id in the log", None, True)
    if latest.outcome is Outcome.OK:
        return None
    cycles = archive.cycles(meter.id, min(latest.started, site.now - recent), site.now + timedelta(minutes=1))
    error = _worst((cycles or [latest])[-1].errors)
    kind = error.kind if error else None
    told = f"{error.key + ': ' if error.key else ''}{error.detail}" if error else "no error is noted"
    remedy = error.remedy if error and error.remedy else "python -m commands diagnose --meter " + meter.id
    if any(cycle.value_count for cycle in cycles[-IN_A_ROW:]):
        failed = sum(cycle.outcome is not Outcome.OK for cycle in cycles)
        return Fault(
            meter, f"{failed} of its latest {len(cycles)} cycles are not whole: {told}", remedy, error.kind if error else None, False
        )
    return Fault(meter, f"gives no values: {told}", remedy, kind, True)


def _worst(errors: Sequence[ReadError]) -> ReadError | None:
    """One that concerns the whole cycle, else the first."""
    return min(errors, key=lambda error: error.key is not None, default=None)


def _tried(faults: list[Fault]) -> dict[str, Reach]:
    """The lines that the flow cannot connect to, tried once more: what is found now is evidence, too."""
    addresses = [fault.meter.address for fault in faults if fault.kind is _HIDDEN and fault.meter.address.can_be_shared]
    return {found.line: found for found in reach(addresses[:NAMED])}


def _tell(area: Area, site: Site, faults: list[Fault], degree: Degree, tried: dict[str, Reach]) -> None:
    """One finding for each line whose meters all fail alike, and one for each other meter; no more than a person reads."""
    groups: dict[tuple[str, object], list[Fault]] = defaultdict(list)
    for fault in faults:
        address = fault.meter.address
        groups[(address.line if address.can_be_shared else fault.meter.id, fault.kind)].append(fault)
    for (line, _), members in list(groups.items())[:NAMED]:
        first = members[0]
        behind = [meter for meter in site.polled.values() if meter.address.can_be_shared and meter.address.line == line]
        now = f". Tried just now: {tried[line].what}" if line in tried else ""
        if len(members) == 1:
            area.note(degree, f"{first.what}{now}", first.remedy, first.meter.id)
        elif len(members) == len(behind):
            what = f"all {len(members)} meters behind it fail alike, {clipped([fault.meter.id for fault in members], 3)}: {first.what}{now}"
            area.note(degree, what, f"look at the line or converter first; {first.remedy}", line)
        else:
            what = (
                f"{len(members)} of {len(behind)} meters behind it fail, {clipped([fault.meter.id for fault in members], 3)}: {first.what}"
            )
            area.note(degree, f"{what}{now}", first.remedy, line)
    further = sum(len(members) for members in list(groups.values())[NAMED:])
    if further:
        area.note(degree, f"{further} further meters fail; python -m commands diagnose --meter ID tells why", "begin with those named here")


def _look_at_reach(area: Area, meters: list[MeterSettings]) -> None:
    addresses = {meter.address.line: meter.address for meter in meters}
    found = reach(list(addresses.values())[:TRIED])
    broken = [result for result in found if result.reached is False]
    for result in broken[:NAMED]:
        names = [meter.id for meter in meters if meter.address.line == result.line]
        subject = names[0] if len(names) == 1 else result.line
        area.minor(result.what, result.remedy, subject)
    if len(broken) > NAMED:
        area.minor(f"{len(broken) - NAMED} further addresses cannot be reached", "begin with those named here")
    for result in found:
        if result.reached is None:
            area.not_seen(result.what)
    if len(addresses) > TRIED:
        area.not_seen(f"{len(addresses) - TRIED} further addresses were not tried")
    reached = sum(result.reached is True for result in found)
    area.fact(f"{reached} of {len(found)} addresses accept connections" if found else "all meters are virtual")
