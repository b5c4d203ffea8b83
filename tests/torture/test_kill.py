"""kill -9 at any moment: what reached the outbox arrives, nothing arrives that was never read, and it goes on by itself."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.contract.mosquitto import Listener, MosquittoBroker, wait_for
from tests.contract.pipeline_process import FIVE, PipelineProcess, as_json_number, delivered, pipeline

METERS: list[dict[str, Any]] = [{"id": f"m{number}", "connect": f"sim://three-phase?seed={number}"} for number in range(6)]


def waiting(outbox: Path) -> dict[tuple[str, str, int], Any]:
    """The readings that the outbox holds."""
    if not outbox.exists():
        return {}
    points: dict[tuple[str, str, int], Any] = {}
    with closing(sqlite3.connect(outbox)) as database:
        for device, payload in database.execute("SELECT device, payload FROM records WHERE kind = 'telemetry'"):
            record = orjson.loads(payload)
            points.update({(device, key, record["ts"]): value for key, value in record["values"].items() if key in FIVE})
    return points


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("recovery", [False, True], ids=["without-recovery", "with-recovery"])
def test_nothing_that_reached_the_outbox_is_lost(tmp_path: Path, recovery: bool, long: bool) -> None:
    rng = random.Random(7)
    arguments: tuple[str, ...] = ()
    if recovery:
        (tmp_path / "recovery").mkdir()
        subprocess.run([sys.executable, "-m", "bytewax.recovery", str(tmp_path / "recovery"), "1"], check=True)
        arguments = ("-r", "recovery", "-s", "1", "-b", "0")
    owed: dict[tuple[str, str, int], Any] = {}
    with MosquittoBroker(tmp_path) as broker, Listener(broker) as listener:
        running = PipelineProcess(tmp_path, pipeline(broker.url, METERS, 0.3), *arguments)
        for round_ in range(30 if long else 4):
            before = len(running.archived())
            running.start()
            wait_for(lambda before=before: len(running.archived()) > before, "readings after a restart", 40)
            if round_ % 2:
                broker.stop()
            time.sleep(rng.uniform(0.2, 1.5))  # a random moment
            running.kill()
            owed |= waiting(tmp_path / "state" / "outbox.sqlite")
            if round_ % 2:
                broker.start()
        running.start()
        wait_for(lambda: owed.keys() <= delivered(listener.messages).keys(), "all that was in the outbox", 40)
        assert running.stop() == [0]
        archived = {row: as_json_number(value) for row, value in running.archived().items()}
        arrived = delivered(listener.messages)
        assert {row: arrived[row] for row in owed} == owed
        common = archived.keys() & arrived.keys()
        assert {row: archived[row] for row in common} == {row: arrived[row] for row in common}
        assert len(arrived) >= 0.9 * len(archived)
        assert not [event for event in running.events() if event["level"] == "critical"]
