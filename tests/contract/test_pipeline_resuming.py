"""A pipeline that is killed and resumes from its recovery store while a timer of an operator ran out."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import NODES, PipelineProcess, pipeline

METERS = [
    {"id": "often", "connect": "sim://three-phase", "interval": 0.5},
    {"id": "seldom", "connect": "sim://three-phase", "interval": 60},
]
WINDOW, WAIT = 5.0, 0.5
SINK = "pipeline.thingsboard.deliver"
HEALTH = "pipeline.health.meters_5000ms"


def snapshots(store: Path) -> dict[tuple[str, str], int]:
    """Step and key -> the epoch of the newest snapshot."""
    with closing(sqlite3.connect(store)) as database:
        rows = database.execute("SELECT step_id, state_key, max(snap_epoch) FROM snaps GROUP BY step_id, state_key").fetchall()
    return {(step, key): epoch for step, key, epoch in rows}


def will_be_built_twice(store: Path) -> bool:
    """Whether a timer that runs out now would go off between two snapshots, before that of the sink is loaded."""
    known = snapshots(store)
    seldom, often, sink = known.get((HEALTH, "seldom"), 0), known.get((HEALTH, "often"), 0), known.get((SINK, "thingsboard"), 0)
    return 0 < seldom < often <= sink


def test_a_report_that_became_due_while_nothing_ran_does_not_end_the_pipeline(tmp_path: Path) -> None:
    """It comes before the sink's snapshot is loaded, so that Bytewax builds the sink twice."""
    folder = tmp_path / "recovery"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(folder), "1"], check=True)
    nodes = [{**node, "settings": {"window": WINDOW, "wait": WAIT}} if node["id"] == "health" else node for node in NODES]
    configuration = {**pipeline("embedded", METERS, 0.5), "nodes": nodes}
    running = PipelineProcess(tmp_path, configuration, "-r", "recovery", "-s", "1", "-b", "0")
    with running:
        store = folder / "part-0.sqlite3"
        wait_for(lambda: will_be_built_twice(store), "snapshots", 40.0)
    over = time.time() + WINDOW + WAIT
    wait_for(lambda: time.time() > over, "the end of the window")
    known = len(running.archived())
    with running:
        wait_for(lambda: len(running.archived()) > known or running.processes[0].poll() is not None, "readings", 40.0)
        assert running.stop() == [0]
    assert not [event for event in running.events() if event["level"] == "critical"]
