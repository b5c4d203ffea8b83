"""A whole pipeline that reads load profiles, killed without warning: every interval is kept, each once, as the meter holds it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import pytest

from connectors.archive.reader import ArchiveReader
from model.errors import StorageError
from model.messages import GapState, Origin
from model.settings.meter import MeterSettings
from model.timestamps import from_ms
from simulator.meter.logical_device import LogicalDevice
from simulator.meter.sim_url import parse_sim_url
from tests.contract.pipeline_process import NODES, PipelineProcess, pipeline
from tests.ports import free_port

CONNECT = "sim://three-phase?capture_period=15&profile_entries=4000"
DEADLINE = 60.0
PERIOD = timedelta(seconds=15)
T = TypeVar("T")


def configuration(connect: str = CONNECT) -> dict[str, Any]:
    described = pipeline("embedded", [{"id": f"m{n}", "connect": connect} for n in range(3)], 1.0)
    profile = {"obis": "1-0:99.1.0", "keys": {"1-0:1.8.0": "counter", "1-0:1.7.0": "average"}, "horizon": "12h", "chunk": "20m"}
    described["templates"]["five"]["profiles"] = {"load": profile}
    described["nodes"] = [_with_gaps(node) for node in NODES] + [{"id": "recall", "type": "profile-recall", "inputs": ["receipts.dropped"]}]
    return described


def _with_gaps(node: dict[str, Any]) -> dict[str, Any]:
    return {**node, "inputs": [*node["inputs"], "meters.gaps"]} if node["id"] in ("health", "archive") else node


def asked(process: PipelineProcess, query: Callable[[ArchiveReader], list[T]]) -> list[T]:
    """What the archive answers; nothing while it is made."""
    try:
        with ArchiveReader(process.archive) as archive:
            return query(archive)
    except StorageError:
        return []


def kept(process: PipelineProcess, meter: str, key: str = "counter") -> dict[datetime, object]:
    """Interval -> value of the load profile, as the archive has it."""
    readings = asked(process, lambda archive: archive.readings(meter, from_ms(0), from_ms(4_000_000_000_000), key=key, limit=100_000))
    return {reading.ts: reading.value for reading in readings if reading.origin is Origin.PROFILE}


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.1)


def device(meter: str, connect: str = CONNECT) -> LogicalDevice:
    settings = MeterSettings.model_validate({"id": meter, "connect": connect, "template": "five"})
    config, behaviour = parse_sim_url(connect, settings)
    return LogicalDevice(config, behaviour)


def assert_complete(process: PipelineProcess, meter: str) -> None:
    """From the first interval to the last every one is there, and equal to what the meter measured."""
    rows = kept(process, meter)
    times = sorted(rows)
    assert times[-1] - times[0] == (len(times) - 1) * PERIOD
    truth = device(meter)
    for at in times:
        assert rows[at] == truth.truth("1-0:1.8.0", 2, at)
    assert kept(process, meter, "average").keys() == rows.keys()


def with_store(folder: Path) -> list[str]:
    """A new recovery store, and the options that use it."""
    (folder / "recovery").mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(folder / "recovery"), "1"], check=True)
    return ["-r", "recovery", "-s", "1", "-b", "0"]


@pytest.mark.parametrize("recovery", [True, False])
def test_every_interval_is_kept_through_kills(tmp_path: Path, recovery: bool) -> None:
    process = PipelineProcess(tmp_path, configuration(), *(with_store(tmp_path) if recovery else []))
    names = [f"m{n}" for n in range(3)]
    for least in (300, 1200):
        with process:
            until(lambda least=least: all(len(kept(process, name)) >= least for name in names))  # type: ignore[misc]
    with process:
        begun = datetime.now(timezone.utc)
        until(lambda: all(max(kept(process, name), default=begun - PERIOD) > begun for name in names))
        assert process.stop() == [0]
    for name in names:
        assert len(kept(process, name)) >= 12 * 240 - 5
        assert_complete(process, name)
    restored = [event for event in process.events() if event["event"] == "load profile goes on from what was kept"]
    assert restored or recovery  # a kill before the first snapshot leaves the archive only, also with a recovery store


def test_a_meter_that_is_put_back_goes_on_where_it_was(tmp_path: Path) -> None:
    """The archive is taken away meanwhile: only the store can tell what was read before."""
    options = with_store(tmp_path)
    whole = configuration()
    fewer = {**whole, "meters": whole["meters"][:1]}
    process = PipelineProcess(tmp_path, whole, *options)
    with process:
        until(lambda: all(len(kept(process, f"m{n}")) >= 12 * 240 - 5 for n in range(3)))
        assert process.stop() == [0]
    newest = max(kept(process, "m2"))
    with PipelineProcess(tmp_path, fewer, *options) as process:
        until(lambda: max(kept(process, "m0")) > newest)
        assert process.stop() == [0]
    assert max(kept(process, "m2")) == newest
    for file in tmp_path.glob("state/archive.sqlite*"):
        file.unlink()
    with PipelineProcess(tmp_path, whole, *options) as process:
        until(lambda: any(at > newest for at in kept(process, "m2")))
        assert process.stop() == [0]
    assert min(kept(process, "m2")) > newest - timedelta(minutes=20)
    assert_complete(process, "m2")


def ledger(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of `commands gaps --json`."""
    command = [sys.executable, "-m", "commands", "gaps", str(folder / "pipeline.yaml"), *arguments, "--json"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "TB_TOKEN": "t"}
    shown = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert shown.stdout, shown.stderr
    return shown.returncode, json.loads(shown.stdout)


def test_the_ledger_tells_what_was_read_from_what_was_delivered(tmp_path: Path) -> None:
    described = configuration()
    away = {**described, "thingsboard": {**described["thingsboard"], "url": f"mqtt://127.0.0.1:{free_port()}"}}
    process = PipelineProcess(tmp_path, away)
    with process:
        until(lambda: all(len(kept(process, f"m{n}")) >= 12 * 240 - 5 for n in range(3)))
        assert process.stop() == [0]
    code, shown = ledger(tmp_path)
    assert code == 0
    for account in shown["ledger"]:
        assert (account["waiting"], account["delivered"]) == (account["read"], 0)
        assert account["expected"] == account["read"] == len(kept(process, account["meter"]))
    process = PipelineProcess(tmp_path, described)
    with process:
        until(lambda: all(not account["waiting"] for account in ledger(tmp_path)[1]["ledger"]))
        assert process.stop() == [0]
    _, shown = ledger(tmp_path)
    assert len(shown["ledger"]) == 3
    for account in shown["ledger"]:
        assert account["delivered"] == account["read"] == account["expected"] == len(kept(process, account["meter"]))


def test_lost_intervals_are_shown(tmp_path: Path) -> None:
    process = PipelineProcess(tmp_path, configuration(f"{CONNECT}&power_fail_period=7200&power_fail_length=300"))

    def lost() -> list[int]:
        return [gap.intervals for gap in asked(process, lambda archive: archive.gaps("m1")) if gap.state is GapState.LOST]

    with process:
        until(lambda: len(lost()) >= 4)
        until(lambda: any(event["event"] == "alert raised" and event.get("kind") == "gap-permanent" for event in process.events()))
        assert process.stop() == [0]
    assert set(lost()) == {20}
    code, shown = ledger(tmp_path, "--meter", "m1")
    assert code == 2
    for gap in shown["gaps"]:
        assert (gap["meter"], gap["profile"], gap["intervals"], gap["state"]) == ("m1", "load", 20, "lost")
        assert gap["reason"] == "the meter answered 2 requests for them without these rows"
