"""What all of `discover` keeps to: it stops cleanly, and leaves alone what a running pipeline reads."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import typer
from pydantic import ValidationError

from commands.configuration import load_or_refuse, refuse_argument, running_pipeline
from flows.embedded import check_virtual_meter
from flows.process import pipeline_file
from flows.registry import installed_node_types
from model.errors import ConfigurationError
from model.loading.load import Loaded, load

EXIT_NOTHING = 1
EXIT_LEFT_ALONE = 3


def until_stopped(work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` to its end, or until SIGINT or SIGTERM, upon which it is cancelled and cleans up; whether that was so."""

    async def run() -> bool:
        task = asyncio.ensure_future(work)
        stopped = False

        def stop() -> None:
            nonlocal stopped
            stopped = True
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError, RuntimeError):  # not in the main thread
                asyncio.get_running_loop().add_signal_handler(number, stop)
        try:
            await task
        except asyncio.CancelledError:
            if not stopped:
                raise
        return stopped

    return asyncio.run(run())


def leave_alone_what_runs(file: Path | None, line: str, as_json: bool) -> None:
    """End with exit code 3 where the pipeline that runs here reads a meter at this address."""
    if file is None and not pipeline_file().exists():
        return
    try:
        loaded = load_or_refuse(file, as_json) if file is not None else quietly_loaded()
    except ConfigurationError:
        return
    if any(meter.address.line == line for meter in loaded.settings.meters) and (holder := running_pipeline(loaded)) is not None:
        left_alone(holder, as_json)


def quietly_loaded() -> Loaded:
    """The configuration that other commands would use.

    :raises ConfigurationError: when it has mistakes, which are not the question here.
    """
    return load(pipeline_file(), installed_node_types(), check_meter=check_virtual_meter)


def left_alone(holder: str, as_json: bool) -> NoReturn:
    """End with exit code 3."""
    what, remedy = f"the pipeline that runs here (pid {holder}) reads it", "stop the pipeline first, or give --force and disturb it"
    typer.echo(
        json.dumps({"ok": False, "left_alone": {"what": what, "remedy": remedy}}) if as_json else f"{what}\n  -> {remedy}", err=not as_json
    )
    raise typer.Exit(EXIT_LEFT_ALONE)


def refuse_settings(error: ValueError, as_json: bool) -> NoReturn:
    """End with exit code 2 for a setting that is not possible."""
    text = (
        "; ".join(str(item["msg"]).removeprefix("Value error, ") for item in error.errors())
        if isinstance(error, ValidationError)
        else str(error)
    )
    what, _, remedy = text.partition("; ")
    refuse_argument(what, remedy or "see --help", as_json)
