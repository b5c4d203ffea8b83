"""`recovery`: the store in which Bytewax keeps the state of the flow over restarts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from bytewax.recovery import init_db_dir

from flows.embedded import check_virtual_meter
from flows.process import EXIT_CONFIGURATION, pipeline_file
from flows.registry import installed_node_types
from model.errors import ConfigurationError
from model.loading.load import load

STORE = "recovery"
"""Folder of the store inside state_dir."""


def recovery(
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    partitions: Annotated[int, typer.Option(min=1, max=64, help="Files of a new store; about one per process.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make the recovery store of a configuration where there is none yet, and print its path for -r.

    What is there already is left as it is, so this may run before every start.

    Example: python -m bytewax.run flows.main -r $(python -m commands recovery) -s 10 -b 60
    """
    try:
        loaded = load(file or pipeline_file(), installed_node_types(), check_meter=check_virtual_meter)
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from None
    store = loaded.settings.state_dir / STORE
    made = False
    try:
        store.mkdir(parents=True, exist_ok=True)
        if not any(store.glob("part-*.sqlite3")):
            init_db_dir(store, partitions)  # type: ignore[no-untyped-call]
            made = True
    except OSError as error:
        typer.echo(
            f"the recovery store {store} cannot be made: {error.strerror}\n  -> make state_dir writable, or set another one", err=True
        )
        raise typer.Exit(1) from None
    count = len(list(store.glob("part-*.sqlite3")))
    typer.echo(json.dumps({"store": str(store), "partitions": count, "made": made}) if as_json else str(store))
