"""Epochs stay together, in a model of how Bytewax 0.21 lets inputs end theirs; with it and without it the same engine."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.epochs import LONGEST_SLEEP, MOST_ADDED, EpochLength, Epochs

GRID = 0.1
SPIN = 0.005
"""Seconds between two activations of an input that is due and may not go on."""


@dataclass
class Input:
    """One input with one partition that wants to be woken every `every` seconds."""

    every: float
    epochs: Epochs | None
    epoch: int = 0
    began: float = 0.0
    wake: float = 0.0
    calls: int = 0
    spinning: float = 0.0
    paused_until: float = 0.0
    longest_gap: float = 0.0
    last_call: float = 0.0


@dataclass
class Engine:
    """The rules of `partitioned_input`: whoever has ended an epoch waits for all others; epochs end at activations."""

    inputs: list[Input]
    length: float
    now: float = 0.0
    clock: list[float] = field(default_factory=lambda: [0.0])

    def run(self, until: float) -> None:
        """Go on until then, and count from now on."""
        for each in self.inputs:
            each.calls, each.spinning, each.longest_gap, each.last_call = 0, 0.0, 0.0, self.now
        while self.now < until:
            self.now = max(self.now, min(self._activation(each) for each in self.inputs))
            self.clock[0] = self.now
            for each in self.inputs:
                if self._activation(each) <= self.now:
                    self._activate(each)
            self.now += SPIN

    def _activation(self, each: Input) -> float:
        return max(each.wake, each.paused_until)

    def _activate(self, each: Input) -> None:
        if each.epoch > min(other.epoch for other in self.inputs):
            each.spinning += SPIN
            return
        each.calls += 1
        each.longest_gap, each.last_call = max(each.longest_gap, self.now - each.last_call), self.now
        if each.epochs is not None:
            each.epochs.woke("p")
        planned = math.ceil((self.now + each.every) / GRID) * GRID
        each.wake = planned if each.epochs is None else each.epochs.wake("p", planned)
        if self.now - each.began >= self.length:
            if each.epochs is not None:
                each.epochs.ended("p")
            each.epoch, each.began = each.epoch + 1, self.now


def engine(every: list[float], length: float, together: bool = True, processes: bool = False) -> Engine:
    """:arg processes: each input is in a process of its own, and sees the length of epochs by itself."""
    clock = [0.0]
    shared = EpochLength()

    def epochs() -> Epochs | None:
        return Epochs(EpochLength() if processes else shared, lambda: clock[0]) if together else None

    return Engine([Input(seconds, epochs()) for seconds in every], length, clock=clock)


def test_without_help_the_input_that_wakes_often_stands_still() -> None:
    """What the model must show, or the other tests prove nothing."""
    flow = engine([0.1, 0.73], 2.0, together=False)
    flow.run(60.0)
    flow.run(120.0)
    assert flow.inputs[0].spinning > 30.0
    assert flow.inputs[0].calls < 100


@pytest.mark.parametrize("processes", [False, True])
@settings(max_examples=30, deadline=None)
@given(every=st.lists(st.floats(0.05, 1.0), min_size=2, max_size=4), length=st.floats(2.0, 12.0))
def test_all_inputs_go_on_whatever_their_wakes(processes: bool, every: list[float], length: float) -> None:
    flow = engine(every, length, processes=processes)
    flow.run(20 * length)
    flow.run(60 * length)
    for each in flow.inputs:
        assert each.spinning <= 0.08 * 40 * length
        assert each.longest_gap <= each.every + 0.6 * length
        assert each.calls >= 0.7 * 40 * length / (math.ceil(each.every / GRID) * GRID + GRID)


@pytest.mark.parametrize("length", [2.0, 10.0])
def test_an_input_that_is_a_whole_epoch_ahead_waits_for_the_others(length: float) -> None:
    """Another process stood still for longer than an epoch, as after a pause of its host."""
    flow = engine([0.1, 0.3], length, processes=True)
    flow.run(5 * length)
    flow.inputs[1].paused_until = flow.now + 3 * length
    flow.run(20 * length + 4 * LONGEST_SLEEP + length / MOST_ADDED * length)
    flow.run(flow.now + 20 * length)
    assert flow.inputs[0].spinning <= 0.08 * 20 * length
    assert flow.inputs[0].longest_gap < 1.0


def test_epochs_that_end_with_every_batch_are_left_alone() -> None:
    length = EpochLength()
    epochs = Epochs(length, lambda: 5.0)
    for _ in range(3):
        epochs.woke("p")
        epochs.ended("p")
        assert epochs.wake("p", 7.5) == 7.5
