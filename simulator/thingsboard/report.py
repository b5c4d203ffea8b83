"""Everything the stand-in has seen and stored, as one JSON document."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from simulator.thingsboard.stand_in import StandIn
from simulator.thingsboard.store import StoredDevice


def report(stand_in: StandIn) -> dict[str, Any]:
    """`statistics` (counters and sessions) and `devices` by name: type, attributes, latest, points, repeats.

    `points` is key -> [[ts in ms, value], ...] in order of time, `latest` is key -> [ts, value], `repeats` counts how
    often a (key, ts) came again with the same and with another value.
    """
    statistics = dataclasses.asdict(stand_in.statistics)
    statistics["sessions"] = [dataclasses.asdict(session) for session in stand_in.statistics.sessions]
    return {"statistics": statistics, "devices": {device.name: _device(device) for device in stand_in.store}}


def write_report(stand_in: StandIn, path: Path) -> None:
    """Write the report, so that a reader never finds half of it.

    :raises OSError: when the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(report(stand_in)), encoding="utf-8")
    partial.replace(path)


def _device(device: StoredDevice) -> dict[str, Any]:
    points: dict[str, list[list[Any]]] = {}
    for (key, ts), value in sorted(device.points.items(), key=lambda point: point[0]):
        points.setdefault(key, []).append([ts, value])
    return {
        "type": device.device_type,
        "attributes": device.attributes,
        "latest": {key: list(newest) for key, newest in device.latest.items()},
        "points": points,
        "repeats": {"same": device.repeated_same, "other": device.repeated_other},
    }
