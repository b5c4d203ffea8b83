"""`plan`: what a configuration will need: processes, memory, disk, messages, and the time of its lines."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.configuration import counted, duration_text, load_or_refuse
from commands.planning.capacity import EXAMPLE_LIMIT, MEASURED, Capacity, capacity
from commands.planning.line_time import LineTime, assumptions, line_times, warnings
from model.loading.load import Loaded

EXIT_TOO_SLOW = 1
ROOM = 1.5
"""What a rate limit should allow of what is needed: what waited during an outage has to be delivered, too."""

SHOWN = 10
"""Lines shown, the busiest first."""


def plan(
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Work out what a configuration will need: processes, memory, archive, messages to ThingsBoard, time on its lines.

    Nothing is connected or started. The costs were measured on one small machine; the output says which and what is assumed.

    Exit code 0 when all intervals can be kept, 1 when a line cannot keep its intervals even with quick meters, 2 with mistakes in the
    configuration.

    Example: python -m commands plan my.yaml
    """
    loaded = load_or_refuse(file, as_json)
    lines = sorted(line_times(loaded.settings), key=lambda line: -line.quick_share)
    needs = capacity(loaded, {cycle.meter: cycle.exchanges for line in lines for cycle in line.cycles})
    advice = _advice(loaded, needs)
    if as_json:
        typer.echo(json.dumps({"file": str(loaded.file), **_plain(needs), "advice": advice, **plain_lines(lines), "measured": MEASURED}))
    else:
        _show(loaded, needs, lines, advice)
    if any(line.quick_share > 1 for line in lines):
        raise typer.Exit(EXIT_TOO_SLOW)


def plain_lines(lines: list[LineTime]) -> dict[str, Any]:
    """The lines, their warnings, and what was assumed, as plain values."""
    return {
        "lines": [
            {
                "line": line.name,
                "meters": [cycle.meter for cycle in line.cycles],
                "baud": line.baud,
                "baud_assumed": line.assumed,
                "round_seconds": {"quick": round(line.quick, 3), "slow": round(line.slow, 3)},
                "share": {"quick": round(line.quick_share, 4), "slow": round(line.slow_share, 4)},
            }
            for line in lines
        ],
        "line_warnings": [{"line": line, "what": what, "remedy": remedy} for line, what, remedy in warnings(lines)],
        "assumptions": assumptions(lines),
    }


def _plain(needs: Capacity) -> dict[str, Any]:
    return {"needs": {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(needs).items()}}


def _advice(loaded: Loaded, needs: Capacity) -> list[str]:
    """What to write or to start differently."""
    advice = []
    if needs.processes > 1:
        advice.append(
            f"start {needs.processes} processes, each with a part of the meters, a state_dir and a token of its own; as one cluster "
            f"(-i 0 to -i {needs.processes - 1}, with the same -a) a value costs twice the processor, and workers (-w) bring no more of it"
        )
    shared = len(set(loaded.settings.shared_lines().values()))
    if needs.processes > 1 and shared and needs.connections < 2 * needs.processes:
        advice.append(f"a line is read by one process: {needs.connections} lines and links cannot keep {needs.processes} processes busy")
    most = loaded.settings.limits.connections
    if needs.connections > most * needs.processes:
        advice.append(
            f"limits.connections {most} is less than the {needs.connections} links: meters take turns and associate anew; raise it"
        )
    if needs.messages_of_busiest_session > EXAMPLE_LIMIT:
        second, minute = (math.ceil(needs.messages_of_busiest_session * seconds * ROOM) for seconds in (1, 60))
        which = "this one" if loaded.settings.thingsboard.sessions is None else "each of these"
        more = f", or deliver through {math.ceil(needs.messages / EXAMPLE_LIMIT)} gateways (thingsboard.sessions)"
        advice.append(
            f"where ThingsBoard's tenant profile limits gateways (after installation it does not; its examples say 20:1,600:60), "
            f"let {which} send at least {second}:1,{minute}:60{more}"
        )
    return advice


def _show(loaded: Loaded, needs: Capacity, lines: list[LineTime], advice: list[str]) -> None:
    out = Console(highlight=False)
    on = counted(needs.connections, "line or link", "lines and links")
    out.print(Text(f"{loaded.file}: {counted(needs.meters, 'meter')} on {on}", style="bold"))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    profile = f" + {_number(needs.profile_readings)} from load profiles" if needs.profile_readings else ""
    most = loaded.settings.thingsboard.outbox.max_size * len(loaded.settings.thingsboard.session_names)
    outbox = f"which may be {_size(most)}: {duration_text(86400 * most / max(1, needs.outbox_per_day))}" if most else "without a bound"
    cycles, exchanges, readings = map(_number, (needs.cycles, needs.exchanges, needs.readings))
    rows = {
        "reading": f"{cycles} cycles, {exchanges} exchanges, {readings} values a second{profile}",
        "processors": f"{needs.cores:.2f} cores: {needs.processes} process{'es' if needs.processes > 1 else ''}",
        "memory": f"{_size(needs.memory_per_process)} per process",
        "archive": f"{_size(needs.archive_per_day)} a day, {_size(30 * needs.archive_per_day)} in 30 days"
        if needs.archive_per_day
        else "there is none",
        "outbox": f"{_size(needs.outbox_per_day)} for each day without ThingsBoard, {outbox}",
        "ThingsBoard": f"{_number(needs.messages)} messages and {_number(needs.readings + needs.profile_readings)} values a second",
    }
    for name, text in rows.items():
        table.add_row(Text(name, "bold"), Text(text))
    out.print(table)
    for text in advice:
        out.print(Text(f"  -> {text}"))
    out.print()
    show_lines(out, lines)
    show_line_warnings(out, lines)
    show_assumptions(out, lines)
    out.print(Text(f"processors, memory and archive: measured with {MEASURED}", style="dim"))


def show_lines(out: Console, lines: list[LineTime]) -> None:
    """How long each line takes to read its meters once, and how much of its time they need; those that are alike in one row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("line or link", overflow="fold")
    for heading in ("meters", "baud", "once: quick", "slow", "busy: quick", "slow"):
        table.add_column(heading, justify="right")
    alike: dict[tuple[str, ...], list[str]] = {}
    styles: dict[tuple[str, ...], str] = {}
    for line in lines:
        baud = "" if line.baud is None else f"{line.baud}?" if line.assumed else str(line.baud)
        times = (duration_text(line.quick), duration_text(line.slow), _share(line.quick_share), _share(line.slow_share))
        cells: tuple[str, ...] = (str(len(line.cycles)), baud, *times)
        alike.setdefault(cells, []).append(line.name)
        styles[cells] = "red" if line.quick_share > 1 else "yellow" if line.slow_share > 1 else ""
    for cells, names in list(alike.items())[:SHOWN]:
        table.add_row(*(Text(cell, styles[cells]) for cell in (_several(names), *cells)))
    out.print(table)
    if len(alike) > SHOWN:
        out.print(Text(f"and {sum(map(len, list(alike.values())[SHOWN:]))} lines and links that are less busy"))


def _several(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} like it"


def show_line_warnings(out: Console, lines: list[LineTime]) -> None:
    """Where intervals cannot or may not be kept, and what to do; each said once."""
    alike: dict[tuple[str, str], list[str]] = {}
    for line, what, remedy in warnings(lines):
        alike.setdefault((what, remedy), []).append(line)
    for (what, remedy), names in list(alike.items())[:SHOWN]:
        out.print(Text.assemble(("warning: ", "yellow"), f"{_several(names)}: {what}\n  -> {remedy}"))
    if len(alike) > SHOWN:
        out.print(Text(f"and {len(alike) - SHOWN} more such warnings (--json lists all)"))


def show_assumptions(out: Console, lines: list[LineTime]) -> None:
    """What the estimates rest on."""
    for text in assumptions(lines):
        out.print(Text(text, style="dim"))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"


def _share(part: float) -> str:
    return f"{part:.0%}" if part >= 0.1 else f"{part:.1%}"


def _size(size: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"
