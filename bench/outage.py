"""A long outage: readings are stored while the broker is away, then drained to it, against a bare loop that publishes the same.

`python -m bench.outage --readings 1000000` prints the figures of one full-size run, with live values read meanwhile.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import paho.mqtt.client as mqtt
import structlog
import typer
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench.broker import mosquitto
from bench.measure import Row, side_by_side
from connectors.thingsboard.connection import parse_address
from connectors.thingsboard.dispatch import Dispatch
from connectors.thingsboard.limits import DEFAULT_PAYLOAD, Pacer
from connectors.thingsboard.outbox import Device, Outbox
from connectors.thingsboard.payload import Kind, Record, encode_record
from connectors.thingsboard.session import Session
from model.settings.thingsboard import ThingsBoardSettings

METERS = 100
VALUES = 10
"""Values of one cycle."""

START = 1_767_225_600_000
WINDOW = 20
ARRIVING = 2_000
"""Readings per second at which they came: 12,000 meters with 10 values a minute."""


def records(readings: int, meters: int = METERS, values: int = VALUES) -> Iterator[list[Record]]:
    """Cycles of all meters, a batch per second, as the sink stores them."""
    made, second = 0, 0
    while made < readings:
        ts = START + second * 1000
        payload = encode_record(ts, {f"register_{number}": 230_000 + (second * 7 + number) % 1_000 for number in range(values)})
        yield [
            Record(f"meter-{meter}", f"meter-{meter}", Kind.TELEMETRY, ts, payload, "poll", values, ts, values) for meter in range(meters)
        ]
        made, second = made + meters * values, second + 1


def fill(outbox: Outbox, readings: int, values: int = VALUES) -> None:
    """Store so many readings."""
    devices = [Device(f"meter-{meter}", "default") for meter in range(METERS)]
    for batch in records(readings, values=values):
        outbox.append(batch, devices)


def drain(outbox: Outbox, url: str) -> None:
    """Deliver everything that waits."""
    settings = ThingsBoardSettings.model_validate({"url": url, "token": "bench", "inflight": WINDOW})
    session = Session(settings, parse_address(url), "bench-ours", outbox)
    session.start()
    while outbox.depth:
        time.sleep(0.005)
    session.stop(1.0)


def packets(outbox: Outbox) -> list[tuple[str, bytes]]:
    """What `drain` would publish, without publishing it."""
    dispatch = Dispatch(outbox, "gateway", Pacer(time.monotonic))
    dispatch.packing_limit = dispatch.packet_limit = DEFAULT_PAYLOAD
    found = []
    while (packet := dispatch.next(0.0, 0)) is not None:
        found.append((packet.topic, packet.payload))
        dispatch.accepted(packet)
    return found


def publish(url: str, messages: Sequence[tuple[str, bytes]]) -> None:
    """The bare loop: the same client library, QoS 1, the same number of messages on their way, nothing kept."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench-rival", protocol=MQTTProtocolVersion.MQTTv5)
    acknowledged = 0
    free = threading.Semaphore(WINDOW)

    def on_publish(*_: Any) -> None:
        nonlocal acknowledged
        acknowledged += 1
        free.release()

    client.on_publish = on_publish
    client.max_inflight_messages = WINDOW
    address = parse_address(url)
    client.connect(address.host, address.port)
    client.loop_start()
    for topic, payload in messages:
        free.acquire()
        client.publish(topic, payload, qos=1)
    while acknowledged < len(messages):
        time.sleep(0.001)
    client.disconnect()
    client.loop_stop()


@contextmanager
def an_outbox() -> Iterator[Outbox]:
    """An empty one, for one run."""
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "outbox.sqlite")
        try:
            yield outbox
        finally:
            outbox.close()


def rows(rounds: int, readings: int) -> list[Row]:
    """Draining an outage's readings to mosquitto; the outboxes are filled before, which is not counted."""
    with mosquitto() as url, ExitStack() as stack:
        waiting = [stack.enter_context(an_outbox()) for _ in range(rounds + 1)]  # one to warm up
        for outbox in waiting:
            fill(outbox, readings)
        messages = packets(waiting[0])

        def ours() -> int:
            drain(waiting.pop(), url)
            return readings

        def rival() -> int:
            publish(url, messages)
            return readings

        return [side_by_side(f"drain {readings:,} readings, durable", "readings", ours, "bare publish loop", rival, rounds)]


@dataclass
class Live:
    """Reads while the backlog drains, and watches at the broker how late each live value comes. Seconds."""

    delays: list[float] = field(default_factory=list)

    def listen(self, url: str) -> mqtt.Client:
        """Subscribe as an independent client."""
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench-listener", protocol=MQTTProtocolVersion.MQTTv5)
        client.on_message = self._on_message
        address = parse_address(url)
        client.connect(address.host, address.port)
        client.subscribe("v1/gateway/telemetry", qos=0)
        client.loop_start()
        return client

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        if b'"live"' in message.payload[:200]:
            now = time.time()
            self.delays += [now - int(part[:13]) / 1000 for part in message.payload.split(b'"ts":')[1:]]


def _live_records() -> list[Record]:
    ts = int(time.time() * 1000)
    payload = encode_record(ts, {"live": ts})
    return [Record(f"meter-{meter}", f"meter-{meter}", Kind.TELEMETRY, ts, payload, "poll", 1, ts, 1) for meter in range(METERS)]


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def main(
    readings: Annotated[int, typer.Option(min=1_000, help="Readings stored while the broker is away.")] = 1_000_000,
    values: Annotated[int, typer.Option(min=1, help="Values per record (cycle).")] = VALUES,
) -> None:
    """One outage of full size, with figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    say: Callable[[str], None] = typer.echo
    with mosquitto() as url, an_outbox() as outbox:
        before = _resident()
        begun = time.perf_counter()
        fill(outbox, readings, values)
        say(f"stored {readings:,} readings, {values} per record, {METERS} meters: {readings / (time.perf_counter() - begun):,.0f} per s")
        say(f"memory {before:.0f} MB before, {_resident():.0f} MB with all of them waiting")
        live = Live()
        listener = live.listen(url)
        settings = ThingsBoardSettings.model_validate({"url": url, "token": "bench", "inflight": WINDOW})
        session = Session(settings, parse_address(url), "bench-ours", outbox)
        begun = time.perf_counter()
        session.start()
        peak, added = 0.0, 0
        while outbox.depth > METERS:
            outbox.append(_live_records())
            added += METERS
            session.notify()
            time.sleep(0.2)
            peak = max(peak, _resident())
        wall = time.perf_counter() - begun
        while len(live.delays) < added and time.perf_counter() - begun < wall + 10:
            time.sleep(0.05)
        session.stop(1.0)
        listener.disconnect()
        listener.loop_stop()
        rate = readings / wall
        say(f"drained in {wall:.1f} s: {rate:,.0f} per s, {rate / ARRIVING:.0f} times {ARRIVING:,} per s; memory at most {peak:.0f} MB")
        late = f"at most {max(live.delays):.2f} s late" if live.delays else "none came"
        say(f"live values meanwhile: {added:,} stored, {len(live.delays):,} seen, {late}")


if __name__ == "__main__":
    typer.run(main)
