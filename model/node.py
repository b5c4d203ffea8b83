"""The contract of a node type: what a file in operators/ or connectors/ must offer to be wired in pipeline.yaml.

A node type is one file: its settings model, the Bytewax operator that does the work, and a `NODE` that describes it.
`flows` finds it by name, checks the wires against `accepts` and `emits`, and calls `build`. Other packages add node
types through the entry point group `dlms_thingsboard.nodes`, whose entries are `NodeType` objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Union

from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

from model.cluster import Place
from model.epochs import EpochLength
from model.messages import Message
from model.session_record import SessionRecords
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings
from model.stop import Stop

MAIN = ""
"""The name of a node's main output port: `inputs: [checked]` means it, `inputs: [checked.rejected]` a named one."""

ENTRY_POINT_GROUP = "dlms_thingsboard.nodes"

Bookmark = Callable[[str, Sequence[str]], Union[datetime, None]]
"""(meter, keys) -> time of the newest load profile value that was kept of the meter under one of these keys, None for none."""


def no_bookmark(_meter: str, _keys: Sequence[str]) -> datetime | None:
    """Nothing was kept."""
    return None


Remembered = Callable[[str], frozenset[str]]
"""Full step id -> the keys of which the recovery store holds a state."""


def no_memory(_step: str) -> frozenset[str]:
    """There is no recovery store."""
    return frozenset()


_ALONE = Place()


@dataclass(frozen=True)
class BuildContext:
    """What a node may use while it is built.

    :arg flow: the dataflow; sources add themselves to it.
    :arg node_id: must become the Bytewax step id, so that recovery survives edits of other nodes.
    :arg settings: this node's own settings, an instance of its type's model.
    :arg pipeline: the whole of pipeline.yaml.
    :arg stop: sources end their input when it is requested.
    :arg resolve_meter: turns a meter's `connect` into an address that can be dialled; called from the process that
        reads the meter, when it first connects (it starts the virtual meter for `sim://`).
    :arg resolve_thingsboard: the same for the ThingsBoard url (it starts the stand-in for `embedded`).
    :arg place: this process among those that run the dataflow.
    :arg bookmark: where to go on with a load profile of which no recovery store knows anything.
    :arg remembered: asks the recovery store which partitions of a step it holds; a source must go on listing all of them.
    :arg epochs: how long epochs are, as the inputs of this process have seen.
    :arg sessions: where the node that owns the MQTT sessions tells what becomes of them.
    """

    flow: Dataflow
    node_id: str
    settings: Any
    pipeline: PipelineSettings
    stop: Stop
    resolve_meter: Callable[[str, str], str]
    resolve_thingsboard: Callable[[str], str]
    place: Place = field(default=_ALONE)
    bookmark: Bookmark = field(default=no_bookmark)
    remembered: Remembered = field(default=no_memory)
    sessions: SessionRecords = field(default_factory=SessionRecords)
    epochs: EpochLength = field(default_factory=EpochLength)


Ports = Mapping[str, KeyedStream[Any]]


@dataclass(frozen=True)
class NodeType:
    """One kind of node.

    :arg name: what `type:` says in pipeline.yaml.
    :arg summary: one sentence for the generated reference.
    :arg settings: the model of the node's `settings:`.
    :arg accepts: message types it takes as input; empty for a source.
    :arg emits: output ports by name (MAIN for the main one) and the message type of each; empty for a sink.
    :arg example: a YAML snippet for the generated reference.
    :arg build: adds the node to the flow and returns its output streams by port name.
    """

    name: str
    summary: str
    settings: type[NodeSettings]
    accepts: tuple[type[Message], ...]
    emits: Mapping[str, type[Message]]
    example: str
    build: Callable[[BuildContext, Sequence[KeyedStream[Any]]], Ports]
