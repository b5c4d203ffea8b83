"""`python -m bench`: all benchmarks, one table at the end."""

from __future__ import annotations

import statistics
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.table import Table

from bench import counting, line, outage, reading
from bench.broker import PROGRAM
from bench.measure import Row, spread


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Pairs of runs per row.")] = 5,
    line_seconds: Annotated[float, typer.Option(min=10, help="How long the shared line is watched.")] = 60.0,
    backlog: Annotated[int, typer.Option(min=1_000, help="Readings that wait and are drained.")] = 300_000,
) -> None:
    """Measure this project against its rivals, side by side on this machine, as ratios with their spread."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    table = Table("what", "ours per s", "rival", "rival per s", "speed ratio", "CPU ratio", title="median (range) of pairs of runs")
    console = Console(width=160)
    for row in reading.rows(rounds):
        _add(table, row)
    for row in counting.rows(rounds):
        _add(table, row)
    if PROGRAM is None:
        typer.echo("mosquitto is not installed: the row about draining is left out", err=True)
    else:
        for row in outage.rows(rounds, backlog):
            _add(table, row)
    console.print(table)
    console.print("\n".join(line.measure(line_seconds).explained()), highlight=False)


def _add(table: Table, row: Row) -> None:
    ours = statistics.median(run.work / run.wall for run in row.ours)
    rival = statistics.median(run.work / run.wall for run in row.rival)
    table.add_row(
        row.name, f"{ours:,.0f} {row.unit}", row.rival_name, f"{rival:,.0f}", spread(row.speed_ratios()), spread(row.cpu_ratios())
    )


if __name__ == "__main__":
    typer.run(main)
