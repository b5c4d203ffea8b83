"""Two processes, three meters on one line: one process owns the line, and every meter is read once per interval over one
connection; also after a restart from the recovery store with another number of processes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from bytewax.recovery import init_db_dir

from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import PipelineProcess, pipeline, simulator

INTERVAL = 1.0
ON_THE_LINE = 3
OTHERS = 2
CYCLES = 5


def test_a_line_belongs_to_one_process_of_a_cluster_whatever_their_number(tmp_path: Path) -> None:
    line_options = ("--count", str(ON_THE_LINE), "--port", "0", "--link", "line-tcp", "--baud", "57600")
    with (
        simulator("simulator.meter", tmp_path, ON_THE_LINE, *line_options) as (on_line, line_file, line),
        simulator("simulator.meter", tmp_path, OTHERS, "--count", str(OTHERS), "--port", "0", "--seed", "9") as (others, _, _),
        simulator("simulator.thingsboard", tmp_path, 1, "--port", "0") as ((url,), _, _),
    ):
        settings = [
            {"id": name, "connect": address, "server_physical": 17 + number}
            for number, (name, address) in enumerate(text.split() for text in on_line)
        ] + [{"id": f"other-{number}", "connect": text.split()[1]} for number, text in enumerate(others)]
        configuration = pipeline(url.split()[-1], settings, INTERVAL)
        store = tmp_path / "recovery"
        store.mkdir()
        init_db_dir(store, 2)
        for run, processes in ((1, 2), (2, 1)):
            with PipelineProcess(tmp_path, configuration, "-r", str(store), "-s", "1", "-b", "0", processes=processes) as running:
                wanted = run * len(settings) * 5 * CYCLES
                wait_for(lambda running=running, wanted=wanted: len(running.archived()) >= wanted, "enough cycles", 45)
                assert running.stop() == [0] * processes
        line.terminate()
        line.wait(10)
    seen = json.loads(line_file.read_text())
    for number in range(ON_THE_LINE):
        meter = seen[f"meter-{number + 1}"]
        polls = [exchange["time"] for exchange in meter["exchanges"] if len(exchange["attributes"]) == 5]
        assert (meter["associations"], meter["releases"]) == (2, 2)
        gaps = [later - earlier for earlier, later in pairwise(polls)]
        assert sum(not 0.5 * INTERVAL < gap < 1.5 * INTERVAL for gap in gaps) == 1, gaps  # the restart
    (record,) = (value for name, value in seen.items() if name.startswith("tcp://"))
    assert (record["connections"], record["rejected"], record["overlaps"]) == (2, 0, 0)
