"""Outbox and publisher together: records are stored while they are delivered, against a bare loop and against the library that
thingsboard-gateway uses. Neither of those keeps anything: what they send is lost with the process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.broker import mosquitto
from bench.measure import Row, Run, side_by_side, timed
from bench.outage import METERS, VALUES, WINDOW, an_outbox, fill, packets, publish, records
from connectors.thingsboard.connection import parse_address
from connectors.thingsboard.outbox import Device, Outbox
from connectors.thingsboard.session import Session
from model.settings.thingsboard import ThingsBoardSettings

LIBRARY = ("tb-mqtt-client==1.13.14", "mmh3")
"""What the rival's environment has; the library installs mmh3 by itself where it is missing, while it runs."""

_CLIENT = Path(__file__).with_name("gateway_client.py")


@contextmanager
def gateway_library() -> Iterator[Path]:
    """The Python of an environment of its own with the library, which brings a fork of the MQTT client that we use."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *LIBRARY], check=True)
        yield python


def rows(rounds: int, readings: int, gateway_python: Path | None) -> list[Row]:
    """Storing and delivering; the row about the library only where there is a Python that has it."""
    with mosquitto() as url, ExitStack() as stack:
        outbox = stack.enter_context(an_outbox())
        fill(outbox, readings)
        messages = packets(outbox)

        def ours() -> int:
            store_and_deliver(url, readings)
            return readings

        def rival() -> int:
            publish(url, messages)
            return readings

        name = f"outbox and publisher, {readings:,} readings"
        table = [side_by_side(name, "readings, durable", ours, "bare publish loop, from memory", rival, rounds)]
        if gateway_python is None:
            print(
                "the row about thingsboard-gateway's client library is left out: --gateway-client makes an environment for it",
                file=sys.stderr,
            )
        else:
            table.append(_against_library(name, ours, gateway_python, url, readings, rounds))
        return table


def store_and_deliver(url: str, readings: int) -> None:
    """Append batch by batch, as the sink does, while a session delivers; returns when everything is acknowledged."""
    settings = ThingsBoardSettings.model_validate({"url": url, "token": "bench", "inflight": WINDOW})
    with an_outbox() as outbox:
        session = Session(settings, parse_address(url), "bench-ours", outbox)
        session.start()
        devices = [Device(f"meter-{meter}", "default") for meter in range(METERS)]
        for batch in records(readings):
            outbox.append(batch, devices)
            session.notify()
        _wait_until_empty(outbox)
        session.stop(1.0)


def _wait_until_empty(outbox: Outbox) -> None:
    while outbox.depth:
        time.sleep(0.005)


def _against_library(name: str, ours: Callable[[], int], python: Path, url: str, readings: int, rounds: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records"
        lines = (f"{record.device}\t{record.payload.decode()}" for batch in records(readings) for record in batch)
        file.write_text("\n".join(lines), encoding="utf-8")
        pairs = [(timed(ours), _library(python, url, file, readings)) for _ in range(rounds)]
    row_name = f"{name} ({VALUES} per record)"
    return Row(row_name, "readings, durable", tuple(a for a, _ in pairs), "tb-mqtt-client, from memory", tuple(b for _, b in pairs))


def _library(python: Path, url: str, file: Path, readings: int) -> Run:
    address = parse_address(url)
    command = [str(python), str(_CLIENT), address.host, str(address.port), str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    wall, cpu = map(float, done.stdout.split()[-2:])
    return Run(readings, wall, cpu)
