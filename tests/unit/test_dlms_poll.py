"""MeterPoll against a scripted conversation: what it asks in which order, and what it makes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from connectors.dlms.events import Attribute, AttributeResult, CosemData, ServiceRefused
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.session import ListRefused
from model.errors import MeterError
from model.messages import Cycle, ErrorKind, Outcome, RawValue, ViolationCount
from model.settings.meter import MeterSettings
from model.settings.template import ReadSettings

DUE = datetime(2026, 1, 1, tzinfo=timezone.utc)
VOLTAGE = Attribute(3, bytes([1, 0, 32, 7, 0, 255]), 2)
CURRENT = Attribute(3, bytes([1, 0, 31, 7, 0, 255]), 2)
POWER = Attribute(3, bytes([1, 0, 1, 7, 0, 255]), 2)
READS = {"voltage": "1-0:32.7.0", "current": "1-0:31.7.0", "power": "1-0:1.7.0"}
DATA: dict[Attribute, CosemData] = {
    VOLTAGE: 23012,
    CURRENT: 1500,
    POWER: 345,
    Attribute(3, VOLTAGE.logical_name, 3): [-2, 35],
    Attribute(3, CURRENT.logical_name, 3): [-3, 33],
    Attribute(3, POWER.logical_name, 3): [0, 27],
}
VALUES = (RawValue("voltage", 23012, -2, 35), RawValue("current", 1500, -3, 33), RawValue("power", 345, 0, 27))


def honest(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
    return tuple(AttributeResult(attribute, DATA[attribute]) for attribute in attributes)


def timeout() -> MeterError:
    return MeterError(ErrorKind.TIMEOUT, "no reply")


@dataclass
class ScriptedSession:
    """A meter that answers through `answer`, with the interface of `Session`."""

    answer: Callable[[Sequence[Attribute]], tuple[AttributeResult, ...]] = honest
    with_list: bool = False
    open: bool = False
    exchanges: int = 0
    associations: int = 0
    refuse: MeterError | None = None
    asked: list[tuple[Attribute, ...]] = field(default_factory=list)

    invocation_counter: int | None = None
    violations: tuple[ViolationCount, ...] = ()

    def take_violations(self) -> tuple[ViolationCount, ...]:
        taken, self.violations = self.violations, ()
        return taken

    def usable(self) -> bool:
        return self.open

    async def associate(self) -> None:
        self.associations += 1
        if self.refuse is not None:
            raise self.refuse
        self.open = True

    async def close(self) -> None:
        self.open = False

    async def abandon(self) -> None:
        self.open = False

    def forget(self) -> None:
        pass

    def fits(self, attributes: Sequence[Attribute], limit: int) -> int:
        return min(len(attributes), limit)

    async def get(self, attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        assert self.open
        self.exchanges += 1
        self.asked.append(tuple(attributes))
        return self.answer(attributes)


def poll_of(session: ScriptedSession, **settings: object) -> MeterPoll:
    meter = MeterSettings.model_validate({"id": "m", "connect": "tcp://127.0.0.1:1", "template": "t", **settings})
    reads = {key: ReadSettings.model_validate(obis) for key, obis in READS.items()}
    return MeterPoll(meter, plan_reads(reads), 60.0, session)  # type: ignore[arg-type]


def cycles(session: ScriptedSession, count: int, **settings: object) -> list[Cycle]:
    async def run() -> list[Cycle]:
        poll = poll_of(session, **settings)
        return [await poll.cycle(DUE) for _ in range(count)]

    return asyncio.run(run())


def test_scalers_are_read_once_and_a_steady_cycle_costs_one_exchange_per_register() -> None:
    session = ScriptedSession()
    first, second, third = cycles(session, 3)
    assert (first.outcome, first.values, first.exchanges, first.associated) == (Outcome.OK, VALUES, 6, True)
    for steady in (second, third):
        assert (steady.outcome, steady.values, steady.exchanges, steady.associated) == (Outcome.OK, VALUES, 3, False)


def test_with_a_list_everything_is_one_exchange() -> None:
    first, second = cycles(ScriptedSession(with_list=True), 2)
    assert (first.values, first.exchanges) == (VALUES, 1)
    assert (second.values, second.exchanges) == (VALUES, 1)


def test_a_list_is_cut_at_the_most_the_settings_allow() -> None:
    session = ScriptedSession(with_list=True)
    cycles(session, 2, with_list_max=2)
    assert [len(asked) for asked in session.asked] == [2, 2, 2, 2, 1]


def test_a_refused_list_falls_back_to_single_requests_for_good() -> None:
    def refuse_lists(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        if len(attributes) > 1:
            raise ListRefused(ServiceRefused("exception-response: service-not-supported"))
        return honest(attributes)

    first, second = cycles(ScriptedSession(refuse_lists, with_list=True), 2)
    assert (first.outcome, first.values, first.exchanges) == (Outcome.OK, VALUES, 7)
    assert (second.outcome, second.exchanges) == (Outcome.OK, 3)


def test_a_list_that_is_not_answered_twice_is_not_asked_for_again() -> None:
    def silent_to_lists(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        if len(attributes) > 1:
            raise timeout()
        return honest(attributes)

    session = ScriptedSession(silent_to_lists, with_list=True, open=True)
    first, second, third = cycles(session, 3)
    for cycle in (first, second, third):
        assert (cycle.outcome, cycle.values) == (Outcome.OK, VALUES)
    assert (session.associations, third.exchanges) == (2, 3)


def test_a_list_that_was_lost_once_is_asked_for_again() -> None:
    failures = [timeout()]

    def lose_one(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        if len(attributes) > 1 and failures:
            raise failures.pop()
        return honest(attributes)

    _, second, third = cycles(ScriptedSession(lose_one, with_list=True, open=True), 3)
    assert [second.exchanges, third.exchanges] == [1, 1]


def test_an_attribute_that_failed_once_returns_to_the_list() -> None:
    answers: list[int] = []

    def deny_twice(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        answers.append(len(attributes))
        denied = len(answers) <= 2
        return tuple(
            AttributeResult(a, None, ErrorKind.ACCESS, "temporary-failure") if denied and a == CURRENT else AttributeResult(a, DATA[a])
            for a in attributes
        )

    first, second, third = cycles(ScriptedSession(deny_twice, with_list=True), 3)
    assert [cycle.outcome for cycle in (first, second, third)] == [Outcome.PARTIAL, Outcome.OK, Outcome.OK]
    assert [second.exchanges, third.exchanges] == [2, 1]


def test_three_cycles_with_nothing_but_errors_open_the_association_anew() -> None:
    def deny(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        return tuple(AttributeResult(a, None, ErrorKind.ACCESS, "temporary-failure") for a in attributes)

    session = ScriptedSession(deny)
    cycles(session, 4)
    assert session.associations == 2


def test_a_list_in_which_every_item_fails_is_not_believed_before_single_requests_agree() -> None:
    def fail_lists(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        if len(attributes) > 1:
            return tuple(AttributeResult(attribute, None, ErrorKind.ACCESS, "other-reason") for attribute in attributes)
        return honest(attributes)

    first, second = cycles(ScriptedSession(fail_lists, with_list=True), 2)
    assert (first.outcome, first.values) == (Outcome.OK, VALUES)
    assert second.exchanges == 3


def test_one_bad_item_that_spoils_the_rest_of_a_list_is_found_and_left_out_of_later_lists() -> None:
    def spoilt(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        results = [AttributeResult(a, DATA[a]) for a in attributes]
        for position, attribute in enumerate(attributes):
            if attribute == CURRENT:
                results[position:] = [AttributeResult(a, None, ErrorKind.ACCESS, "object-undefined") for a in attributes[position:]]
        return tuple(results)

    session = ScriptedSession(spoilt, with_list=True)
    first, second = cycles(session, 2)
    for cycle in (first, second):
        assert [value.key for value in cycle.values] == ["voltage", "power"]
        assert [(error.key, error.detail) for error in cycle.errors] == [("current", "object-undefined")]
    assert second.exchanges == 2
    assert (VOLTAGE, POWER) in session.asked


def test_lists_that_fail_because_of_one_attribute_get_a_second_chance_without_it() -> None:
    def malformed(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        if len(attributes) > 1 and CURRENT in attributes:
            raise ListRefused(ServiceRefused("the list has another number of items"))
        return tuple(
            AttributeResult(a, None, ErrorKind.ACCESS, "object-undefined") if a == CURRENT else AttributeResult(a, DATA[a])
            for a in attributes
        )

    _, second = cycles(ScriptedSession(malformed, with_list=True), 2)
    assert second.exchanges == 2
    assert [value.key for value in second.values] == ["voltage", "power"]


def test_a_denied_attribute_is_an_error_with_its_access_result_and_the_others_arrive() -> None:
    def deny_current(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        return tuple(
            AttributeResult(a, None, ErrorKind.ACCESS, "read-write-denied") if a == CURRENT else AttributeResult(a, DATA[a])
            for a in attributes
        )

    (cycle,) = cycles(ScriptedSession(deny_current), 1)
    assert cycle.outcome is Outcome.PARTIAL
    assert [value.key for value in cycle.values] == ["voltage", "power"]
    (error,) = cycle.errors
    assert (error.key, error.kind, error.detail) == ("current", ErrorKind.ACCESS, "read-write-denied")
    assert "OBIS" in error.remedy


def test_a_value_whose_scaler_cannot_be_read_is_an_error_never_an_unscaled_number() -> None:
    def deny_scaler(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        return tuple(
            AttributeResult(a, None, ErrorKind.ACCESS, "read-write-denied")
            if (a.logical_name, a.index) == (POWER.logical_name, 3)
            else AttributeResult(a, DATA[a])
            for a in attributes
        )

    (cycle,) = cycles(ScriptedSession(deny_scaler), 1)
    assert [value.key for value in cycle.values] == ["voltage", "current"]
    assert [(error.key, error.detail) for error in cycle.errors] == [("power", "attribute 3: read-write-denied")]


def test_a_lost_link_is_opened_again_once_and_the_cycle_goes_on_where_it_was() -> None:
    failures = [MeterError(ErrorKind.LINK_LOST, "closed")]

    def fail_once_at_current(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        if CURRENT in attributes and failures:
            raise failures.pop()
        return honest(attributes)

    session = ScriptedSession(fail_once_at_current)
    (cycle,) = cycles(session, 1)
    assert (cycle.outcome, cycle.values, session.associations) == (Outcome.OK, VALUES, 2)
    assert [asked[0] for asked in session.asked].count(VOLTAGE) == 1


def test_an_attribute_that_makes_the_meter_fall_silent_does_not_cost_the_others_their_values() -> None:
    def silent_to_voltage(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        if VOLTAGE in attributes:
            raise timeout()
        return honest(attributes)

    first, second, third = cycles(ScriptedSession(silent_to_voltage), 3)
    for cycle in (first, second, third):
        assert (cycle.outcome, cycle.values) == (Outcome.PARTIAL, VALUES[1:])
        assert [(error.key, error.kind) for error in cycle.errors] == [("voltage", ErrorKind.TIMEOUT)]
    assert "asking again" in third.errors[0].detail


def test_a_meter_that_cannot_be_reached_gives_a_failed_cycle_and_is_then_left_alone() -> None:
    session = ScriptedSession(refuse=MeterError(ErrorKind.CONNECT, "cannot connect to 127.0.0.1:1", "check the cable"))
    first, second = cycles(session, 2)
    assert (first.outcome, first.values) == (Outcome.FAILED, ())
    assert [(error.key, error.kind, error.remedy) for error in first.errors] == [(None, ErrorKind.CONNECT, "check the cable")]
    assert second.errors[0].detail.startswith("left alone for")
    assert "cannot connect to 127.0.0.1:1" in second.errors[0].detail
    assert session.associations == 1


def test_null_data_is_an_error_and_never_a_value() -> None:
    def no_power(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        return tuple(AttributeResult(a, None if a == POWER else DATA[a]) for a in attributes)

    (cycle,) = cycles(ScriptedSession(no_power), 1)
    assert [(error.key, error.kind) for error in cycle.errors] == [("power", ErrorKind.NO_VALUE)]


def test_a_bug_costs_one_meter_one_cycle_and_not_the_flow() -> None:
    def broken(attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        raise KeyError("bug")

    (cycle,) = cycles(ScriptedSession(broken), 1)
    assert cycle.outcome is Outcome.FAILED
    assert "KeyError" in cycle.errors[0].detail


def test_a_cycle_that_takes_too_long_keeps_what_it_has_read() -> None:
    class SlowSession(ScriptedSession):
        async def get(self, attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
            if CURRENT in attributes:
                await asyncio.Event().wait()
            return await super().get(attributes)

    (cycle,) = cycles(SlowSession(), 1, cycle_timeout=0.2)
    assert cycle.outcome is Outcome.PARTIAL
    assert cycle.values == VALUES[:1]
    assert {error.kind for error in cycle.errors} == {ErrorKind.TIMEOUT}


def test_an_association_that_would_idle_too_long_is_released_after_the_cycle() -> None:
    session = ScriptedSession()
    cycles(session, 1, inactivity_timeout=30)
    assert not session.open
