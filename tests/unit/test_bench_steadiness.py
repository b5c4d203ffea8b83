"""What the soak calls flat and what it calls growing."""

from __future__ import annotations

import random

import pytest

from bench.steadiness import Measure, trend

MEASURE = Measure("memory", "MB", 1.0)
ROUND = 60.0


def samples(minutes: float, per_hour: float, noise: float = 0.5, wave: float = 0.0, seed: int = 1) -> list[tuple[float, float]]:
    chance = random.Random(seed)
    return [
        (1_000 + second, 100 + per_hour * second / 3600 + chance.gauss(0, noise) + wave * (second % ROUND < 20))
        for second in range(0, int(minutes * 60), 5)
    ]


def test_a_line_is_found_through_noise() -> None:
    found = trend(samples(60, 5.0), ROUND)
    assert found is not None
    assert found.per_hour == pytest.approx(5.0, abs=0.5)
    assert found.last - found.first == pytest.approx(5.0, abs=0.7)
    assert found.grows(MEASURE)


def test_the_uncertainty_holds_nineteen_times_of_twenty() -> None:
    lines = [trend(samples(20, 5.0, seed=seed), ROUND) for seed in range(100)]
    assert sum(line is not None and abs(line.per_hour - 5.0) < line.uncertainty for line in lines) in range(90, 100)


@pytest.mark.parametrize(
    "steady",
    [
        samples(60, 0.0),
        samples(60, 0.0, noise=5.0),
        samples(60, 0.5),  # within the allowance
        samples(60, -5.0),
        samples(10, 0.0, wave=20.0),  # each round of faults alike
    ],
)
def test_what_stays_is_flat(steady: list[tuple[float, float]]) -> None:
    found = trend(steady, ROUND)
    assert found is not None
    assert not found.grows(MEASURE)


def test_a_few_rounds_tell_nothing() -> None:
    assert trend(samples(3, 5.0), ROUND) is None
    assert trend([], ROUND) is None
