"""Node types that do nothing, for tests of loading and building."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, operator
from bytewax.operators import BranchOut, KeyedStream
from bytewax.testing import TestingSink, TestingSource
from pydantic import Field, SecretStr

from model.messages import Cycle, Message, Reading, Rejection
from model.node import MAIN, BuildContext, NodeType, Ports
from model.settings.base import Duration
from model.settings.node import NodeSettings

PIPELINE = """\
thingsboard: {url: "mqtt://localhost", token: secret-token}
templates: {basic: {read: {voltage: 1-0:32.7.0}}}
meters: [{id: desk, connect: "tcp://192.0.2.10:4059", template: basic}]
nodes:
  - {id: sink, type: out, inputs: [judge, judge.rejected]}
  - {id: judge, type: check, inputs: [first, second]}
  - {id: first, type: in}
  - {id: second, type: in}
"""


class CheckSettings(NodeSettings):
    """Some of each kind."""

    limit: int = Field(default=5, ge=1, description="The limit.")
    every: Duration = 1.0
    key: SecretStr | None = None
    file: Path | None = None


@operator
def source(step_id: str, flow: Dataflow) -> KeyedStream[Any]:
    return op.input("input", flow, TestingSource([("desk", 1)]))


@operator
def check(step_id: str, *ups: KeyedStream[Any]) -> BranchOut[Any, Any]:
    return op.branch("branch", op.merge("merge", *ups), lambda _: True)


@operator
def sink(step_id: str, *ups: KeyedStream[Any]) -> None:
    op.output("output", op.merge("merge", *ups), TestingSink([]))


def _build_source(context: BuildContext, inputs: Any) -> Ports:
    return {MAIN: source(context.node_id, context.flow)}


def _build_check(context: BuildContext, inputs: Any) -> Ports:
    out = check(context.node_id, *inputs)
    return {MAIN: out.trues, "rejected": out.falses}


def _build_sink(context: BuildContext, inputs: Any) -> Ports:
    sink(context.node_id, *inputs)
    return {}


def node_type(
    name: str, accepts: tuple[type[Message], ...], emits: dict[str, type[Message]], build: Any, settings: Any = NodeSettings
) -> NodeType:
    return NodeType(name, f"{name}.", settings, accepts, emits, "", build)


IN = node_type("in", (), {MAIN: Reading}, _build_source)
CHECK = node_type("check", (Reading,), {MAIN: Reading, "rejected": Rejection}, _build_check, CheckSettings)
OUT = node_type("out", (Reading, Rejection), {}, _build_sink)
CYCLES = node_type("cycles", (), {MAIN: Cycle}, _build_source)
TO_READINGS = node_type("to-readings", (Cycle,), {MAIN: Reading}, _build_check)
NODE_TYPES = {kind.name: kind for kind in (IN, CHECK, OUT, CYCLES, TO_READINGS)}
