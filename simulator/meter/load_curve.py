"""A plausible load as a pure function of seed and time: nothing is stored, and a restart gives the same history.

Power is a sum of sinusoids (day, half day) and of bumps that begin and end at zero in fixed slots; both have a closed
integral, so energy is exactly the integral of power, and it rises because power stays above zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_DAY = 86400.0
_DAILY_AMPLITUDE = 0.30
_HALF_DAILY_AMPLITUDE = 0.12
_BUMPS = ((3600.0, 0.18), (900.0, 0.12), (60.0, 0.08))
"""Slot length in seconds and largest amplitude relative to the mean; with the sinusoids 0.80, so power stays positive."""
_MASK = (1 << 64) - 1


def _mixed(value: int) -> int:
    """A 64-bit hash of an integer (the finalizer of splitmix64)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def fraction(seed: int, channel: int, slot: int = 0) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    return _mixed(_mixed(seed << 8 ^ channel) ^ slot) / 2**64


@dataclass(frozen=True, slots=True)
class LoadCurve:
    """The electrical quantities of one installation.

    :arg seed: two curves with the same seed are equal.
    :arg origin: Unix seconds at which the energy register stood at its initial value.
    :arg mean_power: average active power of all phases, W, above zero.
    :arg phases: 1 or 3.
    """

    seed: int
    origin: float
    mean_power: float
    phases: int
    _sinusoids: tuple[tuple[float, float, float], ...] = field(init=False, repr=False)
    _shares: tuple[float, ...] = field(init=False, repr=False)
    _energy_offset: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        weights = [1.0 + 0.4 * self._amplitude(50 + phase, 0) for phase in range(self.phases)]
        object.__setattr__(self, "_shares", tuple(weight / sum(weights) for weight in weights))
        half_day_phase, day_phase = fraction(self.seed, 93), 0.55 + 0.1 * fraction(self.seed, 92)
        object.__setattr__(
            self,
            "_sinusoids",
            ((_DAY, _DAILY_AMPLITUDE, math.tau * day_phase), (_DAY / 2, _HALF_DAILY_AMPLITUDE, math.tau * half_day_phase)),
        )
        initial = fraction(self.seed, 90) * 1e6
        object.__setattr__(self, "_energy_offset", initial - self._integral(self.origin) * self.mean_power / 3600.0)

    def power(self, at: float) -> float:
        """Active power imported by all phases, W; always positive."""
        level = 1.0
        for period, amplitude, phase in self._sinusoids:
            level += amplitude * math.sin(math.tau * at / period + phase)
        for channel, (slot, amplitude) in enumerate(_BUMPS):
            level += amplitude * self._wander(channel, slot, at)
        return self.mean_power * level

    def energy(self, at: float) -> float:
        """Active energy imported until `at`, Wh; never falls, and never was below zero."""
        return max(0.0, self._energy_offset + self._integral(at) * self.mean_power / 3600.0)

    def exported_energy(self) -> float:
        """Active energy exported, Wh: what a test in the factory left in the register; nothing is exported since."""
        return fraction(self.seed, 91) * 1e3

    def average_power(self, start: float, end: float) -> float:
        """Mean active power between two times, W."""
        return (self.energy(end) - self.energy(start)) * 3600.0 / (end - start)

    def voltage(self, phase: int, at: float) -> float:
        """Voltage of phase 1, 2 or 3 against neutral, V."""
        return self._voltage_under(self.power(at), phase, at)

    def current(self, phase: int, at: float) -> float:
        """Current of phase 1, 2 or 3, A."""
        power = self.power(at)
        return power * self._shares[phase - 1] / (self._voltage_under(power, phase, at) * self.power_factor(at))

    def frequency(self, at: float) -> float:
        """Supply frequency, Hz."""
        return 50.0 + 0.03 * self._wander(30, 300.0, at) + 0.01 * self._wander(31, 20.0, at)

    def power_factor(self, at: float) -> float:
        """Power factor, 0 to 1."""
        return 0.95 + 0.03 * self._wander(40, 1200.0, at)

    def _voltage_under(self, power: float, phase: int, at: float) -> float:
        drop = 1.5 * power / self.mean_power
        return 231.0 + 2.0 * self._wander(10 + phase, 1800.0, at) + 0.6 * self._wander(20 + phase, 45.0, at) - drop

    def _wander(self, channel: int, slot: float, at: float) -> float:
        """A continuous wave in [-1, 1] with a new amplitude in each slot."""
        number = math.floor(at / slot)
        return self._amplitude(channel, number) * math.sin(math.tau * (at / slot - number))

    def _amplitude(self, channel: int, slot: int) -> float:
        return 2.0 * fraction(self.seed, channel, slot) - 1.0

    def _integral(self, at: float) -> float:
        """The integral of power over its mean, s."""
        total = at
        for period, amplitude, phase in self._sinusoids:
            total -= amplitude * period / math.tau * math.cos(math.tau * at / period + phase)
        for channel, (slot, amplitude) in enumerate(_BUMPS):
            number = math.floor(at / slot)
            wave = 1.0 - math.cos(math.tau * (at / slot - number))
            total += amplitude * self._amplitude(channel, number) * slot / math.tau * wave
        return total
