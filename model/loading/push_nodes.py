"""What must hold between the meters that call in by themselves and the nodes that listen for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from model.errors import Problem
from model.loading.document import Document
from model.loading.listing import named
from model.loading.reading_nodes import ReadingNode
from model.settings.meter import MeterSettings
from model.settings.node import NodeSettings

LISTENS = "dlms-push-in"
"""The node type whose setting `meters` holds patterns of the ids of the meters that may call in, `listen` where."""


def listening_twice(document: Document, nodes: Sequence[ReadingNode], settings: Mapping[str, NodeSettings | None]) -> Iterator[Problem]:
    """Nodes that listen at one place: only one of them gets it."""
    for first, second in combinations(nodes, 2):
        one, other = (getattr(settings.get(node.vertex.id), "listen", None) for node in (first, second))
        if one == other and first.vertex.id != second.vertex.id:
            what = f"node {second.vertex.id}: {first.vertex.id} already listens at {one}"
            remedy = "give each a place of its own, or keep one of them with the meters of both"
            yield document.problem((*second.vertex.location, "settings", "listen"), what, remedy)


def recognised_alike(document: Document, nodes: Iterable[ReadingNode], meters: Mapping[int, MeterSettings]) -> Iterator[Problem]:
    """Meters of one node that nothing tells apart: notifications of either would be taken for nobody's."""
    by_id = {meter.id: (index, meter) for index, meter in meters.items()}
    for node in nodes:
        first: dict[Any, str] = {}
        for name in node.meters:
            index, meter = by_id[name]
            selectors = tuple(sorted(meter.push_selectors().items()))
            other = first.setdefault(selectors, name)
            if selectors and other != name:
                key = selectors[0][0]
                what = f"meter {name}: its notifications look like those of {other}, both have {key}: {selectors[0][1]}"
                yield document.problem(("meters", index, key), what, "give each something that only its own notifications carry")


def recognising_nobody(document: Document, nodes: Iterable[ReadingNode], meters: Mapping[int, MeterSettings]) -> Iterator[Problem]:
    """Nodes that would take every sender for a stranger."""
    recognisable = {meter.id for meter in meters.values() if meter.push_selectors()}
    for node in nodes:
        if not recognisable.intersection(node.meters):
            what = f"node {node.vertex.id}: it would recognise no meter"
            remedy = "give the meters that call in here a server_system_title, push_identity, push_address or push_station"
            yield document.problem(node.vertex.location, what, remedy)


def heard_by_nobody(document: Document, nodes: Iterable[ReadingNode], meters: Mapping[int, MeterSettings]) -> Iterator[Problem]:
    """A warning for the meters that only call in, and that no node listens for."""
    heard = {name for node in nodes for name in node.meters}
    unheard = [(index, meter.id) for index, meter in meters.items() if not meter.is_polled and meter.id not in heard]
    if unheard:
        what = f"{named('meter', [name for _, name in unheard])}: nobody listens, and connect: push means that nobody calls either"
        yield document.problem(("meters", unheard[0][0], "connect"), what, f"add a node of type {LISTENS}, with a pattern that fits")
