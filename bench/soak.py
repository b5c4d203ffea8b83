"""`python -m bench.soak`: the whole pipeline for an hour or a day under faults that come and go; nothing may grow, nothing be missing.

python -m bench.soak --minutes 60 --write-tables      # puts its table into docs/performance.md
python -m bench.soak --minutes 1440                   # a day

The pipeline runs as an operator runs it, with recovery, on prepared meters (simple values, many) and virtual ones (load profiles),
into mosquitto; bench/soak_faults.py says what befalls them. Memory, file handles, threads, CPU and files are sampled from outside.
After a warm-up each must stay as it is: the slope of a line through the means of whole rounds of faults, with its uncertainty.
The exit code is 1 where something grows, or where something that the meters answered has not arrived at a subscriber.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from bench import documented
from bench.arrivals import LAG, Arrivals
from bench.fleet import NODES, running_pipeline
from bench.prepared_meters import PreparedMeters, prepared_meters
from bench.prepared_replies import REGISTERS
from bench.soak_faults import Schedule, faults
from bench.steadiness import MEASURES, Observer, trend
from bench.stock import INFORMATION_SIZE
from connectors.archive.schema import FILE_NAME
from tests.contract.mosquitto import MosquittoBroker, wait_for
from tests.torture.meter_process import CAPTURE_PERIOD, described
from tests.torture.servant import Servant
from tests.torture.truth import CAPTURED, POLLED, PROFILE, Truth

SAMPLE_EVERY, ASK_EVERY = 5.0, 15.0
START, SETTLE = 120.0, 400.0
"""Deadlines, seconds: until the pipeline delivers, and until everything has arrived after the last fault."""

HEAD = ["what", "after warm-up", "at the end", "per hour", "verdict"]
_KINDS = 7
_PATIENCE = {"backoff_min": "500ms", "backoff_max": "5s", "exchange_timeout": "2s", "connect_timeout": "3s", "cycle_timeout": "30s"}


@dataclass(frozen=True)
class Soak:
    """What runs, and for how long: the longer, the further apart the faults, and the longer the archive keeps.

    :arg seconds: from the first delivery to the end of the faults.
    """

    seconds: float
    prepared: int = 100
    virtual: int = 8
    interval: float = 5.0
    disturbed: bool = True

    @property
    def fault_every(self) -> float:
        """Seconds from one fault to the next."""
        return min(60.0, max(7.0, self.seconds / 90))

    @property
    def round(self) -> float:
        """Seconds until each fault has been once."""
        return self.fault_every * _KINDS

    @property
    def keep(self) -> float:
        """Seconds that archive and outbox keep what is done with: short, so that both must stop growing within the run."""
        return min(900.0, max(60.0, self.seconds / 10))

    @property
    def warm_up(self) -> float:
        """Seconds until everything has happened twice and the archive deletes."""
        return max(2 * self.round, 1.3 * self.keep)


@dataclass(frozen=True)
class Outcome:
    """The table, and whether all is well."""

    rows: list[list[str]]
    about: str
    is_good: bool


def main(
    minutes: Annotated[float, typer.Option(min=0.5, help="How long the faults last.")] = 60.0,
    meters: Annotated[int, typer.Option(min=1, help="Prepared meters.")] = 100,
    disturbed: Annotated[bool, typer.Option(help="With faults, or without, to see what grows by itself.")] = True,
    write_tables: Annotated[bool, typer.Option(help="Put the table into docs/performance.md.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Keep log and state here, to look at afterwards.")] = None,
) -> None:
    """Soak a pipeline in faults, and say whether it grows or loses anything."""
    outcome = run(Soak(minutes * 60, prepared=meters, disturbed=disturbed), folder)
    table = Table(*HEAD, title=outcome.about)
    for row in outcome.rows:
        table.add_row(*row)
    Console(width=160).print(table)
    if write_tables:
        lines = [documented.circumstances(), "", outcome.about, "", *documented.table(HEAD, outcome.rows)]
        documented.put("soak", lines)
    raise typer.Exit(0 if outcome.is_good else 1)


def run(soak: Soak, folder: Path | None = None) -> Outcome:
    """Start everything, disturb and watch it, let it settle, judge."""
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        (place / "broker").mkdir(parents=True)
        broker = stack.enter_context(MosquittoBroker(place / "broker"))
        prepared = stack.enter_context(prepared_meters(latency=0.02, told=True))
        virtual = Servant("tests.torture.meter_process", str(soak.virtual))
        stack.callback(virtual.kill)
        write_pipeline(place, soak, prepared, virtual.start(), broker.url)
        arrivals = Arrivals(broker.port, place / "state" / FILE_NAME, Truth(soak.virtual, 30.0), 2 * soak.keep + SETTLE)
        stack.callback(arrivals.close)
        process = stack.enter_context(running_pipeline(place))
        wait_for(lambda: arrivals.known() == soak.virtual, "an interval of each virtual meter", START)
        observer = Observer(process.pid, place)
        possible = faults(prepared, virtual, soak.virtual, broker, place / "state") if soak.disturbed else []
        schedule = Schedule(possible, soak.fault_every)
        stack.callback(schedule.end)
        begun = time.monotonic()
        _watch(soak.seconds, observer, schedule, arrivals)
        schedule.end()
        _settle(arrivals, time.time() // CAPTURE_PERIOD * CAPTURE_PERIOD)
        return _judge(soak, observer, schedule, arrivals, begun)


def write_pipeline(folder: Path, soak: Soak, prepared: PreparedMeters, ports: list[int], url: str) -> None:
    """pipeline.yaml: as an operator has it, but that little is kept and that troubles are over soon."""
    common = {"template": "simple", "framing": "hdlc", "line": "separate", "hdlc_information_size": INFORMATION_SIZE, **_PATIENCE}
    keys = {obis: key for key, (obis, _) in CAPTURED.items()}
    pipeline: dict[str, Any] = {
        "thingsboard": {"url": url, "token": "bench", "reconnect_max": "5s", "outbox": {"keep_receipts": soak.keep}},
        "templates": {
            "simple": {"interval": soak.interval, "read": {f"r{n}": f"1-0:{register}" for n, register in enumerate(REGISTERS[:10])}},
            "profiled": {
                "interval": soak.interval,
                "read": {key: obis for key, (obis, _) in POLLED.items()},
                "profiles": {"load": {"obis": PROFILE, "keys": keys, "horizon": 60, "chunk": "1m"}},
            },
        },
        "meters": [
            *({"id": f"p{number}", "connect": prepared.connect(number), **common} for number in range(soak.prepared)),
            *({**described(number, port), "template": "profiled", **_PATIENCE} for number, port in enumerate(ports)),
        ],
        "nodes": [_told(node, soak) for node in NODES],
        "log": {"format": "json"},
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False), encoding="utf-8")


def _told(node: dict[str, Any], soak: Soak) -> dict[str, Any]:
    """A node of the benchmarks' pipeline, which hears of gaps besides, and keeps little."""
    settings: dict[str, dict[str, Any]] = {"archive": {"keep": soak.keep}, "health": {"window": "30s"}}
    if node["id"] not in settings:
        return node
    return {**node, "inputs": [*node["inputs"], "meters.gaps"], "settings": settings[node["id"]]}


def _watch(seconds: float, observer: Observer, schedule: Schedule, arrivals: Arrivals) -> None:
    end = time.monotonic() + seconds
    sample = ask = time.monotonic()
    while (now := time.monotonic()) < end:
        schedule.keep()
        if now >= sample:
            observer.sample()
            sample += SAMPLE_EVERY
        if now >= ask:
            arrivals.ask()
            ask += ASK_EVERY
        time.sleep(0.1)


def _settle(arrivals: Arrivals, until: float) -> None:
    """Wait until all has arrived that was read up to `until`, Unix seconds, or the deadline is over."""
    deadline = time.monotonic() + SETTLE
    while time.time() < until + LAG:
        time.sleep(1.0)
    arrivals.ask()
    while (arrivals.missing() or arrivals.intervals(until)[1]) and time.monotonic() < deadline:
        time.sleep(1.0)


def _judge(soak: Soak, observer: Observer, schedule: Schedule, arrivals: Arrivals, begun: float) -> Outcome:
    rows, is_good = [], True
    for measure in MEASURES:
        samples = [sample for sample in observer.samples[measure.name] if sample[0] >= begun + soak.warm_up]
        found = trend(samples, soak.round)
        name = f"{measure.name}, {measure.unit}" if measure.unit else measure.name
        if found is None:
            rows.append([name, "", f"{samples[-1][1]:.1f}" if samples else "", "", "too short to tell"])
            continue
        grows = found.grows(measure)
        is_good &= not grows
        verdict = f"grows by {found.per_hour:.2f} per hour" if grows else "flat"
        rows.append([name, f"{found.first:.1f}", f"{found.last:.1f}", f"{found.per_hour:+.2f} ± {found.uncertainty:.2f}", verdict])
    missing = arrivals.missing()
    owed, lost = arrivals.intervals(time.time() - LAG - 2 * CAPTURE_PERIOD)
    unread = arrivals.values_of_cycles - arrivals.polled
    counts = (
        ("values of cycles that are in the archive", arrivals.values_of_cycles, abs(unread)),
        ("archived readings that arrived", arrivals.readings, len(missing)),
        ("values of load profiles that arrived", owed, len(lost)),
    )
    rows += [[name, "", f"{count:,}", "", "all" if not wrong else f"{wrong:,} missing"] for name, count, wrong in counts]
    is_good &= not (missing or lost or unread) and arrivals.readings > 0 and owed > 0
    return Outcome(rows, _about(soak, schedule, arrivals), is_good)


def _about(soak: Soak, schedule: Schedule, arrivals: Arrivals) -> str:
    cycles = sum(arrivals.cycles.values())
    happened = f"{sum(schedule.happened.values())} faults, one each {soak.fault_every:.0f} s: {', '.join(schedule.happened) or 'none'}"
    return (
        f"{soak.seconds / 60:.0f} minutes, {soak.prepared} prepared and {soak.virtual} virtual meters every {soak.interval:g} s; archive "
        f"and receipts kept {soak.keep:.0f} s; {happened}; {arrivals.cycles['ok']:,} of {cycles:,} cycles ok; "
        f"load average {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    typer.run(main)
