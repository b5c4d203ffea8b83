"""Knocks at HDLC addresses and at network addresses: does a meter answer there, and who does it say it is?

Gently: one conversation at a time on a line, a deadline for each address, one SNRM for an address where nobody is, and a
farewell for whoever answered. Only the public client is used, and only what identifies a meter is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from commands.discovery.entry import public_meter
from connectors.dlms.access import Watched
from connectors.dlms.cosem import CosemError, render
from connectors.dlms.events import Attribute
from connectors.dlms.hdlc.frame import ALL_STATIONS, Address, Frame, FrameType
from connectors.dlms.hdlc.scanner import FrameScanner
from connectors.dlms.link.contract import Link
from connectors.dlms.link.opening import open_link
from connectors.dlms.session import ListRefused, Session
from connectors.dlms.states import State
from model.errors import MeterError
from model.messages import ErrorKind
from model.obis import parse_logical_name
from model.settings.meter import MeterSettings

IDENTITY = {"logical_device_name": "0-0:42.0.0", "serial_number": "0-0:96.1.0"}
"""What is read of a meter that lets the public client in, each from a Data object."""

IDENTITY_TIMEOUT = 5.0
"""Seconds for each answer of a meter that has shown a sign of life."""

_OTHER_NAMES = "application-context-name-not-supported"
"""What a meter says to logical names that has short ones."""

_NOISE = "bytes did arrive but were no answer"
"""What the connector says of bytes that came instead of an answer."""

FAREWELL = 0.5
"""Seconds to wait for the answer to a DISC."""


@dataclass(frozen=True, slots=True)
class FoundStation:
    """A meter that answered.

    :arg settings: what an entry of `meters` must say to reach it.
    :arg identity: what it says of itself, by name; empty where the public client is not let in.
    :arg remark: what a person should know; empty where all is well.
    """

    settings: dict[str, Any]
    identity: dict[str, str] = field(default_factory=dict)
    remark: str = ""

    @property
    def comment(self) -> str:
        """One line about it."""
        return ", ".join([*(f"{name.replace('_', ' ')} {value}" for name, value in self.identity.items()), *filter(None, [self.remark])])


class HeldLink:
    """An `Access` to one link that stays open from one conversation to the next.

    :arg patience: seconds to wait for the first sign of life.
    """

    def __init__(self, link: Link, patience: float) -> None:
        self._link = link
        self._patience = patience

    crowded = shared = False

    async def begin(self, patience: float, failing: bool, urgent: bool = True) -> None:
        """At once."""

    def end(self, answered: bool) -> None:
        """Nobody else waits."""

    async def open(self, address: str) -> Link:
        """The link, which closing does not close."""
        return _Kept(self._link)

    def answer_limit(self, limit: float) -> float:
        """No more than the scan allows."""
        return min(limit, self._patience)

    def turn_limit(self, interval: float) -> float:
        """All of it."""
        return interval

    def stop(self) -> None:
        """Nothing waits."""

    async def begin_farewell(self) -> bool:
        """At once."""
        return True

    async def leave(self) -> None:
        """The link is its owner's."""


class _Kept(Watched):
    """The link for one conversation: its end is not the link's."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, lambda: None)

    async def close(self) -> None:
        """Left open."""


async def scan_line(
    connect: str,
    addresses: Sequence[int],
    logical: int,
    size: int | None,
    deadline: float,
    asked: Callable[[int], None],
    noise: Callable[[str], None],
) -> AsyncIterator[FoundStation]:
    """The meters on a line, one by one as they are found.

    :arg addresses: physical addresses, each asked with one SNRM.
    :arg logical: the logical device that is asked for.
    :arg size: bytes of the server address; the smallest that fits where None.
    :arg deadline: seconds to wait for the answer of each.
    :arg asked: told each address before it is asked.
    :arg noise: told what arrived where nobody answered.
    :raises MeterError: when the line cannot be opened, or breaks.
    """
    settings = public_meter(connect, line="shared") if not connect.startswith("sim:") else public_meter(connect)
    link = await open_link(connect, settings)
    try:
        for address in addresses:
            asked(address)
            meter = public_meter(
                connect, server_logical=logical, server_physical=address, server_address_size=size, exchange_timeout=IDENTITY_TIMEOUT
            )
            place: dict[str, Any] = {"server_physical": address}
            place.update({"server_logical": logical} if logical != 1 else {})
            place.update({"server_address_size": size} if size is not None else {})
            found = await _knock(meter, link, place, deadline, noise)
            if found is not None:
                yield found
    finally:
        await link.close()


def _ignore(_noise: str) -> None:
    """Noise says nothing here."""


async def _knock(
    meter: MeterSettings, link: Link, place: dict[str, Any], deadline: float, noise: Callable[[str], None] = _ignore
) -> FoundStation | None:
    """Who answers at one address; None for nobody.

    :arg deadline: seconds to wait for the first sign of life.
    :arg noise: told what arrived where nobody answered.
    :raises MeterError: when the link breaks.
    """
    session = Session(meter, lambda _id, connect: connect, access=HeldLink(link, deadline))
    try:
        await session.associate()
    except asyncio.CancelledError:
        await session.abandon()
        raise
    except MeterError as fault:
        unanswered = (State.CONNECTING, None) if meter.framing == "hdlc" else (State.CONNECTING, State.ASSOCIATING, None)
        if fault.kind is ErrorKind.TIMEOUT and session.failed_in in unanswered:
            if _NOISE in fault.what:
                noise(fault.what.partition(_NOISE)[2].strip(" ,"))
            return None
        if link.closed:
            raise
        await session.abandon()
        if fault.kind is ErrorKind.PROTOCOL:
            return None
        if _OTHER_NAMES in fault.what and meter.referencing == "logical":
            return await _knock(meter.model_copy(update={"referencing": "short"}), link, {**place, "referencing": "short"}, deadline, noise)
        return FoundStation(place, {}, _remark(fault))
    try:
        return FoundStation(place, await _identity(session))
    finally:
        await session.close()


def _remark(fault: MeterError) -> str:
    if "DM" in fault.what:
        return "answers that it is disconnected (DM): another client may be connected, or it does not know the public client"
    return f"answers, but does not let the public client in: {fault.what}"


async def _identity(session: Session) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, obis in IDENTITY.items():
        attribute = Attribute(1, parse_logical_name(obis), 2)
        with suppress(MeterError, ListRefused, CosemError):
            if not session.usable():
                break
            (result,) = await session.get((attribute,))
            if result.error is None:
                found[name] = " ".join(str(render(result.data, attribute)).split())
    return found


async def scan_network(
    hosts: Iterable[str], ports: Sequence[int], most: int, deadline: float, asked: Callable[[], None], found: Callable[[FoundStation], None]
) -> None:
    """Ask every host at every port, `most` at a time; told of each that is done, and of each that listens.

    :arg deadline: seconds for the connection, and for the first answer to each way of speaking.
    """
    places = iter([(host, port) for host in hosts for port in ports])

    async def work() -> None:
        for host, port in places:
            station = await look_at_port(host, port, deadline)
            if station is not None:
                found(station)
            asked()

    await asyncio.gather(*(work() for _ in range(most)))


async def look_at_port(host: str, port: int, deadline: float) -> FoundStation | None:
    """Who listens at a port; None where nobody accepts a connection.

    The wrapper is tried first, then HDLC at the usual addresses, each over a connection of its own.
    """
    connect = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
    patience = {"connect_timeout": deadline, "exchange_timeout": IDENTITY_TIMEOUT}
    for place in ({"framing": "wrapper"}, {}, {"server_physical": 1}):
        try:
            link = await open_link(connect, public_meter(connect, **patience))
        except MeterError:
            return None if place == {"framing": "wrapper"} else FoundStation({"connect": connect}, {}, _CLOSES)
        try:
            known = {"connect": connect, **place}
            with suppress(MeterError):
                meter = public_meter(connect, **place, **patience)
                station = await _knock(meter, link, known, deadline)
                if station is not None:
                    return station
            if place == {"server_physical": 1}:
                return await _everybody(link, connect, deadline)
        finally:
            await link.close()
    return None


_CLOSES = "accepts one connection and no second one; what it speaks is not known: try again later, or ask it with discover meter"
_NOT_DLMS = "listens, but no meter answers the public client: a converter with meters at other addresses (try discover line), or no DLMS"


async def _everybody(link: Link, connect: str, deadline: float) -> FoundStation:
    """One SNRM to all stations behind a port: whoever answers says its address."""
    loop, client = asyncio.get_running_loop(), Address(16)
    until = loop.time() + deadline
    scanner = FrameScanner()
    with suppress(MeterError, asyncio.TimeoutError):
        await link.write(Frame(FrameType.SNRM, Address(1, ALL_STATIONS[2], 2), client).encode())
        while (left := until - loop.time()) > 0:
            for frame in scanner.feed(await link.read(left)):
                if isinstance(frame, Frame) and frame.destination == client and frame.type in (FrameType.UA, FrameType.DM):
                    await _dismiss(link, frame.source)
                    place = {"connect": connect, "server_physical": frame.source.lower}
                    return FoundStation(place | ({"server_logical": frame.source.upper} if frame.source.upper != 1 else {}))
    return FoundStation({"connect": connect}, {}, _NOT_DLMS)


async def _dismiss(link: Link, server: Address) -> None:
    with suppress(MeterError, asyncio.TimeoutError):
        await link.write(Frame(FrameType.DISC, server, Address(16)).encode())
        await link.read(FAREWELL)
