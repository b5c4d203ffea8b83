"""The stand-in's memory: bounded where asked, the same after a restart with a file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.thingsboard.journal import SqliteJournal
from simulator.thingsboard.misbehaviour import Misbehaviour
from simulator.thingsboard.packets import Publish
from simulator.thingsboard.payload import Record
from simulator.thingsboard.report import report
from simulator.thingsboard.stand_in import StandIn
from simulator.thingsboard.store import Store

VALUES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
WRITES = st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("vw"), st.integers(0, 3), VALUES), max_size=12)


@settings(max_examples=30, deadline=None)
@given(WRITES)
def test_a_restart_with_the_same_file_finds_what_was_accepted(tmp_path_factory: pytest.TempPathFactory, writes: list[Any]) -> None:
    path = tmp_path_factory.mktemp("journal") / "store.sqlite"
    model: dict[str, dict[tuple[str, int], object]] = {}
    with closing(SqliteJournal(path)) as journal:
        store = Store(journal)
        for device, key, ts, value in writes:
            store.write_telemetry(device, [Record(ts, {key: value})])
            model.setdefault(device, {})[key, ts] = value
    with closing(SqliteJournal(path)) as journal:
        again = Store(journal)
        assert {device.name: device.points for device in again} == model
        assert all(type(value) is type(model[device.name][place]) for device in again for place, value in device.points.items())
        newest = {device.name: {key: ts for key, (ts, _) in device.latest.items()} for device in again}
        assert newest == {name: {key: max(ts for k, ts in points if k == key) for key, _ in points} for name, points in model.items()}


def test_types_and_attributes_survive_a_restart(tmp_path: Path) -> None:
    with closing(SqliteJournal(tmp_path / "store.sqlite")) as journal:
        store = Store(journal)
        store.get_or_create("A", "meter")
        store.write_attributes("A", {"serial": "SN1", "channels": 3})
        store.write_attributes("A", {"channels": 4})
    with closing(SqliteJournal(tmp_path / "store.sqlite")) as journal:
        device = Store(journal).get_or_create("A", "other")
        assert (device.device_type, device.attributes) == ("meter", {"serial": "SN1", "channels": 4})


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database, " * 100)
    with pytest.raises(sqlite3.Error):
        SqliteJournal(path)


def test_a_bounded_store_keeps_the_newest_writes_and_every_latest_value() -> None:
    store = Store(most_points=10)
    store.write_telemetry("A", [Record(0, {"once": 1})])
    for ts in range(1000):
        store.write_telemetry("A", [Record(ts, {"v": ts})])
    device = store.get_or_create("A")
    assert 10 <= len(device.points) <= 15
    assert all(("v", ts) in device.points for ts in range(990, 1000))
    assert device.latest == {"once": (0, 1), "v": (999, 999)}


def test_the_report_holds_everything() -> None:
    stand_in = StandIn([])
    stand_in.store.get_or_create("A", "meter")
    stand_in.store.write_telemetry("A", [Record(2, {"v": 2.5}), Record(1, {"v": 1}), Record(1, {"v": 1})])
    stand_in.store.write_attributes("A", {"model": "x"})
    document = report(stand_in)
    assert document["devices"]["A"] == {
        "type": "meter",
        "attributes": {"model": "x"},
        "latest": {"v": [2, 2.5]},
        "points": {"v": [[1, 1], [2, 2.5]]},
        "repeats": {"same": 1, "other": 0},
    }
    assert document["statistics"]["messages"] == 0


def test_misbehaviour_counts_down_and_stops() -> None:
    message = Publish("t", b"", 1, 1)
    misbehaviour = Misbehaviour(withhold_acks=2, ack_reason=0x87, ack_times=1, drop_after=2)
    assert [misbehaviour.take_withheld_ack() for _ in range(4)] == [True, True, False, False]
    assert [misbehaviour.take_ack_reason(message) for _ in range(3)] == [0x87, None, None]
    assert [misbehaviour.take_drop() for _ in range(4)] == [False, True, False, False]


def test_misbehaviour_lasts_until_switched_off_and_can_choose_its_messages() -> None:
    misbehaviour = Misbehaviour(withhold_acks=-1, ack_reason=0x97, ack_matching=lambda message: message.topic == "bad")
    assert all(misbehaviour.take_withheld_ack() for _ in range(5))
    misbehaviour.withhold_acks = 0
    assert not misbehaviour.take_withheld_ack()
    assert [misbehaviour.take_ack_reason(Publish(topic, b"", 1, 1)) for topic in ("good", "bad", "bad")] == [None, 0x97, 0x97]
