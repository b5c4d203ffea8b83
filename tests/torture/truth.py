"""The independent checker: what the meters hold against what the stand-in stored. It knows nothing of the pipeline but its keys.

What a meter holds is a function of its seed and of the time, so the truth is computed here once more, from the virtual
meter alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from simulator.meter.logical_device import LogicalDevice
from tests.torture.meter_process import CAPTURE_PERIOD, meter_behaviour, meter_config

PROFILE = "1-0:99.1.0"
POLLED = {"energy": ("1-0:1.8.0", 0), "power": ("1-0:1.7.0", 0), "voltage": ("1-0:32.7.0", -2), "frequency": ("1-0:14.7.0", -2)}
"""Key -> object and power of ten."""
CAPTURED = {
    "counter": ("1-0:1.8.0", 0),
    "exported": ("1-0:2.8.0", 0),
    "average": ("1-0:1.7.0", 0),
    "volts": ("1-0:32.7.0", -2),
    "amperes": ("1-0:31.7.0", -3),
}
"""The same for the columns of the load profile."""

GATEWAY = "gateway"
"""The device that stands for the pipeline itself."""

STEP_MS = 20
"""Between two looks at a polled quantity; all are continuous, so between two looks every value between theirs was held."""

Place = tuple[str, str, int]


@dataclass
class Verdict:
    """What is wrong: all empty where nothing is. A place is (device, key, ts in ms)."""

    missing: list[Place] = field(default_factory=list)
    different: list[Place] = field(default_factory=list)
    invented: list[Place] = field(default_factory=list)
    changed: list[Place] = field(default_factory=list)
    intervals: int = 0
    polled: int = 0

    @property
    def is_good(self) -> bool:
        """Whether every interval is there as the meter holds it, and nothing else."""
        return not (self.missing or self.different or self.invented or self.changed)

    def __str__(self) -> str:
        """Counts, and a few examples of each kind."""
        kinds = ("missing", "different", "invented", "changed")
        wrong = ", ".join(f"{len(getattr(self, kind))} {kind} {sorted(getattr(self, kind))[:5]}" for kind in kinds if getattr(self, kind))
        return f"{self.intervals} values of intervals, {self.polled} polled: {wrong or 'all as the meters hold them'}"


class Truth:
    """The memory of `count` virtual meters.

    :arg longest_poll: seconds from the timestamp of a polled value to the moment in which the meter read it, at most.
    """

    def __init__(self, count: int, longest_poll: float) -> None:
        self._devices = {f"m{number}": LogicalDevice(meter_config(number), meter_behaviour(number)) for number in range(count)}
        self._longest_poll = int(longest_poll * 1000)

    def judge(self, points: dict[Place, Any], first: dict[str, int], last: int) -> Verdict:
        """Compare what was stored with all intervals of each meter from its `first` to `last` (ms, included)."""
        verdict = Verdict()
        for place in self.owed(first, last):
            verdict.intervals += 1
            if place not in points:
                verdict.missing.append(place)
        for place, value in points.items():
            device, key, ts = place
            if device == GATEWAY or (device in self._devices and _is_about_the_pipeline(key)):
                continue
            if device not in self._devices or key not in (*CAPTURED, *POLLED):
                verdict.invented.append(place)
            elif key in CAPTURED:
                if ts % (CAPTURE_PERIOD * 1000) or self._lost_its_clock(device, ts):
                    verdict.invented.append(place)
                elif value != self.held(device, key, ts):
                    verdict.different.append(place)
            else:
                verdict.polled += 1
                if not self._was_held(device, key, ts, value):
                    verdict.different.append(place)
        return verdict

    def owed(self, first: dict[str, int], last: int) -> Iterator[Place]:
        """Every value of every interval from `first` of the meter to `last`."""
        for device in self._devices:
            for ts in range(first[device], last + 1, CAPTURE_PERIOD * 1000):
                if not self._lost_its_clock(device, ts):
                    for key in CAPTURED:
                        yield device, key, ts

    def held(self, device: str, key: str, ts: int) -> int | float:
        """The value of an interval, as JSON has it."""
        return self._value(device, CAPTURED[key], ts)

    def _lost_its_clock(self, device: str, ts: int) -> bool:
        """Whether the meter dated what it captured then as of another time."""
        behaviour = self._devices[device].behaviour
        return bool(behaviour.clock_lost_period) and ts / 1000 % behaviour.clock_lost_period < behaviour.clock_lost_length

    def _was_held(self, device: str, key: str, ts: int, value: Any) -> bool:
        """Whether the meter had this value at some moment of the poll that began at `ts`."""
        before = self._value(device, POLLED[key], ts)
        for moment in range(ts + STEP_MS, ts + self._longest_poll + STEP_MS, STEP_MS):
            after = self._value(device, POLLED[key], moment)
            if min(before, after) <= value <= max(before, after):
                return True
            before = after
        return False

    def _value(self, device: str, quantity: tuple[str, int], ts: int) -> int | float:
        obis, scaler = quantity
        raw = self._devices[device].truth(obis, 2, ts / 1000)
        return float(Decimal(raw).scaleb(scaler)) if scaler else int(raw)


def _is_about_the_pipeline(key: str) -> bool:
    return key.startswith(("health_", "alert", "gap"))


def stored(file: Path) -> dict[Place, Any]:
    """What the stand-in keeps."""
    with closing(_opened(file)) as database:
        rows = database.execute("SELECT device, key, ts, value FROM point").fetchall()
    return {(device, key, ts): json.loads(value) for device, key, ts, value in rows}


def number_stored(file: Path) -> int:
    """How many values of intervals that is."""
    with closing(_opened(file)) as database:
        numbers = dict(database.execute("SELECT key, count(*) FROM point GROUP BY key").fetchall())
    return sum(numbers.get(key, 0) for key in CAPTURED)


def overwritten(file: Path) -> list[Place]:
    """Values of meters that came a second time as another value; the same value twice is a message whose receipt was lost in a kill."""
    keys = (*CAPTURED, *POLLED)
    with closing(_opened(file)) as database:
        rows = database.execute("SELECT device, key, ts FROM arrival GROUP BY device, key, ts HAVING count(DISTINCT value) > 1").fetchall()
    return [place for place in rows if place[1] in keys]


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10.0)
