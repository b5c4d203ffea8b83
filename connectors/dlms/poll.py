"""One cycle after another: reads what the plan asks for and says honestly what came of it.

Scalers and units are read once and remembered. A link that fails in the middle of a cycle is opened again once, and
the cycle goes on with what is still missing. An attribute that made the meter fall silent is asked last, so that it
does not cost the others their values.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog

from connectors.dlms.access import Access, OwnConnection
from connectors.dlms.attempt import Attempt, collect
from connectors.dlms.backoff import Backoff
from connectors.dlms.events import Attribute, AttributeResult
from connectors.dlms.plan import ReadPlan
from connectors.dlms.profile.backfill import Backfill, no_profiles
from connectors.dlms.profile.reader import Progress
from connectors.dlms.session import ListRefused, Session
from connectors.dlms.with_list import WithList
from model.errors import MeterError, PipelineError, StorageError
from model.messages import Cycle, ErrorKind, Outcome, ReadError
from model.settings.meter import MeterSettings
from model.timestamps import utc_now

SHORTEST_CYCLE_TIMEOUT = 30.0
"""Seconds a cycle may take at least, however short the interval: the first one also reads scalers and units."""

TURN_PATIENCE = 2.0
"""Intervals to wait for a turn on a shared line, or for one of the fleet's connections; at least as long as a cycle may take."""

FRUITLESS_CYCLES = 3
"""Cycles answered with nothing but errors after which the association is opened anew: some meters recover only then."""

LONGEST_STEP = 1800.0
"""Seconds that one request for a load profile may take at least before it is given up: a whole buffer over a slow line."""

SCALER_TRUST = 600.0
"""Seconds without a value after which a meter that failed may have been exchanged: its scalers are read again."""

log = structlog.get_logger(__name__)


class MeterPoll:
    """Reads one meter, cycle by cycle. Lives on the background loop.

    :arg meter: its settings.
    :arg plan: what a cycle reads.
    :arg interval: seconds between cycles.
    :arg session: the conversation with the meter.
    :arg access: the right to use the meter's link, turn by turn: one cycle is one turn; a connection of its own where it is None.
    :arg profiles: the meter's load profiles, read between cycles.
    """

    def __init__(
        self,
        meter: MeterSettings,
        plan: ReadPlan,
        interval: float,
        session: Session,
        access: Access | None = None,
        profiles: Backfill | None = None,
    ) -> None:
        self._meter = meter
        self._plan = plan
        self._interval = interval
        self._session = session
        self._access = access or OwnConnection(meter)
        self._profiles = profiles or no_profiles()
        self._step: asyncio.Future[Progress | None] | None = None
        self._backoff = Backoff(meter.backoff_min, meter.backoff_max)
        self._scaler_of = {read.attribute: read.scaler_unit for read in plan.reads if read.scaler_unit is not None}
        self._scalers: dict[Attribute, tuple[int, int]] = {}
        self._suspects: dict[Attribute, Backoff] = {}
        self._lists = WithList(meter.id, meter.with_list_max if meter.with_list else 1)
        self._stopping = False
        self._without_values = 0
        self._last_good = time.monotonic()
        self._fault: MeterError | None = None
        self._log = log.bind(meter=meter.id)

    async def cycle(self, due: datetime) -> Cycle:
        """Read the meter once, in its turn; whatever goes wrong is in the cycle, never raised."""
        wait = self._backoff.remaining(time.monotonic())
        if wait > 0 and self._fault is not None:
            what = f"left alone for {wait:.0f} s more after: {self._fault.what}"
            return failed_cycle(self._meter.id, due, utc_now(), ReadError(None, self._fault.kind, what, self._fault.remedy))
        patience = max(TURN_PATIENCE * self._interval, self._timeout())
        try:
            await self._access.begin(patience, failing=self._fault is not None)
        except MeterError as fault:
            return failed_cycle(self._meter.id, due, utc_now(), ReadError(None, fault.kind, fault.what, fault.remedy))
        answered = False
        try:
            cycle = await self._turn(due)
            answered = bool(cycle.values) or self._fault is None
            return cycle
        finally:
            self._access.end(answered)

    async def _turn(self, due: datetime) -> Cycle:
        started, begun, before = utc_now(), time.monotonic(), self._session.exchanges
        attempt = Attempt()
        fault = await self._guarded(attempt)
        duration = time.monotonic() - begun
        values, errors, offset = collect(self._plan, attempt, self._scalers, fault)
        await self._after(fault, bool(values))
        outcome = Outcome.FAILED if not values else Outcome.PARTIAL if errors else Outcome.OK
        return Cycle(
            meter=self._meter.id,
            due=due,
            started=started,
            duration=duration,
            outcome=outcome,
            values=tuple(values),
            errors=tuple(errors),
            exchanges=self._session.exchanges - before,
            associated=attempt.associated,
            clock_offset=offset,
            violations=self._session.take_violations(),
            invocation_counter=self._session.invocation_counter,
        )

    def backfill_wait(self) -> float:
        """Seconds until the load profiles may be asked for something; infinite where there are none."""
        return max(self._profiles.wait(), self._backoff.remaining(time.monotonic()))

    def backfill_state(self) -> dict[str, Any]:
        """The ledgers of the load profiles, by name."""
        return self._profiles.state()

    async def begin_backfill(self, within: float, starved: bool) -> bool:
        """Wait for a turn of the load profiles, `within` seconds; whether it came, then `backfill` must follow.

        :arg starved: they have waited for too long. On a line that costs the next cycle its turn; for a connection of its own the meter
            need not wait, the one of the next cycle does for both.
        """
        patience = self._timeout() if starved and self._access.shared else min(within, self._timeout())
        try:
            await self._access.begin(patience, failing=self._fault is not None, urgent=False)
        except MeterError:
            return False
        return True

    async def backfill(self) -> Progress | None:
        """One request for the load profiles, in its turn; what it brought. What goes wrong is logged, never raised."""
        answered = False
        try:
            fault = await self._connected()
            if fault is not None:
                await self._after(fault, False)
                return None
            progress = await self._advance_profiles()
            answered = self._session.usable()
            return progress
        finally:
            self._access.end(answered)

    async def _connected(self) -> MeterError | None:
        """Associate where that is needed; what stands against it."""
        if self._session.usable():
            return None
        try:
            await asyncio.wait_for(self._associate(Attempt()), self._timeout())
        except asyncio.TimeoutError:
            return MeterError(ErrorKind.TIMEOUT, f"no association within {self._timeout():g} s")
        except MeterError as fault:
            return fault
        except StorageError as fault:
            return MeterError(ErrorKind.COUNTER, fault.what, fault.remedy, needs_a_person=True)
        except PipelineError as fault:
            return MeterError(ErrorKind.CONNECT, fault.what, fault.remedy)
        return None

    async def _advance_profiles(self) -> Progress | None:
        """A fault costs the link and the profile a pause of its own, not the polls: those may work on a new link."""
        self._step = asyncio.ensure_future(self._profiles.step(self._session))
        try:
            progress = await asyncio.wait_for(self._step, max(self._timeout(), LONGEST_STEP))
        except asyncio.CancelledError:
            await self._session.abandon()
            if self._stopping:
                return None
            raise
        except (MeterError, asyncio.TimeoutError) as fault:
            self._log.info("profile request failed", cause=str(fault) or "it took too long")
            await self._session.abandon()
            if isinstance(fault, MeterError) and fault.kind in (ErrorKind.SECURITY, ErrorKind.COUNTER):
                await self._after(fault, False)
            return None
        except Exception:  # a bug of ours must cost one meter its profiles for a while, not the whole flow
            self._log.exception("unexpected error while reading a profile")
            await self._session.abandon()
            return None
        finally:
            self._step = None
        if self._is_to_be_released():
            await self._session.close()
        return progress

    def stop(self) -> None:
        """Let the running cycle end after its current exchange; may be called from any thread."""
        self._stopping = True

    def hurry(self) -> None:
        """After `stop`, on the background loop: wait for no turn any more, and let others have theirs."""
        if self._step is not None:
            self._step.cancel()
        self._access.stop()

    async def close(self) -> None:
        """Release the association, in a last turn."""
        if await self._access.begin_farewell():
            try:
                await self._session.close()
            finally:
                self._access.end(True)
        await self._access.leave()

    def _timeout(self) -> float:
        if self._meter.cycle_timeout is not None:
            return self._meter.cycle_timeout
        return max(self._access.turn_limit(self._interval), SHORTEST_CYCLE_TIMEOUT, 2 * self._meter.connect_timeout)

    async def _guarded(self, attempt: Attempt) -> MeterError | None:
        timeout = self._timeout()
        try:
            await asyncio.wait_for(self._read(attempt), timeout)
        except MeterError as fault:
            return fault
        except asyncio.TimeoutError:
            self._suspect(attempt)
            return MeterError(
                ErrorKind.TIMEOUT,
                f"the cycle was not finished within {timeout:g} s",
                "read fewer attributes, lengthen interval or cycle_timeout, or find out why the line is slow",
            )
        except StorageError as fault:  # without invocation counters nothing may be said to the meter
            return MeterError(ErrorKind.COUNTER, fault.what, fault.remedy, needs_a_person=True)
        except PipelineError as fault:
            return MeterError(ErrorKind.CONNECT, fault.what, fault.remedy)
        except Exception as error:  # a bug of ours must cost one meter one cycle, not the whole flow
            self._log.exception("unexpected error while reading")
            return MeterError(ErrorKind.PROTOCOL, f"unexpected {type(error).__name__}: {error}", "report this with the debug log")
        return None

    async def _after(self, fault: MeterError | None, got_values: bool) -> None:
        """Keep the association for the next cycle, or give it up and wait."""
        previous, self._fault = self._fault, fault
        self._without_values = 0 if got_values else self._without_values + 1
        if got_values:
            self._last_good = time.monotonic()
        if fault is None:
            self._backoff.succeeded()
            if previous is not None:
                self._log.info("meter answers again")
            if self._is_to_be_released() or self._without_values >= FRUITLESS_CYCLES:
                self._without_values = 0
                await self._session.close()
            return
        await self._session.abandon()
        now = time.monotonic()
        wait = self._wait(fault, now)
        if previous is None or previous.what != fault.what:
            self._log.warning("meter cannot be read", kind=fault.kind.value, cause=fault.what, remedy=fault.remedy, again_in=round(wait, 1))

    def _is_to_be_released(self) -> bool:
        """Whether nothing keeps the association: others want its place, or it would not last until the next cycle and no load profile
        can be read with it meanwhile."""
        seldom = self._meter.release_after_cycle or self._interval >= self._meter.inactivity_timeout
        return self._access.crowded or (seldom and self._profiles.wait() > 0)

    def _wait(self, fault: MeterError, now: float) -> float:
        if fault.needs_a_person:
            return self._backoff.gave_up(now)
        return self._backoff.refused(now) if fault.kind is ErrorKind.REFUSED else self._backoff.failed(now)

    async def _read(self, attempt: Attempt) -> None:
        """Read everything; open a link that fails on the way again once, since that heals most bursts of timeouts."""
        was_open = self._session.usable()
        try:
            await self._read_once(attempt)
        except MeterError as fault:
            if fault.kind in (ErrorKind.CONNECT, ErrorKind.REFUSED) or self._stopping or not (was_open or attempt.associated):
                raise
            self._log.info("reading again on a new link", cause=fault.what)
            await self._session.abandon()
            await self._read_once(attempt)

    async def _read_once(self, attempt: Attempt) -> None:
        if not self._session.usable():
            await self._associate(attempt)
        unknown = [scaler for scaler in self._plan.scalers() if scaler not in self._scalers]
        try:
            await self._get((*unknown, *self._plan.attributes()), attempt)
        except MeterError as fault:
            if fault.kind is ErrorKind.TIMEOUT:
                self._suspect(attempt)
            raise
        finally:
            self._scalers.update(attempt.scalers(unknown))

    async def _associate(self, attempt: Attempt) -> None:
        await self._session.associate()
        attempt.associated = True
        if self._fault is not None and time.monotonic() - self._last_good > SCALER_TRUST:
            self._scalers.clear()
            self._session.forget()
            self._profiles.forget()

    def _suspect(self, attempt: Attempt) -> None:
        """A meter that answers others may be silent about what was asked last: a list, or one attribute."""
        unanswered = [attribute for attribute in attempt.asked if attribute not in attempt.results]
        if len(unanswered) > 1:
            self._lists.unanswered(attempt.lists)
        elif unanswered and unanswered[0] in self._suspects:
            self._suspects[unanswered[0]].failed(time.monotonic())
        elif unanswered and attempt.results:
            self._suspects[unanswered[0]] = Backoff(self._meter.backoff_min, self._meter.backoff_max)

    async def _get(self, attributes: Sequence[Attribute], attempt: Attempt) -> None:
        """Ask for those of `attributes` that have no answer yet, in lists where the meter takes them, suspects last."""
        missing: Sequence[Attribute] = [a for a in attributes if a not in attempt.results and a not in self._suspects]
        while missing and not self._stopping:
            taken = attempt.asked = self._choose(missing, attempt)
            try:
                results = await self._session.get(taken)
            except ListRefused as refusal:
                if len(taken) > 1:
                    self._lists.refused(attempt.lists, str(refusal))
                    continue
                results = (AttributeResult(taken[0], None, refusal.kind, str(refusal)),)
            attempt.take(self._lists.believed(results, attempt.lists))
            missing = self._still_missing(missing, taken, results, attempt)
        for attribute in attributes:
            if attribute in self._suspects and attribute not in attempt.results and not self._stopping:
                await self._get_suspect(attribute, attempt)

    def _still_missing(
        self, missing: Sequence[Attribute], taken: Sequence[Attribute], results: Sequence[AttributeResult], attempt: Attempt
    ) -> Sequence[Attribute]:
        """What of `missing` has no answer yet; quickly where `taken`, its beginning, was answered without an error."""
        if len(results) == len(taken) and missing[len(taken) - 1] is taken[-1] and all(result.error is None for result in results):
            return missing[len(taken) :]
        return [a for a in missing if a not in attempt.results and not self._lacks_scaler(a, attempt)]

    def _lacks_scaler(self, attribute: Attribute, attempt: Attempt) -> bool:
        """Whether the value is of no use because its scaler could not be read in this cycle."""
        scaler = attempt.results.get(self._scaler_of.get(attribute, attribute))
        return scaler is not None and scaler.error is not None

    async def _get_suspect(self, attribute: Attribute, attempt: Attempt) -> None:
        """Ask for an attribute that made the meter fall silent before: at growing intervals, and at its own risk only."""
        backoff = self._suspects[attribute]
        wait = backoff.remaining(time.monotonic())
        if wait > 0:
            detail = f"the meter fell silent when asked for it {backoff.failures} times, asking again in {wait:.0f} s"
            attempt.take([AttributeResult(attribute, None, ErrorKind.TIMEOUT, detail)])
            return
        if not self._session.usable():
            await self._associate(attempt)
        try:
            attempt.take(await self._session.get((attribute,)))
            del self._suspects[attribute]
        except ListRefused as refusal:
            attempt.take([AttributeResult(attribute, None, refusal.kind, str(refusal))])
        except MeterError as fault:
            backoff.failed(time.monotonic())
            attempt.take([AttributeResult(attribute, None, fault.kind, fault.what)])
            await self._session.abandon()

    def _choose(self, missing: Sequence[Attribute], attempt: Attempt) -> Sequence[Attribute]:
        if not self._session.with_list:
            return missing[:1]
        return self._lists.choose(missing, attempt.lists, self._session.fits)


def failed_cycle(meter: str, due: datetime, started: datetime, error: ReadError) -> Cycle:
    """A cycle in which the meter was not asked at all, and why."""
    return Cycle(meter=meter, due=due, started=started, duration=0.0, outcome=Outcome.FAILED, errors=(error,))
