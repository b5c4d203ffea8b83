"""From a loaded configuration to one Bytewax dataflow; nothing is opened or started here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

from flows.bookmark import archive_bookmark
from flows.counting import Tally
from flows.same_pipeline import require_same_pipeline
from model.cluster import Place
from model.epochs import EpochLength
from model.errors import ConfigurationError, PipelineError, Problem
from model.loading.load import Loaded, LoadedNode
from model.loading.wires import Wire
from model.node import BuildContext, Remembered, no_memory
from model.session_record import SessionRecords
from model.stop import Stop

FLOW_ID = "pipeline"
"""Part of every key of the recovery store; changing it loses all recovery state."""

_ALONE = Place()


def build(
    loaded: Loaded,
    stop: Stop,
    resolve_meter: Callable[[str, str], str],
    resolve_thingsboard: Callable[[str], str],
    place: Place = _ALONE,
    remembered: Remembered = no_memory,
    tally: Tally | None = None,
    sessions: SessionRecords | None = None,
) -> Dataflow:
    """The dataflow that `loaded` describes: one step per node, with the node's id, in topological order.

    :arg resolve_meter: see `BuildContext`.
    :arg resolve_thingsboard: see `BuildContext`.
    :arg place: see `BuildContext`.
    :arg remembered: see `BuildContext`.
    :arg tally: counts what the nodes emit; without one nothing is counted.
    :arg sessions: see `BuildContext`.
    :raises ConfigurationError: when a node cannot be built from its settings.
    """
    flow = Dataflow(FLOW_ID)
    require_same_pipeline(flow, loaded.settings, place)
    records, epochs = sessions or SessionRecords(), EpochLength()
    bookmark = archive_bookmark(loaded.settings.state_dir)
    streams: dict[Wire, KeyedStream[Any]] = {}
    problems = []
    for node in loaded.nodes:
        if not all(wire in streams for wire in node.inputs):
            continue  # behind a node that could not be built
        context = BuildContext(
            flow=flow,
            node_id=node.id,
            settings=node.settings,
            pipeline=loaded.settings,
            stop=stop,
            resolve_meter=resolve_meter,
            resolve_thingsboard=resolve_thingsboard,
            place=place,
            bookmark=bookmark,
            remembered=remembered,
            sessions=records,
            epochs=epochs,
        )
        try:
            ports = node.type.build(context, [streams[wire] for wire in node.inputs])
        except PipelineError as error:
            problems.append(Problem(str(loaded.file), node.line, f"node {node.id}: {error.what}", error.remedy))
            continue
        _check_contract(flow, node, set(ports))
        if tally is not None:
            ports = tally.attach(flow, node.id, node.type.name, ports)
        streams.update({Wire(node.id, port): stream for port, stream in ports.items()})
    if problems:
        raise ConfigurationError(problems)
    return flow


def _check_contract(flow: Dataflow, node: LoadedNode, ports: set[str]) -> None:
    """A node type that breaks its contract would break recovery (step ids) or lose messages (ports)."""
    if ports != set(node.type.emits):
        raise TypeError(f"node type {node.type.name} returned the ports {sorted(ports)}, but declares {sorted(node.type.emits)}")
    steps = [step.step_name for step in flow.substeps]
    if steps[-1:] != [node.id] or steps.count(node.id) != 1:
        raise TypeError(f"node type {node.type.name} must add one step named {node.id!r}; wrap its steps with bytewax.dataflow.operator")
