"""A whole pipeline that reads ciphered meters: attacks end in an alert and in no value, and kill -9 costs no refused counter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.archive.reader import ArchiveReader
from model.errors import StorageError
from model.messages import Alert, Outcome, Severity
from model.timestamps import from_ms
from operators.alert_security import POSSIBLE_ATTACK
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.client_access import ClientAccess, client_access
from simulator.meter.config import MeterConfig
from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import PipelineProcess, pipeline

KEY, AUTHENTICATION_KEY = bytes(range(16)), bytes(range(100, 116))
FORGED = {0x6B6B, 0x6B6B6B6B}
FAR = from_ms(4_000_000_000_000)


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def start(meters: BackgroundMeters, id_: str, behaviour: Behaviour | None = None) -> dict[str, Any]:
    """A ciphered virtual meter, and its entry in pipeline.yaml."""
    access = client_access("high-gmac", b"", 0, "authenticated-encryption", KEY, AUTHENTICATION_KEY)
    address = meters.start(MeterConfig(id_, framing="wrapper", clients={16: ClientAccess(), 1: access}), behaviour)
    return {
        "id": id_,
        "connect": address,
        "framing": "wrapper",
        "client_sap": 1,
        "authentication": "high-gmac",
        "security_policy": "authenticated-encryption",
        "block_cipher_key": KEY.hex(),
        "authentication_key": AUTHENTICATION_KEY.hex(),
        "client_system_title": "4D4D4D0000000001",
        "backoff_min": 0.1,
        "backoff_max": 0.2,
    }


def possible_attacks(running: PipelineProcess) -> list[Alert]:
    try:
        reader = ArchiveReader(running.archive)
    except StorageError:  # not there yet
        return []
    with reader:
        return [alert for alert in reader.alerts(from_ms(0), FAR) if alert.kind == POSSIBLE_ATTACK]


def counted(running: PipelineProcess) -> int:
    """How much the archive says was not believed of the attacked meter."""
    with ArchiveReader(running.archive) as reader:
        return sum(violation.count for cycle in reader.cycles("attacked", from_ms(0), FAR) for violation in cycle.violations)


def test_an_attack_is_alarmed_counted_and_no_value(meters: BackgroundMeters, tmp_path: Path) -> None:
    entries = [start(meters, "honest"), start(meters, "attacked", Behaviour(flipped_tag=0.3, plaintext_reply=0.3))]
    running = PipelineProcess(tmp_path, pipeline("embedded", entries, 0.5))
    with running:
        wait_for(lambda: bool(possible_attacks(running)), "the alert", 40)
        meters.meter("attacked").behaviour = Behaviour()
        wait_for(lambda: counted(running) == sum(meters.counters("attacked").attacks.values()) > 0, "the count of all attacks", 20)
        assert running.stop() == [0]
    (alert,) = possible_attacks(running)
    assert (alert.subject, alert.severity, alert.raised) == ("attacked", Severity.CRITICAL, True)
    with ArchiveReader(running.archive) as reader:
        cycles = {meter: reader.cycles(meter, from_ms(0), FAR) for meter in ("honest", "attacked")}
    assert any(cycle.outcome is Outcome.OK for cycle in cycles["attacked"])
    assert all(cycle.outcome is Outcome.OK and not cycle.violations for cycle in cycles["honest"])
    assert not FORGED & {int(value) for value in running.archived().values()}
    log = running.log.read_text().lower()
    assert KEY.hex() not in log and AUTHENTICATION_KEY.hex() not in log


def test_kill_9_costs_no_refused_counter(meters: BackgroundMeters, tmp_path: Path) -> None:
    running = PipelineProcess(tmp_path, pipeline("embedded", [start(meters, "m")], 0.3))
    for _ in range(4):
        before = len(running.archived())
        running.start()
        wait_for(lambda before=before: len(running.archived()) > before, "readings after a restart", 40)
        running.kill()
    counters = meters.counters("m")
    assert not counters.refusals and counters.refused == 0
    assert len([event for event in running.events() if "invocation counter taken over" in event["event"]]) <= 1
