"""The whole pipeline against a real broker: what an independent subscriber sees equals the archive, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract.certificates import Authority
from tests.contract.mosquitto import Listener, MosquittoBroker, wait_for
from tests.contract.pipeline_process import PipelineProcess, as_json_number, delivered, pipeline

METERS: list[dict[str, Any]] = [
    {"id": "plain", "connect": "sim://three-phase"},
    {"id": "wrapped", "connect": "sim://three-phase", "framing": "wrapper"},
    {"id": "single", "connect": "sim://three-phase?with_list=refused", "server_physical": 17},
    {"id": "noisy", "connect": "sim://three-phase?junk=0.3&duplicated=0.1", "device_name": "noisy"},
]
ENOUGH = 80


def archived(running: PipelineProcess) -> dict[tuple[str, str, int], Any]:
    return {row: as_json_number(value) for row, value in running.archived().items()}


@pytest.mark.parametrize(("protocol", "tls"), [("5", False), ("3.1.1", False), ("5", True), ("3.1.1", True)])
def test_what_arrives_equals_the_archive(tmp_path: Path, protocol: str, tls: bool) -> None:
    authority = Authority(tmp_path / "ca") if tls else None
    more = {"protocol": protocol} | ({"ca_file": str(authority.file)} if authority else {})
    with MosquittoBroker(tmp_path, authority) as broker, Listener(broker, authority) as listener:
        with PipelineProcess(tmp_path, pipeline(broker.url, METERS, 0.5, **more)) as running:
            wait_for(lambda: len(delivered(listener.messages)) >= ENOUGH, f"{ENOUGH} readings", 40)
            assert running.stop() == [0]
            rows = archived(running)
            wait_for(lambda: len(delivered(listener.messages)) >= len(rows), "the last readings")
        assert delivered(listener.messages) == rows
        assert {meter for meter, _, _ in rows} == {meter["id"] for meter in METERS}
        assert not [event for event in running.events() if event["level"] in ("error", "critical")]
        connects = listener.on_topic("v1/gateway/connect")
        assert {(c["device"], c["type"]) for c in connects} == {(meter["id"], "default") for meter in METERS}


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_broker_that_was_away_costs_nothing(tmp_path: Path, long: bool) -> None:
    away = 300 if not long else 6000  # readings taken while the broker is away; at full length about a minute
    with (
        MosquittoBroker(tmp_path) as broker,
        Listener(broker) as listener,
        PipelineProcess(tmp_path, pipeline(broker.url, METERS, 0.2)) as running,
    ):
        wait_for(lambda: len(delivered(listener.messages)) >= ENOUGH, f"{ENOUGH} readings", 40)
        broker.stop()
        before = len(running.archived())
        wait_for(lambda: len(running.archived()) >= before + away, "readings while the broker is away", 120)
        broker.start()
        wait_for(lambda: len(delivered(listener.messages)) >= before + away, "what was waiting", 60)
        assert running.stop() == [0]
        rows = archived(running)
        wait_for(lambda: len(delivered(listener.messages)) >= len(rows), "the last readings")
        assert delivered(listener.messages) == rows
