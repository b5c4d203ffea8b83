"""What must hold between the links of the meters: no meter is configured twice, and a shared link is pointed out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from model.errors import Problem
from model.loading.document import Document
from model.loading.listing import named
from model.settings.meter import MeterSettings

_Link = tuple[str, int]


def configured_twice(document: Document, meters: Mapping[int, MeterSettings]) -> Iterator[Problem]:
    """Meters with one link and the same addresses on it.

    :arg meters: by their place in the section `meters`.
    """
    first: dict[tuple[object, ...], MeterSettings] = {}
    for index, meter in meters.items():
        link = _link(meter)
        other = meter if link is None else first.setdefault((link, *_addresses(meter)), meter)
        if other.id != meter.id:
            what = f"meter {meter.id}: the same meter as {other.id}: {meter.connect} with the same addresses"
            remedy = "remove one of them, or correct connect, server_logical or server_physical"
            yield document.problem(("meters", index, "connect"), what, remedy)


def shared_links(document: Document, meters: Mapping[int, MeterSettings]) -> Iterator[Problem]:
    """Warnings: meters behind one address and port.

    :arg meters: by their place in the section `meters`.
    """
    behind: dict[_Link, list[int]] = {}
    for index, meter in meters.items():
        link = _link(meter)
        if link is not None:
            behind.setdefault(link, []).append(index)
    for indices in behind.values():
        if len(indices) > 1:
            names = [meters[index].id for index in indices]
            what = f"{named('meter', names)} share the link {meters[indices[0]].connect}"
            remedy = (
                "a converter usually serves one connection at a time; meters on one line are read on separate connections, "
                "so check that this one serves as many as there are meters"
            )
            yield document.problem(("meters", indices[1], "connect"), what, remedy)


def _link(meter: MeterSettings) -> _Link | None:
    """Host and port of a real meter; None of a virtual one, which has a link of its own."""
    parts = urlsplit(meter.connect)
    return (parts.hostname or "", parts.port or 0) if parts.scheme == "tcp" else None


def _addresses(meter: MeterSettings) -> tuple[object, ...]:
    """Who speaks to whom on the link and behind it; a wrapper has no physical address (IEC 62056-47)."""
    physical = meter.server_physical if meter.framing == "hdlc" else 0
    return meter.framing, meter.client_sap, meter.server_logical, physical, meter.gateway_network, meter.gateway_octets()
