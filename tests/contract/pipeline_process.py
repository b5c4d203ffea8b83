"""A whole pipeline in processes of its own, as an operator runs it, and what it has left behind in archive and log."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from connectors.archive.reader import ArchiveReader
from connectors.archive.schema import FILE_NAME
from model.errors import StorageError
from model.timestamps import from_ms, to_ms
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
TOKEN = "test-gateway-token"
STOP_DEADLINE = 15.0
FIVE = {
    "voltage": "1-1:32.7.0",
    "current": "1-1:31.7.0",
    "frequency": "1-1:14.7.0",
    "power": "1-1:1.7.0",
    "energy": {"obis": "1-1:1.8.0", "unit": "kWh"},
}
NODES: list[dict[str, Any]] = [
    {"id": "meters", "type": "dlms-in"},
    {"id": "receipts", "type": "receipts-in"},
    {"id": "mapped", "type": "map", "inputs": ["meters"]},
    {"id": "checked", "type": "validate", "inputs": ["mapped"], "settings": {"rules": {"energy": {"monotonic": True}}}},
    {
        "id": "health",
        "type": "health",
        "inputs": ["meters", "checked", "checked.rejected", "mapped.rejected", "receipts", "receipts.rejected"],
        "settings": {"window": "5s", "wait": "2s"},
    },
    {"id": "alerts", "type": "alert", "inputs": ["health"]},
    {"id": "thingsboard", "type": "thingsboard-out", "inputs": ["checked", "health", "alerts"]},
    {"id": "archive", "type": "archive-out", "inputs": ["meters", "checked", "checked.rejected", "receipts", "health", "alerts"]},
]


def pipeline(url: str, meters: Sequence[dict[str, Any]], interval: float, **thingsboard: Any) -> dict[str, Any]:
    """A pipeline.yaml with the nodes above."""
    return {
        "thingsboard": {"url": url, "token": "${TB_TOKEN}", "reconnect_min": 0.2, "reconnect_max": 1, **thingsboard},
        "templates": {"five": {"interval": interval, "read": FIVE}},
        "meters": [{"template": "five", **meter} for meter in meters],
        "nodes": NODES,
        "log": {"format": "json"},
    }


def write_configuration(folder: Path, configuration: dict[str, Any]) -> Path:
    """pipeline.yaml in `folder`; one that says the same already is left as it is: a flow that starts just now must not find it empty."""
    file, text = folder / "pipeline.yaml", yaml.safe_dump(configuration, sort_keys=False)
    if not file.exists() or file.read_text() != text:
        file.write_text(text)
    return file


class PipelineProcess:
    """`python -m bytewax.run flows.main` in `folder`, once or as a cluster of `processes`.

    :arg arguments: further arguments of bytewax.run, such as -w 2.
    """

    def __init__(self, folder: Path, configuration: dict[str, Any], *arguments: str, processes: int = 1) -> None:
        self.folder = folder
        self.archive = folder / "state" / FILE_NAME
        self.log = folder / "log"
        write_configuration(folder, configuration)
        self._arguments = arguments
        self._count = processes
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start all processes; the log of all goes to one file."""
        cluster = ";".join(f"127.0.0.1:{free_port()}" for _ in range(self._count))
        for number in range(self._count):
            scaling = ["-i", str(number), "-a", cluster] if self._count > 1 else []
            with self.log.open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "bytewax.run", "flows.main", *scaling, *self._arguments],
                        cwd=self.folder,
                        env={**os.environ, "PYTHONPATH": str(ROOT), "TB_TOKEN": TOKEN, "PIPELINE": "pipeline.yaml"},
                        stdout=subprocess.DEVNULL,
                        stderr=log,
                    )
                )

    def stop(self) -> list[int]:
        """SIGTERM to all; the exit codes."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(STOP_DEADLINE) for process in self.processes]
        self.processes.clear()
        return codes

    def kill(self) -> None:
        """SIGKILL to all."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def __enter__(self) -> PipelineProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def events(self) -> list[dict[str, Any]]:
        """The complete lines of the log."""
        return [json.loads(line) for line in self.log.read_text().rpartition("\n")[0].splitlines() if line.startswith("{")]

    def archived(self) -> dict[tuple[str, str, int], Any]:
        """All readings of the archive: (meter, key, ts in ms) -> value."""
        try:
            reader = ArchiveReader(self.archive)
        except StorageError:  # not there yet
            return {}
        with reader:
            return {
                (reading.meter, reading.key, to_ms(reading.ts)): reading.value
                for meter in reader.meters()
                for reading in reader.readings(meter, from_ms(0), from_ms(4_000_000_000_000), limit=10_000_000)
            }


@contextmanager
def simulator(module: str, folder: Path, lines: int, *options: str) -> Iterator[tuple[list[str], Path, subprocess.Popen[str]]]:
    """`python -m simulator...`: its first lines, its statistics file (written at exit), and the process."""
    statistics = folder / f"{module.rpartition('.')[2]}-{free_port()}.json"
    command = [sys.executable, "-m", module, "--stats-file", str(statistics), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TB_TOKEN": TOKEN}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield [process.stdout.readline().strip() for _ in range(lines)], statistics, process
        finally:
            process.terminate()


def delivered(messages: Sequence[tuple[str, Any]]) -> dict[tuple[str, str, int], Any]:
    """The readings a subscriber of the gateway telemetry topic saw: (device, key, ts in ms) -> value; health keys left out."""
    points: dict[tuple[str, str, int], Any] = {}
    for topic, payload in messages:
        if topic == "v1/gateway/telemetry":
            for device, records in payload.items():
                for record in records:
                    for key, value in record["values"].items():
                        if key in FIVE:
                            points[(device, key, record["ts"])] = value
    return points


def cycles_of(archive: Path) -> list[dict[str, Any]]:
    """The rows of the archive's cycles, oldest first."""
    with closing(sqlite3.connect(archive)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM cycles ORDER BY started")]


def as_json_number(value: Any) -> Any:
    """An archived value as JSON brings it back."""
    return float(value) if isinstance(value, Decimal) else value
