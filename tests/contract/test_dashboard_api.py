from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from connectors.archive.schema import VERSION
from connectors.archive.store import ArchiveStore
from dashboard import answers
from model.messages import GapState
from model.status import status_file
from model.timestamps import to_ms
from tests.contract.api_client import SECRETS, Client, Site, client_of

MODELS: dict[str, Any] = {
    "/health": answers.Health,
    "/overview": answers.Overview,
    "/flow": answers.FlowGraph,
    "/meters": answers.MeterPage,
    "/meters/good": answers.MeterDetail,
    "/meters/new": answers.MeterDetail,
    "/readings?meter=good&key=voltage": answers.Readings,
    "/alarms": answers.Alarms,
    "/gaps": answers.Gaps,
    "/gaps?meter=good": answers.Gaps,
    "/config": answers.Configuration,
}
EVERYTHING = (*MODELS, "/ready", "/metrics", "/openapi.json", "/", "/meters/silent", "/alarms?standing=false", "/nothing", "/readings")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def filled(site: Site) -> Site:
    site.fill()
    site.run()
    return site


@pytest.fixture
def client(filled: Site) -> Iterator[Client]:
    with client_of(filled) as client:
        yield client


def findings(client: Client) -> dict[str, str]:
    return {finding["subject"]: finding["what"] for finding in client.json("/health")["findings"]}


@pytest.mark.parametrize("path", MODELS)
def test_answers_have_the_shape_that_is_promised(client: Client, path: str) -> None:
    content = client.json(path)
    assert MODELS[path].model_validate(content).model_dump().keys() == content.keys()


def test_the_overview_counts_meters_by_state(client: Client, filled: Site) -> None:
    overview = client.json("/overview")
    assert overview["meters"] == {"total": 5, "green": 0, "yellow": 2, "red": 1, "unknown": 2}
    assert overview["window"]["cycles"] == 4 and overview["window"]["cycles_published"] == 2
    assert overview["gaps"] == {"open": 2, "lost": 4}
    assert overview["alarms"] == {"critical": 1, "warning": 0}
    assert overview["outbox"]["waiting"] == 2 and overview["outbox"]["exact"]
    assert overview["session"]["owner"]["pid"] == os.getpid() and overview["session"]["ends"][0]["cause"] == "taken-over"
    assert overview["flow"]["running"] and overview["rate"]["readings_per_second"] == pytest.approx(10, rel=0.2)
    assert overview["now"].endswith("Z")


def test_the_page_of_meters_is_searched_sorted_and_cut(client: Client) -> None:
    def ids(query: str) -> list[str]:
        return [meter["id"] for meter in client.json(f"/meters?{query}")["meters"]]

    assert ids("") == ["gone", "good", "new", "partial", "silent"]
    assert ids("sort=-id&limit=2") == ["silent", "partial"]
    assert ids("limit=2&offset=2") == ["new", "partial"]
    assert ids("search=elm HOUSE") == ["good"]
    assert ids("search=192.0.2.3") == ["silent"]
    assert ids("state=red") == ["silent"] and ids("sort=state")[0] == "silent"
    assert ids("sort=success")[:2] == ["silent", "partial"]
    assert ids("sort=gaps")[:2] == ["good", "silent"]
    assert client.json("/meters?limit=1")["total"] == 5


def test_values_are_exact(client: Client) -> None:
    text = client.get("/meters?search=good").text
    assert '"key":"huge","value":1180591620717411303424,' in text
    assert '"key":"tiny","value":1E-7,' in text
    assert '"key":"voltage","value":230.10,' in text
    values = {value["key"]: value["value"] for value in json.loads(text)["meters"][0]["values"]}
    assert (values["serial"], values["open"], values["energy"]) == ("00012345", True, 1000)


def test_a_meter_that_is_not_configured_any_more_is_told_as_removed(client: Client) -> None:
    rows = {meter["id"]: meter for meter in client.json("/meters")["meters"]}
    assert rows["gone"]["removed"] and rows["gone"]["values"][0]["value"] == 229
    assert not rows["good"]["removed"] and rows["good"]["name"] == "Good house"


def test_the_page_of_one_meter(client: Client) -> None:
    partial, silent, good = (client.json(f"/meters/{meter}") for meter in ("partial", "silent", "good"))
    assert partial["errors"][0]["kind"] == "access" and partial["rejections"][0]["value"] == 999.9
    assert silent["errors"][0]["remedy"] == "check the link" and silent["last_error"] == "timeout: no reply"
    assert good["tags"] == {"street": "Elm"} and good["interval"] == 60
    assert len(good["reports"]) == 60 and good["reports"][0]["start"] < good["reports"][-1]["start"]
    assert [gap["state"] for gap in good["gaps"]] == ["open"]


def test_a_profile_is_counted_day_by_day(client: Client, filled: Site) -> None:
    (profile,) = client.json("/meters/good")["profiles"]
    assert (profile["name"], profile["obis"], profile["period"]) == ("load", "1-0:99.1.0", 900)
    yesterday = (filled.midnight() - timedelta(days=1)).date().isoformat()
    days = {day["day"]: day for day in profile["days"]}
    assert (days[yesterday]["read"], days[yesterday]["missing"], days[yesterday]["expected"]) == (93, 2, 95)
    assert days[filled.midnight().date().isoformat()]["read"] == 1


def test_a_meter_that_nobody_knows_is_not_found(client: Client) -> None:
    answer = client.get("/meters/nobody")
    assert answer.status_code == 404 and "nobody" in answer.json()["detail"]


def test_a_curve_has_all_its_points_or_the_extremes(filled: Site) -> None:
    filled.keep(*(filled.reading("good", "many", n if n != 777 else 10**9, -n / 60) for n in range(5_000)))
    with client_of(filled) as client:
        few = client.json("/readings?meter=good&key=voltage")
        assert len(few["points"]) == 50 and not few["thinned"] and few["unit"] == "V"
        assert few["points"] == sorted(few["points"])
        many = client.json("/readings?meter=good&key=many&limit=100")
        assert many["thinned"] and 50 <= len(many["points"]) <= 102
        assert 10**9 in [number for _, number in many["points"]]
        assert many["points"] == sorted(many["points"])
        assert client.json("/readings?meter=good&key=serial")["points"][0][1] is None
        assert client.json("/readings?meter=good&key=none")["points"] == []


def test_alarms_stand_or_are_over(client: Client) -> None:
    both = client.json("/alarms")["alarms"]
    assert [(alarm["kind"], alarm["raised"]) for alarm in both] == [("meter-silent", True), ("clock-off", False)]
    assert both[0]["cleared_at"] is None and both[1]["cleared_at"] > both[1]["at"]
    assert [alarm["kind"] for alarm in client.json("/alarms?standing=true")["alarms"]] == ["meter-silent"]
    assert [alarm["kind"] for alarm in client.json("/alarms?standing=false")["alarms"]] == ["clock-off"]


def test_gaps_and_their_ledger(client: Client) -> None:
    everything = client.json("/gaps")
    assert {(gap["meter"], gap["state"]) for gap in everything["gaps"]} == {("good", "open"), ("silent", "lost")}
    (row,) = client.json("/gaps?meter=good")["ledger"]
    assert (row["read"], row["waiting"], row["delivered"], row["open"], row["lost"]) == (94, 1, 93, 2, 0)


def test_the_flow_is_drawn_with_its_wires(client: Client) -> None:
    nodes = {node["id"]: node for node in client.json("/flow")["nodes"]}
    assert nodes["health"]["inputs"] == ["meters", "checked", "checked.rejected", "mapped.rejected", "receipts"]
    assert nodes["checked"]["emitted"] == {"main": 990, "rejected": 10} and nodes["checked"]["state"] == "yellow"
    assert nodes["meters"]["state"] == "yellow" and nodes["thingsboard"]["state"] == "unknown"
    assert nodes["mapped"]["rate"]["main"] == pytest.approx(10, rel=0.2)


def test_the_verdict_names_what_is_wrong(client: Client) -> None:
    found = findings(client)
    assert client.json("/health")["verdict"] == "critical"
    assert "meter-silent" in found["silent"] and "1 of 4 meters" in found["meters"]
    assert "4 intervals of load profiles are lost" in found["gaps"]
    assert found.keys() == {"silent", "meters", "gaps"}


def test_ready_only_while_meters_are_read_and_the_session_is_up(filled: Site) -> None:
    with client_of(filled) as client:
        assert client.json("/ready") == {"ready": True, "reasons": []}
    for states, reason in (({"session": "backing-off"}, "backing-off"), ({"ended": True}, "the flow does not run")):
        filled.run(**states)  # type: ignore[arg-type]
        with client_of(filled) as client:
            answer = client.get("/ready")
            assert answer.status_code == 503 and reason in answer.json()["reasons"][0]


def test_metrics_are_what_prometheus_reads(client: Client) -> None:
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    samples = {(s.name, *s.labels.values()): s.value for family in families.values() for s in family.samples}
    assert samples["dlms_cycles_total", "ok"] == 2 and samples["dlms_cycles_total", "failed"] == 1
    assert samples["dlms_meters", "red"] == 1
    assert samples["dlms_session_state", "up"] == 1 and samples["dlms_session_ends_total", "taken-over"] == 3
    assert samples["dlms_outbox_records",] == 2 and samples["dlms_outbox_oldest_age_seconds",] >= 2
    assert samples["dlms_node_items_total", "checked", "rejected"] == 10
    assert samples["dlms_schedule_lateness_seconds", "1.0"] == pytest.approx(0.02)
    assert samples["dlms_profile_intervals_missing", "lost"] == 4
    assert samples["dlms_archive_size_bytes",] > 0 and samples["dlms_publish_ratio",] == 0.5
    for family in families.values():
        assert family.documentation and re.fullmatch(r"dlms_[a-z_]+", family.name)
        assert not family.name.endswith("_total") and family.type in ("counter", "gauge")


def test_no_secret_is_in_any_answer(client: Client) -> None:
    for path in EVERYTHING:
        text = client.get(path).text
        for secret in SECRETS:
            assert secret not in text and secret.lower() not in text.lower(), path
    text = client.json("/config")["text"]
    assert "${API_TEST_TOKEN:-***}" in text and "password: file:secret" in text and "Good house" in text


def state_of(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file, without what SQLite keeps beside its own."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.endswith(("-shm", "-wal"))]
    return {str(file): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns) for file in files}


def test_reading_changes_no_file(filled: Site) -> None:
    before = state_of(filled.folder)
    with client_of(filled) as client:
        for path in EVERYTHING:
            client.get(path)
    assert state_of(filled.folder) == before and len(before) >= 4


def test_reading_beside_a_writer_changes_no_file(filled: Site) -> None:
    store = ArchiveStore(filled.archive, 86400.0 * 36500, to_ms(filled.now))
    before = state_of(filled.folder)
    with client_of(filled) as client:
        client.json("/overview")
        assert state_of(filled.folder) == before
        store.write([filled.reading("good", "voltage", 1, 0.5)])
        assert client.json("/meters/good")["values"][-1]["value"] == 1  # seen at once
    store.close()


def test_the_writer_is_never_kept_from_its_checkpoint(filled: Site) -> None:
    """No connection that lies idle holds a read transaction open."""
    with client_of(filled) as client, closing(sqlite3.connect(filled.archive)) as writer:
        for path in EVERYTHING:
            client.get(path)
        writer.execute("INSERT INTO cycles VALUES ('x', 1, 1, 1, 'ok', 0, 0, 0, 0, NULL)")
        writer.commit()
        busy, *_ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0


def test_before_anything_has_run_all_is_answered(site: Site) -> None:
    with client_of(site) as client:
        for path in MODELS:
            client.json(path)
        assert "does not run" in findings(client)["flow"] and "there is no archive" in findings(client)["archive"]
        assert client.json("/overview")["meters"] == {"total": 4, "green": 0, "yellow": 0, "red": 0, "unknown": 4}
        assert client.get("/metrics").status_code == 200
        assert not site.state_dir.exists()


def test_an_archive_of_another_version_is_a_finding(filled: Site) -> None:
    with closing(sqlite3.connect(filled.archive)) as database:
        database.execute("INSERT INTO schema_version VALUES (?, 0)", (VERSION + 1,))
        database.commit()
    with client_of(filled) as client:
        for path in MODELS:
            client.json(path)
        assert f"archive version {VERSION + 1}" in findings(client)["archive"]


@pytest.mark.parametrize("content", [b"", b"this is no database" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_archive_is_a_finding(filled: Site, content: bytes) -> None:
    filled.archive.write_bytes(content)
    with client_of(filled) as client:
        for path in MODELS:
            client.json(path)
        assert findings(client)["archive"]


def test_an_archive_that_is_replaced_is_read_anew(filled: Site) -> None:
    with client_of(filled) as client:
        assert client.json("/meters/good")["values"]
        filled.archive.rename(filled.archive.with_suffix(".old"))
        for path in MODELS:
            client.json(path)
        filled.keep(filled.reading("good", "voltage", 7, 0))
        assert [value["value"] for value in client.json("/meters/good")["values"]] == [7]


def test_a_broken_configuration_leaves_the_archive_and_names_the_mistake(filled: Site) -> None:
    filled.file.write_text("thingsboard: {token: [\n")
    with client_of(filled) as client:
        for path in MODELS:
            if path != "/meters/new":  # of which only the file knows
                client.json(path)
        assert f"{filled.file}:" in findings(client)["configuration"] and "not valid YAML" in findings(client)["configuration"]
        rows = client.json("/meters")["meters"]
        assert {row["id"] for row in rows} == {"gone", "good", "partial", "silent"} and all(row["removed"] for row in rows)


def test_a_mistake_in_the_configuration_is_named_with_its_line(filled: Site) -> None:
    filled.file.write_text(filled.file.read_text().replace("type: validate", "type: valdate"))
    with client_of(filled) as client:
        assert "valdate" in findings(client)["configuration"] and ":34: " in findings(client)["configuration"]
        assert len(client.json("/flow")["nodes"]) == 7 and client.json("/overview")["meters"]["total"] == 5
        (row,) = client.json("/gaps?meter=good")["ledger"]
        assert (row["read"], row["waiting"], row["delivered"]) == (94, 1, 93)


def test_secrets_that_only_the_flow_has_are_no_mistake(filled: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_TEST_TOKEN", raising=False)
    (filled.folder / "secret").unlink()
    filled.file.write_text(re.sub(r"\$\{API_TEST_TOKEN.*\}", "${API_TEST_TOKEN:?export it}", filled.file.read_text()))
    with client_of(filled) as client:
        assert "configuration" not in findings(client)
        assert client.json("/overview")["meters"]["total"] == 5


def test_an_edit_is_seen_without_a_restart(filled: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.configuration.LOOK_EVERY", 0.0)
    with client_of(filled) as client:
        assert client.json("/config")["text"].count("Good house") == 1
        filled.file.write_text(filled.file.read_text().replace("Good house", "Better house"))
        for _ in range(200):
            if "Better house" in client.json("/config")["text"]:
                return
        raise AssertionError("the edit was not seen")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 99}', b"\xff" * 100])
def test_a_damaged_status_file_is_a_finding(filled: Site, content: bytes) -> None:
    status_file(filled.state_dir, 0).write_bytes(content)
    with client_of(filled) as client:
        for path in MODELS:
            client.json(path)
        subjects = [finding["what"] for finding in client.json("/health")["findings"] if finding["subject"] == "flow"]
        assert any("process-0.json" in what for what in subjects)


def test_a_flow_whose_process_is_gone_does_not_run(filled: Site) -> None:
    filled.run(pid=2**22 + 1)
    with client_of(filled) as client:
        overview = client.json("/overview")
        assert not overview["flow"]["running"] and overview["session"]["state"] == "closed"
        assert {node["state"] for node in client.json("/flow")["nodes"]} == {"unknown"}


@pytest.mark.parametrize(
    "path",
    [
        "/meters?limit=0",
        "/meters?limit=501",
        "/meters?sort=name",
        "/meters?offset=-1",
        "/readings",
        "/readings?meter=a&key=b&start=x",
        "/alarms?standing=perhaps",
    ],
)
def test_arguments_that_mean_nothing_are_refused_in_a_sentence(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 422 and isinstance(answer.json()["detail"], str)


def test_gap_states_are_those_of_the_model() -> None:
    assert set(answers.GapShown.model_json_schema()["properties"]["state"]["enum"]) == {state.value for state in GapState}
