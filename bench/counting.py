"""What counting costs: the nodes between in and out, over cycles from memory, with the counters of `flows.counting` and without."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, operator
from bytewax.operators import KeyedStream
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, run_main

from bench.measure import Row, side_by_side
from flows.build import build
from flows.counting import Tally
from flows.registry import OWN_NODE_TYPES, NodeTypes
from model.loading.load import Loaded, load
from model.messages import Cycle, Outcome, RawValue, Reading, Rejection
from model.node import MAIN, NodeType
from model.settings.node import NodeSettings
from model.stop import Stop

METERS = 100
CYCLES = 6_000
KEYS = ("a", "b", "c", "d", "e")
BATCHES = (1, 10, 100)
"""Cycles that a source hands over at a time: one when meters are read now and then, more the more of them there are."""

PIPELINE = """\
thingsboard: {url: "mqtt://localhost", token: t}
templates: {basic: {read: {a: 1-0:32.7.0}}}
meters: [{id: m0, connect: "tcp://192.0.2.10:4059", template: basic}]
nodes:
  - {id: cycles, type: memory-in}
  - {id: mapped, type: map, inputs: [cycles]}
  - {id: checked, type: validate, inputs: [mapped], settings: {rules: {a: {min: 0, max: 1000}}}}
  - {id: out, type: nowhere-out, inputs: [checked, checked.rejected, mapped.rejected]}
"""


class _Nowhere(StatelessSinkPartition[Any]):
    def write_batch(self, items: list[Any]) -> None:
        """Forget them."""


class NowhereSink(DynamicSink[Any]):
    """Takes everything and keeps nothing."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Nowhere:
        """One per worker."""
        return _Nowhere()


@operator
def memory_in(step_id: str, flow: Dataflow, batch: int) -> KeyedStream[Any]:
    """The same cycles each time."""
    return op.input("input", flow, TestingSource(_cycles(), batch))


@operator
def nowhere_out(step_id: str, *ups: KeyedStream[Any]) -> None:
    """The end of all streams."""
    op.output("output", op.merge("merge", *ups), NowhereSink())


def rows(rounds: int) -> list[Row]:
    """One row per size of batch; the units are readings."""
    return [_row(batch, rounds) for batch in BATCHES]


def _row(batch: int, rounds: int) -> Row:
    loaded = _loaded(batch)
    name = f"flow without DLMS, {batch} cycle{'s' * (batch > 1)} a batch"
    return side_by_side(name, "readings, counted", _run(loaded, Tally), "not counted", _run(loaded, lambda: None), rounds)


def _run(loaded: Loaded, new_tally: Callable[[], Tally | None]) -> Callable[[], int]:
    def run() -> int:
        run_main(build(loaded, Stop(), lambda _meter, connect: connect, lambda url: url, tally=new_tally()))  # type: ignore[no-untyped-call]
        return CYCLES * len(KEYS)

    return run


def _loaded(batch: int) -> Loaded:
    memory = NodeType(
        "memory-in", "", NodeSettings, (), {MAIN: Cycle}, "", lambda context, _: {MAIN: memory_in(context.node_id, context.flow, batch)}
    )
    nowhere = NodeType("nowhere-out", "", NodeSettings, (Reading, Rejection), {}, "", lambda context, ups: _nowhere(context.node_id, ups))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_text(PIPELINE)
        return load(file, {**NodeTypes(OWN_NODE_TYPES, ()), memory.name: memory, nowhere.name: nowhere}, {})


def _nowhere(node: str, ups: Any) -> dict[str, KeyedStream[Any]]:
    nowhere_out(node, *ups)
    return {}


@cache
def _cycles() -> list[tuple[str, Cycle]]:
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    cycles = []
    for number in range(CYCLES):
        meter, moment = f"m{number % METERS}", start + timedelta(seconds=number // METERS)
        values = tuple(RawValue(key, 23_000 + number % 100, -2, 35) for key in KEYS)
        cycles.append((meter, Cycle(meter, moment, moment, 0.1, Outcome.OK, values)))
    return cycles
