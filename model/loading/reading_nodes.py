"""What must hold between the meters and the nodes that read them: every meter is read, and by one node only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

from model.errors import Problem
from model.loading.document import Document
from model.loading.listing import named
from model.loading.wires import Vertex
from model.messages import Cycle
from model.settings.meter import MeterSettings
from model.settings.node import NodeSettings

READS = "dlms-in"
"""The node type whose setting `meters` holds patterns of the ids of the meters it reads."""


@dataclass(frozen=True, slots=True)
class ReadingNode:
    """A node that reads meters: `meters` are the ids that its patterns fit, in the order given."""

    vertex: Vertex
    patterns: tuple[str, ...]
    meters: tuple[str, ...]


def reading_nodes(
    vertices: Iterable[Vertex], settings: Mapping[str, NodeSettings | None], meters: Iterable[str], node_type: str = READS
) -> list[ReadingNode]:
    """The nodes of `node_type` whose settings are right, with what their patterns fit of `meters`."""
    ids = list(dict.fromkeys(meters))
    found = []
    for vertex in vertices:
        patterns: Any = getattr(settings.get(vertex.id), "meters", None)
        if vertex.type is not None and vertex.type.name == node_type and patterns is not None:
            read = tuple(meter for meter in ids if any(fnmatchcase(meter, pattern) for pattern in patterns))
            found.append(ReadingNode(vertex, tuple(patterns), read))
    return found


def read_twice(document: Document, nodes: Sequence[ReadingNode]) -> Iterator[Problem]:
    """Meters that two nodes read: each would hold the one connection that most meters allow."""
    for first, second in combinations(nodes, 2):
        both = [meter for meter in second.meters if meter in set(first.meters)]
        if both and first.vertex.id != second.vertex.id:
            what = f"node {second.vertex.id}: {named('meter', both)} {_is(both)} already read by {first.vertex.id}"
            remedy = (
                "most meters serve one connection at a time: keep one of the nodes, or give each its own patterns under settings: meters"
            )
            yield document.problem((*second.vertex.location, "settings", "meters"), what, remedy)


def reading_nothing(document: Document, nodes: Iterable[ReadingNode]) -> Iterator[Problem]:
    """Nodes whose patterns fit no meter."""
    for node in nodes:
        if not node.meters:
            what = f"node {node.vertex.id}: no meter fits {', '.join(map(repr, node.patterns))}"
            remedy = "patterns are compared with the whole id of a meter, such as lab-*; leave meters out to read all"
            yield document.problem((*node.vertex.location, "settings", "meters"), what, remedy)


def read_by_nobody(
    document: Document, vertices: Iterable[Vertex], nodes: Sequence[ReadingNode], meters: Sequence[MeterSettings]
) -> Iterator[Problem]:
    """A warning for the meters to be polled that no node reads, unless a source of another kind may read them."""
    sources = [vertex.type for vertex in vertices if vertex.type is not None and not vertex.type.accepts]
    others = [source for source in sources if source.name not in (READS, "dlms-push-in") and Cycle in source.emits.values()]
    if not nodes or others:
        return
    covered = {meter for node in nodes for meter in node.meters}
    unread = [(index, meter.id) for index, meter in enumerate(meters) if meter.is_polled and meter.id not in covered]
    if unread:
        names = [meter for _, meter in unread]
        what = f"{named('meter', names)} {_is(names)} read by no {READS} node"
        remedy = "add the id, or a pattern that fits it, to settings: meters of one of them"
        yield document.problem(("meters", unread[0][0], "id"), what, remedy)


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
