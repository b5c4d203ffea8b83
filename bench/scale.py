"""`python -m bench.scale`: whether a fleet of a size is read on schedule, and what that costs.

python -m bench.scale --meters 1000 --latency 0.2 --registers 10 --interval 60 --minutes 3
python -m bench.scale --meters 1000 --latency 0.2 --black-holes 50      # twice: without and with the black holes
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from bench.fleet import Fleet, Found, run

FEW = 100
"""Meters of the run that memory per meter is the difference to."""


def main(
    meters: Annotated[int, typer.Option(min=1, help="How many.")] = 1_000,
    latency: Annotated[float, typer.Option(min=0, help="Seconds from each request to its reply.")] = 0.2,
    registers: Annotated[int, typer.Option(min=1, max=20, help="Per cycle.")] = 10,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between cycles.")] = 60.0,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long it is watched, after every meter was met.")] = 3.0,
    black_holes: Annotated[int, typer.Option(min=0, max=90, help="Percentage that never answers, half of them not even accepting.")] = 0,
    ciphered: Annotated[bool, typer.Option(help="Suite 0, authenticated and encrypted.")] = False,
    with_list: Annotated[bool, typer.Option(help="GET-with-list, or one GET per register.")] = True,
    framing: Annotated[str, typer.Option(help="hdlc or wrapper.")] = "hdlc",
    profile_rows: Annotated[int, typer.Option(min=0, help="Rows of a load profile to catch up with meanwhile.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="A cluster of so many.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Of each process.")] = 1,
    memory: Annotated[bool, typer.Option(help=f"A second run with {FEW} meters, for the memory of one.")] = True,
) -> None:
    """Read a fleet of prepared meters with the whole pipeline, and say what came of it."""
    fleet = Fleet(
        meters, latency, registers, interval, 0, 0, ciphered, framing, with_list, profile_rows, processes=processes, workers=workers
    )
    holed = replace(fleet, silent=black_holes - black_holes // 2, never=black_holes // 2)
    fleets = [fleet, holed] if black_holes else [fleet]
    found = []
    for each in fleets:
        found.append(run(each, minutes * 60))
        typer.echo("\n".join(explained(each, found[-1])))
    if memory and meters > FEW:
        few = run(replace(fleet, meters=FEW), 10.0)
        per_meter = (found[0].memory - few.memory) / (meters - FEW)
        typer.echo(f"memory: {few.memory / 1e6:.0f} MB with {FEW} meters; {per_meter / 1000:.0f} kB per meter above that")
    if black_holes:
        typer.echo("\n".join(_compared(fleet, found[0], fleets[1], found[1])))


def explained(fleet: Fleet, found: Found) -> list[str]:
    """One run, line by line."""
    minimum = found.cycles if fleet.with_list else found.cycles * fleet.registers
    manner = f"{'ciphered, ' if fleet.ciphered else ''}{fleet.framing}, {'with-list' if fleet.with_list else 'single GETs'}"
    holes = f", {fleet.silent} % silent and {fleet.never} % never accepting" if fleet.silent or fleet.never else ""
    return [
        f"{fleet.meters:,} meters x {fleet.registers} registers every {fleet.interval:g} s, latency {fleet.latency * 1000:g} ms, "
        f"{manner}{holes}; watched {found.seconds:.0f} s, load {os.getloadavg()[0]:.1f}",
        f"  schedule   {found.cycles:,} of {found.due:,} cycles, {found.not_ok} not ok; begun late by p50 {found.lateness(50):.0f} ms, "
        f"p99 {found.lateness(99):.0f} ms, at most {max(found.late, default=0):.0f} ms; a cycle takes p50 {found.duration(50):.0f} ms, "
        f"p99 {found.duration(99):.0f} ms",
        f"  CPU        {found.core:.1%} of one core, {found.cpu_per_register:.3f} ms per register from meter to PUBACK",
        f"  memory     {found.memory / 1e6:.0f} MB",
        f"  exchanges  {found.exchanges:,} where the protocol needs {minimum:,}: {found.exchanges / max(1, minimum):.3f}",
        f"  delivered  {found.acknowledged / found.seconds:,.0f} readings/s acknowledged, "
        f"{found.bytes_per_reading:.0f} bytes each on the MQTT side",
        *([f"  profile    {found.profile_readings / found.seconds:,.0f} readings/s of the load profile"] if fleet.profile_rows else []),
        f"  generator  {found.generator['cpu_us_per_reply']} µs of CPU per reply, {found.generator['share_of_a_core']:.1%} of a core",
    ]


def _compared(fleet: Fleet, alone: Found, holed: Fleet, found: Found) -> list[str]:
    """What black holes change for the others; rates are per meter that answers."""
    healthy = sum(holed.is_healthy(number) for number in range(holed.meters))
    kept = (found.cycles / found.seconds / healthy) / (alone.cycles / alone.seconds / fleet.meters)
    return [
        f"the {healthy:,} healthy meters with {holed.meters - healthy:,} black holes beside them, against all healthy:",
        f"  cycles per meter x {kept:.3f}, duration p50 x {found.duration(50) / alone.duration(50):.3f}, "
        f"p99 x {found.duration(99) / alone.duration(99):.3f}; late p99 {alone.lateness(99):.0f} -> {found.lateness(99):.0f} ms; "
        f"CPU {alone.core:.1%} -> {found.core:.1%} of one core",
    ]


if __name__ == "__main__":
    typer.run(main)
