"""What to do when a meter refuses our invocation counter, or when we do not know it: ask the meter once, through its public client.

The public client is not protected, and whoever answers in its place could drive our counter up. So only a higher value is
taken, none beyond `HIGHEST_BELIEVED`, and after one attempt with it that fails the meter is left alone: no value was ever
worth a loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from connectors.dlms.invocation_counters import InvocationCounter
from model.errors import MeterError
from model.messages import ErrorKind

HIGHEST_BELIEVED = 2**31
"""A meter that was counted to here message by message would have been read every second for 68 years."""

_KEYS_REMEDY = (
    "check block_cipher_key, authentication_key, security_suite, security_policy and client_system_title, and that"
    " invocation_counter_object is that of this client"
)
_OBJECT_REMEDY = (
    "set invocation_counter_object and invocation_counter_client_sap, or write the meter's counter to invocation_counter_start;"
    " with wrong keys a meter refuses, too"
)
_FORGED_REMEDY = (
    "find out who answers for the meter's public client; where the counter is really so high, give the meter a new block_cipher_key"
)

log = structlog.get_logger(__name__)


class CounterRecovery:
    """Keeps one counter usable, before an association and after a refusal.

    :arg meter: the meter's id.
    :arg counter: our counter towards it.
    :arg read: reads the meter's own; raises MeterError where it does not tell.
    """

    def __init__(self, meter: str, counter: InvocationCounter, read: Callable[[], Awaitable[int]]) -> None:
        self._counter = counter
        self._read = read
        self._adopted = False
        self._in_doubt = False
        self._asked = False
        self._log = log.bind(meter=meter)

    async def before_association(self) -> None:
        """Make numbers ready; ask the meter first where it was never met, or where it refused a number just now.

        :raises MeterError: COUNTER, when what the meter tells cannot be; CONNECT, when it cannot be reached.
        :raises StorageError: when the numbers cannot be kept.
        """
        if self._counter.is_due:
            await _in_thread(self._counter.load)
        if self._counter.is_first_contact or self._in_doubt:
            doubt, self._in_doubt = self._in_doubt, False
            if doubt and self._adopted:
                raise _stop(ErrorKind.COUNTER, "the meter goes on refusing the invocation counter that it told itself", _KEYS_REMEDY)
            try:
                await self._take_over(as_recovery=doubt)
            except MeterError as fault:
                # A meter that cannot be reached is asked next time, before a number is risked.
                if fault.kind in (ErrorKind.COUNTER, ErrorKind.CONNECT):
                    self._in_doubt = doubt
                    raise
                self._log.info("the meter does not tell its invocation counter", cause=fault.what, begins_with=self._counter.upcoming)
        await self.top_up()

    async def top_up(self) -> None:
        """Reserve the next numbers where few are left."""
        if self._counter.is_due or self._counter.is_first_contact:
            await _in_thread(self._counter.prepare)

    def refused_later(self) -> None:
        """The meter refused a number on an open association: ask before the next one."""
        self._in_doubt = True

    def worked(self) -> None:
        """The meter answered: whatever was tried is over."""
        self._adopted = self._in_doubt = self._asked = False

    async def after_refusal(self, fault: MeterError) -> None:
        """Take over the meter's counter, so that one more attempt is worth it.

        :raises MeterError: when it is not: `fault` itself where the counter is not to blame, else one that needs a person.
        """
        blamed = fault.kind is ErrorKind.COUNTER
        if self._asked and not blamed:
            raise fault
        if self._adopted:
            raise _stop(ErrorKind.COUNTER, f"the meter refuses the invocation counter that it told itself: {fault.what}", _KEYS_REMEDY)
        self._asked = True
        self._log.warning("association refused, asking the meter for its invocation counter", cause=fault.what)
        try:
            higher = await self._take_over(as_recovery=True)
        except MeterError as error:
            if error.kind is ErrorKind.COUNTER:
                raise
            if not blamed:
                raise fault from error
            what = f"the meter refuses what we cipher ({fault.what}) and does not tell its invocation counter: {error.what}"
            raise _stop(ErrorKind.COUNTER, what, _OBJECT_REMEDY) from error
        if not higher and blamed:
            what = f"{fault.what}; it is not the invocation counter, ours is above the meter's"
            raise _stop(ErrorKind.REFUSED, what, _KEYS_REMEDY)
        if not higher:
            raise fault

    async def _take_over(self, as_recovery: bool) -> bool:
        """Whether the meter told a higher counter than ours."""
        told = await self._read()
        if told < self._counter.upcoming:
            return False
        if told >= HIGHEST_BELIEVED:
            what = f"the public client tells an invocation counter of {told}, which is not believed"
            raise _stop(ErrorKind.COUNTER, what, _FORGED_REMEDY)
        self._log.warning("invocation counter taken over from the meter", ours=self._counter.upcoming, meters=told)
        self._adopted = as_recovery
        await _in_thread(self._counter.raise_to, told + 1)
        return True


def _stop(kind: ErrorKind, what: str, remedy: str) -> MeterError:
    return MeterError(kind, what, remedy, needs_a_person=True)


async def _in_thread(work: Callable[..., None], *arguments: int) -> None:
    """Do what waits for the disk where it holds up nobody."""
    await asyncio.get_running_loop().run_in_executor(None, work, *arguments)
