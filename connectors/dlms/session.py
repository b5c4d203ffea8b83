"""One conversation with one meter over its link: connect, associate, ask, release. Every wait has a deadline.

How one request is asked and answered is in `exchange`; what a meter says about our invocation counter is for
`counter_recovery`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import structlog

from connectors.dlms.access import Access, OwnConnection
from connectors.dlms.conversation import Conversation
from connectors.dlms.counter_recovery import CounterRecovery
from connectors.dlms.events import (
    Answered,
    Associated,
    Attribute,
    AttributeResult,
    Disconnected,
    Released,
    ServiceRefused,
)
from connectors.dlms.exchange import Exchange
from connectors.dlms.invocation_counters import InvocationCounter, InvocationCounters
from connectors.dlms.link.contract import Link
from connectors.dlms.reply_timer import ReplyTimer
from connectors.dlms.security.association import Security
from connectors.dlms.states import State
from model.errors import MeterError, StorageError
from model.messages import ErrorKind, ViolationCount
from model.obis import parse_logical_name
from model.settings.meter import MeterSettings
from model.settings.security import SecuritySettings

CLOSE_TIMEOUT = 1.0
"""Seconds the meter gets for each of the two farewells (RLRE, UA)."""

QUIET = 0.02
"""Seconds of listening before a request whose answer shows nothing of what it answers: what arrives then is not it."""

ABANDON_TIMEOUT = 0.5
"""Seconds to wait for the answer to DISC of a meter that did not answer before: it must not arrive on the next link."""

_CLOSED_REMEDY = "check client_sap and server_logical; or another program holds the only connection that the meter allows"

log = structlog.get_logger(__name__)


class ListRefused(Exception):
    """The meter refused a request as a whole while the association stays open; with-list may be what it does not like."""

    def __init__(self, refusal: ServiceRefused) -> None:
        super().__init__(refusal.detail)
        self.kind = refusal.kind


def public_client(meter: MeterSettings) -> MeterSettings:
    """The same meter, spoken to by the client that needs no password."""
    plain = {
        name: MeterSettings.model_fields[name].get_default()
        for name in SecuritySettings.model_fields
        if not name.startswith("invocation_counter")
    }
    return meter.model_copy(update={**plain, "association": "negotiated", "client_sap": meter.invocation_counter_client_sap})


class Session:
    """The association with one meter. Lives on the background loop; only one coroutine may use it at a time.

    :arg meter: where it is and how to speak to it.
    :arg resolve: turns (meter id, `connect`) into an address that can be dialled; may block, runs in a thread.
    :arg counters: where invocation counters are kept; needed for a meter with ciphering or high authentication.
    :arg access: how it gets at its link; a connection of its own where it is None.
    """

    def __init__(
        self,
        meter: MeterSettings,
        resolve: Callable[[str, str], str],
        counters: InvocationCounters | None = None,
        access: Access | None = None,
    ) -> None:
        self._meter = meter
        self._resolve = resolve
        self._access = access or OwnConnection(meter)
        self._counter: InvocationCounter | None = None
        self._recovery: CounterRecovery | None = None
        security: Security | None = None
        if counters is not None and (meter.is_ciphered or meter.is_high):
            self._counter = counters.of(meter)
            security = Security(meter, self._counter)
            if meter.block_cipher_key is not None:
                self._recovery = CounterRecovery(meter.id, self._counter, self._read_counter)
        self._conversation = Conversation(meter, security)
        self._exchange = Exchange(meter, self._conversation)
        self._link: Link | None = None
        self._limits: Associated | None = None
        self._log = log.bind(meter=meter.id)
        self._timers: dict[tuple[Attribute, ...], ReplyTimer] = {}
        self.failed_in: State | None = None
        """Where the conversation stood when the meter last failed or refused to associate; None when it never did."""
        self.exchanges = 0
        """Requests sent for attributes since the session exists, repetitions included."""

    @property
    def with_list(self) -> bool:
        """Whether the meter's conformance offers GET-with-list on this association."""
        return self._limits is not None and self._limits.with_list

    def usable(self) -> bool:
        """Whether the association is open and recent enough to be used as it is."""
        if self._link is None or self._link.closed or self._conversation.state is not State.ASSOCIATED:
            return False
        return _now() - self._exchange.last_used < self._meter.inactivity_timeout

    @property
    def invocation_counter(self) -> int | None:
        """The last one that was used towards this meter; None without ciphering."""
        return None if self._recovery is None or self._counter is None else self._counter.last_used

    @property
    def counter_state(self) -> dict[str, Any] | None:
        """How far the invocation counter may have been used, for the snapshot; None without one, or before it was used."""
        if self._counter is None or self._counter.reserved is None:
            return None
        return {"key": self._counter.key, "reserved": self._counter.reserved}

    def restore_counter(self, state: Any) -> None:
        """Go on behind a `counter_state`, which may be of another host; one of another key, or what is none, is left out."""
        if self._counter is not None and isinstance(state, dict) and state.get("key") == self._counter.key:
            reserved = state.get("reserved")
            if isinstance(reserved, int):
                self._counter.was_reserved_elsewhere(reserved)

    def take_violations(self) -> tuple[ViolationCount, ...]:
        """What arrived and was not believed since the last call."""
        return self._exchange.take_violations()

    async def associate(self) -> None:
        """Open link and association.

        :raises MeterError: CONNECT, TIMEOUT, REFUSED, LINK_LOST, PROTOCOL, SECURITY or COUNTER.
        :raises StorageError: when invocation counters cannot be kept.
        """
        if self._recovery is None:
            await self._associate()
        else:
            await self.close()
            await self._recovery.before_association()
            try:
                await self._associate()
            except MeterError as fault:
                # Some meters say nothing at all to a counter that is too low, or close the link.
                silent = fault.kind in (ErrorKind.TIMEOUT, ErrorKind.LINK_LOST)
                ignored = silent and self._conversation.state in (State.ASSOCIATING, State.PROVING)
                if fault.kind not in (ErrorKind.COUNTER, ErrorKind.REFUSED) and not ignored:
                    raise
                await self.abandon()
                await self._recovery.after_refusal(fault)
                await self._associate_again(self._recovery)
        if self._counter is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._counter.note_server)

    async def _associate_again(self, recovery: CounterRecovery) -> None:
        try:
            await self._associate()
        except MeterError as fault:
            if fault.kind is ErrorKind.COUNTER:
                await recovery.after_refusal(fault)
            raise

    async def _associate(self) -> None:
        await self.close()
        address = await self._address()
        self._link = await self._access.open(address)
        timer = ReplyTimer(self._access.answer_limit(self._meter.exchange_timeout))
        try:
            opening, what = self._conversation.open(), "the association request"
            limits = (
                await self._exchange.ask(self._link, opening, (Associated,), what, timer, self._meter.exchange_timeout)
                if opening
                else self._conversation.limits
            )
        except MeterError as error:
            self.failed_in = self._conversation.state
            if error.kind is not ErrorKind.LINK_LOST:
                raise
            raise MeterError(ErrorKind.LINK_LOST, f"{error.what} when asked for an association", _CLOSED_REMEDY) from error
        assert isinstance(limits, Associated)
        self._limits = limits
        self._exchange.last_used = _now()
        self._log.info(
            "association opened",
            address=address,
            with_list=limits.with_list,
            max_pdu_size=limits.max_pdu_size,
            information_size=limits.information_size,
        )

    async def _address(self) -> str:
        if urlsplit(self._meter.connect).scheme != "sim":
            return self._meter.connect
        # What is not an address yet may take a while to become one: a virtual meter has to be started first.
        return await asyncio.get_running_loop().run_in_executor(None, self._resolve, self._meter.id, self._meter.connect)

    def fits(self, attributes: Sequence[Attribute], limit: int) -> int:
        """How many of `attributes`, from the front and at most `limit`, fit into one request."""
        return self._conversation.fits(attributes, limit)

    async def get(self, attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        """Read `attributes` in one exchange; one result each, in order.

        :raises MeterError: TIMEOUT, LINK_LOST or PROTOCOL; the link is then of no use any more.
        :raises ListRefused: when the meter refused the request as a whole.
        """
        known = self._conversation.without_asking(attributes)
        if known is not None:
            return known
        if self._recovery is not None:
            await self._recovery.top_up()
        names = f"the request for {len(attributes)} attributes" if len(attributes) > 1 else "a GET request"
        timer = self._timer(attributes)
        assert self._link is not None
        before = self._exchange.sent
        if not self._conversation.tells_answers_apart:
            await self._clear_the_line()
        try:
            reply = await self._exchange.ask(self._link, self._conversation.get(attributes), (Answered, ServiceRefused), names, timer)
        except MeterError as fault:
            if self._recovery is not None and fault.kind is ErrorKind.COUNTER:
                self._recovery.refused_later()
            raise
        finally:
            self.exchanges += self._exchange.sent - before
        if self._recovery is not None:
            self._recovery.worked()
        if isinstance(reply, ServiceRefused):
            raise ListRefused(reply)
        assert isinstance(reply, Answered)
        return reply.results

    def _timer(self, attributes: Sequence[Attribute]) -> ReplyTimer:
        key = tuple(map(_whole, attributes))
        timer = self._timers.get(key)
        if timer is None:
            timer = self._timers[key] = ReplyTimer(self._meter.exchange_timeout)
        return timer

    def forget(self) -> None:
        """Another meter may have taken the place of this one: what is remembered of its objects is read anew."""
        self._conversation.forget()

    async def _clear_the_line(self) -> None:
        """Discard what was not asked for."""
        assert self._link is not None
        with contextlib.suppress(asyncio.TimeoutError):
            await self._exchange.wait_for(self._link, (), QUIET)

    async def close(self) -> None:
        """Release the association and close the link, politely where the meter still listens; never raises.

        A meter that is left without a farewell keeps the dead association until its own timeout, and many accept no
        other one meanwhile.
        """
        link, self._link = self._link, None
        if link is None:
            return
        try:
            if not link.closed:
                await self._say_goodbye(link)
        finally:
            await link.close()
            await self._note_server()

    async def abandon(self) -> None:
        """Close the link to a meter that does not answer, with a farewell that is hardly waited for; never raises."""
        link, self._link = self._link, None
        if link is None:
            return
        try:
            if not link.closed:
                await self._disconnect(link, ABANDON_TIMEOUT)
        finally:
            await link.close()

    async def _note_server(self) -> None:
        """Write down the meter's last counter; what fails here fails again, and is told, at the next association."""
        if self._counter is not None:
            with contextlib.suppress(StorageError):
                await asyncio.get_running_loop().run_in_executor(None, self._counter.note_server)

    async def _read_counter(self) -> int:
        """What the meter's public client says about our invocation counter, over a link and an association of its own.

        :raises MeterError: when it does not say it.
        """
        public = Session(public_client(self._meter), self._resolve, access=self._access)
        counter = Attribute(1, parse_logical_name(self._meter.invocation_counter_object), 2)
        try:
            await public.associate()
            (result,) = await public.get((counter,))
        except ListRefused as refusal:
            raise MeterError(refusal.kind, f"{self._meter.invocation_counter_object}: {refusal}") from refusal
        finally:
            await public.close()
        if isinstance(result.data, bool) or not isinstance(result.data, int) or result.data < 0:
            detail = result.error_detail or "it is no counter"
            raise MeterError(result.error or ErrorKind.DECODE, f"{self._meter.invocation_counter_object}: {detail}")
        return result.data

    async def _say_goodbye(self, link: Link) -> None:
        with contextlib.suppress(MeterError, asyncio.TimeoutError):
            if self._conversation.state is State.ASSOCIATED:
                farewell = self._conversation.release()
                if farewell:
                    await link.write(self._exchange.traced(farewell, sent=True))
                    await self._exchange.wait_for(link, (Released,), CLOSE_TIMEOUT)
                    self._log.info("association released")
        await self._disconnect(link, CLOSE_TIMEOUT)

    async def _disconnect(self, link: Link, patience: float) -> None:
        with contextlib.suppress(MeterError, asyncio.TimeoutError):
            farewell = self._conversation.disconnect()
            if farewell:
                await link.write(self._exchange.traced(farewell, sent=True))
                await self._exchange.wait_for(link, (Disconnected,), patience)


def _whole(attribute: Attribute) -> Attribute:
    """The attribute itself, whichever part of it is asked for: one timer serves them all."""
    return attribute._replace(selection=b"") if attribute.selection else attribute


def _now() -> float:
    return asyncio.get_running_loop().time()
