"""More meters than the fleet may have connections: they take turns, and all are read."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from connectors.dlms.source import DlmsSource, dlms_in
from model.messages import Cycle, Outcome
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from simulator.meter.background import BackgroundMeters
from simulator.meter.config import MeterConfig
from tests.contract.collected import Collected

COUNT = 5
LIMIT = 2


def test_more_meters_than_connections_are_all_read(tmp_path: Path) -> None:
    with BackgroundMeters() as meters:
        names = [f"m{number}" for number in range(COUNT)]
        addresses = [meters.start(MeterConfig(name)) for name in names]
        pipeline = PipelineSettings.model_validate(
            {
                "thingsboard": {"url": "embedded", "token": "t"},
                "templates": {"t": {"interval": 0.5, "read": {"voltage": "1-0:32.7.0"}}},
                "meters": [{"id": name, "connect": address, "template": "t"} for name, address in zip(names, addresses, strict=True)],
                "nodes": [{"id": "meters", "type": "dlms-in"}],
                "limits": {"connections": LIMIT, "new_connections_per_second": 100},
            }
        )
        stop = Stop()
        timer = threading.Timer(30.0, stop.request)
        timer.start()
        exceeded = False

        def enough(cycles: dict[str, list[Cycle]]) -> bool:
            nonlocal exceeded
            deadline = time.monotonic() + 2  # a meter may notice a moment late that its client has left
            while sum(meters.meter(name).has_clients for name in names) > LIMIT:
                exceeded = exceeded or time.monotonic() > deadline
                if exceeded:
                    break
                time.sleep(0.002)
            return all(len([c for c in cycles[name] if c.outcome is Outcome.OK]) >= 3 for name in names)

        sink = Collected(stop, enough)
        flow = Dataflow("test")
        source = DlmsSource(pipeline, pipeline.meters, tmp_path / "known", lambda _id, connect: connect, stop)
        op.output("out", dlms_in("meters", flow, source).cycles, sink)
        run_main(flow)
        timer.cancel()
        assert not exceeded
        for name in names:
            assert {cycle.outcome for cycle in sink.cycles[name]} == {Outcome.OK}
        assert sum(meters.counters(name).associations for name in names) > COUNT  # some were released for the others
