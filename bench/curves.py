"""How cost grows: with meters, with registers, with the length of the history that is read."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from bench.documented import table
from bench.fleet import Fleet, run
from bench.measure import timed
from bench.prepared_meters import prepared_meters
from bench.reading import COLUMNS, OurProfile

METERS = (100, 300, 1_000)
REGISTERS = (1, 5, 10, 20)
ROWS = (100, 1_000, 10_000)
BASE = Fleet(meters=300, latency=0.05, interval=10.0, new_per_second=200.0)
SECONDS = 30.0

BUSY = Fleet(meters=1_000, latency=0.05, new_per_second=200.0)
INTERVALS = (5.0, 2.0, 1.0)
"""Of a fleet that one process reads with ease, and until it needs nearly all of a core."""
PLACES = {"1 process": (1, 1), "1 process, -w 2": (1, 2), "2 processes": (2, 1)}

_HEAD = ["CPU of one core", "ms of CPU per cycle", "ms of CPU per register", "late p99", "memory", "bytes per reading"]


def by_meters() -> list[str]:
    """The whole pipeline with more and more meters."""
    return _fleets("meters", [replace(BASE, meters=meters) for meters in METERS], [f"{meters:,}" for meters in METERS])


def by_registers() -> list[str]:
    """The whole pipeline with longer and longer cycles."""
    return _fleets("registers", [replace(BASE, registers=registers) for registers in REGISTERS], [str(count) for count in REGISTERS])


def _fleets(what: str, fleets: list[Fleet], names: list[str]) -> list[str]:
    rows = []
    for name, fleet in zip(names, fleets, strict=True):
        found = run(fleet, SECONDS)
        per_cycle = found.cpu * 1000 / max(1, found.cycles)
        rows.append(
            [
                name,
                f"{found.core:.1%}",
                f"{per_cycle:.2f}",
                f"{found.cpu_per_register:.3f}",
                f"{found.lateness(99):.0f} ms",
                f"{found.memory / 1e6:.0f} MB",
                f"{found.bytes_per_reading:.0f}",
            ]
        )
    return table([what, *_HEAD], rows)


def by_workers() -> list[str]:
    """The whole pipeline with more and more to do, in one process, with two workers, and in two processes."""
    rows = []
    for interval in INTERVALS:
        for name, (processes, workers) in PLACES.items():
            found = run(replace(BUSY, interval=interval, processes=processes, workers=workers), SECONDS)
            rows.append(
                [
                    f"{BUSY.meters / interval:,.0f}",
                    name,
                    f"{found.cycles / found.seconds:,.0f}",
                    f"{found.acknowledged / found.seconds:,.0f}",
                    f"{found.lateness(50):.0f} ms",
                    f"{found.lateness(99):.0f} ms",
                    f"{found.core:.1%}",
                    f"{found.cpu_per_register:.3f}",
                    f"{found.memory / 1e6:.0f} MB",
                ]
            )
    return table(
        [
            "cycles/s due",
            "run as",
            "cycles/s read",
            "readings/s acknowledged",
            "late p50",
            "late p99",
            "CPU of one core",
            "ms of CPU per register",
            "memory",
        ],
        rows,
    )


def by_history(rounds: int) -> list[str]:
    """One profile, from its beginning to cycles in hand, shape and scalers included; the best of some runs."""
    rows = []
    for count in ROWS:
        with ExitStack() as stack:
            meters = stack.enter_context(prepared_meters(framing="wrapper", rows=count, columns=COLUMNS))
            ours = OurProfile(meters.connect(0), count, framing="wrapper")
            stack.callback(ours.close)
            ours()
            best = min((timed(ours) for _ in range(rounds)), key=lambda one: one.cpu)
        rows.append([f"{count:,}", f"{best.cpu * 1000:.1f}", f"{best.cpu * 1e6 / count:.1f}", f"{best.wall * 1000:.0f}"])
    return table(["rows of 5 columns", "ms of CPU", "µs of CPU per row", "ms of wall time"], rows)
