"""`take-over`: what waits in the outbox of another host of the cluster, which has the session no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from commands.configuration import load_or_refuse
from connectors.thingsboard.left_behind import take_over as take_over_outbox
from flows.process import EXIT_FATAL
from model.errors import PipelineError


def take_over(
    outbox: Annotated[Path, typer.Argument(help="The other host's outbox.sqlite, copied to this host together with its -wal.")],
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Move the records that wait in another host's outbox into that of this configuration, which delivers them when it starts.

    For a cluster over several hosts, where another host keeps the session now. The flow must not run meanwhile. The copy is kept
    under another name. Exit code 0 when it is done, 1 when it cannot be, 2 with mistakes in the configuration.

    Example: python -m commands take-over /tmp/from-north/outbox.sqlite
    """
    loaded = load_or_refuse(file, as_json)
    try:
        taken = take_over_outbox(outbox, loaded.settings.state_dir, loaded.settings.thingsboard.session_names)
    except PipelineError as error:
        typer.echo(json.dumps({"ok": False, "what": error.what, "remedy": error.remedy}) if as_json else str(error), err=not as_json)
        raise typer.Exit(EXIT_FATAL) from None
    if as_json:
        typer.echo(json.dumps({"ok": True, "records": taken.records, "attributes": taken.attributes, "aside": str(taken.aside)}))
        return
    typer.echo(f"{taken.records} records taken over; they are delivered when the flow runs. The copy is {taken.aside} now")
    if taken.attributes:
        typer.echo(f"{taken.attributes} records with attributes were left out: the flow tells anew how things stand")
