from __future__ import annotations

import asyncio
import random
import time
from datetime import datetime, timezone
from typing import Any, cast

import pytest

from connectors.dlms.backlog import Backlog
from connectors.dlms.backoff import REFUSED_JITTER, REFUSED_MIN, Backoff
from connectors.dlms.events import Attribute
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.profile.reader import Progress
from connectors.dlms.reply_timer import ReplyTimer
from connectors.dlms.schedule import Schedule, ScheduledPoll
from model.messages import Cycle, Gap, Origin, Outcome, RawValue
from model.settings.template import ReadSettings

VOLTAGE = bytes([1, 0, 32, 7, 0, 255])


def read(**settings: object) -> ReadSettings:
    return ReadSettings.model_validate({"obis": "1-0:32.7.0", **settings})


def test_a_cycle_that_overran_its_due_time_is_followed_at_once() -> None:
    schedule = Schedule(first=100.0, interval=5.0)
    assert schedule.take() == 100.0
    assert schedule.skipped(now=106.0) == []
    assert schedule.next_due == 105.0


def test_due_times_that_passed_entirely_are_skipped_and_the_grid_is_kept() -> None:
    schedule = Schedule(first=100.0, interval=5.0)
    schedule.take()
    assert schedule.skipped(now=117.0) == [105.0, 110.0]
    assert schedule.next_due == 115.0


def test_waits_double_with_jitter_up_to_the_longest_and_end_with_a_success() -> None:
    backoff = Backoff(shortest=4.0, longest=30.0, rng=random.Random(7))
    waits = [backoff.failed(now=0.0) for _ in range(6)]
    for wait, doubled in zip(waits, (4.0, 8.0, 16.0, 30.0, 30.0, 30.0), strict=True):
        assert doubled / 2 <= wait <= doubled
    assert backoff.remaining(now=1.0) == waits[-1] - 1.0
    backoff.succeeded()
    assert backoff.remaining(now=1.0) == 0.0
    assert backoff.failed(now=0.0) <= 4.0


def test_a_refused_association_is_left_alone_for_ten_seconds_at_least() -> None:
    backoff = Backoff(shortest=0.1, longest=1.0, rng=random.Random(7))
    for _ in range(20):
        assert REFUSED_MIN <= backoff.refused(now=0.0) <= REFUSED_MIN + REFUSED_JITTER


def test_a_thousand_failures_do_not_overflow() -> None:
    backoff = Backoff(shortest=1.0, longest=60.0)
    for _ in range(1000):
        backoff.failed(now=0.0)
    assert backoff.failed(now=0.0) <= 60.0


def test_the_plan_knows_where_each_class_keeps_its_scaler() -> None:
    plan = plan_reads(
        {
            "register": read(),
            "extended": read(**{"class": 4}),
            "demand": read(**{"class": 5}),
            "last_demand": read(**{"class": 5, "attribute": 3}),
            "data": read(**{"class": 1}),
            "scaler_itself": read(attribute=3),
        }
    )
    scaler_attributes = [read.scaler_unit and read.scaler_unit.index for read in plan.reads]
    assert scaler_attributes == [3, 3, 4, 4, None, None]


def test_an_attribute_named_by_two_keys_is_asked_once() -> None:
    plan = plan_reads({"voltage": read(), "voltage_again": read()})
    assert plan.attributes() == (Attribute(3, VOLTAGE, 2),)
    assert plan.scalers() == (Attribute(3, VOLTAGE, 3),)


def test_a_clock_is_recognized_by_class_and_attribute() -> None:
    plan = plan_reads({"time": ReadSettings.model_validate({"obis": "0-0:1.0.0", "class": 8}), "voltage": read()})
    assert [read.is_clock for read in plan.reads] == [True, False]


def test_the_patience_for_a_reply_is_learned_doubled_with_each_repetition_and_forgotten_when_it_failed() -> None:
    timer = ReplyTimer(limit=5.0)
    assert timer.patience(0) == 5.0
    for _ in range(20):
        timer.answered(0.7)
    assert 1.0 <= timer.patience(0) < 1.1
    assert timer.patience(1) == 2 * timer.patience(0)
    assert timer.patience(4) == 5.0
    timer.failed()
    assert timer.patience(0) == 5.0


def test_replies_that_vary_get_more_patience() -> None:
    steady, varying = ReplyTimer(limit=60.0), ReplyTimer(limit=60.0)
    for number in range(40):
        steady.answered(2.0)
        varying.answered(1.0 + 2.0 * (number % 2))
    assert steady.patience(0) < 3.0 < varying.patience(0)


class FleetWithoutConnections:
    """A meter's poll whose load profile wants a connection that never becomes free; its cycles need none."""

    def __init__(self) -> None:
        self.waits: list[tuple[float, bool]] = []
        self.cycles = 0

    def backfill_wait(self) -> float:
        return 0.0

    def backfill_state(self) -> dict[str, Any]:
        return {}

    async def begin_backfill(self, within: float, starved: bool) -> bool:
        self.waits.append((within, starved))
        await asyncio.sleep(within)
        return False

    async def cycle(self, due: datetime) -> Cycle:
        self.cycles += 1
        return Cycle("m", due, due, 0.0, Outcome.OK, (RawValue("power", self.cycles),))

    def stop(self) -> None:
        """Nothing runs."""

    def hurry(self) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """Nothing is open."""


def test_a_cycle_never_waits_for_a_load_profile_that_waits_for_a_connection() -> None:
    async def run() -> FleetWithoutConnections:
        poll = FleetWithoutConnections()
        scheduled = ScheduledPoll("m", cast(MeterPoll, poll), Schedule(time.monotonic() + 0.05, 0.05))
        running = asyncio.ensure_future(scheduled.run())
        taken: list[Cycle | Gap] = []
        while len(taken) < 3:
            await asyncio.sleep(0.01)
            taken += scheduled.take()
        scheduled.stop()
        await running
        return poll

    poll = asyncio.run(run())
    assert all(0 < within <= 0.05 and not starved for within, starved in poll.waits)


def test_a_load_profile_that_got_no_turn_for_long_asks_also_while_a_cycle_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.dlms.schedule.STARVED", 0.1)

    async def run() -> FleetWithoutConnections:
        poll = FleetWithoutConnections()
        scheduled = ScheduledPoll("m", cast(MeterPoll, poll), Schedule(time.monotonic() + 0.02, 0.02))
        running = asyncio.ensure_future(scheduled.run())
        while not any(starved and not within for within, starved in poll.waits):
            scheduled.take()
            await asyncio.sleep(0.005)
        running.cancel()
        return poll

    poll = asyncio.run(run())
    assert poll.cycles > 1
    assert not poll.waits[0][1]


class QuarterHours(FleetWithoutConnections):
    """Its load profile was read long ago and wants its next row now."""

    def __init__(self) -> None:
        super().__init__()
        self.wait = 0.2

    def backfill_wait(self) -> float:
        return self.wait


def test_a_row_that_became_due_just_now_is_not_starved(monkeypatch: pytest.MonkeyPatch) -> None:
    """All meters of a fleet want one at the end of a capture period, long after the last one."""
    monkeypatch.setattr("connectors.dlms.schedule.STARVED", 0.1)

    async def run() -> QuarterHours:
        poll = QuarterHours()
        scheduled = ScheduledPoll("m", cast(MeterPoll, poll), Schedule(time.monotonic() + 0.02, 0.02))
        running = asyncio.ensure_future(scheduled.run())
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            scheduled.take()
            await asyncio.sleep(0.005)
        poll.wait = 0.0
        while not poll.waits:
            await asyncio.sleep(0.005)
        running.cancel()
        return poll

    assert not asyncio.run(run()).waits[0][1]


class EndlessProfile(FleetWithoutConnections):
    """Its load profile brings ten intervals whenever it is asked."""

    async def begin_backfill(self, within: float, starved: bool) -> bool:
        return True

    async def backfill(self) -> Progress | None:
        await asyncio.sleep(0)
        at = datetime(2026, 6, 1, tzinfo=timezone.utc)
        return Progress("load", (Cycle("m", at, at, 0.0, Outcome.OK, origin=Origin.PROFILE),) * 10, (), {})


def test_load_profiles_rest_while_the_flow_is_behind_and_cycles_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.dlms.schedule.FULL_PAUSE", 0.01)

    async def run() -> tuple[int, int]:
        backlog = Backlog(most=35)
        polls = [EndlessProfile() for _ in range(3)]
        every = [ScheduledPoll("m", cast(MeterPoll, poll), Schedule(time.monotonic() + 0.02, 0.02), backlog) for poll in polls]
        running = [asyncio.ensure_future(scheduled.run()) for scheduled in every]
        while min(poll.cycles for poll in polls) < 5:
            await asyncio.sleep(0.01)
        taken = [item for scheduled in every for item in scheduled.take()]
        first = sum(isinstance(item, Cycle) and item.origin is Origin.PROFILE for item in taken)
        again = 0
        while not again:  # what was taken makes room
            await asyncio.sleep(0.01)
            # of all three: the room that one meter's rows leave may be taken by another
            taken = [item for scheduled in every for item in scheduled.take()]
            again = sum(isinstance(item, Cycle) and item.origin is Origin.PROFILE for item in taken)
        for scheduled in every:
            scheduled.stop()
        await asyncio.gather(*running)
        return first, again

    first, again = asyncio.run(run())
    assert 10 <= first <= 60  # three may ask at once
    assert again
