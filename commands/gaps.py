"""`gaps`: which load profile intervals are missing, which are lost for good, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from connectors.archive.reader import ArchiveReader
from connectors.archive.schema import FILE_NAME
from flows.embedded import check_virtual_meter
from flows.process import EXIT_CONFIGURATION, pipeline_file
from flows.registry import installed_node_types
from model.errors import ConfigurationError, StorageError
from model.loading.load import load
from model.messages import Gap, GapState

EXIT_OPEN, EXIT_LOST = 1, 2
_TIME = "%Y-%m-%d %H:%M:%S"


def gaps(
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    meter: Annotated[str | None, typer.Option("--meter", help="Only this meter.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the gaps of all load profiles, as the archive keeps them.

    Exit code 0 without gaps, 1 with open ones, 2 with lost ones or mistakes in the configuration. Reads only.

    Example: python -m commands gaps my.yaml --meter lab-1
    """
    path = file or pipeline_file()
    try:
        loaded = load(path, installed_node_types(), check_meter=check_virtual_meter)
        with ArchiveReader(loaded.settings.state_dir / FILE_NAME) as archive:
            found = archive.gaps(meter)
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from None
    except StorageError as error:
        typer.echo(f"{error.what}\n  -> {error.remedy}", err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from None
    if as_json:
        typer.echo(json.dumps({"file": str(path), "gaps": [_plain(gap) for gap in found]}))
    else:
        _show(found)
    states = {gap.state for gap in found}
    raise typer.Exit(EXIT_LOST if GapState.LOST in states else EXIT_OPEN if GapState.OPEN in states else 0)


def _plain(gap: Gap) -> dict[str, Any]:
    return {
        "meter": gap.meter,
        "profile": gap.profile,
        "start": gap.start.isoformat(),
        "end": gap.end.isoformat(),
        "intervals": gap.intervals,
        "state": gap.state.value,
        "since": gap.since.isoformat(),
        "at": gap.at.isoformat(),
        "reason": gap.reason,
    }


def _show(found: list[Gap]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if found:
        table = Table()
        for heading in ("meter", "profile", "from (UTC)", "to (UTC)", "intervals", "state", "reason"):
            table.add_column(heading, overflow="fold")
        for gap in found:
            times = (gap.start.strftime(_TIME), gap.end.strftime(_TIME))
            table.add_row(gap.meter, gap.profile, *times, str(gap.intervals), gap.state.value, gap.reason)
        console.print(table)
    open_, lost = (sum(gap.intervals for gap in found if gap.state is state) for state in (GapState.OPEN, GapState.LOST))
    console.print(f"{open_} intervals missing and asked for again, {lost} lost for good")
