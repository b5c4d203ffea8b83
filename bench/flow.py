"""The flow without DLMS: ready cycles from memory through the nodes to mosquitto, until the last PUBACK has arrived."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import bytewax.operators as op
import yaml
from bytewax.dataflow import Dataflow, operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream
from bytewax.testing import run_main

from bench.broker import mosquitto
from bench.measure import Row, side_by_side
from bench.outage import an_outbox, packets, publish
from connectors.thingsboard.outbox_schema import FILE_NAME
from connectors.thingsboard.outbox_state import look_into
from connectors.thingsboard.payload import Record
from connectors.thingsboard.records import reading_records
from flows.build import build
from flows.registry import OWN_NODE_TYPES, NodeTypes
from model.loading.load import Loaded, load
from model.messages import Cycle, Origin, Outcome, RawValue, Reading
from model.node import MAIN, NodeType
from model.settings.node import NodeSettings
from model.stop import Stop

METERS = 1_000
VALUES = 10
BATCH = 100
"""Cycles that the source hands over at a time."""

KEYS = [f"register_{number}" for number in range(VALUES)]
_NODES: list[dict[str, Any]] = [
    {"id": "cycles", "type": "memory-in"},
    {"id": "mapped", "type": "map", "inputs": ["cycles"]},
    {"id": "checked", "type": "validate", "inputs": ["mapped"], "settings": {"rules": {"register_*": {"min": 0, "max": 1000}}}},
    {"id": "out", "type": "thingsboard-out", "inputs": ["checked"]},
]
_ARCHIVE = {"id": "archive", "type": "archive-out", "inputs": ["cycles", "checked", "checked.rejected", "mapped.rejected"]}


class _MemoryPartition(StatefulSourcePartition[tuple[str, Cycle], None]):
    """Hands the cycles over, then waits until the outbox is empty."""

    def __init__(self, cycles: list[tuple[str, Cycle]], outbox: Path) -> None:
        self._cycles, self._outbox, self._next = cycles, outbox, 0

    def next_batch(self) -> list[tuple[str, Cycle]]:
        """The next ones; the end when everything is acknowledged."""
        if self._next >= len(self._cycles):
            if look_into(self._outbox).waiting == 0:
                raise StopIteration
            return []
        batch = self._cycles[self._next : self._next + BATCH]
        self._next += BATCH
        return batch

    def next_awake(self) -> datetime | None:
        """At once while there are cycles."""
        return None if self._next < len(self._cycles) else datetime.now(timezone.utc) + timedelta(milliseconds=20)

    def snapshot(self) -> None:
        """Nothing."""


class MemorySource(FixedPartitionedSource[tuple[str, Cycle], None]):
    """Ready cycles."""

    def __init__(self, cycles: list[tuple[str, Cycle]], outbox: Path) -> None:
        self._cycles, self._outbox = cycles, outbox

    def list_parts(self) -> list[str]:
        """One."""
        return ["memory"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _MemoryPartition:
        """From the beginning."""
        return _MemoryPartition(self._cycles, self._outbox)


@operator
def memory_in(step_id: str, flow: Dataflow, source: MemorySource) -> KeyedStream[Any]:
    """The cycles of `source`."""
    return op.input("input", flow, source)


def rows(rounds: int, readings: int) -> list[Row]:
    """From source to PUBACK, without and with the archive, against a loop that publishes the same values packed alike."""
    cycles = ready_cycles(readings // VALUES)
    with mosquitto() as url, ExitStack() as stack:
        outbox = stack.enter_context(an_outbox())
        outbox.append(_records(cycles))
        messages = packets(outbox)

        def rival() -> int:
            publish(url, messages)
            return readings

        name = f"flow without DLMS, {readings:,} readings to PUBACK"
        table = []
        for title, nodes in ((name, _NODES), (f"{name}, archived", [*_NODES, _ARCHIVE])):
            ready = [_loaded(stack, url, cycles, nodes) for _ in range(rounds + 1)]  # one to warm up
            table.append(side_by_side(title, "readings, durable", _flow(ready, readings), "bare publish loop", rival, rounds))
        return table


def ready_cycles(count: int) -> list[tuple[str, Cycle]]:
    """One after another of all meters, a second apart."""
    start = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=1)
    cycles = []
    for number in range(count):
        meter, at = f"m{number % METERS}", start + timedelta(seconds=number // METERS)
        values = tuple(RawValue(key, 23_000 + number % 100, -2, 35) for key in KEYS)
        cycles.append((meter, Cycle(meter, at, at, 0.1, Outcome.OK, values, exchanges=1)))
    return cycles


def _flow(ready: list[Loaded], readings: int) -> Callable[[], int]:
    def run() -> int:
        run_main(build(ready.pop(), Stop(), lambda _meter, connect: connect, lambda url: url))  # type: ignore[no-untyped-call]
        return readings

    return run


def _loaded(stack: ExitStack, url: str, cycles: list[tuple[str, Cycle]], nodes: list[dict[str, Any]]) -> Loaded:
    """A pipeline with a state of its own, not counted as work."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    source = MemorySource(cycles, folder / "state" / FILE_NAME)
    memory = NodeType(
        "memory-in", "", NodeSettings, (), {MAIN: Cycle}, "", lambda context, _: {MAIN: memory_in(context.node_id, context.flow, source)}
    )
    pipeline = {
        "thingsboard": {"url": url, "token": "bench"},
        "templates": {"ten": {"read": {key: f"1-0:{number + 1}.7.0" for number, key in enumerate(KEYS)}}},
        "meters": [{"id": f"m{number}", "connect": f"tcp://192.0.2.1:{1024 + number}", "template": "ten"} for number in range(METERS)],
        "nodes": nodes,
    }
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    return load(file, {**NodeTypes(OWN_NODE_TYPES, ()), memory.name: memory}, {})


def _records(cycles: list[tuple[str, Cycle]]) -> list[Record]:
    readings = [
        Reading(meter, raw.key, raw.value, "V", cycle.started, Origin.POLL, cycle.read_at)
        for meter, cycle in cycles
        for raw in cycle.values
    ]
    return reading_records(readings, lambda meter: meter)
