"""The configuration: without mistakes, or with which; a flow that runs is not touched by a file that was broken since."""

from __future__ import annotations

from commands.checkup.area import Area, Site
from commands.configuration import counted

SHOWN = 3
"""Mistakes that are named; `check` names all."""


def look_at_configuration(area: Area, site: Site) -> None:
    """Whether the file can be loaded as it is now."""
    if site.loaded is not None:
        settings = site.loaded.settings
        area.fact(f"{site.file}: no mistakes, {counted(len(settings.meters), 'meter')}, {counted(len(site.loaded.nodes), 'node')}")
        for warning in site.loaded.warnings[:SHOWN]:
            area.fact(f"warning: {warning.what}")
        return
    more = f" (and {len(site.problems) - SHOWN} more)" if len(site.problems) > SHOWN else ""
    named = "; ".join(
        f"{problem.file}{'' if problem.line is None else f':{problem.line}'}: {problem.what}" for problem in site.problems[:SHOWN]
    )
    remedies = list(dict.fromkeys(problem.remedy for problem in site.problems if problem.remedy))
    remedy = "; ".join([*remedies[:SHOWN], f"see all: python -m commands check {site.file}"])
    if site.running:
        area.minor(f"the file is broken, the flow goes on with what it read at its start: {named}{more}", remedy)
    else:
        area.critical(f"the file is broken, so the flow cannot start: {named}{more}", remedy)
    area.not_seen("what needs the configuration: session owner, neighbours, meters")
