"""The systemd units of this project, where they are installed."""

from __future__ import annotations

from commands.checkup.area import Area, Site
from commands.host.units import Unit, installed_units
from model.finding import Degree

OFTEN = 3
"""Restarts by systemd that are worth a look."""

FLOWS = ("dlms-thingsboard.service", "dlms-thingsboard@")
"""The flow in one process, or one of a cluster."""

OURSELVES = "dlms-thingsboard-health.service"
"""The job that runs this: it fails when something else is wrong, which is told by itself."""


def look_at_services(area: Area, _site: Site) -> None:
    """Each unit by itself."""
    units = installed_units()
    if units is None:
        area.not_seen("systemd does not run here, so there are no services")
        return
    if not units:
        area.fact("none of this project's units is installed")
        return
    for unit in units:
        if unit.name != OURSELVES:
            _look_at(area, unit)
    well = [unit.name for unit in units if unit.active == "active"]
    if well:
        area.fact(f"active: {', '.join(well)}")


def _look_at(area: Area, unit: Unit) -> None:
    degree = Degree.CRITICAL if unit.name.startswith(FLOWS) else Degree.MINOR
    look = f"journalctl -u {unit.name} -n 50 tells why"
    if unit.active == "failed" or unit.result not in ("success", ""):
        area.note(degree, f"{unit.name} has failed ({unit.result})", f"{look}; then systemctl restart {unit.name}", unit.name)
    elif unit.sub == "auto-restart":
        area.note(degree, f"{unit.name} ends again and again, systemd starts it anew (restart {unit.restarts})", look, unit.name)
    elif unit.is_lasting and unit.enabled and unit.active == "inactive":
        area.note(degree, f"{unit.name} is enabled but not active", f"systemctl start {unit.name}", unit.name)
    elif unit.restarts >= OFTEN:
        area.minor(f"{unit.name} was started anew {unit.restarts} times by systemd", look, unit.name)
