"""One short run of the whole pipeline against prepared meters, and what one meter more costs in memory."""

from __future__ import annotations

from dataclasses import replace

from bench.fleet import Fleet, run
from bench.scale import explained

FLEET = Fleet(meters=100, latency=0.05, interval=10.0, new_per_second=200.0)
MANY = 1_100
SECONDS = 30.0


def explained_runs(few: Fleet, many: Fleet, seconds: float) -> list[str]:
    """Both runs, line by line, and the memory between them."""
    small, large = run(few, seconds), run(many, seconds)
    per_meter = (large.memory - small.memory) / (many.meters - few.meters)
    return [*explained(few, small), *explained(many, large), f"memory per meter: {per_meter / 1000:.0f} kB"]


def whole() -> list[str]:
    """As `make bench` shows it."""
    return explained_runs(FLEET, replace(FLEET, meters=MANY), SECONDS)
