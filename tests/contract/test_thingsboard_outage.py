"""Long outages end to end: bounds and what is told about them, a file that disappears, a disk that is full at the start."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bytewax.testing import run_main

from connectors.thingsboard import outbox as outbox_module
from connectors.thingsboard import sink as sink_module
from connectors.thingsboard.intake import Intake
from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.payload import Record
from model.errors import StorageError
from model.messages import Dropped, Origin
from model.node import MAIN
from model.session_record import SessionRecord
from model.stop import Stop
from model.timestamps import to_ms
from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from tests.contract.mosquitto import Listener, MosquittoBroker, wait_for
from tests.contract.test_thingsboard_mosquitto import batch, expected, seen
from tests.contract.test_thingsboard_nodes import flow_of, new_ports, pipeline_of, reading, stop_when
from tests.contract.thingsboard_session import RunningSession
from tests.ports import free_port


@pytest.fixture
def server() -> Iterator[BackgroundStandIn]:
    with BackgroundStandIn([Account("gateway", "gw-token", gateway=True)]) as stand_in:
        yield stand_in


def test_what_the_outbox_drops_comes_out_of_receipts_in_with_its_profile_intervals(tmp_path: Path) -> None:
    nobody = f"mqtt://127.0.0.1:{free_port()}"
    polled = [reading("m1", number) for number in range(40)]
    profile = [replace(reading("m2", number), origin=Origin.PROFILE) for number in range(40)]
    stop, ports = Stop(), new_ports()
    pipeline = pipeline_of(tmp_path, nobody, outbox={"max_readings": 30})
    watcher = stop_when(stop, lambda: sum(told.readings for told in ports["dropped"].items) >= 50 and ports["alerts"].items)
    run_main(flow_of(pipeline, stop, [*polled, *profile], ports))
    watcher.join()
    dropped: list[Dropped] = ports["dropped"].items
    assert sum(told.readings for told in dropped) == 50
    assert {told.meter for told in dropped} == {"m1", "m2"}
    intervals = sorted(ts for told in dropped for ts in told.intervals)
    assert intervals == [item.ts for item in profile[: len(intervals)]]
    assert [(alert.kind, alert.raised) for alert in ports["alerts"].items if alert.kind == "outbox-full"] == [("outbox-full", True)]


def test_a_disk_that_is_full_at_the_start_is_an_alert_and_nothing_is_missing_afterwards(
    server: BackgroundStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "OPEN_AGAIN", 0.0)
    attempts = 0

    def refuse_three_times(*arguments: Any, **more: Any) -> Outbox:
        nonlocal attempts
        attempts += 1
        if attempts <= 3:
            cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise StorageError("the outbox cannot be used: No space left on device", "free space on the disk") from cause
        return Outbox(*arguments, **more)

    monkeypatch.setattr(sink_module, "Outbox", refuse_three_times)
    stop, ports = Stop(), new_ports()
    readings = [reading("m1", number) for number in range(50)]
    watcher = stop_when(stop, lambda: sum(told.readings for told in ports[MAIN].items) >= 50)
    flow = flow_of(pipeline_of(tmp_path, server.address), stop, [readings[:10], readings[10:20], readings[20:]], ports)
    run_main(flow)
    watcher.join()
    assert attempts == 4
    assert {ts for key, ts in server.points("Meter 1") if key == "energy"} == {to_ms(item.ts) for item in readings}
    raised = [alert for alert in ports["alerts"].items if alert.kind == "outbox-disk" and alert.raised]
    assert len(raised) == 1
    assert "free space on the disk" in raised[0].remedy


def test_a_disk_that_is_no_disk_ends_the_start_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    pipeline = pipeline_of(tmp_path / "state", "mqtt://127.0.0.1:1")
    with pytest.raises(StorageError, match="state_dir"):
        sink_module.ThingsBoardPartition(pipeline, lambda url: url, lambda: False, SessionRecord())


def test_an_outbox_that_is_deleted_while_the_broker_is_away_loses_nothing(
    tmp_path: Path, mosquitto: MosquittoBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "LOOK_EVERY", 0.0)
    with Listener(mosquitto) as listener, RunningSession(tmp_path, mosquitto.url) as running:
        running.deliver(batch(1_000, 100))
        wait_for(running.empty, "the first delivery")
        mosquitto.stop()
        running.deliver(batch(2_000, 300))
        for file in tmp_path.glob("outbox.sqlite*"):
            file.unlink()
        running.deliver(batch(3_000, 100))
        mosquitto.start()
        wait_for(running.empty, "delivery")
        everything = expected([*batch(1_000, 100), *batch(2_000, 300), *batch(3_000, 100)])
        wait_for(lambda: len(seen(listener)) == len(everything), "arrival")
        assert seen(listener) == everything
        assert any("deleted" in evidence for evidence, _ in running.alerts())


def test_a_flow_that_waits_for_room_hears_a_stop_and_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()
    monkeypatch.setattr(Intake, "_wait_for_room", announced(Intake._wait_for_room, waiting))
    stop = Stop()
    settings = {"max_readings": 100, "when_full": "block", "memory_readings": 1_000}
    pipeline = pipeline_of(tmp_path, f"mqtt://127.0.0.1:{free_port()}", outbox=settings)
    batches = [[reading("m1", number) for number in range(first, first + 500)] for first in range(0, 2_500, 500)]
    watcher = stop_when(stop, waiting.is_set)
    run_main(flow_of(pipeline, stop, batches, new_ports()))
    watcher.join()
    with closing(Outbox(tmp_path / "outbox.sqlite")) as outbox:
        kept = {entry.record.ts for entry in outbox.pending(0, 10_000) if entry.record.origin == "poll"}
    assert kept == {to_ms(item.ts) for given in batches for item in given}


def announced(wait: Callable[[Intake], None], waiting: threading.Event) -> Callable[[Intake], None]:
    """`wait`, which sets an event when it begins."""

    def call(intake: Intake) -> None:
        waiting.set()
        wait(intake)

    return call


@pytest.mark.parametrize("backlog", ["oldest-first", "newest-first"])
def test_live_values_arrive_before_a_backlog_is_through(tmp_path: Path, mosquitto: MosquittoBroker, backlog: str) -> None:
    mosquitto.stop()
    with RunningSession(tmp_path, mosquitto.url) as running:
        for first in range(0, 60_000, 10_000):
            running.outbox.append(batch(first, 10_000))
    mosquitto.start()
    with Listener(mosquitto) as listener, RunningSession(tmp_path, mosquitto.url, outbox={"backlog": backlog}) as running:
        wait_for(lambda: running.outbox.depth < 60_000, "the first delivery", 30.0)
        live: list[Record] = batch(1_000_000, 5)
        running.deliver(live)
        wait_for(lambda: expected(live).keys() <= seen(listener).keys(), "the live values", 30.0)
        order = list(seen(listener))
        wait_for(running.empty, "delivery", 60.0)
        wait_for(lambda: len(seen(listener)) == 60_005, "arrival", 60.0)
        waited = [record for first in range(0, 60_000, 10_000) for record in batch(first, 10_000)]
        assert seen(listener) == expected([*waited, *live])
        assert max(order.index(place) for place in expected(live)) < 59_000
