"""The API of an installation with several sessions: each is named, the worst decides, and a lost one is never shown as well."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.payload import Kind, Record, encode_record
from connectors.thingsboard.session_names import outbox_file
from model.messages import Alert, Severity
from model.timestamps import to_ms
from tests.contract.api_client import PIPELINE, TOKEN_IN_FILE, Client, Site, client_of

TOKENS = (TOKEN_IN_FILE, "Literal-Token-4712", "Literal-Token-4713")
SECTION = f"""\
  sessions:
    - {{name: north, token: {TOKENS[0]}, meters: [good, partial]}}
    - {{name: south, token: {TOKENS[1]}, meters: [silent]}}
    - {{name: west, token: {TOKENS[2]}}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    token = next(line for line in PIPELINE.splitlines(keepends=True) if line.startswith("  token:"))
    site = Site(tmp_path, PIPELINE.replace(token, SECTION))
    site.keep(*site.history())
    return site


def waits(site: Site, session: str, records: int, hours: float = 0.0, alert: Alert | None = None) -> None:
    """Put records into the outbox of a session, and an alert."""
    outbox = Outbox(outbox_file(site.state_dir, session))
    read_at = to_ms(site.now - timedelta(hours=hours)) - 1_000
    outbox.append([Record("d", "good", Kind.TELEMETRY, ts, encode_record(ts, {"x": 1}), "profile", 1, read_at, 1) for ts in range(records)])
    if alert is not None:
        outbox.tell(alert)
        outbox.append([])
    outbox.close()


def findings(client: Client) -> dict[str, tuple[str, str]]:
    return {found["subject"]: (found["severity"], found["what"]) for found in client.json("/health")["findings"]}


def test_all_sessions_are_told_and_the_worst_decides(site: Site) -> None:
    site.run(several={"north": "up", "south": "backing-off", "west": "connecting"})
    waits(site, "north", 2)
    waits(site, "south", 3, hours=2)
    with client_of(site) as client:
        overview = client.json("/overview")
        assert [(session["name"], session["state"]) for session in overview["sessions"]] == [
            ("north", "up"),
            ("south", "backing-off"),
            ("west", "connecting"),
        ]
        assert overview["session"]["name"] == "south"
        assert overview["sessions_without_owner"] == []
        assert [(outbox["session"], outbox["waiting"]) for outbox in overview["outboxes"]] == [("north", 2), ("south", 3)]
        assert (overview["outbox"]["waiting"], overview["outbox"]["oldest"]) == (5, overview["outboxes"][1]["oldest"])
        found = findings(client)
        assert found["session south"][0] == found["outbox south"][0] == "critical"
        assert "session north" not in found
        assert "outbox north" not in found
        node = next(node for node in client.json("/flow")["nodes"] if node["type"] == "thingsboard-out")
        assert (node["state"], node["reason"]) == ("red", "of 3 sessions south is backing-off, west is connecting")
        ready = client.get("/ready")
        assert ready.status_code == 503
        assert "the session south to ThingsBoard is backing-off" in ready.json()["reasons"]


def test_a_session_without_an_owner_is_never_well(site: Site) -> None:
    site.run(several={"north": "up", "south": "up"})
    with client_of(site) as client:
        overview = client.json("/overview")
        assert (overview["session"], overview["sessions_without_owner"]) == (None, ["west"])
        assert "no process owns the session west" in findings(client)["session west"][1]
        assert "no process owns the session west to ThingsBoard yet" in client.get("/ready").json()["reasons"]
        node = next(node for node in client.json("/flow")["nodes"] if node["type"] == "thingsboard-out")
        assert node["state"] == "yellow"


def test_what_nobody_delivers_any_more_is_critical(site: Site) -> None:
    site.run(several={"north": "up", "south": "up", "west": "up"})
    waits(site, "east", 7)
    waits(site, "thingsboard", 0)
    with client_of(site) as client:
        severity, what = findings(client)["outbox east"]
        assert (severity, what) == (
            "critical",
            "7 records in outbox-east.sqlite will not be delivered: the session east is configured no more",
        )
        assert "outbox thingsboard" not in findings(client)  # nothing is in it
        site.run(several={"north": "up", "south": "up", "west": "up", "east": "up"})
    with client_of(site) as client:
        assert "outbox east" not in findings(client)  # the flow that runs still has it


def test_each_session_has_its_own_alarm(site: Site) -> None:
    site.run(several={"north": "up", "south": "up", "west": "up"})
    for name in ("north", "south"):
        waits(
            site,
            name,
            1,
            alert=Alert("session", f"thingsboard-{name}", Severity.CRITICAL, True, site.now, f"{name} is fought over", "stop it"),
        )
    with client_of(site) as client:
        assert {"thingsboard-north", "thingsboard-south"} <= {alarm["subject"] for alarm in client.json("/alarms?standing=true")["alarms"]}
        assert {"thingsboard-north", "thingsboard-south"} <= findings(client).keys()


def test_metrics_have_a_label_for_the_session(site: Site) -> None:
    site.run(several={"north": "up", "south": "backing-off"})
    waits(site, "north", 2)
    with client_of(site) as client:
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    assert samples["dlms_session_state", "north", "up"] == samples["dlms_session_state", "south", "backing-off"] == 1
    assert [samples["dlms_session_owners", name] for name in ("north", "south", "west")] == [1, 1, 0]
    assert samples["dlms_outbox_records", "north"] == 2
    assert samples["dlms_outbox_size_bytes", "north"] > 0 == samples["dlms_outbox_size_bytes", "south"]


def test_what_waits_of_a_meter_is_counted_in_all_outboxes(site: Site) -> None:
    waits(site, "north", 2)
    waits(site, "west", 3)
    with client_of(site) as client:
        (row,) = client.json("/gaps?meter=good")["ledger"]
    assert row["read"] - row["delivered"] == row["waiting"]


def test_no_token_is_in_any_answer(site: Site) -> None:
    site.run(several={"north": "up"})
    with client_of(site) as client:
        for path in ("/config", "/overview", "/health", "/flow", "/metrics"):
            assert not [token for token in TOKENS if token in client.get(path).text], path
