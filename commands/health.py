"""`health`: the verdict on an installation, for people and for cron."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.checkup.area import Area, Site
from commands.checkup.checkup import look, site_of
from commands.quiet import quiet_log
from flows.process import pipeline_file
from model.finding import Degree, Verdict, verdict_of, worst_first

EXIT_CODES = {Verdict.HEALTHY: 0, Verdict.MINOR: 1, Verdict.CRITICAL: 2}
WIDTH = 140
"""Columns where it is no terminal that says: a mail, a log."""

_STYLES = {Verdict.HEALTHY: "bold green", Verdict.MINOR: "bold yellow", Verdict.CRITICAL: "bold red"}


def health(
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say whether everything is well: services, flow, session, meters, delivery, gaps, disk, clock. Problems come first.

    Exit code 0 healthy, 1 minor (readings arrive, but somebody should look), 2 critical. Nothing is changed, nobody logs in to
    ThingsBoard, and meters that the running flow holds are left alone. Works also where the flow is down or pipeline.yaml broken.

    Example: python -m commands health || mail -s "meters" you@example.org
    """
    console = Console(highlight=False, soft_wrap=True, quiet=as_json)
    if not console.is_terminal:
        console.width = WIDTH
    with quiet_log(), console.status("") as status:
        site = site_of(file or pipeline_file())
        areas = look(site, lambda name: status.update(Text(name)))
    verdict = verdict_of(finding for area in areas for finding in area.findings)
    if as_json:
        typer.echo(json.dumps(_plain(site, areas, verdict)))
    else:
        _show(console, site, areas, verdict)
    raise typer.Exit(EXIT_CODES[verdict])


def _plain(site: Site, areas: list[Area], verdict: Verdict) -> dict[str, Any]:
    return {
        "file": str(site.file),
        "at": site.now.isoformat(),
        "verdict": verdict.value,
        "findings": [finding.as_json() for finding in worst_first(finding for area in areas for finding in area.findings)],
        "areas": [
            {
                "area": area.name,
                "verdict": verdict_of(area.findings).value,
                "facts": area.facts,
                "unseen": area.unseen,
            }
            for area in areas
        ],
    }


def _show(console: Console, site: Site, areas: list[Area], verdict: Verdict) -> None:
    findings = worst_first(finding for area in areas for finding in area.findings)
    count = "1 problem" if len(findings) == 1 else f"{len(findings)} problems"
    title = Text(verdict.value.upper() if findings else "healthy", style=_STYLES[verdict])
    console.print(Text.assemble(title, f"  {count if findings else 'no problems'}  {site.file}  {site.now:%Y-%m-%d %H:%M:%S} UTC"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        degree = finding.severity
        style = _STYLES[Verdict.CRITICAL if degree is Degree.CRITICAL else Verdict.MINOR]
        table.add_row(Text(degree.value, style=style), Text(finding.subject, style="bold"), Text(finding.what))
        table.add_row("", "", Text(f"-> {finding.remedy}"))
    for area in areas:
        if area.facts:
            mark = Text("ok", style="green") if not area.findings else Text("-", style="dim")
            table.add_row(mark, area.name, Text("; ".join(area.facts), style="" if not area.findings else "dim"))
    for area in areas:
        if area.unseen:
            table.add_row(Text("unseen", style="dim"), area.name, Text("; ".join(area.unseen), style="dim"))
    console.print(table)
