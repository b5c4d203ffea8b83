"""Runs two contenders in turn and reports their ratio pair by pair, so that a drifting machine does not decide."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run of one contender: units of work done, wall and CPU seconds of this process."""

    work: int
    wall: float
    cpu: float


@dataclass(frozen=True)
class Row:
    """One line of the table: what was done, by whom, and the ratios ours / rival of every pair of runs."""

    name: str
    unit: str
    ours: tuple[Run, ...]
    rival_name: str
    rival: tuple[Run, ...]

    @property
    def cpu_microseconds(self) -> tuple[float, float]:
        """CPU per unit of us and of the rival, median."""
        ours, rival = (statistics.median(run.cpu / run.work for run in runs) * 1e6 for runs in (self.ours, self.rival))
        return ours, rival

    @property
    def per_second(self) -> tuple[float, float]:
        """Units per wall second of us and of the rival, median."""
        ours, rival = (statistics.median(run.work / run.wall for run in runs) for runs in (self.ours, self.rival))
        return ours, rival

    def speed_ratios(self) -> list[float]:
        """How many times the rival's units per wall second we do, per pair."""
        return [(a.work / a.wall) / (b.work / b.wall) for a, b in zip(self.ours, self.rival, strict=True)]

    def cpu_ratios(self) -> list[float]:
        """Our CPU per unit over the rival's, per pair."""
        return [(a.cpu / a.work) / (b.cpu / b.work) for a, b in zip(self.ours, self.rival, strict=True)]


def spread(ratios: list[float]) -> str:
    """Median and range of `ratios`, "1.23 (1.10-1.30)"."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def side_by_side(name: str, unit: str, ours: Callable[[], int], rival_name: str, rival: Callable[[], int], rounds: int) -> Row:
    """Warm both up once, then run them in turn; each returns the units of work it did."""
    ours(), rival()
    pairs = [(timed(ours), timed(rival)) for _ in range(rounds)]
    return Row(name, unit, tuple(a for a, _ in pairs), rival_name, tuple(b for _, b in pairs))


def timed(work: Callable[[], int]) -> Run:
    """Run `work` once."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return Run(done, time.perf_counter() - wall, time.process_time() - cpu)


def cpu_seconds(pid: int) -> float:
    """CPU that a process has taken so far, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
