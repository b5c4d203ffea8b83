"""What a process and its files take, sampled from outside, and whether that stays as it is."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import cpu_seconds
from connectors.archive.schema import FILE_NAME as ARCHIVE
from connectors.thingsboard.outbox_schema import FILE_NAME as OUTBOX
from flows.recovery_store import FOLDER as RECOVERY

LEAST_BLOCKS = 4
"""Fewer do not tell a trend from chance."""

_T_975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
"""Student's t for a two-sided 95 %, with 1, 2, ... degrees of freedom."""

SAMPLES = "samples.csv"
"""In the folder of the run: every sample, for whoever wants to see the curve."""

Samples = Sequence[tuple[float, float]]
"""(seconds, value), in order of time."""


@dataclass(frozen=True)
class Measure:
    """Something that is sampled.

    :arg allowance: growth over the whole run that is not called growth: a few more pages of a file, one more connection; of a
        write-ahead log, which stays as long as it once had to be while somebody read, but is cut at 64 MB.
    """

    name: str
    unit: str
    allowance: float


MEASURES = (
    Measure("memory (resident)", "MB", 1.0),
    Measure("file handles", "", 3.0),
    Measure("threads", "", 0.5),
    Measure("CPU", "% of a core", 2.0),
    Measure("outbox", "MB", 0.5),
    Measure("archive", "MB", 0.5),
    Measure("recovery store", "MB", 0.5),
    Measure("write-ahead logs of the three", "MB", 16.0),
    Measure("other files of state_dir", "MB", 0.1),
    Measure("log written", "kB per min", 5.0),
)


@dataclass(frozen=True)
class Trend:
    """A straight line through the means of blocks of time, each as long as all faults together take.

    :arg first: mean of the first block; :arg last: of the last one.
    :arg per_hour: slope; :arg uncertainty: of it, at 95 %.
    :arg hours: from the first to the last block.
    """

    first: float
    last: float
    per_hour: float
    uncertainty: float
    hours: float

    def grows(self, measure: Measure) -> bool:
        """Whether it surely grows, and by more than the allowance in all."""
        return (self.per_hour - self.uncertainty) * self.hours > measure.allowance


def trend(samples: Samples, block: float) -> Trend | None:
    """The trend of what was sampled in blocks of `block` seconds; None where they are too few."""
    blocks = list(_blocks(samples, block))
    if len(blocks) < LEAST_BLOCKS:
        return None
    times, values = zip(*blocks, strict=True)
    slope, offset = statistics.linear_regression(times, values)
    spread = sum((value - offset - slope * moment) ** 2 for moment, value in blocks)
    middle = statistics.fmean(times)
    freedom = len(blocks) - 2
    error = (spread / freedom / sum((moment - middle) ** 2 for moment in times)) ** 0.5
    uncertainty = error * (_T_975[freedom - 1] if freedom <= len(_T_975) else 2.0 + 2.4 / freedom)
    return Trend(values[0], values[-1], slope * 3600, uncertainty * 3600, (times[-1] - times[0]) / 3600)


def _blocks(samples: Samples, block: float) -> Iterator[tuple[float, float]]:
    """The middle and the mean of each whole block."""
    begin = samples[0][0] if samples else 0.0
    within: list[float] = []
    for moment, value in samples:
        if moment >= begin + block:
            yield begin + block / 2, statistics.fmean(within)
            begin, within = begin + block, []
        within.append(value)


@dataclass
class Observer:
    """Samples one process and the folder in which it runs."""

    pid: int
    folder: Path
    samples: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {measure.name: [] for measure in MEASURES})

    def __post_init__(self) -> None:
        self._before = time.monotonic(), cpu_seconds(self.pid), self._log()
        (self.folder / SAMPLES).write_text(f"seconds,{','.join(measure.name for measure in MEASURES)}\n", encoding="utf-8")

    def sample(self) -> None:
        """Take all measures, now."""
        state = self.folder / "state"
        moment, cpu, log = time.monotonic(), cpu_seconds(self.pid), self._log()
        seconds = moment - self._before[0]
        databases = [_size(state, name) for name in (OUTBOX, ARCHIVE, f"{RECOVERY}/*.sqlite3")]
        companions = sum(_size(state, f"{name}-*") for name in (OUTBOX, ARCHIVE, f"{RECOVERY}/*.sqlite3"))
        values = (
            int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6,
            len(os.listdir(f"/proc/{self.pid}/fd")),  # noqa: PTH208 - names only
            len(os.listdir(f"/proc/{self.pid}/task")),  # noqa: PTH208
            (cpu - self._before[1]) / seconds * 100,
            *databases,
            companions,
            _size(state, "**/*") - sum(databases) - companions,
            (log - self._before[2]) / seconds * 60 / 1000,
        )
        self._before = moment, cpu, log
        for measure, value in zip(MEASURES, values, strict=True):
            self.samples[measure.name].append((moment, float(value)))
        with (self.folder / SAMPLES).open("a", encoding="utf-8") as file:
            file.write(f"{moment:.0f},{','.join(f'{value:.3f}' for value in values)}\n")

    def _log(self) -> int:
        return (self.folder / "log").stat().st_size


def _size(folder: Path, pattern: str) -> float:
    """Megabytes of files, those left out that are gone by the time they are looked at."""
    total = 0
    for file in folder.glob(pattern):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total / 1e6
