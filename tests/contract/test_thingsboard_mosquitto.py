"""The session against a real broker: what an independent subscriber sees is what was put into the outbox."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from connectors.thingsboard.outbox import Device
from connectors.thingsboard.payload import Record
from tests.contract.certificates import Authority
from tests.contract.mosquitto import Listener, MosquittoBroker, wait_for
from tests.contract.thingsboard_session import RunningSession, reading

both = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
TELEMETRY = "v1/gateway/telemetry"


def batch(first: int, count: int) -> list[Record]:
    return [reading(f"M{ts % 5}", ts, voltage=ts, current=ts * 2) for ts in range(first, first + count)]


def expected(records: Iterable[Record]) -> dict[tuple[str, int], dict[str, Any]]:
    return {(record.device, record.ts): {"voltage": record.ts, "current": record.ts * 2} for record in records}


def seen(listener: Listener) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        (device, entry["ts"]): entry["values"]
        for message in listener.on_topic(TELEMETRY)
        for device, entries in message.items()
        for entry in entries
    }


@both
def test_everything_arrives_and_leaves_the_outbox(tmp_path: Path, mosquitto: MosquittoBroker, protocol: str) -> None:
    records = batch(1_000, 400)
    with Listener(mosquitto) as listener, RunningSession(tmp_path, mosquitto.url, protocol=protocol) as running:
        running.deliver(records, [Device(f"M{number}", "three-phase") for number in range(5)])
        wait_for(running.empty, "delivery")
        wait_for(lambda: len(seen(listener)) == len(records), "arrival")
        assert seen(listener) == expected(records)
        assert [sorted(message) for message in listener.on_topic(TELEMETRY) if len(message) != 1] == []
        announced = listener.on_topic("v1/gateway/connect")
        assert sorted(message["device"] for message in announced) == [f"M{number}" for number in range(5)]
        assert {message["type"] for message in announced} == {"three-phase"}
        assert sum(readings for (readings,) in running.rows("receipts", "readings")) == 800


@both
def test_a_device_is_announced_before_its_telemetry(tmp_path: Path, mosquitto: MosquittoBroker, protocol: str) -> None:
    with Listener(mosquitto) as listener, RunningSession(tmp_path, mosquitto.url, protocol=protocol) as running:
        running.deliver([reading("A", 1, x=1), reading("B", 1, x=1)])
        wait_for(running.empty, "delivery")
        wait_for(lambda: len(seen(listener)) == 2, "arrival")
        for device in ("A", "B"):
            order = [topic for topic, payload in listener.messages if payload.get("device") == device or device in payload]
            assert order == ["v1/gateway/connect", TELEMETRY]


@both
def test_nothing_is_missing_after_the_broker_was_away(tmp_path: Path, mosquitto: MosquittoBroker, protocol: str) -> None:
    with Listener(mosquitto) as listener, RunningSession(tmp_path, mosquitto.url, protocol=protocol) as running:
        running.deliver(batch(1_000, 100))
        wait_for(lambda: len(seen(listener)) > 0, "the first arrival")
        mosquitto.stop()
        for first in range(2_000, 3_000, 100):
            running.deliver(batch(first, 100))
        assert running.outbox.depth >= 1_000
        mosquitto.start()
        wait_for(running.empty, "delivery")
        everything = expected([*batch(1_000, 100), *batch(2_000, 1_000)])
        wait_for(lambda: len(seen(listener)) == len(everything), "arrival")
        assert seen(listener) == everything
        assert sum(readings for (readings,) in running.rows("receipts", "readings")) == 2 * len(everything)


def test_what_waits_is_delivered_by_the_next_run(tmp_path: Path, mosquitto: MosquittoBroker) -> None:
    mosquitto.stop()
    with RunningSession(tmp_path, mosquitto.url) as running:
        running.deliver(batch(1_000, 50))
    mosquitto.start()
    with Listener(mosquitto) as listener, RunningSession(tmp_path, mosquitto.url) as running:
        wait_for(running.empty, "delivery")
        wait_for(lambda: len(seen(listener)) == 50, "arrival")
        assert seen(listener) == expected(batch(1_000, 50))


def test_a_stop_delivers_what_was_just_given(tmp_path: Path, mosquitto: MosquittoBroker) -> None:
    with Listener(mosquitto) as listener:
        with RunningSession(tmp_path, mosquitto.url) as running:
            running.deliver([reading("M1", 1, voltage=1)])
            wait_for(running.empty, "the session")
            running.deliver(batch(1_000, 50))
        wait_for(lambda: len(seen(listener)) == 51, "arrival")


@both
def test_tls_with_a_private_authority(tmp_path: Path, mosquitto_tls: MosquittoBroker, authority: Authority, protocol: str) -> None:
    records = batch(1_000, 50)
    with (
        Listener(mosquitto_tls, authority) as listener,
        RunningSession(tmp_path, mosquitto_tls.url, protocol=protocol, ca_file=authority.file) as running,
    ):
        running.deliver(records)
        wait_for(running.empty, "delivery")
        wait_for(lambda: len(seen(listener)) == len(records), "arrival")
        assert seen(listener) == expected(records)


def test_a_certificate_of_a_stranger_is_not_accepted(tmp_path: Path, mosquitto_tls: MosquittoBroker) -> None:
    stranger = Authority(tmp_path / "stranger", "stranger")
    with RunningSession(tmp_path, mosquitto_tls.url, ca_file=stranger.file) as running:
        running.deliver(batch(1_000, 10))
        wait_for(running.alerts, "the alert")
        assert running.outbox.depth == 10
        assert "certificate cannot be verified" in running.alerts()[0][0]
