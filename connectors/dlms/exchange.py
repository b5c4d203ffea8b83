"""One request and its answer over a link: sends, waits, repeats, and counts what arrives besides.

Here is what happens when a meter does not answer: the same bytes are sent again up to `retries` times, each time with
the deadline of its `ReplyTimer`; then `MeterError` with kind TIMEOUT, upon which `poll` gives up the link.

And when something arrives that is not authentic: it is counted in `violations`, and `MeterError` with kind SECURITY makes `poll`
open the association anew.
"""

from __future__ import annotations

import asyncio
import logging

import structlog

from connectors.dlms.conversation import LISTING, Conversation
from connectors.dlms.events import Discarded, Dropped, Event, Progressed, Refused, Transmit, Violated
from connectors.dlms.hearing import Hearing
from connectors.dlms.link.contract import Link
from connectors.dlms.reply_timer import ReplyTimer
from model.errors import MeterError
from model.messages import ErrorKind, Violation, ViolationCount
from model.settings.meter import MeterSettings

JUNK_LIMIT = 65_536
"""Bytes discarded in one exchange after which a meter counts as babbling and the link is given up."""

AT_A_STRETCH = 8
"""Pieces of an answer that are taken before the other meters get their turn, where they came without a wait."""

_SECURITY_REMEDY = (
    "check that keys, security_suite, security_policy and server_system_title are the meter's; if they are, someone on the way"
    " changes or repeats messages, or a converter delivers old bytes"
)
_OLD_COUNTER_REMEDY = (
    "a meter that restarts its own counter with each association needs server_counter_restarts: true; else someone on the way"
    " repeats messages, or a converter delivers old bytes"
)

log = structlog.get_logger(__name__)
_standard_log = logging.getLogger(__name__)


class Exchange:
    """Asks one meter, and remembers what came besides the answers. Lives on the background loop.

    :arg meter: its patience and its id.
    :arg conversation: what the bytes mean.
    """

    def __init__(self, meter: MeterSettings, conversation: Conversation) -> None:
        self._meter = meter
        self._conversation = conversation
        self._log = log.bind(meter=meter.id)
        self._hearing = Hearing(conversation, self.traced)
        self._violations: dict[Violation, ViolationCount] = {}
        self._discarded = 0
        self._discard_reason = ""
        self.sent = 0
        """Requests sent, repetitions included."""
        self.last_used = 0.0
        """When the meter last answered, by the loop's clock."""

    def take_violations(self) -> tuple[ViolationCount, ...]:
        """What arrived and was not believed since the last call."""
        violations, self._violations = self._violations, {}
        return tuple(violations.values())

    async def ask(
        self, link: Link, request: bytes, wanted: tuple[type[Event], ...], what: str, timer: ReplyTimer, later: float | None = None
    ) -> Event:
        """Send `request` until a wanted event comes.

        :arg what: names the request in an error.
        :arg later: the patience after the first sign of life, where it is another.
        :raises MeterError: TIMEOUT, LINK_LOST, PROTOCOL, REFUSED, SECURITY or COUNTER.
        """
        data = request
        begun = _now()
        self._discarded, self._discard_reason = 0, ""
        # What could be answered twice without telling which answer is whose is not repeated: then the link is opened anew.
        attempts = self._meter.retries + 1 if self._conversation.may_repeat else 1
        for attempt in range(attempts):
            if attempt:
                data = self._conversation.resend()
                self._log.debug("no reply, sending again", attempt=attempt + 1)
            self.sent += 1
            await link.write(self.traced(data, sent=True))
            try:
                reply = await self.wait_for(link, wanted, timer.patience(attempt), later)
            except asyncio.TimeoutError:
                continue
            self.last_used = _now()
            if attempt == 0:
                timer.answered(self.last_used - begun)
            return reply
        timer.failed()
        if self._conversation.listing:
            what += f", {LISTING}"
        times = "once" if attempts == 1 else f"{attempts} times"
        raise MeterError(
            ErrorKind.TIMEOUT,
            f"no reply to {what}, sent {times} in {_now() - begun:.1f} s{self._ignored()}",
            "never answered: check client_sap, server_logical, server_physical and framing; sometimes does: line and exchange_timeout",
        )

    async def wait_for(self, link: Link, wanted: tuple[type[Event], ...], patience: float, later: float | None = None) -> Event:
        """The first wanted event; what the protocol wants sent on the way is sent, and gives the meter a new deadline.

        :raises asyncio.TimeoutError: when none came in time.
        :raises MeterError: as `ask`.
        """
        self._hearing.begin(link, patience, later or patience)
        try:
            return await self._wanted(link, wanted)
        finally:
            self._hearing.end()

    async def _wanted(self, link: Link, wanted: tuple[type[Event], ...]) -> Event:
        turns = 0
        while True:
            reply: Event | None = None
            for event in await self._hearing.events():
                if isinstance(event, wanted):
                    reply = event
                elif isinstance(event, Transmit):
                    await link.write(self.traced(event.data, sent=True))
                    self._hearing.extend()
                elif isinstance(event, Progressed):
                    self._hearing.extend()
                elif isinstance(event, Discarded):
                    self._discarded += event.count
                    self._discard_reason = event.reason
                    self._log.debug("discarded", bytes=event.count, reason=event.reason)
                elif isinstance(event, Violated):
                    self._violated(event)
                else:
                    _raise_ending(event)
            if reply is not None:
                return reply
            if self._discarded > JUNK_LIMIT:
                raise MeterError(
                    ErrorKind.PROTOCOL,
                    f"{self._discarded} bytes arrived that are no answer to anything",
                    "check baud rate and parity of the converter, and that framing fits the meter",
                )
            turns += 1
            if turns % AT_A_STRETCH == 0:
                await asyncio.sleep(0)  # a flood of bytes must not keep the loop from the other meters

    def _violated(self, event: Violated) -> None:
        """Count it; it ends the association unless it stands.

        :raises MeterError: SECURITY.
        """
        before = self._violations.get(event.violation)
        count = 1 if before is None else before.count + 1
        self._violations[event.violation] = ViolationCount(event.violation, count, event.detail)
        self._log.warning("a message is not authentic and not believed", violation=event.violation.value, detail=event.detail)
        if not event.stands:
            remedy = _OLD_COUNTER_REMEDY if event.violation is Violation.OLD_COUNTER else _SECURITY_REMEDY
            raise MeterError(ErrorKind.SECURITY, f"{event.violation.value}: {event.detail}", remedy)

    def _ignored(self) -> str:
        if not self._discarded:
            return ""
        return f"; {self._discarded} bytes did arrive but were no answer, the last because: {self._discard_reason}"

    def traced(self, data: bytes, sent: bool) -> bytes:
        """`data`, after it was logged at level debug."""
        if _standard_log.isEnabledFor(logging.DEBUG):
            self._log.debug("sent" if sent else "received", frame=self._conversation.trace(data, sent))
        return data


def _raise_ending(event: Event) -> None:
    if isinstance(event, Refused):
        raise MeterError(ErrorKind.COUNTER if event.counter else ErrorKind.REFUSED, event.detail, event.remedy)
    if isinstance(event, Dropped) and event.counter:
        raise MeterError(ErrorKind.COUNTER, event.detail, "look for another client with the same client_sap and keys")
    if isinstance(event, Dropped):
        raise MeterError(
            ErrorKind.LINK_LOST,
            f"the meter ended the association: {event.detail}",
            "if this repeats, lower inactivity_timeout, or look for another client of this meter",
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
