"""Counts what each node emits, per output port and batch by batch, without a place in the drawn flow.

The counting step is the last step *inside* its node: the graph of nodes and wires stays the one of pipeline.yaml. It keeps no
state that recovery would know of, and no other step's id changes. Bytewax offers no public way to add a step to an operator
that is built, so what is known about its model (0.21: steps and ports are frozen dataclasses, a scope is the list to which steps
are added) is used here and nowhere else. Only a node that is a single step of Bytewax's own has no inside: there the counting
step follows it, and is drawn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import bytewax.operators as op
from bytewax.dataflow import Dataflow, MultiPort, Operator, SinglePort, _Scope
from bytewax.operators import KeyedStream

from model.node import Ports
from model.status import NodeStatus
from model.timestamps import from_ms

_MAIN_NAME = "main"
"""What the main port is called where it must have a name."""


class PortCounter:
    """Items of one port. All workers of the process count here, each on a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._last = 0.0

    def count(self, batch: list[Any]) -> list[Any]:
        """Count the batch and give it on."""
        if batch:
            with self._lock:  # an addition is not atomic, and threads may change between its two halves
                self._count += len(batch)
                self._last = time.time()
        return batch

    def read(self) -> tuple[int, float]:
        """How many, and when the last came, in seconds since 1970; 0.0 before the first."""
        with self._lock:
            return self._count, self._last


@dataclass
class NodeCounter:
    """The counters of one node, by name of the port."""

    type: str
    ports: dict[str, PortCounter] = field(default_factory=dict)

    def status(self) -> NodeStatus:
        """As of now."""
        read = {name: counter.read() for name, counter in self.ports.items()}
        last = max((last for _, last in read.values()), default=0.0)
        return NodeStatus(self.type, {name: count for name, (count, _) in read.items()}, from_ms(int(last * 1000)) if last else None)


class Tally:
    """The counters of all nodes of the flow in this process."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeCounter] = {}

    def attach(self, flow: Dataflow, node: str, node_type: str, ports: Ports) -> Ports:
        """The ports of the node whose step was added to `flow` last, with a counting step behind each."""
        counter = self._nodes[node] = NodeCounter(node_type)
        counted = {}
        for port, stream in ports.items():
            name = port or _MAIN_NAME
            counting = counter.ports[name] = PortCounter()
            if getattr(flow.substeps[-1], "core", False):
                counted[port] = op.flat_map_batch(f"count_{node}_{name}", stream, counting.count)
            else:
                counted[port] = _inside_last_step(flow, stream, f"count_{name}", counting.count)
        return counted

    def status(self) -> Mapping[str, NodeStatus]:
        """As of now, by node id, in the order in which nodes follow each other."""
        return {node: counter.status() for node, counter in self._nodes.items()}


def _inside_last_step(flow: Dataflow, stream: KeyedStream[Any], name: str, mapper: Callable[[list[Any]], list[Any]]) -> KeyedStream[Any]:
    outer = stream._scope
    node = flow.substeps[-1]
    inner = _Scope(node.step_id, cast("list[Operator]", node.substeps), flow)
    within = op.flat_map_batch(name, stream._with_scope(inner), mapper)
    flow.substeps[-1] = _rewired(node, stream.stream_id, within.stream_id)
    return within._with_scope(outer)


def _rewired(node: Operator, before: str, after: str) -> Operator:
    """The same step with another stream at its output port, where one showed it: the drawing follows the ports."""
    ports: dict[str, Any] = {}
    for name in node.dwn_names:
        port = getattr(node, name)
        if isinstance(port, SinglePort) and port.stream_id == before:
            ports[name] = replace(port, stream_id=after)
        elif isinstance(port, MultiPort):
            ports[name] = replace(port, stream_ids={key: after if value == before else value for key, value in port.stream_ids.items()})
    return replace(node, **ports) if ports else node
