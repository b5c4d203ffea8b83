"""`python -m simulator.thingsboard`: a ThingsBoard stand-in to run a pipeline against, without ThingsBoard."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import ssl
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import structlog
import typer

from simulator.thingsboard.accounts import Account
from simulator.thingsboard.journal import SqliteJournal
from simulator.thingsboard.report import write_report
from simulator.thingsboard.stand_in import StandIn
from simulator.thingsboard.store import Store

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free one.")] = 1883,
    token_env: Annotated[str, typer.Option(help="Environment variable with the access token of the gateway.")] = "TB_TOKEN",
    name: Annotated[str, typer.Option(help="Name of the device that has the token.")] = "gateway",
    device: Annotated[bool, typer.Option("--device", help="The token belongs to a plain device, not to a gateway.")] = False,
    store: Annotated[Path | None, typer.Option(help="SQLite file to keep what was accepted; in memory where absent.")] = None,
    stats_file: Annotated[Path | None, typer.Option(help="JSON file for counters and data, written at the end and on SIGUSR1.")] = None,
    cert: Annotated[Path | None, typer.Option(help="PEM file of the server's certificate, for TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")] = None,
) -> None:
    """Serve MQTT as ThingsBoard does, until SIGTERM or SIGINT."""
    token = os.environ.get(token_env)
    if not token:
        raise typer.BadParameter(f"the environment variable {token_env} is not set; put the access token there", param_hint="--token-env")
    if (cert is None) != (key is None):
        raise typer.BadParameter("--cert and --key belong together; give both or neither")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO), logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    with ExitStack() as stack:
        try:
            journal = stack.enter_context(closing(SqliteJournal(store))) if store else None
            stand_in = StandIn([Account(name, token, gateway=not device)], store=Store(journal), ssl_context=_server_context(cert, key))
            asyncio.run(_serve(stand_in, host, port, stats_file))
        except (OSError, sqlite3.Error) as error:
            typer.echo(f"the stand-in cannot run: {error}", err=True)
            raise typer.Exit(1) from error


async def _serve(stand_in: StandIn, host: str, port: int, stats_file: Path | None) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stats_file is not None:
        loop.add_signal_handler(signal.SIGUSR1, write_report, stand_in, stats_file)
    typer.echo(await stand_in.start(host, port))
    try:
        await stop.wait()
    finally:
        await stand_in.stop()
        if stats_file is not None:
            write_report(stand_in, stats_file)


def _server_context(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None or key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


if __name__ == "__main__":
    app()
