"""What all commands do before and around their work: load the configuration or refuse it, show progress, print JSON."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from connectors.thingsboard.connection import parse_address
from connectors.thingsboard.ownership import is_another_pipeline, session_holder
from flows.embedded import check_virtual_meter
from flows.process import EXIT_CONFIGURATION, pipeline_file
from flows.registry import installed_node_types
from model.errors import ConfigurationError, Problem
from model.loading.load import Loaded, load
from model.settings.meter import MeterSettings
from model.settings.thingsboard import EMBEDDED
from model.status import read_files

NARROW = 80
"""Columns of a terminal that every table must fit into."""


def load_or_refuse(file: Path | None, as_json: bool) -> Loaded:
    """The configuration; with mistakes the command ends with exit code 2 and all of them on stderr, or in the JSON object."""
    path = file or pipeline_file()
    try:
        return load(path, installed_node_types(), check_meter=check_virtual_meter)
    except ConfigurationError as error:
        refuse(path, error.problems, str(error), as_json)


def refuse(path: Path, problems: Sequence[Problem], text: str, as_json: bool) -> NoReturn:
    """End with exit code 2: something must be written differently."""
    if as_json:
        typer.echo(json.dumps({"file": str(path), "ok": False, "problems": [plain_problem(problem) for problem in problems]}))
    else:
        typer.echo(text, err=True)
    raise typer.Exit(EXIT_CONFIGURATION) from None


def refuse_argument(what: str, remedy: str, as_json: bool) -> NoReturn:
    """End with exit code 2: the command line itself must be written differently."""
    if as_json:
        typer.echo(json.dumps({"ok": False, "problems": [{"file": None, "line": None, "what": what, "remedy": remedy}]}))
    else:
        typer.echo(f"{what}\n  -> {remedy}", err=True)
    raise typer.Exit(EXIT_CONFIGURATION) from None


def plain_problem(problem: Problem) -> dict[str, Any]:
    """A problem as plain values."""
    return {"file": problem.file, "line": problem.line, "what": problem.what, "remedy": problem.remedy}


def chosen_meters(loaded: Loaded, wanted: Sequence[str], as_json: bool) -> list[MeterSettings]:
    """The meters of these ids, all where none is named; ends with exit code 2 for an id that does not exist."""
    known = {meter.id: meter for meter in loaded.settings.meters}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        some = ", ".join(list(known)[:10]) + (", ..." if len(known) > 10 else "")
        refuse_argument(f"there is no meter {', '.join(unknown)} in {loaded.file}", f"its meters are {some or 'none yet'}", as_json)
    return [known[name] for name in dict.fromkeys(wanted)] if wanted else list(known.values())


def running_pipeline(loaded: Loaded) -> str | None:
    """The pid of the pipeline that runs on this host with this configuration's state_dir or one of its sessions; None when none does."""
    for status in read_files(loaded.settings.state_dir).running():
        if status.host == socket.gethostname():
            return str(status.pid)
    settings = loaded.settings.thingsboard
    if settings.url == EMBEDDED:
        return None
    for name in settings.session_names:
        holder = session_holder(str(parse_address(settings.url)), settings.of_session(name).session_credentials())
        if holder is not None and not is_another_pipeline(holder, loaded.settings.state_dir):
            return holder["pid"]
    return None


def progress() -> Progress:
    """A progress bar on stderr, on a terminal only, gone when the work is done."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())


def counted(number: int, what: str, several: str = "") -> str:
    """1 meter, 2 meters; `several` where the plural is another."""
    return f"{number} {what if number == 1 else several or what + 's'}"


def duration_text(seconds: float) -> str:
    """Seconds as people say them: 85 ms, 1.2 s, 15 min, 2.1 h."""
    for unit, factor, least in (("days", 86400.0, 172800.0), ("h", 3600.0, 5970.0), ("min", 60.0, 99.5), ("s", 1.0, 0.995)):
        if seconds >= least:
            number = seconds / factor
            return f"{number:.0f} {unit}" if number >= 9.95 else f"{number:.1f} {unit}".replace(".0 ", " ")
    return f"{seconds * 1000:.0f} ms"
