"""`check`: everything that can be known about a configuration without asking a meter or a server."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.configuration import counted, duration_text, load_or_refuse, plain_problem, refuse
from commands.plan import plain_lines, show_assumptions, show_line_warnings, show_lines
from commands.planning.line_time import CycleTime, LineTime, line_times
from connectors.thingsboard.forgotten import forgotten_outboxes
from flows.build import build
from flows.embedded import Embedded
from model.assignment import Assignment
from model.errors import ConfigurationError, Problem
from model.loading.load import Loaded
from model.settings.thingsboard import EMBEDDED
from model.stop import Stop

SHOWN = 50
"""Meters listed one by one; of more, only the counts are shown."""


def check(
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a configuration offline: settings, wires, keys, files, what will be read from whom, and how long that takes.

    Exit code 0 without mistakes (warnings are allowed), 2 with mistakes. Nothing is connected or started. Of each line the estimated
    time is shown, with quick and with slow meters, and a warning where its meters cannot be read as often as they should.

    Example: python -m commands check my.yaml
    """
    loaded = load_or_refuse(file, as_json)
    try:
        embedded = Embedded(loaded.settings)
        build(loaded, Stop(), embedded.resolve_meter, embedded.resolve_thingsboard)
    except ConfigurationError as error:
        refuse(loaded.file, error.problems, str(error), as_json)
    lines = sorted(line_times(loaded.settings), key=lambda line: -line.quick_share)
    facts = _facts(loaded, lines)
    if as_json:
        typer.echo(json.dumps({"file": str(loaded.file), "ok": True, **facts, **plain_lines(lines)}))
    else:
        _show(loaded, facts, lines)


def _facts(loaded: Loaded, lines: list[LineTime]) -> dict[str, Any]:
    settings = loaded.settings
    times = {cycle.meter: cycle for line in lines for cycle in line.cycles}
    assignment = Assignment(settings.thingsboard)
    shares = assignment.meters(meter.id for meter in settings.meters)
    return {
        "thingsboard": _receiver(loaded),
        "nodes": [{"id": node.id, "type": node.type.name, "inputs": [str(wire) for wire in node.inputs]} for node in loaded.nodes],
        "meters": [
            {
                "id": meter.id,
                "connect": meter.connect,
                "framing": meter.framing,
                "client_sap": meter.client_sap,
                "authentication": meter.authentication,
                "template": meter.template,
                "keys": len(settings.reads(meter)),
                "reads": list(settings.reads(meter)),
                "profiles": list(settings.profiles(meter)),
                "interval": settings.interval(meter),
                "cycle_seconds": _plain_time(times.get(meter.id)),
                "session": assignment.of(meter.id),
            }
            for meter in settings.meters
        ],
        "sessions": [{"name": session, "meters": len(meters)} for session, meters in shares.items()],
        "warnings": [plain_problem(problem) for problem in _warnings(loaded)],
    }


def _warnings(loaded: Loaded) -> list[Problem]:
    """Those of the file, and what state_dir holds that this file lets nobody deliver."""
    settings = loaded.settings
    left = forgotten_outboxes(settings.state_dir, settings.thingsboard.session_names)
    return [*loaded.warnings, *(Problem(str(loaded.file), None, each.what, each.remedy) for each in left)]


def _receiver(loaded: Loaded) -> str:
    settings = loaded.settings.thingsboard
    if not any(node.type.name == "thingsboard-out" for node in loaded.nodes):
        return "no ThingsBoard: there is no thingsboard-out node"
    return "the built-in ThingsBoard stand-in: `url` names your server" if settings.url == EMBEDDED else settings.url


def _plain_time(time: CycleTime | None) -> dict[str, float] | None:
    return None if time is None else {"quick": round(time.quick, 3), "slow": round(time.slow, 3)}


def _show(loaded: Loaded, facts: dict[str, Any], lines: list[LineTime]) -> None:
    out = Console(highlight=False)
    for warning in facts["warnings"]:
        place = warning["file"] if warning["line"] is None else f"{warning['file']}:{warning['line']}"
        out.print(Text(f"{place}: warning: {warning['what']}\n  -> {warning['remedy']}"), soft_wrap=True)
    meters = facts["meters"]
    if len(meters) <= SHOWN:
        out.print(_meters_table(meters))
    else:
        kinds = Counter((meter["framing"], meter["authentication"]) for meter in meters)
        for (framing, authentication), count in kinds.most_common():
            out.print(Text(f"{counted(count, 'meter')} with framing {framing}, authentication {authentication}"))
    out.print()
    out.print(_templates_table(loaded))
    out.print()
    if lines:
        show_lines(out, lines)
        show_line_warnings(out, lines)
        show_assumptions(out, lines)
    if loaded.settings.thingsboard.sessions is not None:
        shares = ", ".join(f"{session['name']} {session['meters']}" for session in facts["sessions"])
        out.print(Text(f"meters of each session with ThingsBoard: {shares}"), soft_wrap=True)
    points = sum(meter["keys"] / meter["interval"] for meter in meters)
    has = f"{counted(len(meters), 'meter')}, {counted(len(facts['nodes']), 'node')}"
    out.print(Text(f"delivered to {facts['thingsboard']}"), soft_wrap=True)
    summary = f"{loaded.file}: no mistakes; {has}, {points:.3g} readings per second"
    out.print(Text(summary), soft_wrap=True)


def _meters_table(meters: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("meter", "link", "framing", "client", "every", "takes"):
        table.add_column(heading, overflow="fold", no_wrap=heading not in ("meter", "link"))
    for meter in meters:
        times = meter["cycle_seconds"]
        takes = "calls in" if times is None else _span(times["quick"], times["slow"])
        row = (meter["id"], meter["connect"], meter["framing"], f"{meter['client_sap']}, {meter['authentication']}")
        table.add_row(*(Text(str(cell)) for cell in row), Text(f"{meter['interval']:g} s"), Text(takes))
    return table


def _span(quick: float, slow: float) -> str:
    first, second = duration_text(quick), duration_text(slow)
    return first if first == second else f"{first} - {second}"


def _templates_table(loaded: Loaded) -> Table:
    """What is read, by template; what single meters read besides or instead is only counted."""
    settings = loaded.settings
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("template", overflow="fold")
    table.add_column("meters", justify="right")
    table.add_column("reads", overflow="fold")
    for name, template in settings.templates.items():
        users = [meter for meter in settings.meters if meter.template == name]
        reads = ", ".join(f"{key} {read.obis}" for key, read in template.read.items())
        if template.profiles:
            reads += "; profiles " + ", ".join(f"{called} {profile.obis}" for called, profile in template.profiles.items())
        changed = sum(bool(meter.overrides) for meter in users)
        if changed:
            reads += f"; {changed} of the meters read something else (overrides)"
        table.add_row(Text(name), Text(str(len(users))), Text(reads))
    return table
