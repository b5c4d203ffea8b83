"""`python -m dashboard`: the page and the API, read-only."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import structlog
import typer

from dashboard.access import AccessError, is_loopback, token_for
from dashboard.app import Api
from dashboard.installation import Installation
from dashboard.server import Server
from flows.embedded import check_virtual_meter
from flows.logs import configure_logs
from flows.process import EXIT_CONFIGURATION, pipeline_file
from flows.registry import installed_node_types
from model.settings.pipeline import LogSettings

TOKEN_VARIABLE = "DASHBOARD_TOKEN"
NICENESS = 10
"""The flow goes first on a machine that is busy."""

log = structlog.get_logger()


def main(
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    token_file: Annotated[Path | None, typer.Option(help=f"File with the token; else the variable {TOKEN_VARIABLE}.")] = None,
) -> None:
    """Show what a pipeline does, in a browser and as an API. Reads only: the configuration, the archive, the outbox, the status files.

    It may run before, while and after the pipeline runs. Exit code 2 for arguments that will not do.

    Example: python -m dashboard my.yaml --port 8080
    """
    try:
        token = token_for(host, os.environ.get(TOKEN_VARIABLE), token_file)
    except AccessError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from None
    path = file or pipeline_file()
    with suppress(OSError):
        os.nice(NICENESS)
    installation = Installation(path, installed_node_types(), check_virtual_meter)
    configure_logs(LogSettings(), {*installation.configured.secrets, *([token] if token else [])})
    for problem in installation.configured.problems:
        log.warning(problem.what, file=problem.file, line=problem.line, remedy=problem.remedy)
    api = Api(installation, token, check_host=is_loopback(host))
    server = Server(
        api, host, port, lambda address: log.info("dashboard listens", address=address, file=str(path), needs_token=token is not None)
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)  # uvicorn sends them again after its end: to these, so that an ordered end is 0
    try:
        server.run()
    except SystemExit as end:  # uvicorn's, after it has logged why
        sys.exit(end.code)
    if not server.started:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
