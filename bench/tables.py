"""How pairs of runs are shown: one line for each, in a terminal or in a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from bench.measure import Row, spread

HEAD = ["what", "ours per s", "rival", "rival per s", "speed ratio", "CPU per unit, µs", "rival's", "CPU ratio"]


def columns(row: Row) -> list[str]:
    """The cells of one line, below `HEAD`."""
    (speed, rival_speed), (cpu, rival_cpu) = row.per_second, row.cpu_microseconds
    return [
        row.name,
        f"{speed:,.0f} {row.unit}",
        row.rival_name,
        f"{rival_speed:,.0f}",
        spread(row.speed_ratios()),
        f"{cpu:,.1f}",
        f"{rival_cpu:,.1f}",
        spread(row.cpu_ratios()),
    ]


def table(lines: Iterable[Sequence[str]]) -> Table:
    """For a terminal."""
    found = Table(*HEAD, title="median (range) of pairs of runs")
    for cells in lines:
        found.add_row(*cells)
    return found
