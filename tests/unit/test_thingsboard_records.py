from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from connectors.thingsboard.payload import GATEWAY_ITSELF, Kind
from connectors.thingsboard.records import alert_records, reading_records, report_record, tags_record
from model.messages import FLEET, Alert, HealthReport, Origin, Reading, Severity, Value
from model.timestamps import to_ms

T0 = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=timezone.utc)
NAMES = {"m1": "Meter 1", "m2": "Meter 2"}


def name(meter: str) -> str:
    return NAMES.get(meter, GATEWAY_ITSELF)


def reading(meter: str, key: str, value: Value, ts: datetime = T0, origin: Origin = Origin.POLL, read: float = 1.0) -> Reading:
    return Reading(meter, key, value, None, ts, origin, ts + timedelta(seconds=read))


def report(meter: str, cycles: int, published: int) -> HealthReport:
    return HealthReport(
        meter, T0, T0 + timedelta(seconds=60), cycles, cycles, 0, 0, cycles, 5, 1, 5, published, 0, 9, 1, (0.5, 0.25, 1.0), T0, None, None
    )


def test_readings_of_one_device_and_moment_share_a_record() -> None:
    records = reading_records(
        [
            reading("m1", "voltage", Decimal("230.1")),
            reading("m2", "voltage", 229),
            reading("m1", "current", 5, read=0.25),
            reading("m1", "energy", 7, origin=Origin.PROFILE),
            reading("m1", "voltage", 231, ts=T0 + timedelta(seconds=5)),
        ],
        name,
    )
    assert [(record.device, record.origin, record.readings, record.points) for record in records] == [
        ("Meter 1", "poll", 2, 2),
        ("Meter 2", "poll", 1, 1),
        ("Meter 1", "profile", 1, 1),
        ("Meter 1", "poll", 1, 1),
    ]
    assert json.loads(records[0].payload) == {"ts": to_ms(T0), "values": {"voltage": 230.1, "current": 5}}
    assert records[0].read_at == to_ms(T0 + timedelta(seconds=0.25))


def test_a_repeated_key_overwrites_and_every_reading_is_counted() -> None:
    (record,) = reading_records([reading("m1", "a", 1), reading("m1", "a", 2)], name)
    assert json.loads(record.payload)["values"] == {"a": 2}
    assert (record.readings, record.points) == (2, 1)


def test_a_report_is_telemetry_of_the_device_at_the_end_of_its_window() -> None:
    record = report_record(report("m1", 3, 2), name)
    values = json.loads(record.payload)["values"]
    assert (record.device, record.kind, record.readings) == ("Meter 1", Kind.TELEMETRY, 0)
    assert record.ts == to_ms(T0 + timedelta(seconds=60))
    assert (values["health_cycles"], values["health_publish_rate"]) == (3, 66.6)
    assert (values["health_read_p50_ms"], values["health_read_p95_ms"], values["health_age_s"]) == (500, 1000, 60.0)
    assert "health_last_error" not in values


def test_a_fleet_report_is_telemetry_of_the_gateway_and_without_cycles_has_no_rate() -> None:
    record = report_record(report(FLEET, 0, 0), name)
    assert (record.device, record.meter) == (GATEWAY_ITSELF, FLEET)
    assert "health_publish_rate" not in json.loads(record.payload)["values"]


def test_an_alert_is_telemetry_and_attributes() -> None:
    alert = Alert("publish-rate", "m1", Severity.CRITICAL, True, T0, "12 of 100", "look at the session")
    telemetry, attributes = alert_records(alert, name)
    assert (telemetry.device, telemetry.kind, attributes.kind) == ("Meter 1", Kind.TELEMETRY, Kind.ATTRIBUTES)
    values = json.loads(telemetry.payload)["values"]
    assert values == {
        "alert_publish_rate": True,
        "alert_publish_rate_severity": "critical",
        "alert_publish_rate_evidence": "12 of 100",
        "alert_publish_rate_remedy": "look at the session",
    }
    assert json.loads(attributes.payload) == {**values, "alert_publish_rate_ts": to_ms(T0)}


def test_an_alert_of_the_session_belongs_to_the_gateway() -> None:
    alert = Alert("session", "thingsboard", Severity.CRITICAL, False, T0, "over", "")
    telemetry, attributes = alert_records(alert, name)
    assert (telemetry.device, telemetry.meter) == (GATEWAY_ITSELF, FLEET)
    assert json.loads(attributes.payload)["alert_session_subject"] == "thingsboard"


def test_tags_stay_texts() -> None:
    record = tags_record("Meter 1", "m1", {"serial": "00012345", "site": "north"}, 5)
    assert json.loads(record.payload) == {"serial": "00012345 ", "site": "north"}
