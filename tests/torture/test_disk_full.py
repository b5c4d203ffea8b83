"""The disk under a running pipeline refuses for a while: an alarm, no end of the flow, and no reading missing afterwards."""

from __future__ import annotations

import resource
from contextlib import ExitStack
from pathlib import Path

from tests.contract.mosquitto import Listener, MosquittoBroker, wait_for
from tests.contract.pipeline_process import NODES, PipelineProcess, as_json_number, delivered, pipeline

METERS = [{"id": f"m{number}", "connect": "sim://three-phase"} for number in range(3)]


def nodes() -> list[dict[str, object]]:
    """The usual nodes, with the alerts of the outbox in the log."""
    return [*NODES, {"id": "tap", "type": "debug", "inputs": ["receipts.alerts"]}]


def test_a_disk_that_refuses_for_a_while_costs_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(MosquittoBroker(tmp_path))
        listener = stack.enter_context(Listener(broker))
        configuration = {**pipeline(broker.url, METERS, 0.2), "nodes": nodes()}
        running = stack.enter_context(PipelineProcess(tmp_path, configuration))
        (process,) = running.processes
        wait_for(lambda: len(delivered(listener.messages)) > 30, "the first readings", 30.0)
        # No file may grow beyond this: the log is far smaller, the write-ahead logs of outbox and archive are not.
        limit = min((tmp_path / "state" / name).stat().st_size for name in ("outbox.sqlite-wal", "archive.sqlite-wal"))
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (max(limit, 100_000), resource.RLIM_INFINITY))
        wait_for(lambda: says(running, "outbox-disk: "), "the alarm in the log", 30.0)
        wait_for(lambda: tapped(running, raised=True), "the alert from receipts-in", 30.0)
        during = len(running.events())
        wait_for(lambda: len(running.events()) > during and process.poll() is None, "the flow to go on", 30.0)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
        wait_for(lambda: says(running, "outbox-disk is over"), "the end of the alarm", 60.0)
        wait_for(lambda: tapped(running, raised=False), "the cleared alert", 30.0)
        assert running.stop() == [0]
        archived = {place: as_json_number(value) for place, value in running.archived().items()}
        wait_for(lambda: len(delivered(listener.messages)) >= len(archived), "the last readings", 30.0)
        assert delivered(listener.messages) == archived
        assert not says(running, "cannot go on")


def says(running: PipelineProcess, text: str) -> bool:
    return any(text in str(event.get("event")) for event in running.events())


def tapped(running: PipelineProcess, raised: bool) -> bool:
    return any(event.get("kind") == "outbox-disk" and event.get("raised") is raised for event in running.events())
