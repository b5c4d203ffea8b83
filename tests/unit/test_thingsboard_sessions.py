"""Partitions and files of several sessions; no socket is opened: nothing listens at the address, and nothing waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.thingsboard.client_id import client_id
from connectors.thingsboard.forgotten import forgotten_outboxes
from connectors.thingsboard.left_behind import take_over
from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.payload import Kind, Record, encode_record
from connectors.thingsboard.receipts import outboxes_of
from connectors.thingsboard.records import alert_records
from connectors.thingsboard.session_names import outbox_file, outboxes_on_disk, subject_of
from connectors.thingsboard.sink import ThingsBoardSink
from model.assignment import Assignment
from model.cluster import Place
from model.errors import OwnershipError, PipelineError, StorageError
from model.messages import FLEET, Alert, HealthReport, Severity
from model.opening import Opening
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from model.timestamps import from_ms

SESSIONS = ("north", "a", "b")
METERS = ("n-1", "s-1", "s-2", "s-3", "s-4")
ONE_HOST = ("127.0.0.1:1", "127.0.0.1:2")
TWO_HOSTS = ("north:1", "south:1")


@pytest.fixture
def pipeline(tmp_path: Path) -> PipelineSettings:
    sessions = [{"name": name, "token": f"token-{name}", "meters": ["n-*"] if name == "north" else None} for name in SESSIONS]
    return PipelineSettings.model_validate(
        {
            "thingsboard": {"url": "mqtt://127.0.0.1:1", "sessions": sessions},
            "templates": {"t": {"read": {"voltage": "1-0:32.7.0"}}},
            "meters": [{"id": name, "connect": "tcp://192.0.2.1:4059", "framing": "wrapper", "template": "t"} for name in METERS],
            "nodes": [{"id": "out", "type": "thingsboard-out"}],
            "state_dir": str(tmp_path),
        }
    )


def sink_of(pipeline: PipelineSettings, place: Place | None = None, in_store: frozenset[str] = frozenset()) -> ThingsBoardSink:
    return ThingsBoardSink(pipeline, str, Stop(), place=place or Place(), in_store=in_store)


@pytest.mark.parametrize("in_store", [frozenset(), frozenset({"thingsboard-a", "thingsboard-aa", "thingsboard"})])
def test_every_key_leads_to_the_partition_of_its_session(pipeline: PipelineSettings, in_store: frozenset[str]) -> None:
    sink, assignment = sink_of(pipeline, in_store=in_store), Assignment(pipeline.thingsboard)
    parts = sorted(sink.list_parts())  # Bytewax counts them in this order
    assert set(parts) == {subject_of(session) for session in SESSIONS} | in_store
    assert {meter: parts[sink.part_fn(meter)] for meter in METERS} == {meter: subject_of(assignment.of(meter) or "") for meter in METERS}
    for key in (FLEET, "thingsboard-b", "nobody"):
        assert parts[sink.part_fn(key)] == "thingsboard-north"
    assert sorted(parts[sink.part_fn(key)] for key in sink.opening_keys) == sorted(map(subject_of, SESSIONS))


def test_one_process_has_each_session_and_its_receipts(pipeline: PipelineSettings) -> None:
    for addresses in (ONE_HOST, TWO_HOSTS):
        places = [Place(number, 2, addresses) for number in range(2)]
        listed = [sink_of(pipeline, place).list_parts() for place in places]
        assert sorted(part for parts in listed for part in parts) == sorted(map(subject_of, SESSIONS))
        for place, parts in zip(places, listed, strict=True):
            assert {part.replace("receipts", "thingsboard") for part in outboxes_of(pipeline, place)} == set(parts)
        assert bool(listed[1]) == (addresses is ONE_HOST)  # over several hosts process 0 keeps all


def test_over_several_hosts_a_session_cannot_be_taken_out_unseen(pipeline: PipelineSettings) -> None:
    with pytest.raises(PipelineError, match="still in the recovery store: gone"):
        sink_of(pipeline, Place(0, 2, TWO_HOSTS), frozenset({"thingsboard-gone"}))


def test_what_comes_astray_ends_the_flow(pipeline: PipelineSettings) -> None:
    sink = sink_of(pipeline, in_store=frozenset({"thingsboard-gone"}))
    north, parked = (
        sink.build_part("out", "thingsboard-north", None),
        sink.build_part("out", "thingsboard-gone", {"version": 1, "outbox": "x"}),
    )
    moment = from_ms(0)
    alert = Alert("silent", "s-1", Severity.WARNING, True, moment, "", "")
    report = HealthReport(FLEET, moment, moment, *([0] * 12), (), None, None, None)
    try:
        north.write_batch([Opening(), report])  # type: ignore[list-item]
        with pytest.raises(OwnershipError, match="s-1 came to the session north"):
            north.write_batch([alert])
        parked.write_batch([Opening()])
        with pytest.raises(OwnershipError, match="s-1"):
            parked.write_batch([alert])
        assert parked.snapshot() == {"version": 1, "outbox": "x"}
    finally:
        north.close()


def filled(path: Path) -> Path:
    outbox = Outbox(path)
    outbox.append([Record("d", "m", Kind.TELEMETRY, 1, encode_record(1, {"x": 1}), "poll", 1, 1, 1)])
    outbox.close()
    return path


def test_outboxes_of_sessions_that_are_no_more_are_found(tmp_path: Path) -> None:
    for session in ("thingsboard", "a", "gone"):
        filled(outbox_file(tmp_path, session))
    Outbox(outbox_file(tmp_path, "empty")).close()
    outbox_file(tmp_path, "broken").write_bytes(b"no database" * 100)
    (tmp_path / "outbox-a.sqlite.damaged-1").touch()
    assert set(outboxes_on_disk(tmp_path)) == {"thingsboard", "a", "gone", "empty", "broken"}
    found = {left.session: left for left in forgotten_outboxes(tmp_path, ["a"])}
    assert {session: left.waiting for session, left in found.items()} == {"thingsboard": 1, "gone": 1, "broken": None}
    assert "1 record in outbox-gone.sqlite will not be delivered" in found["gone"].what
    assert "{name: gone, token: ..., meters: []}" in found["gone"].remedy
    assert list(forgotten_outboxes(tmp_path / "none", [])) == []


def test_another_hosts_outbox_is_taken_over_by_the_session_that_its_name_says(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert take_over(filled(outbox_file(there, "b")), here, SESSIONS).records == 1
    assert set(outboxes_on_disk(here)) == {"b"}
    with pytest.raises(StorageError, match="does not tell by its name"):
        take_over(filled(there / "copy.sqlite"), here, SESSIONS)


def test_each_session_has_a_client_id_of_its_own_that_stays(tmp_path: Path) -> None:
    ids = {session: client_id(tmp_path, None, session) for session in ("thingsboard", *SESSIONS)}
    assert len(set(ids.values())) == 4
    assert ids == {session: client_id(tmp_path, None, session) for session in ids}
    assert ids["thingsboard"] == client_id(tmp_path)
    assert all(len(name) <= 23 for name in ids.values())


def test_alerts_about_two_sessions_do_not_overwrite_each_other() -> None:
    north, south = (
        alert_records(Alert("session", subject, Severity.CRITICAL, True, from_ms(5), "e", "r"), lambda _meter: "gateway")
        for subject in ("thingsboard-north", "thingsboard-south")
    )
    assert b"alert_session_thingsboard_north" in north[0].payload
    assert b"alert_session_thingsboard_south" in south[0].payload
