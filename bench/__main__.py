"""`python -m bench`: all benchmarks, one table at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated

import structlog
import typer
from rich.console import Console

from bench import counting, curves, delivering, documented, end_to_end, flow, line, outage, reading
from bench.broker import PROGRAM
from bench.measure import Row
from bench.tables import HEAD, columns, table


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Pairs of runs per row.")] = 5,
    line_seconds: Annotated[float, typer.Option(min=10, help="How long the shared line is watched.")] = 60.0,
    backlog: Annotated[int, typer.Option(min=1_000, help="Readings that are delivered per run.")] = 300_000,
    gateway_client: Annotated[
        bool, typer.Option(help="Make an environment with thingsboard-gateway's client library and measure it too.")
    ] = False,
    write_tables: Annotated[bool, typer.Option(help="Measure the curves too, and put all tables into docs/performance.md.")] = False,
) -> None:
    """Measure this project against its rivals, side by side on this machine, as ratios with their spread."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    lines = [columns(row) for row in _rows(rounds, backlog, gateway_client)]
    whole = [] if PROGRAM is None else end_to_end.whole()
    occupancy = line.measure(line_seconds).explained()
    console = Console(width=200)
    console.print("\n".join((*whole, "", *occupancy, "")), highlight=False)
    console.print(table(lines))
    if write_tables:
        documented.put("rivals", [documented.circumstances(), "", *documented.table(HEAD, lines)])
        documented.put("end to end", ["", *(f"    {text}" for text in (*whole, "", *occupancy)), ""])
        documented.put("meters", curves.by_meters())
        documented.put("registers", curves.by_registers())
        documented.put("workers", curves.by_workers())
        documented.put("history", curves.by_history(rounds))


def _rows(rounds: int, backlog: int, gateway_client: bool) -> Iterator[Row]:
    yield from reading.rows(rounds)
    yield from counting.rows(rounds)
    if PROGRAM is None:
        print("mosquitto is not installed: the rows about delivering are left out", file=sys.stderr)
        return
    yield from flow.rows(rounds, backlog)
    yield from outage.rows(rounds, backlog)
    with ExitStack() as stack:
        python = stack.enter_context(delivering.gateway_library()) if gateway_client else None
        yield from delivering.rows(rounds, backlog, python)


if __name__ == "__main__":
    typer.run(main)
