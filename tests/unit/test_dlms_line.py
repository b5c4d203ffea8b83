"""Turns with a controlled clock, the line with a fake link, and the gate of the fleet."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.dlms import line as line_module
from connectors.dlms.access import OwnConnection
from connectors.dlms.gate import Gate
from connectors.dlms.line import Line, LineMember, join_line
from connectors.dlms.turns import MOST_OWED, VAIN_SHARE, Turns
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.meter import MeterSettings


def play(turns: Turns, cost: dict[str, float], dead: set[str], seconds: float) -> Counter[str]:
    """All members want a turn all the time; the turns each got within `seconds`, and under "" the time of vain ones."""
    now, got, failing, vain = 0.0, Counter[str](), set[str](), 0.0
    for member in cost:
        turns.wait(member, failing=False)
    while now < seconds:
        member = turns.next(now)
        assert isinstance(member, str)
        now += cost[member]
        vain += cost[member] if member in dead else 0.0
        turns.ended(member not in dead, now)
        got[member] += 1
        failing = (failing | {member}) if member in dead else failing - {member}
        turns.wait(member, member in failing)
    got[""] = round(vain)
    return got


def test_the_living_get_equally_many_turns_and_the_dead_a_small_share_of_the_time() -> None:
    cost = {"a": 0.2, "b": 0.2, "dead1": 2.0, "c": 0.4, "dead2": 2.0, "d": 0.2}
    got = play(Turns(), cost, {"dead1", "dead2"}, 1000.0)
    living = [got[name] for name in "abcd"]
    assert max(living) - min(living) <= 1
    assert got["dead1"] >= 2  # tried again
    assert got[""] <= 1000 * VAIN_SHARE + 3 * 2.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 5.0), st.booleans()), min_size=1, max_size=12).filter(lambda members: not all(d for _, d in members))
)
def test_whatever_the_line_nobody_living_waits_for_more_than_everybody_else_once(members: list[tuple[float, bool]]) -> None:
    cost = {f"m{number}": seconds for number, (seconds, _) in enumerate(members)}
    dead = {f"m{number}" for number, (_, is_dead) in enumerate(members) if is_dead}
    seconds = 40 * sum(cost.values())
    got = play(Turns(), cost, dead, seconds)
    living = [got[name] for name in cost if name not in dead]
    assert max(living) - min(living) <= 1
    assert got[""] <= seconds * VAIN_SHARE + sum(cost[name] for name in dead) + max(cost.values()) + 1


def test_when_the_whole_line_was_down_everybody_is_tried_as_soon_as_one_is_back() -> None:
    turns = Turns()
    for number in range(8):  # all answered, then all fail
        turns.wait(number, failing=False)
        turns.next(0.0)
        turns.ended(True, 0.0)
    now = 0.0
    for number in range(8):
        turns.wait(number, failing=False)
        assert turns.next(now) == number
        now += 10.0
        turns.ended(False, now)
    turns.wait(3, failing=True)
    assert turns.next(now) == 3  # no healthy one is left: nobody is held back
    turns.ended(True, now)
    for number in (5, 6):
        turns.wait(number, failing=True)
    assert turns.next(now) == 5


def test_one_who_is_held_back_is_told_when_and_comes_first_among_equals_then() -> None:
    turns = Turns()
    turns.wait("well", failing=False)
    turns.next(0.0)
    turns.ended(True, 0.0)
    turns.wait("dead", failing=False)
    turns.next(0.0)
    turns.ended(False, 1000.0)
    turns.wait("dead", failing=True)
    assert turns.next(1000.0) is None
    wait = turns.look_again_in(1000.0)
    assert wait == pytest.approx(MOST_OWED / VAIN_SHARE)
    assert turns.next(1000.0 + wait + 0.1) == "dead"
    assert turns.look_again_in(2000.0) is None


def test_giving_up_and_coming_again_costs_no_place() -> None:
    turns = Turns()
    for member in ("a", "b", "c"):
        turns.wait(member, failing=False)
    assert turns.next(0.0) == "a"
    turns.give_up("b")
    turns.ended(True, 1.0)
    turns.wait("a", failing=False)
    turns.wait("b", failing=False)
    assert [turns.next(1.0), turns.next(1.0), turns.next(1.0)] == ["c", "b", "a"]
    turns.forget("a")
    assert turns.next(2.0) is None


class FakeLink:
    """Hands out what is fed to it."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self.written: list[bytes] = []
        self.closed = False

    async def write(self, data: bytes) -> None:
        self.written.append(data)

    async def read(self) -> bytes:
        data = await self.arrived.get()
        if not data:
            raise MeterError(ErrorKind.LINK_LOST, "gone", "look for it")
        return data

    async def close(self) -> None:
        self.closed = True


def member_of(line: Line, number: int, **more: object) -> LineMember:
    settings_ = {"id": f"m{number}", "connect": "tcp://192.0.2.1:1", "template": "t", "server_physical": 17 + number, **more}
    return LineMember(MeterSettings.model_validate(settings_), line)


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[FakeLink]:
    """The links that were opened."""
    opened: list[FakeLink] = []

    async def open_fake(address: str, _settings: MeterSettings) -> FakeLink:
        if address == "broken":
            raise MeterError(ErrorKind.CONNECT, "refused", "check the converter")
        opened.append(FakeLink())
        return opened[-1]

    monkeypatch.setattr(line_module, "open_link", open_fake)
    return opened


def test_bytes_reach_only_the_member_that_has_the_turn(links: list[FakeLink]) -> None:
    async def run() -> None:
        line = Line("tcp://192.0.2.1:1", None)
        first, second = member_of(line, 1), member_of(line, 2)
        await first.begin(1.0, failing=False)
        link = await first.open("x")
        waiting = asyncio.ensure_future(second.begin(5.0, failing=False))
        links[0].arrived.put_nowait(b"for the first")
        assert await link.read() == b"for the first"
        assert not waiting.done()
        links[0].arrived.put_nowait(b"late")
        await asyncio.sleep(0.01)
        first.end(True)
        await waiting
        other = await second.open("x")
        assert len(links) == 1
        links[0].arrived.put_nowait(b"for the second")
        assert await other.read() == b"for the second"
        await other.close()
        assert not links[0].closed
        second.end(True)
        await first.leave()
        assert not links[0].closed
        await second.leave()
        assert links[0].closed

    asyncio.run(run())


def test_a_line_that_breaks_is_lost_to_all_and_opened_again(links: list[FakeLink]) -> None:
    async def run() -> None:
        line = Line("tcp://192.0.2.1:1", None)
        first, second = member_of(line, 1), member_of(line, 2)
        await first.begin(1.0, failing=False)
        ours = await first.open("x")
        first.end(True)
        await second.begin(1.0, failing=False)
        theirs = await second.open("x")
        links[0].arrived.put_nowait(b"")
        with pytest.raises(MeterError, match="gone"):
            await theirs.read()
        assert ours.closed
        assert theirs.closed
        again = await second.open("x")
        assert len(links) == 2
        assert not again.closed
        second.end(True)
        await first.leave()
        await second.leave()

    asyncio.run(run())


def test_a_link_in_which_nothing_is_heard_turn_after_turn_is_opened_anew(links: list[FakeLink]) -> None:
    async def run() -> None:
        line = Line("tcp://192.0.2.1:1", None)
        member = member_of(line, 1)
        member_of(line, 2)
        for expected in (1, 1, 2):
            await member.begin(1.0, failing=False)
            await member.open("x")
            assert len(links) == expected
            member.end(False)
        assert links[0].closed

    asyncio.run(run())


def test_a_line_that_cannot_be_opened_costs_one_attempt_for_all(links: list[FakeLink]) -> None:
    async def run() -> None:
        line = Line("tcp://192.0.2.1:1", None)
        first, second = member_of(line, 1), member_of(line, 2)
        for member, address in ((first, "broken"), (second, "x")):
            await member.begin(1.0, failing=False)
            with pytest.raises(MeterError, match="refused"):
                await member.open(address)
            member.end(False)
        assert not links

    asyncio.run(run())


def test_who_does_not_get_a_turn_in_time_is_told_why(links: list[FakeLink]) -> None:
    async def run() -> None:
        line = Line("tcp://192.0.2.1:1", None)
        first, second = member_of(line, 1), member_of(line, 2)
        await first.begin(1.0, failing=False)
        with pytest.raises(MeterError, match="too slow for its 2 meters"):
            await second.begin(0.01, failing=False)
        with pytest.raises(MeterError, match="it did not answer"):
            await second.begin(0.01, failing=True)
        first.end(True)
        await second.begin(0.01, failing=False)
        second.end(True)

    asyncio.run(run())


def test_a_stop_ends_every_wait_and_the_read_of_whoever_has_the_turn(links: list[FakeLink]) -> None:
    async def run() -> None:
        line = Line("tcp://192.0.2.1:1", None)
        first, second = member_of(line, 1), member_of(line, 2)
        await first.begin(1.0, failing=False)
        link = await first.open("x")
        reading = asyncio.ensure_future(link.read())
        waiting = asyncio.ensure_future(second.begin(60.0, failing=False))
        await asyncio.sleep(0)
        first.stop()
        second.stop()
        for task in (waiting, reading):
            with pytest.raises(MeterError, match="stopping"):
                await asyncio.wait_for(task, 5.0)
        farewell = asyncio.ensure_future(second.begin_farewell())
        await asyncio.sleep(0)
        assert not farewell.done()
        first.end(False)
        assert await farewell
        second.end(True)

    asyncio.run(run())


def test_a_wait_that_is_cancelled_leaves_the_line_to_the_others(links: list[FakeLink]) -> None:
    async def run() -> None:
        line = Line("tcp://192.0.2.1:1", None)
        first, second, third = (member_of(line, number) for number in (1, 2, 3))
        await first.begin(1.0, failing=False)
        waiting = asyncio.ensure_future(second.begin(60.0, failing=False))
        await asyncio.sleep(0)
        first.end(True)  # the turn is given, and taken away before it is noticed
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await third.begin(1.0, failing=False)
        third.end(True)

    asyncio.run(run())


def test_meters_of_one_line_join_one_line_and_the_last_to_leave_ends_it() -> None:
    async def run() -> None:
        meter = MeterSettings.model_validate({"id": "a", "connect": "tcp://192.0.2.1:9", "template": "t"})
        first, second = join_line("here", meter, None), join_line("here", meter, None)
        assert first._line is second._line
        await first.leave()
        await second.leave()
        third = join_line("here", meter, None)
        assert third._line is not first._line
        await third.leave()

    asyncio.run(run())


def test_a_meter_on_a_line_is_waited_for_briefly_at_first_and_longer_each_time() -> None:
    line = Line("tcp://192.0.2.1:1", None)
    alone = member_of(line, 1)
    assert alone.answer_limit(8.0) == 8.0
    member = member_of(line, 2)
    limits = []
    for failures in range(5):
        member._failures = failures
        limits.append(member.answer_limit(8.0))
    assert limits == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_the_gate_lets_no_more_through_than_it_should_and_in_order() -> None:
    async def run() -> None:
        gate = Gate(2, 10_000.0)
        await gate.enter()
        await gate.enter()
        order: list[int] = []

        async def visitor(number: int) -> None:
            await gate.enter()
            order.append(number)

        visitors = [asyncio.ensure_future(visitor(number)) for number in range(3)]
        await asyncio.sleep(0.01)
        assert (gate.crowded, gate.open, order) == (True, 2, [])
        visitors[0].cancel()
        gate.leave()
        await asyncio.sleep(0.01)
        assert order == [1]
        gate.leave()
        await asyncio.gather(*visitors, return_exceptions=True)
        assert (order, gate.open, gate.crowded) == ([1, 2], 2, False)
        gate.leave()
        gate.leave()
        assert gate.open == 0

    asyncio.run(run())


def test_at_the_gate_cycles_go_before_load_profiles() -> None:
    async def run() -> None:
        gate = Gate(1, 10_000.0)
        await gate.enter()
        order: list[str] = []

        async def visitor(name: str, urgent: bool) -> None:
            await gate.enter(urgent)
            order.append(name)
            gate.leave()

        visitors = [
            asyncio.ensure_future(visitor(name, name.startswith("cycle"))) for name in ("profile 1", "cycle 1", "profile 2", "cycle 2")
        ]
        await asyncio.sleep(0)
        assert gate.crowded
        gate.leave()
        await asyncio.gather(*visitors)
        assert order == ["cycle 1", "cycle 2", "profile 1", "profile 2"]
        assert (gate.open, gate.crowded) == (0, False)

    asyncio.run(run())


def test_at_the_gate_load_profiles_get_their_share_where_cycles_want_everything() -> None:
    async def run() -> list[bool]:
        gate = Gate(1, 100_000.0)
        await gate.enter()
        order: list[bool] = []

        async def visitor(urgent: bool) -> None:
            await gate.enter(urgent)
            order.append(urgent)
            gate.leave()

        visitors = [asyncio.ensure_future(visitor(urgent)) for urgent in [False] * 3 + [True] * 20]
        await asyncio.sleep(0)
        gate.leave()
        await asyncio.gather(*visitors)
        return order

    order = asyncio.run(run())
    assert [place for place, urgent in enumerate(order) if not urgent] == [3, 8, 13]  # the first one that entered counts


def test_a_cycle_that_comes_later_overtakes_profiles_that_wait_for_the_pace() -> None:
    async def run() -> None:
        gate = Gate(100, 50.0)
        await gate.enter()
        order: list[str] = []

        async def visitor(name: str, urgent: bool) -> None:
            await gate.enter(urgent)
            order.append(name)

        profiles = [asyncio.ensure_future(visitor("profile", urgent=False)) for _ in range(3)]
        await asyncio.sleep(0)
        await visitor("cycle", urgent=True)
        await asyncio.gather(*profiles)
        assert order[0] == "cycle"

    asyncio.run(run())


def test_the_gate_spaces_new_connections() -> None:
    async def run() -> float:
        gate = Gate(100, 50.0)
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(*(gate.enter() for _ in range(11)))
        return asyncio.get_running_loop().time() - begun

    assert asyncio.run(run()) >= 10 / 50


def test_the_gate_keeps_its_rate_while_the_loop_is_busy_and_saves_nothing_up_while_nobody_waits() -> None:
    async def run() -> tuple[int, int]:
        gate = Gate(100, 50.0)
        await gate.enter()
        visitors = [asyncio.ensure_future(gate.enter()) for _ in range(30)]
        await asyncio.sleep(0)
        time.sleep(0.2)
        visitors += [asyncio.ensure_future(gate.enter()) for _ in range(2)]  # who comes just then changes nothing
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        made_up = gate.open
        await asyncio.gather(*visitors)
        await asyncio.sleep(0.2)
        before = gate.open
        visitors = [asyncio.ensure_future(gate.enter()) for _ in range(5)]
        await asyncio.sleep(0)
        at_once = gate.open - before
        await asyncio.gather(*visitors)
        return made_up, at_once

    made_up, at_once = asyncio.run(run())
    assert made_up >= 1 + 0.2 * 50
    assert at_once == 1


def test_a_fleet_without_a_free_connection_says_so() -> None:
    async def run() -> None:
        gate = Gate(1, 1000.0)
        await gate.enter()
        meter = MeterSettings.model_validate({"id": "a", "connect": "tcp://192.0.2.1:9", "template": "t"})
        access = OwnConnection(meter, gate)
        with pytest.raises(MeterError, match="1 of 1 are open"):
            await access.begin(0.01, failing=False)
        gate.leave()
        await access.begin(1.0, failing=False)
        assert gate.open == 1
        access.end(True)  # nothing was opened
        assert gate.open == 0

    asyncio.run(run())


def test_a_turn_may_last_its_share_of_the_interval() -> None:
    line = Line("tcp://192.0.2.1:1", None)
    members = [member_of(line, number) for number in range(4)]
    assert members[0].turn_limit(900.0) == 225.0
    assert (
        OwnConnection(MeterSettings.model_validate({"id": "a", "connect": "tcp://192.0.2.1:9", "template": "t"})).turn_limit(900.0) == 900.0
    )


def test_meters_behind_one_station_do_not_keep_their_associations_from_each_other() -> None:
    line = Line("tcp://192.0.2.1:1", None)
    first, second, other = member_of(line, 1), member_of(line, 1, id="twin"), member_of(line, 2)
    assert (first.crowded, second.crowded, other.crowded) == (True, True, False)
