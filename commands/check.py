"""`check`: everything that can be known about a configuration without asking a meter or a server."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.build import build
from flows.embedded import Embedded, check_virtual_meter
from flows.process import EXIT_CONFIGURATION, pipeline_file
from flows.registry import installed_node_types
from model.errors import ConfigurationError, Problem
from model.loading.load import Loaded, load
from model.stop import Stop

SHOWN = 50
"""Meters listed one by one; of more, only the counts are shown."""


def check(
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a configuration offline: settings, wires, keys, files, and who will be read how.

    Exit code 0 without mistakes (warnings are allowed), 2 with mistakes. Nothing is connected or started.

    Example: python -m commands check my.yaml
    """
    path = file or pipeline_file()
    try:
        loaded = load(path, installed_node_types(), check_meter=check_virtual_meter)
        embedded = Embedded(loaded.settings)
        build(loaded, Stop(), embedded.resolve_meter, embedded.resolve_thingsboard)
    except ConfigurationError as error:
        if as_json:
            typer.echo(json.dumps({"file": str(path), "ok": False, "problems": [_plain(problem) for problem in error.problems]}))
        else:
            typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from None
    if as_json:
        typer.echo(json.dumps({"file": str(path), "ok": True, **_facts(loaded)}))
    else:
        _show(loaded)


def _plain(problem: Problem) -> dict[str, Any]:
    return {"file": problem.file, "line": problem.line, "what": problem.what, "remedy": problem.remedy}


def _facts(loaded: Loaded) -> dict[str, Any]:
    return {
        "nodes": [{"id": node.id, "type": node.type.name, "inputs": [str(wire) for wire in node.inputs]} for node in loaded.nodes],
        "meters": [
            {
                "id": meter.id,
                "connect": meter.connect,
                "framing": meter.framing,
                "client_sap": meter.client_sap,
                "authentication": meter.authentication,
                "keys": len(loaded.settings.reads(meter)),
                "interval": loaded.settings.interval(meter),
            }
            for meter in loaded.settings.meters
        ],
        "warnings": [_plain(problem) for problem in loaded.warnings],
    }


def _show(loaded: Loaded) -> None:
    facts = _facts(loaded)
    console = Console(highlight=False, soft_wrap=True)
    for warning in loaded.warnings:
        console.print(f"{warning.file}:{warning.line}: warning: {warning.what}\n  -> {warning.remedy}", markup=False)
    meters = facts["meters"]
    if len(meters) <= SHOWN:
        table = Table()
        for heading in ("meter", "link", "framing", "client", "authentication", "keys", "every"):
            table.add_column(heading, overflow="fold")
        for meter in meters:
            row = (meter["id"], meter["connect"], meter["framing"], meter["client_sap"], meter["authentication"], meter["keys"])
            table.add_row(*(str(cell) for cell in row), f"{meter['interval']:g} s")
        console.print(table)
    else:
        kinds = Counter((meter["framing"], meter["authentication"]) for meter in meters)
        for (framing, authentication), count in kinds.most_common():
            console.print(f"{count} meters with framing {framing}, authentication {authentication}")
    points = sum(meter["keys"] / meter["interval"] for meter in meters)
    console.print(f"{loaded.file}: no mistakes; {len(meters)} meters, {len(facts['nodes'])} nodes, {points:.3g} readings per second")
