"""`replay`: archived readings through an edited configuration, compared with what happened then."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from commands.__main__ import app
from commands.replay import parse_moment
from connectors.archive.schema import FILE_NAME
from connectors.archive.store import ArchiveStore
from model.messages import FLEET, Alert, HealthReport, Message, Origin, Reading, Rejection, Severity

T0 = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SPAN = ["--from", "2026-03-01T12:00", "--to", "2026-03-01T13:00"]
RULES: dict[str, Any] = {"voltage": {"min": 180, "max": 260}}
runner = CliRunner()


def reading(meter: str, key: str, minute: int, value: object) -> Reading:
    ts = T0 + timedelta(minutes=minute)
    return Reading(meter, key, Decimal(str(value)), "V", ts, Origin.POLL, ts + timedelta(seconds=1))


def rejection(meter: str, key: str, minute: int, value: object, rule: str = "max") -> Rejection:
    return Rejection(reading(meter, key, minute, value), rule, f"{value} V is too much")


@dataclass
class Site:
    folder: Path

    def keep(self, *messages: Message) -> None:
        store = ArchiveStore(self.folder / "state" / FILE_NAME, 86400.0 * 36500, 0)
        store.write(messages)
        store.close()

    def configure(self, rules: dict[str, Any], *between: dict[str, Any], map_settings: dict[str, Any] | None = None) -> None:
        nodes: list[dict[str, Any]] = [
            {"id": "meters", "type": "dlms-in"},
            {"id": "receipts", "type": "receipts-in"},
            {"id": "mapped", "type": "map", "inputs": ["meters"], "settings": map_settings or {}},
            {"id": "checked", "type": "validate", "inputs": ["mapped"], "settings": {"rules": rules}},
            *between,
            {"id": "health", "type": "health", "inputs": ["meters", "checked", "checked.rejected", "receipts"]},
            {"id": "alerts", "type": "alert", "inputs": ["health"]},
            {"id": "out", "type": "thingsboard-out", "inputs": [between[-1]["id"] if between else "checked", "alerts"]},
            {"id": "archive", "type": "archive-out", "inputs": ["checked", "checked.rejected", "mapped.rejected"]},
        ]
        data = {
            "thingsboard": {"url": "mqtt://192.0.2.1", "token": "a-secret-token"},
            "templates": {"t": {"read": {"voltage": "1-0:32.7.0", "energy": "1-0:1.8.0"}}},
            "meters": [{"id": name, "connect": f"tcp://192.0.2.1:{4059 + n}", "template": "t"} for n, name in enumerate(("m1", "m2"))],
            "nodes": nodes,
        }
        (self.folder / "pipeline.yaml").write_text(yaml.safe_dump(data, sort_keys=False))

    def replay(self, *arguments: str, span: list[str] = SPAN) -> Any:
        return runner.invoke(app, ["replay", str(self.folder / "pipeline.yaml"), *span, *arguments])

    def facts(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        result = self.replay("--json", *arguments)
        return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def changes(facts: dict[str, Any]) -> dict[tuple[str, str], tuple[str, str, str | None, int]]:
    return {(c["meter"], c["key"]): (c["then"], c["now"], c["rule"], c["readings"]) for c in facts["changes"]}


def test_an_unchanged_rule_changes_nothing(site: Site) -> None:
    site.keep(*(reading("m1", "voltage", n, 230 + n) for n in range(10)), rejection("m1", "voltage", 20, 300))
    site.configure(RULES)
    code, facts = site.facts()
    assert code == 0
    assert facts["readings"] == 11
    assert facts["then"] == facts["now"]
    assert facts["then"]["rejected"] == 1
    assert "every reading fares as it did then" in site.replay().output


def test_a_new_rule_shows_what_it_would_reject_and_why(site: Site) -> None:
    site.keep(*(reading(meter, "voltage", n, 230 + n) for n in range(10) for meter in ("m1", "m2")), reading("m1", "energy", 1, 5))
    site.configure({"voltage": {"min": 180, "max": 236}})
    code, facts = site.facts()
    assert code == 1
    assert changes(facts) == {(meter, "voltage"): ("accepted", "rejected", "max", 3) for meter in ("m1", "m2")}
    assert facts["changes"][0]["example"] == "237 V is above the maximum 236"
    assert facts["changes"][0]["first"] == "2026-03-01T12:07:00+00:00"
    output = site.replay().output
    assert "accepted -> rejected" in output
    assert "a-secret-token" not in output


def test_a_wider_rule_shows_what_it_would_let_through(site: Site) -> None:
    site.keep(rejection("m1", "voltage", 1, 270), rejection("m1", "voltage", 2, 400))
    site.configure({"voltage": {"max": 300}})
    code, facts = site.facts()
    assert code == 1
    assert changes(facts) == {("m1", "voltage"): ("rejected", "accepted", None, 1)}
    assert facts["now"]["rejected"] == 1


def test_what_a_filter_keeps_back_is_told_apart(site: Site) -> None:
    site.keep(*(reading("m1", "voltage", n, 230) for n in range(5)))
    site.configure(RULES, {"id": "sparse", "type": "filter", "inputs": ["checked"], "settings": {"rules": {"voltage": {"deadband": 1}}}})
    code, facts = site.facts()
    assert code == 1
    assert facts["now"] == {"accepted": 1, "rejected": 0, "held back": 4, "not taken": 0}
    assert facts["emitted"]["sparse.suppressed"] == 4


def test_rules_along_time_see_the_readings_in_the_order_in_which_they_were_read(site: Site) -> None:
    site.keep(*(reading("m1", "energy", n, value) for n, value in ((3, 30), (1, 10), (2, 20), (4, 15))))
    site.configure({"energy": {"monotonic": True}})
    _, facts = site.facts()
    assert changes(facts) == {("m1", "energy"): ("accepted", "rejected", "monotonic", 1)}


def test_only_the_meters_and_the_span_that_were_asked_for(site: Site) -> None:
    site.keep(reading("m1", "voltage", 1, 230), reading("m2", "voltage", 1, 230), reading("m1", "voltage", 90, 230))
    site.configure(RULES)
    assert site.facts()[1]["readings"] == 2
    assert site.facts("--meter", "m2")[1]["readings"] == 1
    assert site.replay("--meter", "m9").exit_code == 2


def test_what_the_map_node_rejected_never_was_a_reading(site: Site) -> None:
    site.keep(reading("m1", "voltage", 1, 230), rejection("m1", "voltage", 2, 999, "map"))
    site.configure(RULES)
    code, facts = site.facts()
    assert (code, facts["readings"], facts["not_replayed"]) == (0, 1, 1)


def test_a_key_that_the_map_node_now_drops_is_missed(site: Site) -> None:
    site.keep(reading("m1", "voltage", 1, 230), reading("m1", "energy", 1, 5))
    site.configure(RULES, map_settings={"drop": ["energy"]})
    code, facts = site.facts()
    assert code == 1
    assert changes(facts) == {("m1", "energy"): ("accepted", "not taken", None, 1)}


def report(minute: int, published: int) -> HealthReport:
    start = T0 + timedelta(minutes=minute)
    end = start + timedelta(minutes=1)
    counts = {"cycles": 60, "ok": 60, "partial": 0, "failed": 0, "with_values": 60, "readings": 60, "rejected": 0}
    sent = {"published": published, "cycles_published": published, "published_late": 0, "exchanges": 60, "associations": 1}
    return HealthReport(FLEET, start, end, **counts, **sent, read_times=(1.0,), last_good=end, clock_offset=None, last_error=None)


def test_alerts_are_tried_on_the_archived_reports(site: Site) -> None:
    site.keep(reading("m1", "voltage", 1, 230), *(report(minute, 54) for minute in range(5)))
    site.configure(RULES)
    code, facts = site.facts()
    assert code == 1
    assert [(alert["kind"], alert["subject"], alert["raised"]) for alert in facts["alerts"]] == [("publish-rate", FLEET, True)]
    assert "publish-rate" in site.replay().output
    before = T0 - timedelta(hours=1)
    site.keep(Alert("publish-rate", FLEET, Severity.WARNING, True, before, "90 %", "look"))
    assert site.facts() == (0, {**facts, "alerts": []})


def test_nothing_is_written_and_nothing_connected(site: Site) -> None:
    site.keep(reading("m1", "voltage", 1, 230))
    site.configure(RULES)
    before = sorted(path.name for path in (site.folder / "state").iterdir())
    site.replay()
    after = sorted(path.name for path in (site.folder / "state").iterdir())
    assert [name for name in after if not name.endswith(("-wal", "-shm"))] == [n for n in before if not n.endswith(("-wal", "-shm"))]


def test_no_archive_no_readings_no_time(site: Site) -> None:
    site.configure(RULES)
    assert site.replay().exit_code == 2
    site.keep(reading("m1", "voltage", 90, 230))
    nothing = site.replay()
    assert nothing.exit_code == 2
    assert "has no reading" in nothing.output
    assert site.replay(span=["--from", "yesterday"]).exit_code == 2
    assert site.replay(span=["--from", "now", "--to", "-1h"]).exit_code == 2


def test_moments_are_utc_unless_they_say_otherwise() -> None:
    assert parse_moment("2026-03-01T12:00") == T0
    assert parse_moment("2026-03-01T13:00+01:00") == T0
    assert parse_moment("2026-03-01T12:00Z") == T0
    assert timedelta(hours=1.9) < datetime.now(timezone.utc) - parse_moment("-2h") < timedelta(hours=2.1)
