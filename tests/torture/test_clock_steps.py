"""The host's clock is set forward and back under a running pipeline: it goes on, and it can be stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import PipelineProcess, pipeline

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
METERS = [{"id": "m", "connect": "sim://three-phase"}]


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is missing: apt-get install faketime")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("processes", [1, 2])
def test_readings_go_on_after_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    clock = tmp_path / "clock"
    step(clock, "+0")
    monkeypatch.setenv("LD_PRELOAD", str(LIBRARIES[0]))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    running = PipelineProcess(tmp_path, pipeline("embedded", METERS, 0.5), processes=processes)
    with running:
        more(running, "at the start")
        step(clock, "+3600")
        more(running, "after a step forward")
        known = len(running.archived())
        step(clock, "+0")
        if processes > 1:
            assert [process.wait(40) for process in running.processes] == [1] * processes
            running.processes.clear()
            running.start()
        wait_for(lambda: len(running.archived()) >= known + 10, "readings after a step back", 60)
        assert any("clock was set back" in event["event"] for event in running.events())
        assert running.stop() == [0] * processes


def step(clock: Path, offset: str) -> None:
    """Set the clock in one go: whoever looks at a file that is half written would see a time that nobody set."""
    partial = clock.with_suffix(".new")
    partial.write_text(offset)
    partial.replace(clock)


def more(running: PipelineProcess, when: str) -> None:
    known = len(running.archived())
    wait_for(lambda: len(running.archived()) >= known + 10, f"readings {when}", 60)
