"""`python -m bench.history`: whether an archive of a hundred million readings is asked, written and cleared as quickly as an empty one.

The archive is made with the real schema (about 8 GB; minutes), or taken from `--directory`, where an earlier run has left it. Then:
the page's questions over a real connection; what `gaps`, `health` and `replay` read; the writer's rate, in pairs of runs beside an
empty archive of the same meters; and retention, a slice between two writes as in the flow. CPU is of this process alone.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench import documented
from bench.dashboard import HEAD, KEYS, endpoint_times, write_archive, write_pipeline
from commands.replaying.stored import stored
from connectors.archive.recent import ENOUGH
from connectors.archive.schema import FILE_NAME
from connectors.archive.store import ArchiveStore
from connectors.archive.survey import ArchiveSurvey
from flows.interval_ledger import interval_accounts
from flows.registry import OWN_NODE_TYPES, NodeTypes
from model.loading.load import load
from model.messages import FLEET, Cycle, Message, Origin, Outcome, RawValue, Reading
from model.timestamps import from_ms, to_ms, utc_now

WARM = 5
BATCH = 100
"""Cycles that are written at a time."""

CYCLES = 2 * ENOUGH // len(KEYS)
"""Of one meter, after which its first ones have surely moved to their series."""

WRITES = ["archive", "readings per s", "ratio", "CPU per reading, µs", "CPU ratio", "slowest write, ms"]
READS = ["read", "cold ms", "warm median ms", "warm slowest ms"]
SLICES = ["retention", "rows per s", "median ms", "p99 ms", "slowest ms"]


def main(
    readings: Annotated[int, typer.Option(min=10_000, help="In the whole archive.")] = 100_000_000,
    meters: Annotated[int, typer.Option(min=100, help="With ten keys each.")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, help="Pairs of runs of the writer; in each, every meter is read once.")] = 5,
    slices: Annotated[int, typer.Option(min=10, help="Steps of retention.")] = 3_000,
    directory: Annotated[Path | None, typer.Option(help="Keep the archive here, and take what an earlier run has left here.")] = None,
    write_tables: Annotated[bool, typer.Option(help="Put the tables into docs/performance.md.")] = False,
) -> None:
    """Time an archive of a size."""
    with tempfile.TemporaryDirectory(prefix="bench-history-") as folder:
        place = directory or Path(folder)
        archive = place / "state" / FILE_NAME
        if not archive.exists():
            write_archive(place / "state", meters, readings)
        write_pipeline(place, meters)
        ArchiveStore(archive, 10 * 365 * 86_400.0, to_ms(utc_now())).close()  # an older one is brought up to date
        with closing(ArchiveSurvey(archive)) as survey:
            found = survey.totals(from_ms(0), utc_now() + timedelta(days=3_650)).readings  # an earlier run has deleted some
        about = f"{found:,} readings of {meters:,} meters x {len(KEYS)} keys, {archive.stat().st_size / 1e9:.1f} GB"
        tables = [
            (HEAD, list(endpoint_times(place))),
            (READS, [timed(name, read, archive) for name, read in reads(place, archive)]),
            (WRITES, writing(archive, Path(folder), meters, rounds)),
            (SLICES, clearing(archive, meters, slices)),
        ]
    console = Console(width=160)
    console.print(about)
    for head, rows in tables:
        table = Table(*head)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    if write_tables:
        lines = [documented.circumstances(), "", f"{about}.", ""]
        documented.put("archive", [*lines, *(line for head, rows in tables for line in (*documented.table(head, rows), ""))])


def reads(place: Path, archive: Path) -> list[tuple[str, Callable[[ArchiveSurvey], object]]]:
    """What the commands read, as they do."""
    now = utc_now()
    pipeline = load(place / "pipeline.yaml", NodeTypes(OWN_NODE_TYPES, ()), {"TB_TOKEN": "bench", **os.environ}).settings
    pipeline = pipeline.model_copy(update={"state_dir": archive.parent})
    day = timedelta(days=1)
    return [
        ("gaps: all gaps", lambda survey: survey.gaps()),
        ("gaps: ledger of one meter, 7 days", lambda survey: list(interval_accounts(pipeline, survey, [], now - 7 * day, "m-00042"))),
        ("gaps: ledger of all meters, 7 days", lambda survey: list(interval_accounts(pipeline, survey, [], now - 7 * day))),
        ("health: latest cycle of each meter", lambda survey: survey.latest_cycles()),
        ("health: latest report of each meter", lambda survey: survey.latest_reports()),
        ("health: standing alerts", lambda survey: survey.standing_alerts()),
        ("health: integrity", lambda survey: survey.integrity_problems()),
        ("replay: an hour of 100 meters", lambda survey: stored(survey, _names(100), FLEET, now - day / 24, now)),
        ("replay: a day of one meter", lambda survey: stored(survey, _names(1), FLEET, now - day, now)),
        ("a start: where the load profile of one meter ended", lambda survey: survey.newest_of_profile("m-00042", "key_0")),
    ]


def _names(count: int) -> list[str]:
    return [f"m-{number:05}" for number in range(1, count + 1)]


def timed(name: str, read: Callable[[ArchiveSurvey], object], archive: Path) -> list[str]:
    """A row of `READS`: first over a connection just opened, of a file that the system may still have in memory."""
    with closing(ArchiveSurvey(archive)) as survey:
        times = []
        for _ in range(1 + WARM):
            begun = time.perf_counter()
            read(survey)
            times.append((time.perf_counter() - begun) * 1000)
    return [name, f"{times[0]:.1f}", f"{statistics.median(times[1:]):.1f}", f"{max(times[1:]):.1f}"]


@dataclass
class _Written:
    """What one run of the writer took: seconds of wall clock and CPU, and the slowest write."""

    readings: int
    wall: float
    cpu: float
    slowest: float


def writing(archive: Path, folder: Path, meters: int, rounds: int) -> list[list[str]]:
    """Rows of `WRITES`: both archives in turn, a round each, the first one not counted.

    First one cycle of every meter, which lies among the recent readings then; after that so many cycles of a few meters that all
    of theirs move to their series, which is the whole way of a reading.
    """
    start = utc_now().replace(microsecond=0)
    few = max(1, meters // (rounds + 1) // 10)
    rows = []
    with closing(_opened(folder / "empty" / FILE_NAME)) as empty, closing(_opened(archive)) as full:
        for title in ("one cycle of all", "the whole way"):
            runs: dict[str, list[_Written]] = {"empty": [], "full": []}
            for number in range(rounds + 1):
                for name, store in (("empty", empty), ("full", full)) if number % 2 else (("full", full), ("empty", empty)):
                    if title == "one cycle of all":
                        found = _write(store, _shuffled(range(meters), number), [start + timedelta(minutes=number)])
                    else:
                        begin = start + timedelta(days=1)
                        chosen = range(number * few, (number + 1) * few)
                        found = _write(store, _shuffled(chosen, number), [begin + timedelta(minutes=place) for place in range(CYCLES)])
                    runs[name].append(found)
            rows += _compared(title, runs["empty"][1:], runs["full"][1:])
    return rows


def _compared(title: str, empty: list[_Written], full: list[_Written]) -> list[list[str]]:
    ratios = [(rival.wall / ours.wall, ours.cpu / rival.cpu) for ours, rival in zip(full, empty, strict=True)]
    rows = []
    for name, found in (("empty", empty), ("full", full)):
        speed = statistics.median(run.readings / run.wall for run in found)
        cpu = statistics.median(run.cpu / run.readings for run in found) * 1e6
        both = [_spread([pair[place] for pair in ratios]) for place in (0, 1)] if name == "full" else ["", ""]
        rows.append(
            [f"{name}, {title}", f"{speed:,.0f}", both[0], f"{cpu:.1f}", both[1], f"{max(run.slowest for run in found) * 1000:.0f}"]
        )
    return rows


def _shuffled(meters: range, seed: int) -> list[str]:
    order = [f"m-{number:05}" for number in meters]
    random.Random(seed).shuffle(order)
    return order


def _opened(path: Path) -> ArchiveStore:
    return ArchiveStore(path, 10 * 365 * 86_400.0, to_ms(utc_now()))


def _write(store: ArchiveStore, meters: Sequence[str], moments: Sequence[datetime]) -> _Written:
    """A cycle of each of these meters at each of these moments, as the sink does it: write, then settle."""
    found = _Written(0, 0.0, 0.0, 0.0)
    for at in moments:
        for first in range(0, len(meters), BATCH):
            batch = [message for meter in meters[first : first + BATCH] for message in _cycle(meter, at)]
            begun, before = time.perf_counter(), time.process_time()
            store.write(batch)
            store.settle(to_ms(at) + 1)
            wall = time.perf_counter() - begun
            found.wall += wall
            found.cpu += time.process_time() - before
            found.slowest = max(found.slowest, wall)
            found.readings += len(batch) * len(KEYS) // (len(KEYS) + 1)
    return found


def _cycle(meter: str, at: datetime) -> list[Message]:
    values = tuple(RawValue(key, 23_012, -2, 35) for key in KEYS)
    readings = [Reading(meter, key, Decimal("230.12"), "V", at, Origin.POLL, at) for key in KEYS]
    return [Cycle(meter, at, at, 0.1, Outcome.OK, values, exchanges=1), *readings]


def clearing(archive: Path, meters: int, slices: int) -> list[list[str]]:
    """Rows of `SLICES`: retention of about a tenth of the archive, and the writes between its slices."""
    with ArchiveSurvey(archive) as survey:
        oldest = survey.readings("m-00042", utc_now() - timedelta(days=3_650), utc_now(), limit=1)[0].ts
    now = utc_now()
    keep = (now - oldest).total_seconds() * 0.9
    deleted, steps, writes = 0, [], []
    with closing(ArchiveStore(archive, keep, to_ms(now))) as store:
        for number in range(slices):
            begun = time.perf_counter()
            deleted += store.delete_old(to_ms(now))
            between = time.perf_counter()
            store.write(_cycle(f"m-{number % meters:05}", now + timedelta(hours=1)))
            steps.append(between - begun)
            writes.append(time.perf_counter() - between)
    whole = sum(steps) + sum(writes)
    return [
        ["a slice", f"{deleted / whole:,.0f}", *_percentiles(steps)],
        ["a write of one cycle between two slices", "", *_percentiles(writes)],
    ]


def _percentiles(seconds: Sequence[float]) -> list[str]:
    return [f"{value * 1000:.1f}" for value in (statistics.median(seconds), statistics.quantiles(seconds, n=100)[98], max(seconds))]


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


if __name__ == "__main__":
    typer.run(main)
