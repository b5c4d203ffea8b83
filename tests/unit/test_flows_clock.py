from __future__ import annotations

from flows.clock import ClockWatch


def test_a_clock_that_goes_on() -> None:
    watch = ClockWatch(1000.0, 5.0)
    assert watch.set_back(1000.5, 5.5) == 0.0
    assert watch.set_back(1060.5, 65.5) == 0.0


def test_a_step_back_is_told_once() -> None:
    watch = ClockWatch(1000.0, 5.0)
    assert watch.set_back(940.5, 5.5) == 60.0
    assert watch.set_back(941.0, 6.0) == 0.0


def test_a_step_forward_is_none() -> None:
    watch = ClockWatch(1000.0, 5.0)
    assert watch.set_back(4600.5, 5.5) == 0.0
    assert watch.set_back(1001.0, 6.0) == 3600.0
