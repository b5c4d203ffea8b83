from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.meter.config import ORIGIN
from simulator.meter.load_curve import LoadCurve

TIMES = st.floats(ORIGIN, ORIGIN + 20 * 365 * 86400)
SEEDS = st.integers(0, 2**40)


def curve(seed: int = 7, phases: int = 3) -> LoadCurve:
    return LoadCurve(seed, ORIGIN, 3000.0, phases)


@given(SEEDS, TIMES, st.floats(0.001, 7 * 86400))
def test_energy_never_falls(seed: int, at: float, later: float) -> None:
    load = curve(seed)
    assert load.energy(at + later) > load.energy(at) >= 0


@given(SEEDS, TIMES)
def test_all_quantities_are_plausible(seed: int, at: float) -> None:
    load = curve(seed)
    assert 0 < load.power(at) < 2 * 3000
    assert 49.9 < load.frequency(at) < 50.1
    assert 0.9 < load.power_factor(at) < 1.0
    for phase in (1, 2, 3):
        assert 220 < load.voltage(phase, at) < 240
        assert 0 < load.current(phase, at) < 20


@given(SEEDS, TIMES)
def test_the_phases_carry_the_power_together(seed: int, at: float) -> None:
    load = curve(seed)
    carried = sum(load.voltage(phase, at) * load.current(phase, at) for phase in (1, 2, 3)) * load.power_factor(at)
    assert carried == pytest.approx(load.power(at))


def test_energy_is_the_integral_of_power() -> None:
    load, start, step = curve(), ORIGIN + 40 * 86400.0, 2.0
    summed = sum(load.power(start + (number + 0.5) * step) for number in range(3600)) * step / 3600
    assert load.energy(start + 7200) - load.energy(start) == pytest.approx(summed, rel=1e-4)


def test_the_same_seed_gives_the_same_history_and_another_one_another() -> None:
    at = ORIGIN + 1e7
    assert curve(7).energy(at) == curve(7).energy(at)
    assert curve(7).energy(at) != curve(8).energy(at)


def test_energy_is_not_negative_before_the_meter_was_put_in_place() -> None:
    assert curve().energy(0.0) == 0.0
