"""`recovery`: the store in which Bytewax keeps the state of the flow over restarts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.embedded import check_virtual_meter
from flows.process import EXIT_CONFIGURATION, EXIT_FATAL, pipeline_file
from flows.recovery_store import FOLDER, back_up, check_store, make_store, set_aside
from flows.registry import installed_node_types
from model.errors import ConfigurationError, PipelineError
from model.loading.load import load


def recovery(
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    partitions: Annotated[int, typer.Option(min=1, max=64, help="Files of a new store; about one per process.")] = 1,
    aside: Annotated[bool, typer.Option("--set-aside", help="First move the store that is there aside; nothing is deleted.")] = False,
    backup: Annotated[Path | None, typer.Option(help="Copy the store into this new folder, also while the pipeline runs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make the recovery store of a configuration where there is none yet, check it, and print its path for -r.

    What is there already is left as it is, so this may run before every start. Exit code 1 when the store cannot be used.

    Example: python -m bytewax.run flows.main -r $(python -m commands recovery) -s 10 -b 60
    """
    try:
        loaded = load(file or pipeline_file(), installed_node_types(), check_meter=check_virtual_meter)
        store = loaded.settings.state_dir / FOLDER
        moved = set_aside(store) if aside else None
        made = make_store(store, partitions)
        state = check_store(store, complete=False)
        if backup is not None:
            back_up(store, backup)
    except PipelineError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else EXIT_FATAL) from None
    if as_json:
        found = {"store": str(store), "partitions": state.partitions, "made": made, "bytes": state.size}
        typer.echo(json.dumps({**found, "written": state.written.isoformat(), "moved_to": None if moved is None else str(moved)}))
        return
    if moved is not None:
        typer.echo(f"the former store is in {moved}", err=True)
    typer.echo(str(store))
