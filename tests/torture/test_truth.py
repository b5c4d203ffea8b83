"""The checker of the torture tests finds what is missing, altered, invented and overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator.thingsboard.payload import Record
from simulator.thingsboard.store import Store
from tests.torture.meter_process import CAPTURE_PERIOD
from tests.torture.server_process import Chronicle
from tests.torture.truth import CAPTURED, Place, Truth, Verdict, number_stored, overwritten, stored

FIRST = 1_800_000_000_000
LAST = FIRST + 10 * CAPTURE_PERIOD * 1000
TRUTH = Truth(2, longest_poll=2.0)


def complete() -> dict[Place, Any]:
    return {place: TRUTH.held(*place) for place in TRUTH.owed({"m0": FIRST, "m1": FIRST}, LAST)}


def judged(points: dict[Place, Any]) -> Verdict:
    return TRUTH.judge(points, {"m0": FIRST, "m1": FIRST}, LAST)


def test_what_the_meters_hold_is_good() -> None:
    verdict = judged(complete())
    assert verdict.is_good
    assert verdict.intervals == 2 * 11 * len(CAPTURED)


def test_a_value_that_is_missing() -> None:
    points = complete()
    del points["m1", "volts", LAST]
    assert judged(points).missing == [("m1", "volts", LAST)]


def test_a_value_that_differs_in_its_last_digit() -> None:
    points = complete()
    points["m0", "amperes", FIRST] += 0.001
    assert judged(points).different == [("m0", "amperes", FIRST)]


@pytest.mark.parametrize("place", [("m0", "counter", FIRST + 1), ("m0", "unheard of", FIRST)])
def test_what_no_meter_ever_held(place: Place) -> None:
    assert judged({**complete(), place: 1}).invented == [place]


def test_a_polled_value_is_one_that_the_meter_had_within_the_poll() -> None:
    before, after = (TRUTH.held("m0", "counter", FIRST + offset) for offset in (0, 60_000))
    assert after > before
    assert judged({**complete(), ("m0", "energy", FIRST): before}).is_good
    assert judged({**complete(), ("m0", "energy", FIRST): after}).different == [("m0", "energy", FIRST)]


def test_a_value_that_was_overwritten_with_another_one(tmp_path: Path) -> None:
    file = tmp_path / "server.sqlite"
    journal = Chronicle(file)
    store = Store(journal)
    for value in (1, 1, 2):
        store.write_telemetry("m0", [Record(FIRST, {"counter": value})])
    store.write_telemetry("m0", [Record(LAST, {"counter": 3})])
    store.write_telemetry("m0", [Record(LAST, {"counter": 3})])
    journal.close()
    assert stored(file) == {("m0", "counter", FIRST): 2, ("m0", "counter", LAST): 3}
    assert number_stored(file) == 2
    assert overwritten(file) == [("m0", "counter", FIRST)]
