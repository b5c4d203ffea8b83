"""End to end: prepared meters, the whole pipeline in a process of its own as an operator runs it, and mosquitto.

What is measured is read from outside: CPU and memory from /proc, schedule and exchanges from the archive, bytes from the broker.
"""

from __future__ import annotations

import csv
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import yaml
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench.broker import mosquitto
from bench.prepared_meters import PreparedMeters, is_silent, prepared_meters
from bench.prepared_replies import REGISTERS
from bench.reading import CIPHERED
from bench.stock import INFORMATION_SIZE
from connectors.archive.schema import FILE_NAME
from connectors.thingsboard.connection import parse_address

ROOT = Path(__file__).parents[1]
_READINGS_IN = ["meters", "checked", "checked.rejected", "mapped.rejected", "receipts", "receipts.rejected"]
NODES: list[dict[str, Any]] = [
    {"id": "meters", "type": "dlms-in"},
    {"id": "receipts", "type": "receipts-in"},
    {"id": "mapped", "type": "map", "inputs": ["meters"]},
    {"id": "checked", "type": "validate", "inputs": ["mapped"], "settings": {"rules": {"r*": {"min": 0, "max": 1e9}}}},
    {"id": "health", "type": "health", "inputs": _READINGS_IN, "settings": {"window": "60s"}},
    {"id": "alerts", "type": "alert", "inputs": ["health"]},
    {"id": "thingsboard", "type": "thingsboard-out", "inputs": ["checked", "health", "alerts", "receipts.alerts"]},
    {"id": "archive", "type": "archive-out", "inputs": [*_READINGS_IN, "receipts.alerts", "health", "alerts"]},
]


@dataclass(frozen=True)
class Fleet:
    """What runs.

    :arg latency: of every reply, seconds.
    :arg interval: between cycles, seconds.
    :arg silent: percentage of meters that accept and never answer.
    :arg never: percentage of meters that never accept.
    :arg with_list: whether meters are asked with GET-with-list.
    :arg profile_rows: rows of a load profile that every meter has and that is read; none where 0.
    :arg new_per_second: connections that the pipeline opens per second at most; as it does by default.
    :arg processes: of the pipeline, as a cluster where there are more than one.
    :arg workers: of each process.
    """

    meters: int
    latency: float = 0.0
    registers: int = 10
    interval: float = 60.0
    silent: int = 0
    never: int = 0
    ciphered: bool = False
    framing: str = "hdlc"
    with_list: bool = True
    profile_rows: int = 0
    new_per_second: float = 30.0
    processes: int = 1
    workers: int = 1

    def is_healthy(self, number: int) -> bool:
        """Whether this meter answers."""
        return not is_silent(number, self.silent + self.never)

    def is_never(self, number: int) -> bool:
        """Whether this meter does not even accept a connection."""
        return is_silent(number, self.silent + self.never) and not is_silent(number, self.silent)


@dataclass(frozen=True)
class Found:
    """What came of it, while it was watched; only of meters that answer, but for CPU and memory.

    Milliseconds for lateness and duration, seconds for `seconds` and `cpu`, bytes for `memory` and `mqtt_bytes`.
    """

    seconds: float
    cpu: float
    memory: int
    cycles: int
    not_ok: int
    due: int
    values: int
    exchanges: int
    late: tuple[float, ...]
    took: tuple[float, ...]
    acknowledged: int
    mqtt_bytes: int
    profile_readings: int
    generator: dict[str, Any]

    @property
    def core(self) -> float:
        """Part of one core that the pipeline took."""
        return self.cpu / self.seconds

    @property
    def cpu_per_register(self) -> float:
        """Milliseconds of CPU of the whole pipeline for one register, from the meter to the acknowledgement."""
        return self.cpu * 1000 / max(1, self.values + self.profile_readings)

    @property
    def bytes_per_reading(self) -> float:
        """Everything that the broker received, for one acknowledged reading."""
        return self.mqtt_bytes / max(1, self.acknowledged)

    def lateness(self, percentile: int) -> float:
        """Milliseconds by which cycles began after they were due."""
        return _percentile(self.late, percentile)

    def duration(self, percentile: int) -> float:
        """Milliseconds that cycles took."""
        return _percentile(self.took, percentile)


def run(fleet: Fleet, seconds: float, calm: float = 15.0) -> Found:
    """Start everything, wait until every meter was met and `calm` seconds more, then watch for `seconds`."""
    options = {"framing": fleet.framing, "latency": fleet.latency, "silent": fleet.silent, "rows": fleet.profile_rows}
    with tempfile.TemporaryDirectory() as folder, mosquitto() as url, prepared_meters(**options) as meters:
        place = Path(folder)
        write_pipeline(place, fleet, meters, url)
        with running_cluster(place, fleet.processes, fleet.workers) as cluster:
            _wait_until_met(place / "state" / FILE_NAME, fleet)
            time.sleep(calm)
            before, received = _Usage(cluster), _received(url)
            begun = time.time()
            time.sleep(seconds)
            after, ended = _Usage(cluster), time.time()
            mqtt_bytes = _received(url) - received
        meters.stop()
        return _found(place / "state" / FILE_NAME, fleet, (begun, ended), before, after, mqtt_bytes, meters.statistics)


def write_pipeline(folder: Path, fleet: Fleet, meters: PreparedMeters, url: str) -> None:
    """pipeline.yaml and the table of meters."""
    read = {f"r{number}": f"1-0:{register}" for number, register in enumerate(REGISTERS[: fleet.registers])}
    template: dict[str, Any] = {"interval": fleet.interval, "read": read}
    if fleet.profile_rows:
        template["profiles"] = {"load": {"obis": "1-0:99.1.0", "horizon": fleet.profile_rows * 900}}
    pipeline = {
        "thingsboard": {"url": url, "token": "bench"},
        "limits": {"connections": fleet.meters + 100, "new_connections_per_second": fleet.new_per_second},
        "templates": {"t": template},
        "meters_file": "meters.csv",
        "nodes": NODES,
        "log": {"level": "error", "format": "json"},
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False), encoding="utf-8")
    common: dict[str, object] = {"template": "t", "framing": fleet.framing, "with_list": str(fleet.with_list).lower(), "line": "separate"}
    common |= {"hdlc_information_size": INFORMATION_SIZE} if fleet.framing == "hdlc" else {}
    common |= {key: value for key, value in CIPHERED.items() if "key" not in key} if fleet.ciphered else {}
    common |= {key: f"${{{key.upper()}}}" for key in CIPHERED if "key" in key} if fleet.ciphered else {}
    with (folder / "meters.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["id", "connect", *common])
        table.writeheader()
        for number in range(fleet.meters):
            connect = meters.connect(number)
            if fleet.is_never(number):
                connect = connect.replace(f":{meters.port}", f":{meters.never_port}")
            table.writerow({"id": f"m{number}", "connect": connect, **common})


@contextmanager
def running_pipeline(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m bytewax.run flows.main` with recovery, as `make run` starts it, in `folder`; it must live to the end."""
    with running_cluster(folder) as (process,):
        yield process


@contextmanager
def running_cluster(folder: Path, processes: int = 1, workers: int = 1) -> Iterator[list[subprocess.Popen[bytes]]]:
    """As `running_pipeline`, in some processes with some workers each."""
    keys = {key.upper(): str(value) for key, value in CIPHERED.items() if "key" in key}
    environment = {**os.environ, **keys, "PYTHONPATH": str(ROOT), "PIPELINE": "pipeline.yaml"}
    made = subprocess.run(
        [sys.executable, "-m", "commands", "recovery"], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    command = [sys.executable, "-m", "bytewax.run", "flows.main", "-r", made.stdout.strip(), "-s", "10", "-b", "60"]
    command += ["-w", str(workers)] if workers > 1 else []
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(processes))
    cluster = []
    with (folder / "log").open("wb") as log:
        for number in range(processes):
            place = ["-i", str(number), "-a", addresses] if processes > 1 else []
            cluster.append(subprocess.Popen([*command, *place], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=log))
    try:
        yield cluster
        assert all(process.poll() is None for process in cluster), (folder / "log").read_text(errors="replace")[-2_000:]
    finally:
        for process in cluster:
            process.send_signal(signal.SIGTERM)
        for process in cluster:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of this host that nobody listens at, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in sockets]


def _wait_until_met(archive: Path, fleet: Fleet) -> None:
    """Every meter has had a cycle, if only a failed one."""
    deadline = time.monotonic() + 120 + fleet.meters / fleet.new_per_second + 3 * fleet.interval
    met = 0
    while met < fleet.meters:
        assert time.monotonic() < deadline, f"only {met} of {fleet.meters} meters were met"
        time.sleep(1.0)
        if archive.exists():
            with closing(sqlite3.connect(archive)) as database, suppress(sqlite3.OperationalError):  # not there yet
                met = database.execute("SELECT COUNT(DISTINCT meter) FROM cycles").fetchone()[0]


class _Usage:
    """CPU seconds and resident bytes of some processes together, now."""

    def __init__(self, cluster: Sequence[subprocess.Popen[bytes]]) -> None:
        stats = [Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split() for process in cluster]
        self.cpu = sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")
        self.memory = sum(int(fields[21]) for fields in stats) * os.sysconf("SC_PAGE_SIZE")


def _received(url: str) -> int:
    """Bytes that the broker has received since it started, as it says itself once a second."""
    heard: list[int] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench-watcher", protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = lambda _client, _data, message: heard.append(int(message.payload))
    address = parse_address(url)
    client.connect(address.host, address.port)
    client.subscribe("$SYS/broker/bytes/received")
    client.loop_start()
    for _ in range(500):
        if heard:
            break
        time.sleep(0.01)
    client.disconnect()
    client.loop_stop()
    return heard[-1] if heard else 0


def _found(
    archive: Path, fleet: Fleet, watched: tuple[float, float], before: _Usage, after: _Usage, mqtt_bytes: int, generator: dict[str, Any]
) -> Found:
    begun, ended = (int(moment * 1000) for moment in watched)
    with closing(sqlite3.connect(archive)) as database:
        query = (
            "SELECT meter, due, started, duration, outcome, value_count, exchanges FROM cycles WHERE due BETWEEN ? AND ? AND exchanges > 0"
        )
        rows = [row for row in database.execute(query, (begun, ended)) if fleet.is_healthy(int(row[0][1:]))]
        acknowledged = database.execute("SELECT SUM(readings) FROM receipts WHERE acknowledged BETWEEN ? AND ?", (begun, ended)).fetchone()[
            0
        ]
        in_profiles = database.execute(
            "SELECT COUNT(*) FROM readings WHERE origin = 'profile' AND read_at BETWEEN ? AND ?", (begun, ended)
        ).fetchone()[0]
    seconds = watched[1] - watched[0]
    healthy = sum(fleet.is_healthy(number) for number in range(fleet.meters))
    return Found(
        seconds=seconds,
        cpu=after.cpu - before.cpu,
        memory=after.memory,
        cycles=len(rows),
        not_ok=sum(row[4] != "ok" for row in rows),
        due=round(healthy * seconds / fleet.interval),
        values=sum(row[5] for row in rows),
        exchanges=sum(row[6] for row in rows),
        late=tuple(float(row[2] - row[1]) for row in rows),
        took=tuple(row[3] * 1000 for row in rows),
        acknowledged=acknowledged or 0,
        mqtt_bytes=mqtt_bytes,
        profile_readings=in_profiles,
        generator=generator,
    )


def _percentile(values: tuple[float, ...], percentile: int) -> float:
    return statistics.quantiles(values, n=100)[percentile - 1] if len(values) > 1 else float("nan")
