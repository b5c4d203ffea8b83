"""Which cause a row of closures without a reason has."""

from __future__ import annotations

import pytest

from connectors.thingsboard.rhythm import Closure, Rhythm

HOURS = Closure(3600.0, 20.0)
BUSY_HOURS = Closure(3600.0, 0.3, 500, on_the_way=3)
QUIET = Closure(2.0, 1.5, 3)
NEVER_SENT = Closure(5.5)
BUSY = Closure(2.0, 0.3, 40, on_the_way=20)
BEHIND_ACK = Closure(0.3, 0.001, 1, on_the_way=2)
LISTENED_BEHIND_FIRST_ACK = Closure(7.2, 0.001, 1, on_the_way=1, listened=True)
LISTENED_BEHIND_ACK = Closure(7.9, 0.001, 30, on_the_way=1, listened=True)
LISTENED_BUSY = Closure(7.1, None, 0, on_the_way=1, listened=True)
LISTENED_SUSPICIOUS = Closure(7.1, None, 0, on_the_way=1, listened=True, suspicious=True)
LISTENED_IN_VAIN = Closure(1.4, listened=True)


@pytest.mark.parametrize(
    ("closures", "name"),
    [
        ([QUIET], "connection-lost"),
        ([HOURS, HOURS], "connection-lost"),
        ([HOURS, QUIET], "taken-over"),
        ([BUSY_HOURS, QUIET], "taken-over"),
        ([QUIET, QUIET], "taken-over"),
        ([NEVER_SENT, NEVER_SENT], "taken-over"),
        ([BUSY_HOURS, BUSY], "connection-lost"),
        ([BUSY_HOURS, BUSY, LISTENED_IN_VAIN], "taken-over"),
        ([BEHIND_ACK, BEHIND_ACK], "connection-lost"),
        ([BEHIND_ACK, BEHIND_ACK, LISTENED_BEHIND_ACK], "rate-limited"),
        ([BEHIND_ACK, BEHIND_ACK, LISTENED_BEHIND_FIRST_ACK], "quota-exceeded"),
        ([Closure(60.0, 0.001, 900)] * 3, "rate-limited"),
        ([BUSY, BUSY, LISTENED_BUSY], "connection-lost"),
        ([BUSY, BUSY, LISTENED_SUSPICIOUS], "malformed-message"),
        ([BUSY, BUSY, LISTENED_SUSPICIOUS, Closure(0.1, 0.001, 5, on_the_way=1, suspicious=True)], "malformed-message"),
        ([QUIET, QUIET, LISTENED_BUSY], "taken-over"),
        ([QUIET, QUIET, LISTENED_BEHIND_ACK, LISTENED_BEHIND_ACK], "rate-limited"),
    ],
)
def test_the_rhythm(closures: list[Closure], name: str) -> None:
    rhythm = Rhythm()
    assert [rhythm.closed(closure) for closure in closures][-1].name == name


def test_a_server_that_should_state_its_reasons_gets_one_more_chance() -> None:
    rhythm = Rhythm(needed=3)
    assert [rhythm.closed(QUIET).name for _ in range(3)] == ["connection-lost", "connection-lost", "taken-over"]


def test_something_else_in_between_breaks_the_row() -> None:
    rhythm = Rhythm()
    rhythm.closed(QUIET)
    rhythm.broken()
    assert rhythm.closed(QUIET).name == "connection-lost"


def test_after_two_closures_the_next_connection_listens() -> None:
    rhythm = Rhythm()
    rhythm.closed(BUSY_HOURS)
    assert not rhythm.listening
    rhythm.closed(BUSY)
    assert rhythm.listening
    rhythm.closed(HOURS)
    assert not rhythm.listening


def test_once_it_is_proven_that_messages_are_the_reason_nothing_listens_until_a_connection_ends_in_peace() -> None:
    rhythm = Rhythm()
    for closure in (BUSY, BUSY, LISTENED_BUSY):
        rhythm.closed(closure)
    assert (rhythm.proven, rhythm.listening) == (True, False)
    rhythm.closed(QUIET)
    assert (rhythm.proven, rhythm.listening) == (False, True)


def test_a_busy_closure_in_a_fight_proves_nothing() -> None:
    rhythm = Rhythm()
    for closure in (QUIET, QUIET, LISTENED_BUSY):
        rhythm.closed(closure)
    assert not rhythm.proven
