"""When a meter is polled: on a grid of due times, kept on the background loop.

The schedule does not depend on the dataflow's worker. A worker may stand still for seconds (a slow disk under the outbox,
a long epoch); the meters are read meanwhile, and what was read waits to be taken.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from datetime import datetime, timedelta
from typing import Any

from connectors.dlms.backlog import Backlog
from connectors.dlms.poll import MeterPoll, failed_cycle
from connectors.dlms.profile.reader import Progress
from model.messages import Cycle, ErrorKind, Gap, ReadError
from model.timestamps import utc_now

MOST_WAITING = 1000
"""Cycles that wait to be taken; a meter whose flow takes nothing any more is not read until it does."""

STARVED = 300.0
"""Seconds that a load profile waits for its turn, after which it goes before a poll."""

FULL_PAUSE = 1.0
"""Seconds between two looks whether something was taken."""

_OVERRUN = ReadError(
    None,
    ErrorKind.TIMEOUT,
    "skipped: the cycle before was still running, or waiting for its turn on a shared line",
    "lengthen interval or read fewer attributes: this meter or its line is slower than its schedule",
)


class Schedule:
    """When cycles are due: a grid of `interval` seconds that starts at `first`, in monotonic time.

    A cycle that ran past the next due time is followed at once; due times that passed entirely are counted as skipped.
    """

    def __init__(self, first: float, interval: float) -> None:
        self._next = first
        self._interval = interval

    @property
    def next_due(self) -> float:
        """Monotonic time of the next due cycle."""
        return self._next

    def skipped(self, now: float) -> list[float]:
        """Due times that are over, each by a whole interval or more, and will not be served; they are taken off."""
        missed: list[float] = []
        while now >= self._next + self._interval:
            missed.append(self.take())
        return missed

    def take(self) -> float:
        """Take off and return the next due time."""
        due, self._next = self._next, self._next + self._interval
        return due


class ScheduledPoll:
    """Polls one meter on its schedule until it is stopped, then releases the association.

    `run` lives on the background loop; everything else may be called from any thread.

    :arg meter: the meter's id.
    :arg poll: reads one cycle.
    :arg schedule: when.
    :arg backlog: what waits of the load profiles of all meters.
    """

    def __init__(self, meter: str, poll: MeterPoll, schedule: Schedule, backlog: Backlog | None = None) -> None:
        self._meter = meter
        self._backlog = backlog or Backlog()
        self._poll = poll
        self._schedule = schedule
        self._ready: deque[Cycle | Progress] = deque()
        self._put_count = 0
        self._taken_count = 0
        self._position = poll.backfill_state()
        self._wanting: float | None = None  # since when a load profile waits for its turn
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._stopping = False
        self._reading = False

    async def run(self) -> None:
        """Poll until `stop`."""
        self._loop = asyncio.get_running_loop()
        while not self._stopping:
            if self._put_count - self._taken_count >= MOST_WAITING:
                await self._pause(FULL_PAUSE)
                continue
            now = time.monotonic()
            for due in self._schedule.skipped(now):
                moment = _wall_clock(due)
                self._put(failed_cycle(self._meter, moment, moment, _OVERRUN))
            if await self._fill_in(now) or now < self._schedule.next_due:
                continue
            self._reading = True
            cycle = await self._poll.cycle(_wall_clock(self._schedule.take()))
            self._reading = False
            if cycle.values or not self._stopping:
                self._put(cycle)
        await self._poll.close()

    def take(self) -> list[Cycle | Gap]:
        """What is finished, oldest first: cycles, and what became of gaps in load profiles; each is given once."""
        taken: list[Cycle | Gap] = []
        while self._ready:
            item = self._ready.popleft()
            if isinstance(item, Cycle):
                taken.append(item)
                self._taken_count += 1
            else:
                taken += (*item.cycles, *item.gaps)
                self._taken_count += len(item.cycles)
                self._backlog.taken(len(item.cycles))
                self._position[item.profile] = item.state
        return taken

    @property
    def position(self) -> dict[str, Any]:
        """The ledger of each load profile as it was with what was taken last, by the profile's name."""
        return dict(self._position)

    def idle_for(self) -> float:
        """Seconds in which no cycle can become ready."""
        return 0.0 if self._reading or self._ready else max(0.0, self._schedule.next_due - time.monotonic())

    def stop(self) -> None:
        """Let the running exchange end, release the association, then end `run`."""
        self._stopping = True
        self._poll.stop()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._hurry)

    def _hurry(self) -> None:
        self._stopped.set()
        self._poll.hurry()

    def _put(self, item: Cycle | Progress) -> None:
        self._put_count += 1 if isinstance(item, Cycle) else len(item.cycles)
        self._ready.append(item)

    async def _fill_in(self, now: float) -> bool:
        """While no cycle is due: one request for a load profile, or a pause until there is something to do.

        Polls go first; but where a meter is so slow that one is always due, its profiles get a turn now and then.
        """
        spare = self._schedule.next_due - now
        wait = self._poll.backfill_wait() or (FULL_PAUSE if self._backlog.full else 0.0)
        self._wanting = None if wait > 0 else self._wanting or now
        starved = self._wanting is not None and now - self._wanting > STARVED
        if spare <= 0 and not starved:
            return False
        if wait > 0:
            await self._pause(min(spare, wait))
            return True
        if not await self._poll.begin_backfill(max(0.0, spare), starved):
            return spare > 0
        self._reading = True
        with self._backlog.expected():
            progress = await self._poll.backfill()
        self._reading = False
        self._wanting = None
        if progress is not None:
            self._backlog.put(len(progress.cycles))
            self._put(progress)
        return True

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except asyncio.TimeoutError:
            return


def _wall_clock(due: float) -> datetime:
    """The UTC time of a monotonic due time, as the clock stands now."""
    return utc_now() + timedelta(seconds=due - time.monotonic())
