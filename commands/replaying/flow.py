"""A dataflow of the configuration's own nodes with archived messages as sources, and nothing at its end.

Sources are replaced, sinks are left out, everything else is the real node, built by its own type:

- a map node gives the archived readings of the meters that reach it (mapping happened before they were archived),
- a health node gives the archived reports (cycles and receipts are not kept whole),
- every other source gives nothing.

What each node emits is collected by node and port.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, run_main

from commands.replaying.stored import Identity, Stored, identity
from flows.build import FLOW_ID
from model.loading.load import Loaded, LoadedNode
from model.loading.wires import Wire
from model.messages import Alert, Message, Reading, Rejection
from model.node import MAIN, BuildContext
from model.settings.node import NodeSettings
from model.stop import Stop
from operators.map import MapSettings

BATCH = 200
"""Readings that flow at a time."""

REPLACED_BY_READINGS, REPLACED_BY_REPORTS = "map", "health"


@dataclass
class Replayed:
    """What came out.

    :arg delivered: readings that reached a `thingsboard-out` node, or any sink where there is none.
    :arg rejected: what nodes rejected.
    :arg alerts: what alert nodes said about the archived reports.
    :arg emitted: how many messages each port emitted, by "node" or "node.port".
    :arg entered: the readings that entered the flow; fewer than archived where no map node takes a meter or a key any more.
    """

    delivered: list[Reading] = field(default_factory=list)
    rejected: list[tuple[str, Rejection]] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    emitted: dict[str, int] = field(default_factory=dict)
    entered: set[Identity] = field(default_factory=set)


def replay_through(loaded: Loaded, stored: Stored, state_dir: Path) -> Replayed:
    """Let `stored` flow through the nodes of `loaded`; nothing is delivered or archived.

    :arg state_dir: an empty folder in place of the pipeline's, so that nothing of it is touched.
    :raises PipelineError: when a node cannot be built.
    """
    loaded = replace(loaded, settings=loaded.settings.model_copy(update={"state_dir": state_dir}))
    flow = Dataflow(FLOW_ID)
    streams: dict[Wire, KeyedStream[Any]] = {}
    taken: dict[str, list[Message]] = defaultdict(list)
    result = Replayed()
    for node in loaded.nodes:
        if node.type.name in (REPLACED_BY_READINGS, REPLACED_BY_REPORTS) or not node.type.accepts:
            messages = _messages(loaded, node, stored)
            result.entered.update(identity(message) for message in messages if isinstance(message, Reading))
            for port in node.type.emits:
                streams[Wire(node.id, port)] = _source(flow, node, port, messages if port == MAIN else [])
        elif node.type.emits:
            streams.update({Wire(node.id, port): stream for port, stream in _built(flow, loaded, node, streams).items()})
        elif node.type.name != "debug":
            for number, wire in enumerate(node.inputs):
                op.output(f"{node.id}-input-{number}", streams[wire], _Collecting(taken[f"in {node.id}"]))
    for wire, stream in streams.items():
        name = wire.source if wire.port == MAIN else f"{wire.source}.{wire.port}"
        op.output(f"{wire.source}-{wire.port or 'main'}-collected", stream, _Collecting(taken[name]))
    run_main(flow)  # type: ignore[no-untyped-call]
    _sort_out(loaded, taken, result)
    return result


def _messages(loaded: Loaded, node: LoadedNode, stored: Stored) -> Sequence[Message]:
    if node.type.name == REPLACED_BY_REPORTS:
        return stored.reports
    if node.type.name != REPLACED_BY_READINGS:
        return ()
    meters = _meters_of(loaded, node)
    return [reading for reading in stored.readings if reading.meter in meters and _passes(node.settings, reading.key)]


def _passes(settings: NodeSettings, key: str) -> bool:
    """Whether a map node's `keep` and `drop` let a key through; those are about keys before renaming, the archive has those after it."""
    return not isinstance(settings, MapSettings) or bool(settings.rename) or settings.renamed(key) is not None


def _meters_of(loaded: Loaded, node: LoadedNode) -> set[str]:
    """The meters whose cycles reach a map node."""
    by_id = {other.id: other for other in loaded.nodes}
    found: set[str] = set()
    for wire in node.inputs:
        source = by_id[wire.source]
        patterns = getattr(source.settings, "meters", ["*"])
        found.update(meter.id for meter in loaded.settings.meters if any(fnmatchcase(meter.id, pattern) for pattern in patterns))
    return found


def _source(flow: Dataflow, node: LoadedNode, port: str, messages: Sequence[Message]) -> KeyedStream[Any]:
    items = [(message.meter, message) for message in messages]
    return op.input(f"{node.id}-{port or 'main'}-replayed", flow, TestingSource(items, batch_size=BATCH))


def _built(flow: Dataflow, loaded: Loaded, node: LoadedNode, streams: dict[Wire, KeyedStream[Any]]) -> dict[str, KeyedStream[Any]]:
    context = BuildContext(flow, node.id, node.settings, loaded.settings, Stop(), _no_meter, _no_server)
    return dict(node.type.build(context, [streams[wire] for wire in node.inputs]))


def _no_meter(_meter: str, _connect: str) -> str:
    raise AssertionError("a replay asks no meter")


def _no_server(_url: str) -> str:
    raise AssertionError("a replay delivers nothing")


class _Collecting(DynamicSink[tuple[str, Message]]):
    """Keeps the messages, without their keys."""

    def __init__(self, into: list[Message]) -> None:
        self._into = into

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _CollectingPartition:
        """The one worker's part."""
        return _CollectingPartition(self._into)


class _CollectingPartition(StatelessSinkPartition[tuple[str, Message]]):
    def __init__(self, into: list[Message]) -> None:
        self._into = into

    def write_batch(self, items: list[tuple[str, Message]]) -> None:
        self._into.extend(message for _, message in items)


def _sort_out(loaded: Loaded, taken: dict[str, list[Message]], result: Replayed) -> None:
    sinks = [node for node in loaded.nodes if not node.type.emits and node.type.name != "debug"]
    to_server = [node for node in sinks if node.type.name == "thingsboard-out"] or sinks
    for node in to_server:
        result.delivered += [message for message in taken[f"in {node.id}"] if isinstance(message, Reading)]
    for name, messages in taken.items():
        if name.startswith("in "):
            continue
        result.emitted[name] = len(messages)
        result.rejected += [(name.partition(".")[0], message) for message in messages if isinstance(message, Rejection)]
        result.alerts += [message for message in messages if isinstance(message, Alert)]
