"""A line: one serial port or one converter with several meters behind it, told apart by their HDLC addresses.

One conversation at a time, in fair turns (see `turns`); the link stays open between them, and so do the meters'
associations, since every HDLC station keeps its own. What arrives outside of a turn, or from another address, is nobody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass

import structlog

from connectors.dlms.access import stopping
from connectors.dlms.gate import Gate
from connectors.dlms.link.contract import Link
from connectors.dlms.link.inbox import Inbox
from connectors.dlms.link.opening import open_link
from connectors.dlms.turns import Turns
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.meter import MeterSettings

REFUSAL_KEPT = 5.0
"""Seconds for which a line that could not be opened is not tried again, so that not every meter waits for the same deadline."""

SILENT_TURNS = 2
"""Turns in a row without a single byte after which a network link is opened anew: it may be dead without knowing it."""

FIRST_PATIENCE = {"serial": 0.5, "rfc2217": 1.0, "tcp": 1.0}
"""Seconds for the answer to SNRM, which a meter gives without thinking, while others share the line; doubled with each
failure, up to `exchange_timeout`."""

HURRY = 0.4
"""Seconds of silence that end a turn when the pipeline stops: the others want to say goodbye too."""

FAREWELL_PATIENCE = 2.5
"""Seconds to wait for a last turn; the process ends soon after."""

log = structlog.get_logger(__name__)


@dataclass
class _Open:
    """The link as it is open now."""

    link: Link
    inbox: Inbox
    pump: asyncio.Task[None]


class Line:
    """What the meters of one line share. Lives on the background loop.

    :arg name: the address without parameters, for messages.
    :arg gate: the limits of the fleet; a line is one connection.
    """

    def __init__(self, name: str, gate: Gate | None) -> None:
        self.name = name
        self._gate = gate
        self._turns = Turns()
        self._granted: dict[LineMember, asyncio.Future[None]] = {}
        self._current: LineMember | None = None
        self._members: set[LineMember] = set()
        self._open: _Open | None = None
        self._refusal: MeterError | None = None
        self._refused_at = self._closed_at = float("-inf")
        self._heard = False
        self._look: asyncio.TimerHandle | None = None
        self._silent_turns = 0
        self._hurried = False
        self._log = log.bind(line=name)

    def join(self, member: LineMember) -> None:
        """One more meter; may be called from any thread."""
        self._members.add(member)

    @property
    def count(self) -> int:
        """Meters on the line that this process reads."""
        return len(self._members)

    def has_twin(self, member: LineMember) -> bool:
        """Whether two meters of the line have one HDLC station."""
        return any(other is not member and other.station == member.station for other in self._members)

    async def begin(self, member: LineMember, patience: float, failing: bool) -> bool:
        """Wait for the turn; False when it did not come in time."""
        granted = asyncio.get_running_loop().create_future()
        self._granted[member] = granted
        self._turns.wait(member, failing)
        self._give()
        try:
            await asyncio.wait({granted}, timeout=patience)
        except asyncio.CancelledError:
            if self._current is member:
                self.end(member, False)
            raise
        finally:
            del self._granted[member]
            self._turns.give_up(member)
        return self._current is member

    def cancel_wait(self, member: LineMember) -> None:
        """Let `begin` return."""
        granted = self._granted.get(member)
        if granted is not None and not granted.done():
            granted.cancel()

    def end(self, member: LineMember, answered: bool) -> None:
        """The turn of `member` is over."""
        assert self._current is member
        self._current = None
        self._silent_turns = 0 if answered or self._heard else self._silent_turns + 1
        self._turns.ended(answered, _now())
        self._give()

    async def open(self, member: LineMember, address: str, meter: MeterSettings) -> Link:
        """The line's link as `member` sees it, opened first where it is not.

        :raises MeterError: when it cannot be opened, or could not be a moment ago.
        """
        if self._open is not None and (self._open.inbox.broken or self._is_suspect(meter)):
            await self._close()
        if self._open is None:
            if self._refusal is not None and _now() - self._refused_at < REFUSAL_KEPT:
                raise MeterError(self._refusal.kind, self._refusal.what, self._refusal.remedy)
            self._open = await self._connect(address, meter)
            self._refusal = None
        return _Branch(self, member, self._open.link, self._open.inbox)

    def hurry(self) -> None:
        """The pipeline stops: cut short whatever waits for a meter that does not answer."""
        if not self._hurried:
            self._hurried = True
            asyncio.get_running_loop().call_later(HURRY, self._cut)

    @property
    def hurried(self) -> bool:
        """Whether the pipeline stops."""
        return self._hurried

    def heard(self) -> None:
        """A byte arrived for the meter that has the turn."""
        self._heard = True

    def has_turn(self, member: LineMember) -> bool:
        """Whether it is this member's turn."""
        return self._current is member

    async def leave(self, member: LineMember) -> None:
        """One meter less; the last one closes the link."""
        self._members.discard(member)
        self._turns.forget(member)
        if not self._members:
            _forget(self)
            await self._close()

    def _give(self) -> None:
        """Give the turn to the next one, if the line is free."""
        while self._current is None:
            member = self._turns.next(_now())
            if member is None:
                self._look_again()
                return
            assert isinstance(member, LineMember)
            granted = self._granted.get(member)
            if granted is None or granted.done():
                continue
            self._current = member
            self._heard = False
            if self._open is not None:
                self._open.inbox.clear()
            granted.set_result(None)

    def _look_again(self) -> None:
        """Come back for those who are held back, when nobody else does before."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        wait = self._turns.look_again_in(_now())
        if wait is not None:
            self._look = asyncio.get_running_loop().call_later(wait + 0.001, self._give)

    def _is_suspect(self, meter: MeterSettings) -> bool:
        return self._silent_turns >= SILENT_TURNS and not meter.address.is_serial_port

    async def _connect(self, address: str, meter: MeterSettings) -> _Open:
        pause = self._closed_at + (meter.reconnect_pause or 0.0) - _now()
        if pause > 0:
            await asyncio.sleep(pause)
        if self._gate is not None:
            await self._gate.enter()
        try:
            link = await open_link(address, meter)
        except BaseException as error:
            if self._gate is not None:
                self._gate.leave()
            if isinstance(error, MeterError):
                self._refusal, self._refused_at = error, _now()
            raise
        self._log.info("line opened", meters=self.count)
        self._silent_turns = 0
        inbox = Inbox()
        return _Open(link, inbox, asyncio.ensure_future(_pump(link, inbox)))

    async def _close(self) -> None:
        opened, self._open = self._open, None
        if opened is None:
            return
        opened.inbox.fail(MeterError(ErrorKind.LINK_LOST, f"the line {self.name} was closed"))
        opened.pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opened.pump
        await opened.link.close()
        self._closed_at = _now()
        if self._gate is not None:
            self._gate.leave()

    def _cut(self) -> None:
        if self._open is not None:
            self._open.inbox.interrupt(stopping())


class LineMember:
    """One meter's place on a line: its `Access`.

    :arg meter: its settings.
    :arg line: the line.
    """

    def __init__(self, meter: MeterSettings, line: Line) -> None:
        self._meter = meter
        self._line = line
        self._failures = 0
        self._stopping = False
        line.join(self)

    @property
    def crowded(self) -> bool:
        """Whether another meter is behind the same HDLC station, as behind a gateway: a station has one association with a client."""
        return self._line.has_twin(self)

    @property
    def shared(self) -> bool:
        """As long as there are others."""
        return self._line.count > 1

    @property
    def station(self) -> tuple[int, int, int]:
        """Who speaks to whom on the line: client, logical and physical address."""
        return self._meter.client_sap, self._meter.server_logical, self._meter.server_physical

    async def begin(self, patience: float, failing: bool, urgent: bool = True) -> None:
        """Wait for the turn on the line; they are short, so that nobody needs to go first.

        :raises MeterError: when it did not come in time, or a stop was requested.
        """
        if self._stopping:
            raise stopping()
        if await self._line.begin(self, patience, failing):
            return
        if self._stopping:
            raise stopping()
        waited = f"no turn on the line {self._line.name} within {patience:g} s"
        if failing:
            raise MeterError(
                ErrorKind.TIMEOUT,
                f"{waited}: it did not answer, and may take only a small part of the line's time from the meters that do",
                "check its address and supply, or take it out; it is tried again now and then",
            )
        raise MeterError(
            ErrorKind.TIMEOUT,
            f"{waited}: the line is too slow for its {self._line.count} meters at their intervals",
            "lengthen the intervals, read fewer attributes, raise the baud rate, or spread the meters over two lines",
        )

    def end(self, answered: bool) -> None:
        """Hand the line to the next one."""
        self._failures = 0 if answered else self._failures + 1
        self._line.end(self, answered)

    async def open(self, address: str) -> Link:
        """The line's link, for this meter's turns.

        :raises MeterError: when the line cannot be opened.
        """
        return await self._line.open(self, address, self._meter)

    def answer_limit(self, limit: float) -> float:
        """Short at first while others share the line, doubled with each failure up to `limit`."""
        if self._line.count == 1 or self._meter.framing == "wrapper":
            return limit
        first = FIRST_PATIENCE.get(self._meter.address.scheme, limit)
        return min(limit, first * 2.0 ** min(self._failures, 20))

    def turn_limit(self, interval: float) -> float:
        """An equal part of the time: a meter that gets nowhere must not hold up the others for a whole interval."""
        return interval / self._line.count

    def stop(self) -> None:
        """Wait for nothing any more, and hurry whoever has the turn."""
        self._stopping = True
        self._line.cancel_wait(self)
        self._line.hurry()

    async def begin_farewell(self) -> bool:
        """Wait for a last turn; whether it came."""
        return await self._line.begin(self, FAREWELL_PATIENCE, failing=False)

    async def leave(self) -> None:
        """Give up the place."""
        await self._line.leave(self)


class _Branch:
    """The line's link as one meter sees it. Closing it leaves the line open for the others."""

    def __init__(self, line: Line, member: LineMember, link: Link, inbox: Inbox) -> None:
        self._line = line
        self._member = member
        self._link = link
        self._inbox = inbox
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the line was closed or broke."""
        return self._closed or self._inbox.broken or self._link.closed

    @property
    def prompt(self) -> None:
        """It has to be waited for."""
        return None

    async def write(self, data: bytes) -> None:
        """Send `data` on the line.

        :raises MeterError: when it is broken.
        """
        assert self._line.has_turn(self._member)
        self._inbox.check()
        await self._link.write(data)

    async def read(self, within: float | None = None) -> bytes:
        """Whatever arrives on the line in this meter's turn.

        :raises asyncio.TimeoutError: when nothing came in time.
        :raises MeterError: when the line broke, or nothing comes and the pipeline is stopping.
        """
        assert self._line.has_turn(self._member)
        hurried = self._line.hurried and (within is None or within > HURRY)
        try:
            data = await self._inbox.read(HURRY if hurried else within)
        except asyncio.TimeoutError:
            if hurried:
                raise stopping() from None
            raise
        self._line.heard()
        return data

    async def close(self) -> None:
        """This meter does not use the line any more; never raises."""
        self._closed = True


async def _pump(link: Link, inbox: Inbox) -> None:
    try:
        while True:
            inbox.put(await link.read())
    except MeterError as error:
        inbox.fail(error)


_lines: dict[str, Line] = {}
_joining = threading.Lock()


def join_line(name: str, meter: MeterSettings, gate: Gate | None) -> LineMember:
    """A place for `meter` on the line of that name, which all meters of this process share. May be called from any thread."""
    with _joining:
        line = _lines.get(name)
        if line is None:
            line = _lines[name] = Line(name, gate)
        return LineMember(meter, line)


def _forget(line: Line) -> None:
    with _joining:
        if _lines.get(line.name) is line and line.count == 0:
            del _lines[line.name]


def _now() -> float:
    return asyncio.get_running_loop().time()
