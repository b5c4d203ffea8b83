"""`thingsboard-out` and `receipts-in` in a running dataflow, together and in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.operators import KeyedStream
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main

from connectors.thingsboard import receipts, sink
from connectors.thingsboard.ownership import Ownership
from model.errors import OwnershipError
from model.messages import FLEET, Alert, HealthReport, Origin, Reading, Receipt, Rejection, Severity
from model.node import MAIN, BuildContext
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from model.timestamps import to_ms
from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from tests.contract.mosquitto import wait_for

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)
DEADLINE = 30.0


class Given(DynamicSource[tuple[str, Any]]):
    """Emits a list on the first worker, then stays silent until the stop; a list of lists in so many batches."""

    def __init__(self, items: list[Any], stop: Stop) -> None:
        self._items = items
        self._stop = stop

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSourcePartition[tuple[str, Any]]:
        items, stop = (self._items if worker_index == 0 else []), self._stop

        class Partition(StatelessSourcePartition[tuple[str, Any]]):
            def __init__(self) -> None:
                batches = items if items and isinstance(items[0], list) else [items]
                self._left = [[(item.meter, item) for item in batch] for batch in batches]

            def next_batch(self) -> list[tuple[str, Any]]:
                if stop.requested() and not self._left:
                    raise StopIteration
                return self._left.pop(0) if self._left else []

            def next_awake(self) -> datetime:
                return datetime.now(timezone.utc) + timedelta(milliseconds=50)

        return Partition()


class Collected(DynamicSink[tuple[str, Any]]):
    """Keeps what arrives, from all workers."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[tuple[str, Any]]:
        outer = self

        class Partition(StatelessSinkPartition[tuple[str, Any]]):
            def write_batch(self, items: list[tuple[str, Any]]) -> None:
                outer.items += [item for _, item in items]

        return Partition()


@pytest.fixture
def server() -> Iterator[BackgroundStandIn]:
    with BackgroundStandIn([Account("gateway", "gw-token", gateway=True)]) as stand_in:
        yield stand_in


@pytest.fixture
def stop() -> Iterator[Stop]:
    """A stop that is requested at the deadline at the latest, so that a failing test ends."""
    stop = Stop()
    timer = threading.Timer(DEADLINE, stop.request)
    timer.start()
    yield stop
    timer.cancel()


def pipeline_of(folder: Path, url: str, **thingsboard: Any) -> PipelineSettings:
    meter = {"connect": "sim://three-phase", "template": "t"}
    return PipelineSettings.model_validate(
        {
            "thingsboard": {"url": url, "token": "gw-token", "reconnect_min": 0.02, "reconnect_max": 0.2, **thingsboard},
            "templates": {"t": {"read": {"energy": "1-0:1.8.0"}}},
            "meters": [
                {**meter, "id": "m1", "device_name": "Meter 1", "device_type": "three-phase", "tags": {"serial": "00012345"}},
                {**meter, "id": "m2"},
            ],
            "nodes": [{"id": "out", "type": "thingsboard-out"}],
            "state_dir": str(folder),
        }
    )


def context_of(flow: Dataflow, node: str, pipeline: PipelineSettings, stop: Stop) -> BuildContext:
    return BuildContext(flow, node, NodeSettings(), pipeline, stop, lambda _meter, connect: connect, lambda url: url)


def flow_of(pipeline: PipelineSettings, stop: Stop, items: list[Any], ports: dict[str, Collected]) -> Dataflow:
    flow = Dataflow("test")
    given: KeyedStream[Any] = op.input("given", flow, Given(items, stop))
    sink.NODE.build(context_of(flow, "out", pipeline, stop), [given])
    streams = receipts.NODE.build(context_of(flow, "receipts", pipeline, stop), [])
    for port, stream in streams.items():
        op.output(f"collect{port}", stream, ports[port])
    return flow


def new_ports() -> dict[str, Collected]:
    return {MAIN: Collected(), "rejected": Collected(), "dropped": Collected(), "alerts": Collected()}


def stop_when(stop: Stop, condition: Any) -> threading.Thread:
    def watch() -> None:
        try:
            wait_for(condition, "the end of the test", DEADLINE)
        finally:
            stop.request()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def reading(meter: str, number: int) -> Reading:
    ts = T0 + timedelta(seconds=number)
    return Reading(meter, "energy", Decimal(number).scaleb(-1), "kWh", ts, Origin.POLL, ts, (("site", "north"),))


def report(meter: str) -> HealthReport:
    end = T0 + timedelta(seconds=60)
    return HealthReport(meter, T0, end, 2, 2, 0, 0, 2, 2, 0, 2, 2, 0, 2, 1, (0.5,), T0, None, None)


@pytest.mark.parametrize("workers", [1, 2])
def test_readings_reports_and_alerts_arrive_and_receipts_come_back(
    server: BackgroundStandIn, stop: Stop, tmp_path: Path, workers: int
) -> None:
    readings = [reading(meter, number) for number in range(50) for meter in ("m1", "m2")]
    alert = Alert("silent", "m2", Severity.WARNING, True, T0, "no reading", "look at it")
    items = [*readings, report("m1"), report(FLEET), alert]
    ports = new_ports()
    watcher = stop_when(stop, lambda: sum(receipt.readings for receipt in ports[MAIN].items) == len(readings))
    cluster_main(flow_of(pipeline_of(tmp_path, server.address), stop, items, ports), [], 0, worker_count_per_proc=workers)
    watcher.join()
    expected = {("energy", to_ms(item.ts)): float(item.value) for item in readings if item.meter == "m1"}
    points = server.points("Meter 1")
    assert {place: value for place, value in points.items() if place[0] == "energy"} == expected
    assert points["health_publish_rate", to_ms(T0) + 60_000] == 100.0
    assert server.points("gateway")["health_cycles", to_ms(T0) + 60_000] == 2
    assert server.attributes("m2")["alert_silent"] is True
    assert server.attributes("Meter 1") == {"serial": "00012345 ", "site": "north"}
    assert server.devices()["Meter 1"] == "three-phase"
    told: list[Receipt] = ports[MAIN].items
    assert {ts for receipt in told if receipt.meter == "m1" for ts in receipt.poll_timestamps} == {
        item.ts for item in readings if item.meter == "m1"
    }
    assert ports["rejected"].items == ports["alerts"].items == []
    assert server.snapshot().sessions_opened == 1


def test_the_session_opens_before_anything_is_read(server: BackgroundStandIn, stop: Stop, tmp_path: Path) -> None:
    watcher = stop_when(stop, lambda: server.connected() == ["gateway"])
    run_main(flow_of(pipeline_of(tmp_path, server.address), stop, [], new_ports()))
    watcher.join()
    assert server.snapshot().sessions_opened == 1
    assert server.connected() == []


def test_a_refused_reading_comes_out_as_a_rejection_and_trouble_as_an_alert(server: BackgroundStandIn, stop: Stop, tmp_path: Path) -> None:
    ports = new_ports()
    server.misbehaviour.ack_reason = 0x99
    server.misbehaviour.ack_matching = lambda message: b'"energy":0.3' in message.payload
    watcher = stop_when(stop, lambda: ports["rejected"].items)
    run_main(flow_of(pipeline_of(tmp_path, server.address), stop, [reading("m2", number) for number in range(6)], ports))
    watcher.join()
    (rejection,) = ports["rejected"].items
    assert isinstance(rejection, Rejection)
    assert (rejection.rule, rejection.reading.value, rejection.reading.meter) == ("thingsboard", Decimal("0.3"), "m2")
    assert len(server.points("m2")) == 5


def test_a_second_pipeline_with_the_same_token_does_not_start(server: BackgroundStandIn, stop: Stop, tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path, server.address)
    address = server.address.removeprefix("mqtt://")
    (tmp_path / "other").mkdir()
    with (
        Ownership(address, ["", "gw-token"], tmp_path / "other"),
        pytest.raises(BytewaxRuntimeError) as caught,
    ):
        run_main(flow_of(pipeline, stop, [], new_ports()))
    cause: BaseException = caught.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert isinstance(cause, OwnershipError)
    assert f"pid {os.getpid()}" in cause.what
    assert server.snapshot().sessions_opened == 0


def test_a_restart_with_recovery_opens_the_session_again_and_repeats_no_receipt(server: BackgroundStandIn, tmp_path: Path) -> None:
    recovery = tmp_path / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, 1)
    pipeline = pipeline_of(tmp_path / "state", server.address)
    seen: list[Receipt] = []
    for run in range(2):
        stop, ports = Stop(), new_ports()
        given = [reading("m1", number) for number in range(run * 10, run * 10 + 10)]
        watcher = stop_when(stop, lambda ports=ports: sum(receipt.readings for receipt in ports[MAIN].items) >= 10)
        run_main(flow_of(pipeline, stop, given, ports), epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(recovery)))
        watcher.join()
        seen += ports[MAIN].items
    assert sorted(ts for receipt in seen for ts in receipt.poll_timestamps) == [reading("m1", number).ts for number in range(20)]
    assert server.snapshot().sessions_opened == 2


READER = """
import sys
import time
from pathlib import Path
import structlog
from connectors.thingsboard.receipts import ReceiptsSource
from model.stop import Stop

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
partition = ReceiptsSource({"receipts": Path(sys.argv[1])}, Stop()).build_part("receipts", "receipts", None)
print("ready", flush=True)
seen = 0
while seen < int(sys.argv[2]):
    for meter, receipt in partition.next_batch():
        seen += receipt.readings
        print(meter, receipt.readings, flush=True)
    time.sleep(0.05)  # Bytewax asks ten times a second
partition.close()
"""


def test_receipts_are_read_by_another_process(server: BackgroundStandIn, stop: Stop, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", READER, str(tmp_path / "outbox.sqlite"), "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        watcher = stop_when(stop, lambda: reader.poll() is not None)
        run_main(flow_of(pipeline_of(tmp_path, server.address), stop, [reading("m1", number) for number in range(20)], new_ports()))
        watcher.join()
        lines = reader.stdout.read().split()
    assert sum(int(count) for count in lines[1::2]) == 20
    assert set(lines[::2]) == {"m1"}
