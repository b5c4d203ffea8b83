"""What must hold between the nodes: known types, wires that lead somewhere and carry what the receiver takes, no cycles.

A node whose output nobody uses is no mistake, except where a rejection would be lost unseen: that is a warning. A
pipeline needs a source and a sink, but the sink need not be ThingsBoard: reading meters into the archive alone is a
legitimate use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model.errors import PipelineError, Problem
from model.loading.document import Document, Location
from model.loading.suggestion import nearest, suggest
from model.messages import Message, Rejection
from model.node import MAIN, NodeType

_ONE_OF_A_KIND: Mapping[str, str] = {
    "thingsboard-out": "ThingsBoard allows one session per token, and the second would end the first",
    "receipts-in": "every receipt would be counted twice",
    "archive-out": "the archive is one file, and a file takes one writer",
}


@dataclass(frozen=True, slots=True)
class Wire:
    """One input of a node: the output `port` of the node `source`."""

    source: str
    port: str

    def __str__(self) -> str:
        return self.source if self.port == MAIN else f"{self.source}.{self.port}"


@dataclass(frozen=True, slots=True)
class Vertex:
    """A node as far as it can be understood: `type` is None where it is unknown."""

    location: Location
    id: str
    type: NodeType | None
    wires: tuple[tuple[Location, Wire], ...]


def parse_wire(text: str) -> Wire:
    """What `id` or `id.port` under `inputs` means."""
    source, _, port = text.partition(".")
    return Wire(source, port)


def read_graph(document: Document, node_types: Mapping[str, NodeType]) -> tuple[list[Vertex], list[Problem]]:
    """The nodes in the file's order, with the problems of their types; malformed entries are left out."""
    vertices = []
    problems = []
    nodes = document.get(("nodes",))
    for index, node in enumerate(nodes if isinstance(nodes, list) else []):
        location: Location = ("nodes", index)
        if not isinstance(node, dict):
            continue
        node_type, problem = _node_type(document, location, node, node_types)
        problems += problem
        inputs = node.get("inputs")
        wires = tuple(
            ((*location, "inputs", position), parse_wire(text))
            for position, text in enumerate(inputs if isinstance(inputs, list) else [])
            if isinstance(text, str)
        )
        if isinstance(node.get("id"), str):
            vertices.append(Vertex(location, node["id"], node_type, wires))
    return vertices, problems


def _node_type(
    document: Document, location: Location, node: dict[str, Any], node_types: Mapping[str, NodeType]
) -> tuple[NodeType | None, list[Problem]]:
    name = node.get("type")
    if not isinstance(name, str):
        return None, []
    place = (*location, "type")
    try:
        return node_types[name], []
    except KeyError:
        what = f"node {node.get('id')}: unknown node type {name!r}"
        return None, [document.problem(place, what, suggest(name, node_types, "node types"))]
    except PipelineError as error:
        return None, [document.problem(place, f"node {node.get('id')}: {error.what}", error.remedy)]


def check_wires(document: Document, vertices: list[Vertex], node_types: Mapping[str, NodeType]) -> list[Problem]:
    """The problems between the nodes."""
    known: dict[str, Vertex] = {}
    problems = []
    for vertex in vertices:
        first = known.setdefault(vertex.id, vertex)
        if first is not vertex:
            line = document.place((*first.location, "id")).line
            what = f"the node id {vertex.id!r} is given twice, first in line {line}"
            problems.append(document.problem((*vertex.location, "id"), what, "give every node an id of its own"))
    for vertex in vertices:
        problems += _input_problems(document, vertex)
        for place, wire in vertex.wires:
            problems += _wire_problems(document, vertex, place, wire, known, node_types)
    problems += _repeated_types(document, vertices)
    problems += _ends(document, vertices)
    problems += _cycles(document, known)
    return problems


def unseen_rejections(document: Document, vertices: list[Vertex]) -> list[Problem]:
    """Warnings: ports with rejections that no node takes."""
    used = {wire for vertex in vertices for _, wire in vertex.wires}
    return [
        document.problem(
            vertex.location,
            f"node {vertex.id}: nobody sees what it rejects",
            f"add {vertex.id}.{port} to the inputs of a health or archive-out node",
        )
        for vertex in vertices
        for port, message in (vertex.type.emits if vertex.type else {}).items()
        if message is Rejection and Wire(vertex.id, port) not in used
    ]


def _input_problems(document: Document, vertex: Vertex) -> Iterator[Problem]:
    if vertex.type is None:
        return
    has_inputs = bool(document.get((*vertex.location, "inputs")))
    if has_inputs and not vertex.type.accepts:
        what = f"node {vertex.id}: {vertex.type.name} is a source and takes no inputs"
        yield document.problem((*vertex.location, "inputs"), what, "remove inputs")
    elif not has_inputs and vertex.type.accepts:
        what = f"node {vertex.id}: {vertex.type.name} has no inputs"
        yield document.problem(vertex.location, what, f"add inputs: [...], ids of nodes that emit {_names(vertex.type.accepts)}")


def _wire_problems(
    document: Document, vertex: Vertex, place: Location, wire: Wire, known: Mapping[str, Vertex], node_types: Mapping[str, NodeType]
) -> Iterator[Problem]:
    if wire in [earlier for position, earlier in vertex.wires if position[-1] < place[-1]]:  # type: ignore[operator]
        yield document.problem(place, f"node {vertex.id}: the input {wire} is given twice", "remove one of them")
        return
    source = known.get(wire.source)
    if source is None:
        others = [name for name in known if name != vertex.id]
        yield document.problem(place, f"node {vertex.id}: the input {wire} names no node", suggest(wire.source, others, "nodes"))
        return
    if source.type is None:
        return
    if wire.port not in source.type.emits:
        yield document.problem(place, f"node {vertex.id}: {_no_such_port(source, wire)}", _ports(source, wire))
        return
    emitted = source.type.emits[wire.port]
    if vertex.type is not None and vertex.type.accepts and not issubclass(emitted, vertex.type.accepts):
        what = f"node {vertex.id}: {vertex.type.name} takes {_names(vertex.type.accepts)}, but {wire} emits {emitted.__name__}"
        yield document.problem(place, what, _between(emitted, vertex.type, source, node_types))


def _no_such_port(source: Vertex, wire: Wire) -> str:
    if not source.type or not source.type.emits:
        return f"{source.id} has no output, because it delivers to the outside"
    return f"{source.id} has no main output" if wire.port == MAIN else f"{source.id} has no output {wire.port!r}"


def _ports(source: Vertex, wire: Wire) -> str:
    ports = source.type.emits if source.type else {}
    if not ports:
        return "take the inputs of that node instead"
    similar = nearest(wire.port, ports) if wire.port else None
    if similar is not None:
        return f"did you mean {Wire(source.id, similar)}?"
    listed = ", ".join(f"{Wire(source.id, port)} ({message.__name__})" for port, message in ports.items())
    return f"outputs of {source.id}: {listed}"


def _between(emitted: type[Message], receiver: NodeType, source: Vertex, node_types: Mapping[str, NodeType]) -> str:
    for port, message in (source.type.emits if source.type else {}).items():
        if issubclass(message, receiver.accepts):
            return f"did you mean {Wire(source.id, port)}?"
    for name in node_types:
        try:
            candidate = node_types[name]
        except PipelineError:
            continue
        main = candidate.emits.get(MAIN)
        if main is not None and issubclass(emitted, candidate.accepts) and issubclass(main, receiver.accepts):
            return f"put a {name} node between"
    return f"wire a node that emits {_names(receiver.accepts)}"


def _repeated_types(document: Document, vertices: list[Vertex]) -> Iterator[Problem]:
    first: dict[str, Vertex] = {}
    for vertex in vertices:
        if vertex.type is None or vertex.type.name not in _ONE_OF_A_KIND:
            continue
        other = first.setdefault(vertex.type.name, vertex)
        if other is not vertex:
            what = f"node {vertex.id}: there is already a node of type {vertex.type.name}, {other.id}"
            remedy = f"keep one of them, with the inputs of both: {_ONE_OF_A_KIND[vertex.type.name]}"
            yield document.problem((*vertex.location, "type"), what, remedy)


def _ends(document: Document, vertices: list[Vertex]) -> Iterator[Problem]:
    types = [vertex.type for vertex in vertices]
    if not types or None in types:
        return
    if all(node_type is not None and node_type.accepts for node_type in types):
        yield document.problem(("nodes",), "no node is a source, so nothing is ever read", "add a node of type dlms-in")
    if all(node_type is not None and node_type.emits for node_type in types):
        yield document.problem(("nodes",), "no node is a sink, so nothing is delivered", "add a node of type thingsboard-out")


def _cycles(document: Document, known: Mapping[str, Vertex]) -> Iterator[Problem]:
    remaining = set(known) - set(topological_order({name: _sources(vertex) for name, vertex in known.items()}))
    while remaining:
        path = [min(remaining, key=lambda name: document.place(known[name].location).line)]
        while (before := next(source for source in _sources(known[path[-1]]) if source in remaining)) not in path:
            path.append(before)
        circle = path[path.index(before) :][::-1]
        start = min(range(len(circle)), key=lambda index: document.place(known[circle[index]].location).line)
        circle = circle[start:] + circle[:start]
        place = (*known[circle[0]].location, "inputs")
        what = f"the nodes form a cycle: {' -> '.join([*circle, circle[0]])}"
        yield document.problem(place, what, "data flows one way only: remove one of these inputs")
        stuck = {name: _sources(vertex) for name, vertex in known.items() if name not in circle}
        remaining &= set(stuck) - set(topological_order(stuck))


def _sources(vertex: Vertex) -> list[str]:
    """The nodes that `vertex` waits for; inputs of a source are a mistake of their own."""
    return [wire.source for _, wire in vertex.wires] if vertex.type is None or vertex.type.accepts else []


def topological_order(sources: Mapping[str, list[str]]) -> list[str]:
    """Node ids so that every node follows the nodes it takes input from, otherwise in the given order; those on or
    behind a cycle are left out, and so are sources that are no nodes."""
    order: list[str] = []
    waiting = list(sources)
    while True:
        ready = [name for name in waiting if all(source in order or source not in sources for source in sources[name])]
        if not ready:
            return order
        order.append(ready[0])
        waiting.remove(ready[0])


def _names(types: tuple[type[Message], ...]) -> str:
    return " or ".join(message.__name__ for message in types)
