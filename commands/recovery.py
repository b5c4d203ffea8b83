"""`recovery`: the store in which Bytewax keeps the state of the flow over restarts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from commands.configuration import load_or_refuse
from flows.cluster import is_kept_elsewhere
from flows.process import EXIT_FATAL
from flows.recovery_store import FOLDER, back_up, check_store, leave_to_another_host, make_store, set_aside
from model.errors import PipelineError


def recovery(
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    partitions: Annotated[int, typer.Option(min=1, max=64, help="Files of a new store; about one per process.")] = 1,
    aside: Annotated[bool, typer.Option("--set-aside", help="First move the store that is there aside; nothing is deleted.")] = False,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="The store is on another host of the cluster: only make the empty folder.")
    ] = False,
    backup: Annotated[Path | None, typer.Option(help="Copy the store into this new folder, also while the pipeline runs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make the recovery store of a configuration where there is none yet, check it, and print its path for -r.

    What is there already is left as it is, so this may run before every start. Of a cluster over several hosts the host of
    process 0 has the store; on the others --elsewhere, which BYTEWAX_PROCESS_ID and BYTEWAX_ADDRESSES imply. Exit code 0 when
    the store can be used, 1 when it cannot, 2 with mistakes in the configuration.

    Example: python -m bytewax.run flows.main -r $(python -m commands recovery) -s 10 -b 60
    """
    loaded = load_or_refuse(file, as_json)
    try:
        store = loaded.settings.state_dir / FOLDER
        moved = set_aside(store) if aside else None
        if elsewhere or is_kept_elsewhere():
            leave_to_another_host(store)
            _print_elsewhere(store, moved, as_json)
            return
        made = make_store(store, partitions)
        state = check_store(store, complete=False)
        if backup is not None:
            back_up(store, backup)
    except PipelineError as error:
        typer.echo(json.dumps({"ok": False, "what": error.what, "remedy": error.remedy}) if as_json else str(error), err=not as_json)
        raise typer.Exit(EXIT_FATAL) from None
    if as_json:
        found = {"store": str(store), "partitions": state.partitions, "made": made, "bytes": state.size}
        typer.echo(json.dumps({**found, "written": state.written.isoformat(), "moved_to": None if moved is None else str(moved)}))
        return
    if moved is not None:
        typer.echo(f"the former store is in {moved}", err=True)
    typer.echo(str(store))


def _print_elsewhere(store: Path, moved: Path | None, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"store": str(store), "elsewhere": True, "moved_to": None if moved is None else str(moved)}))
        return
    if moved is not None:
        typer.echo(f"the former store is in {moved}", err=True)
    typer.echo(str(store))
