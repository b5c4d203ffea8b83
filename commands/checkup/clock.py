"""Clocks: is this host's kept by a time service, and do the meters' clocks agree with it."""

from __future__ import annotations

from datetime import timedelta
from statistics import median

from commands.checkup.area import Area, Site
from commands.checkup.history import UnreadableError, archive_of
from commands.configuration import counted
from commands.host.clock import clock_state
from model.finding import clipped
from operators.alert_rules import AlertSettings
from operators.alert_verdict import span

_HOST_REMEDY = "set up a time service on this host (timedatectl set-ntp true, or chrony), and check that it reaches its servers"
_METER_REMEDY = "set the meter's clock; a whole hour points to daylight saving or to a deviation of the wrong sign"


def look_at_clock(area: Area, site: Site) -> None:
    """The host's, then the meters', and which of both is off."""
    state = clock_state()
    if state.synchronised is None:
        area.not_seen(f"whether this host's clock is synchronised: {state.said_by}")
    elif state.synchronised:
        area.fact(f"synchronised ({state.said_by})")
    else:
        area.minor(f"this host's clock is not synchronised ({state.said_by} says so): timestamps may be wrong", _HOST_REMEDY)
    try:
        with archive_of(site) as archive:
            cycles = [] if archive is None else archive.latest_cycles()
    except UnreadableError:
        return
    if any(cycle.started > site.now + timedelta(seconds=60) for cycle in cycles):
        area.minor("the archive has cycles of the future: this host's clock is behind now, or was ahead when they were read", _HOST_REMEDY)
    offsets = {cycle.meter: cycle.clock_offset for cycle in cycles if cycle.clock_offset is not None and cycle.meter in site.polled}
    _look_at_offsets(area, offsets, _limit(site), state.synchronised)


def _limit(site: Site) -> float:
    settings = [node.settings for node in site.loaded.nodes if isinstance(node.settings, AlertSettings)] if site.loaded else []
    return min((setting.clock_limit for setting in settings), default=60.0)


def _look_at_offsets(area: Area, offsets: dict[str, float], limit: float, synchronised: bool | None) -> None:
    off = {meter: offset for meter, offset in offsets.items() if abs(offset) > limit}
    if not off:
        if offsets:
            area.fact(f"{counted(len(offsets), 'meter')} checked: no clock is more than {max(map(abs, offsets.values())):.0f} s off it")
        return
    middle = median(off.values())
    alike = len(off) == len(offsets) and all(abs(offset - middle) <= limit for offset in off.values())
    if alike and len(off) > 1 and synchronised is not True:
        what = f"the clocks of all {len(off)} meters are {_words(middle)} of this host's: it is this host's clock that is off"
        area.critical(what, _HOST_REMEDY)
    elif alike and synchronised is not True:
        (meter,) = off
        what = f"its clock is {_words(middle)} of this host's; which of both is off cannot be told by one meter"
        area.minor(what, f"compare both with a watch; then: {_METER_REMEDY}; or: {_HOST_REMEDY}", meter)
    else:
        worst = max(off, key=lambda meter: abs(off[meter]))
        what = f"the clock of {worst} is {_words(off[worst])} of this host's"
        if len(off) > 1:
            what += f", and {len(off) - 1} more are off: {clipped([meter for meter in off if meter != worst])}"
        else:
            others = len(offsets) - 1
            what += f"; {'this host is synchronised' if synchronised else f'{others} other meters agree with this host'}"
        area.minor(what, _METER_REMEDY, worst)


def _words(offset: float) -> str:
    return f"{span(timedelta(seconds=abs(offset)))} {'ahead' if offset > 0 else 'behind'}"
