"""What must hold between the links of the meters: no meter is configured twice, those on one line agree on it, and
separate connections to one address are pointed out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from model.errors import Problem
from model.loading.document import Document
from model.loading.listing import named
from model.settings.meter import MeterSettings


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


def quarrels_on_lines(document: Document, meters: Mapping[int, MeterSettings]) -> Iterator[Problem]:
    """Meters on one line that set it differently, of which only some share it, or whose port can serve but one.

    :arg meters: by their place in the section `meters`.
    """
    for indices in _behind_one_address(meters):
        for index in indices[1:]:
            quarrel = _quarrel(meters[index], meters[indices[0]])
            if quarrel is not None:
                yield document.problem(("meters", index, "connect"), f"meter {meters[index].id}: {quarrel[0]}", quarrel[1])


def _quarrel(meter: MeterSettings, first: MeterSettings) -> tuple[str, str] | None:
    """What `meter` says against the first meter of its line, and what to do about it."""
    line = meter.address.line
    if meter.framing == first.framing and (meter.shared_line is None) != (first.shared_line is None):
        return f"{line} is {_kind(meter)} here and {_kind(first)} at {first.id}", "write the same line: for all meters behind one address"
    if meter.shared_line is None or first.shared_line is None:
        return None
    if meter.address.mode_e is not None or first.address.mode_e is not None:
        return f"the optical head {line} is that of {first.id}", "a mode E handshake opens one meter: give each a head of its own"
    if (meter.address, meter.source_address) != (first.address, first.source_address):
        what = f"sets the line {line} differently from {first.id}, which has connect: {first.connect}"
        return what, "write the same connect and source_address for all meters of a line"
    return None


def separate_links(document: Document, meters: Mapping[int, MeterSettings]) -> Iterator[Problem]:
    """Warnings: meters behind one address that are read on a connection each, and nobody said that they should be.

    :arg meters: by their place in the section `meters`.
    """
    for indices in _behind_one_address(meters):
        separate = [meters[index] for index in indices if meters[index].shared_line is None]
        if any(meter.line is None for meter in separate):
            names = named("meter", [meters[index].id for index in indices])
            what = f"{names} share the address {separate[0].connect} without sharing the connection"
            remedy = "if it serves as many connections as there are meters, write line: separate for each; else line: shared"
            yield document.problem(("meters", indices[1], "connect"), what, remedy)


def _behind_one_address(meters: Mapping[int, MeterSettings]) -> list[list[int]]:
    behind: dict[str, list[int]] = {}
    for index, meter in meters.items():
        link = _link(meter)
        if link is not None:
            behind.setdefault(link, []).append(index)
    return [indices for indices in behind.values() if len(indices) > 1]


def _link(meter: MeterSettings) -> str | None:
    """What the meters on one line have in common; None where no other can be on it."""
    return meter.address.line if meter.address.can_be_shared else None


def _kind(meter: MeterSettings) -> str:
    return "separate" if meter.shared_line is None else "shared"


def _addresses(meter: MeterSettings) -> tuple[object, ...]:
    """Who speaks to whom on the link and behind it; a wrapper has no physical address (IEC 62056-47)."""
    physical = meter.server_physical if meter.framing == "hdlc" else 0
    return meter.framing, meter.client_sap, meter.server_logical, physical, meter.gateway_network, meter.gateway_octets()
