"""From what flows through the pipeline to records of the outbox: readings, health reports, alerts, tags. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from connectors.thingsboard.payload import GATEWAY_ITSELF, Kind, Record, encode_record, encode_values, split_values
from connectors.thingsboard.session_names import is_one_of_several
from model.messages import FLEET, Alert, HealthReport, Reading, Value
from model.percent import percent
from model.timestamps import to_ms

REPORT, ALERT, TAGS = "report", "alert", "tags"
"""Origins of records that are not readings."""

DeviceName = Callable[[str], str]
"""Meter id (or FLEET) -> name of its device; `GATEWAY_ITSELF` for whatever is not a meter."""


def reading_records(readings: Iterable[Reading], device_of: DeviceName) -> list[Record]:
    """Readings grouped by device, timestamp and origin, in the order they came; of two with one key the later wins."""
    groups: dict[tuple[str, int, str], list[Reading]] = {}
    for reading in readings:
        groups.setdefault((reading.meter, to_ms(reading.ts), reading.origin.value), []).append(reading)
    records = []
    for (meter, ts, origin), group in groups.items():
        device, read_at = device_of(meter), min(to_ms(reading.read_at) for reading in group)
        values: dict[str, Value] = {reading.key: reading.value for reading in group}
        repeats = len(group) - len(values)
        for part in split_values(values):
            count, repeats = len(part) + repeats, 0
            records.append(Record(device, meter, Kind.TELEMETRY, ts, encode_record(ts, part), origin, count, read_at, len(part)))
    return records


def report_record(report: HealthReport, device_of: DeviceName) -> Record:
    """A health report as telemetry; its timestamp is the end of the window."""
    ts, values = to_ms(report.end), _report_values(report)
    return Record(device_of(report.meter), report.meter, Kind.TELEMETRY, ts, encode_record(ts, values), REPORT, 0, ts, len(values))


def _report_values(report: HealthReport) -> dict[str, Value]:
    values: dict[str, Value | None] = {
        "cycles": report.cycles,
        "ok": report.ok,
        "partial": report.partial,
        "failed": report.failed,
        "with_values": report.with_values,
        "readings": report.readings,
        "rejected": report.rejected,
        "published": report.published,
        "cycles_published": report.cycles_published,
        "published_late": report.published_late,
        "exchanges": report.exchanges,
        "associations": report.associations,
        "publish_rate": percent(report.cycles_published, report.cycles),
        "delivery_rate": percent(report.cycles_published, report.with_values),
        "read_p50_ms": _milliseconds(report.read_time(0.5)),
        "read_p95_ms": _milliseconds(report.read_time(0.95)),
        "age_s": _tenths(report.age()),
        "clock_offset_s": _tenths(report.clock_offset),
        "last_error": report.last_error,
        "violations": sum(found.count for found in report.violations),
        "invocation_counter": report.invocation_counter,
    }
    return {f"health_{key}": value for key, value in values.items() if value is not None}


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _tenths(seconds: float | None) -> Decimal | None:
    return None if seconds is None else Decimal(round(seconds * 10)).scaleb(-1)


def alert_records(alert: Alert, device_of: DeviceName) -> list[Record]:
    """An alert as telemetry (its history) and as attributes (how things stand), of the meter's device or of the gateway.

    The keys carry the kind, and of several sessions the one that the alert is about, so that two alerts do not overwrite each other.
    """
    device, ts = device_of(alert.subject), to_ms(alert.ts)
    meter = alert.subject if device != GATEWAY_ITSELF else FLEET
    about = f"{alert.kind}_{alert.subject}" if is_one_of_several(alert.subject) else alert.kind
    prefix = "alert_" + "".join(letter if letter.isalnum() else "_" for letter in about)
    values: dict[str, Value] = {
        prefix: alert.raised,
        f"{prefix}_severity": alert.severity.value,
        f"{prefix}_evidence": alert.evidence,
        f"{prefix}_remedy": alert.remedy,
    }
    if meter != alert.subject:
        values[f"{prefix}_subject"] = alert.subject
    return [
        Record(device, meter, Kind.TELEMETRY, ts, encode_record(ts, values), ALERT, 0, ts, len(values)),
        Record(device, meter, Kind.ATTRIBUTES, ts, encode_values({**values, f"{prefix}_ts": ts}), ALERT, 0, ts, len(values) + 1),
    ]


def tags_record(device: str, meter: str, tags: dict[str, str], ts: int) -> Record:
    """Facts about a meter as attributes of its device."""
    return Record(device, meter, Kind.ATTRIBUTES, ts, encode_values({**tags}), TAGS, 0, ts, len(tags))
