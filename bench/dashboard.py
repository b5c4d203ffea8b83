"""`python -m bench.dashboard`: how long the page waits for a large archive, and what its readers cost a running flow.

The archive is made with the real schema in a temporary directory: meters x keys series, with so many readings in all, windows,
errors, alarms and gaps. Each question is timed cold (the first in a new process's life, of a file that the system may still have in
memory) and warm, over a real connection. Then a flow runs with and without readers, in turn.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.table import Table

from bench.fleet import free_ports
from bench.measure import cpu_seconds
from connectors.archive.database import open_writer, transaction
from connectors.archive.schema import FILE_NAME, migrate
from connectors.archive.survey import ArchiveSurvey
from model.errors import StorageError
from model.messages import FLEET
from model.timestamps import from_ms, to_ms, utc_now
from tests.browser.browser import CHROMIUM, WITHOUT, is_installed

ROOT = Path(__file__).parents[1]
WARM = 15
"""Questions that are timed warm; their median and slowest are shown."""

WINDOW_MS = 60_000
KEYS = tuple(f"key_{number}" for number in range(10))
VIEWS = {
    "#/flow": "main .node",
    "#/meters": "main tbody tr:nth-of-type(50)",
    "#/meters/m-00000": "main canvas",
    "#/alarms": "main ul.alarms li",
    "#/session": "main h1",
}
"""Views of the page, and what each is for."""

HEAD = ["question", "cold ms", "warm median ms", "warm slowest ms", "warm CPU ms", "kB"]
FIRST_VIEW = ("/overview", "/flow", "/meters?limit=50")
OTHERS = (
    "/health",
    "/ready",
    "/metrics",
    "/meters?limit=50&sort=state&search=m-00",
    "/meters?limit=50&sort=last_good&offset=5000",
    "/meters/m-00042",
    "/readings?meter=m-00042&key=key_3&start=2000-01-01T00:00:00Z",
    "/readings?meter=m-00000&key=key_0&start=2000-01-01T00:00:00Z",
    "/alarms",
    "/alarms?standing=true",
    "/gaps",
    "/gaps?meter=m-00042",
    "/config",
    "/openapi.json",
)


def main(
    meters: Annotated[int, typer.Option(min=1)] = 10_000,
    readings: Annotated[int, typer.Option(min=1_000, help="In the whole archive.")] = 10_000_000,
    readers: Annotated[int, typer.Option(min=1)] = 50,
    pause: Annotated[float, typer.Option(min=0.0, help="Seconds between two questions of one reader.")] = 2.0,
    seconds: Annotated[float, typer.Option(min=2.0, help="Length of one run of the flow.")] = 20.0,
    rounds: Annotated[int, typer.Option(min=0, help="Pairs of runs of the flow.")] = 3,
) -> None:
    """Time the endpoints over a large archive, and a flow with and without readers."""
    console = Console(width=140)
    with tempfile.TemporaryDirectory(prefix="bench-dashboard-") as folder:
        directory = Path(folder)
        begun = time.perf_counter()
        write_archive(directory / "state", meters, readings)
        size = (directory / "state" / FILE_NAME).stat().st_size
        console.print(f"{meters} meters, {readings} readings: {size / 1e9:.2f} GB in {time.perf_counter() - begun:.0f} s")
        write_pipeline(directory, meters)
        console.print(time_page(directory))
        console.print(time_endpoints(directory))
    if rounds:
        with tempfile.TemporaryDirectory(prefix="bench-dashboard-") as folder:
            console.print(cost_of_readers(Path(folder), readers, pause, seconds, rounds))


def write_archive(state_dir: Path, meters: int, readings: int) -> None:
    """An archive with so many readings in all, the last of them now; meter m-00000 has a tenth of them."""
    chance = random.Random(5)
    now = to_ms(utc_now())
    with closing(open_writer(state_dir / FILE_NAME)) as database:
        database.execute("PRAGMA synchronous = OFF")
        migrate(database, now)
        per_series = max(2, readings * 9 // 10 // (meters * len(KEYS)))
        for first in range(0, meters, 500):
            with transaction(database):
                for number in range(first, min(first + 500, meters)):
                    meter = f"m-{number:05}"
                    rows = per_series if number else max(per_series, readings // 10 // len(KEYS))
                    database.executemany("INSERT INTO readings_settled VALUES (?,?,?,?,?,?,?,?,?)", _readings(meter, rows, now, chance))
                    _about(database, meter, number, now, chance)
        with transaction(database):
            database.executemany(
                f"INSERT INTO reports VALUES ({', '.join('?' * 26)})",  # noqa: S608 - marks only
                (_report(FLEET, now - window * WINDOW_MS, meters, meters * 99 // 100) for window in range(1, 1440)),
            )
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _readings(meter: str, rows: int, now: int, chance: random.Random) -> Iterator[tuple[Any, ...]]:
    for key in KEYS:
        for row in range(rows):
            ts = now - (rows - row) * 60_000
            number = chance.randrange(1_000_000)
            yield meter, key, ts, f"{number / 1000:.3f}", "decimal", number / 1000, "V", "poll" if row % 15 else "profile", ts + 700


def _about(database: Any, meter: str, number: int, now: int, chance: random.Random) -> None:
    """A meter's last windows, cycles and troubles; one in a hundred has troubles."""
    ill = number % 100 == 7
    start = now // WINDOW_MS * WINDOW_MS
    database.executemany(
        f"INSERT INTO reports VALUES ({', '.join('?' * 26)})",  # noqa: S608 - marks only
        (_report(meter, start - window * WINDOW_MS, 1, 0 if ill else 1) for window in range(1, 31)),
    )
    cycles = [
        (meter, start - cycle * WINDOW_MS, start - cycle * WINDOW_MS - 20, 0.7, "failed" if ill else "ok", 10, 0, 1, 0, None)
        for cycle in range(1, 31)
    ]
    database.executemany("INSERT INTO cycles VALUES (?,?,?,?,?,?,?,?,?,?)", cycles)
    if ill:
        errors = [(meter, cycle[1], 0, None, "timeout", "no reply", "check the link") for cycle in cycles]
        database.executemany("INSERT INTO errors VALUES (?,?,?,?,?,?,?)", errors)
    if number % 10 == 3:
        for flap in range(50):
            at = now - flap * 3_600_000 - chance.randrange(1_000_000)
            database.execute("INSERT INTO alerts VALUES (?,?,?,?,?,?,?)", (meter, "meter-silent", at, 1, "warning", "no reading", "look"))
            if flap or number % 100 != 3:
                database.execute("INSERT INTO alerts VALUES (?,?,?,?,?,?,?)", (meter, "meter-silent", at + 1, 0, "warning", "over", ""))
    if number % 10 == 5:
        for gap in range(10):
            at = now - (gap + 1) * 86_400_000
            state = ("closed", "lost", "open")[gap % 3]
            database.execute(
                "INSERT INTO gaps VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (meter, "load", at, at + 900_000, 2, state, at, now, "no answer", 2, 2, 900),
            )


def _report(meter: str, start: int, cycles: int, ok: int) -> tuple[Any, ...]:
    counts = (cycles, ok, 0, cycles - ok, ok, ok * 10, 0, ok * 10, ok, 0, cycles, 0)
    last_good = start + 1_000 if ok else start - 3_600_000
    return (
        meter,
        start,
        start + WINDOW_MS,
        *counts,
        0.5,
        0.9,
        last_good,
        None,
        None if ok == cycles else "timeout: no reply",
        "[]",
        None,
        0,
        0,
        None,
        None,
    )


def write_pipeline(directory: Path, meters: int) -> None:
    """A pipeline.yaml for that archive."""
    rows = "\n".join(f"m-{number:05},tcp://192.0.2.{number % 250}:{4000 + number // 250},wrapper,load" for number in range(meters))
    (directory / "meters.csv").write_text(f"id,connect,framing,template\n{rows}\n")
    settings = yaml.safe_load((ROOT / "pipeline.yaml").read_text())
    settings["templates"] = {"load": {"interval": "60s", "read": {"key_0": "1-0:1.8.0"}, "profiles": {"load": "1-0:99.1.0"}}}
    settings["meters_file"] = "meters.csv"
    del settings["meters"]
    (directory / "pipeline.yaml").write_text(yaml.safe_dump(settings))


def time_endpoints(directory: Path) -> Table:
    """Each endpoint, cold and warm."""
    table = Table(*HEAD, title="the page's questions")
    for path, *figures in endpoint_times(directory):
        table.add_row(f"[bold]{path}[/bold]" if path in FIRST_VIEW else path, *figures)
    return table


def endpoint_times(directory: Path) -> Iterator[list[str]]:
    """The columns of `HEAD` of each endpoint."""
    for path in (*FIRST_VIEW, *OTHERS):
        with dashboard(directory) as (port, process):  # a server that has answered nothing yet
            cold, size = timed(port, path)
            warm, before = [], cpu_seconds(process)
            for _ in range(WARM):
                warm.append(timed(port, path)[0])
                time.sleep(0.2)
            cpu = (cpu_seconds(process) - before) / WARM * 1000
        yield [path, f"{cold:.0f}", f"{statistics.median(warm):.1f}", f"{max(warm):.1f}", f"{cpu:.0f}", f"{size / 1000:.1f}"]


def time_page(directory: Path) -> Table:
    """Each view in Chromium, opened by its address as if for the first time, until it shows what it is for."""
    table = Table("view", "of a server just started, ms", "median ms", "slowest ms", title="until a view shows its contents, in Chromium")
    if not is_installed():
        table.add_row(WITHOUT)
        return table
    with sync_playwright() as playwright, closing(playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])) as browser:
        for view, contents in VIEWS.items():
            with dashboard(directory) as (port, _):
                first, *others = [_show(browser, f"http://127.0.0.1:{port}/{view}", contents) for _ in range(WARM)]
            table.add_row(view, f"{first:.0f}", f"{statistics.median(others):.0f}", f"{max(others):.0f}")
    return table


def _show(browser: Browser, address: str, contents: str) -> float:
    """Milliseconds from asking for the page to `contents` in it, by a reader with an empty cache."""
    with closing(browser.new_context()) as reader:
        page = reader.new_page()
        page.goto("about:blank")
        begun = time.perf_counter()
        page.goto(address)
        page.wait_for_selector(contents)
        return (time.perf_counter() - begun) * 1000


def timed(port: int, path: str) -> tuple[float, int]:
    """Milliseconds until all of the answer is there, and its size."""
    begun = time.perf_counter()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    if answer.status not in (200, 503):
        raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
    return (time.perf_counter() - begun) * 1000, len(body)


@contextmanager
def dashboard(directory: Path) -> Iterator[tuple[int, int]]:
    """The API in a process of its own; its port and pid."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "dashboard", str(directory / "pipeline.yaml"), "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            _await_port(port, process)
            yield port, process.pid
        finally:
            process.terminate()


def cost_of_readers(directory: Path, readers: int, pause: float, seconds: float, rounds: int) -> Table:
    """Cycles that a flow reads in the same time without and with readers; each pair one after the other."""
    ratios, answers = [], []
    for number in range(rounds):
        order = (False, True) if number % 2 == 0 else (True, False)
        done: dict[bool, int] = {}
        for read in order:
            done[read], answered = _run_flow(directory / f"{number}-{read}", readers if read else 0, pause, seconds)
            answers += [answered] if read else []
        ratios.append(done[True] / done[False])
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
    table = Table("readers", "answers per s", "throughput with / without", title="what readers cost a running flow: median (range)")
    table.add_row(str(readers), f"{statistics.mean(answers) / seconds:.0f}", spread)
    return table


def _run_flow(directory: Path, readers: int, pause: float, seconds: float) -> tuple[int, int]:
    """Cycles that were archived in `seconds`, and answers that were given. The meters answer as fast as they are asked."""
    directory.mkdir()
    settings = yaml.safe_load((ROOT / "pipeline.yaml").read_text())
    settings["templates"]["three-phase"]["interval"] = "100ms"
    settings["meters"] = [
        {"id": f"m-{number}", "connect": "sim://three-phase", "framing": "wrapper", "template": "three-phase"} for number in range(100)
    ]
    settings["nodes"] = [node for node in settings["nodes"] if node["id"] != "console"]
    (directory / "pipeline.yaml").write_text(yaml.safe_dump(settings))
    environment = {**os.environ, "PIPELINE": str(directory / "pipeline.yaml")}
    command = [sys.executable, "-m", "bytewax.run", "flows.main"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as flow:
        try:
            archive = directory / "state" / FILE_NAME
            _await(lambda: archive.exists() and _cycles(archive) > 200)
            with dashboard(directory) as (port, _):
                stop = threading.Event()
                answered = [0] * readers
                threads = [threading.Thread(target=_read, args=(port, pause, stop, answered, place)) for place in range(readers)]
                for thread in threads:
                    thread.start()
                time.sleep(2)
                before = _cycles(archive)
                time.sleep(seconds)
                after = _cycles(archive)
                stop.set()
                for thread in threads:
                    thread.join()
            return after - before, sum(answered)
        finally:
            flow.send_signal(signal.SIGTERM)


def _read(port: int, pause: float, stop: threading.Event, answered: list[int], place: int) -> None:
    """One reader: what an open page asks, again and again."""
    chance = random.Random(place)
    while not stop.wait(pause * chance.uniform(0.5, 1.5)):
        path = chance.choice(("/overview", "/flow", "/meters?limit=50", "/meters/m-7", "/alarms", "/metrics"))
        try:
            timed(port, path)
        except OSError:
            continue
        answered[place] += 1


def _cycles(archive: Path) -> int:
    try:
        with ArchiveSurvey(archive) as survey:
            return sum(survey.totals(from_ms(0), utc_now()).cycles.values())
    except StorageError:  # it is being made
        return 0


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    def listens() -> bool:
        if process.poll() is not None:
            raise RuntimeError("the dashboard ended at its start")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    _await(listens)


def _await(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("it did not come about")
        time.sleep(0.05)


if __name__ == "__main__":
    typer.run(main)
