"""Over several hosts: what there is once is with process 0, what each host must know reaches each, and health knows who is elsewhere."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from typer.testing import CliRunner

from commands.__main__ import app
from commands.checkup.checkup import look, site_of
from connectors.archive.sink import ArchiveSink
from connectors.dlms.profile.recall import RecallSink, _for_each
from connectors.thingsboard.left_behind import take_over, tell_what_was_left
from connectors.thingsboard.outbox import Device, Outbox
from connectors.thingsboard.outbox_state import look_into
from connectors.thingsboard.ownership import Lock
from connectors.thingsboard.payload import Kind, Record, encode_record
from connectors.thingsboard.receipts import outboxes_of
from connectors.thingsboard.sink import ThingsBoardSink
from flows.same_pipeline import Comparison, fingerprint
from model.cluster import Place
from model.errors import OwnershipError, PipelineError, StorageError
from model.opening import Opening
from model.session_record import SessionRecords
from model.settings.pipeline import PipelineSettings
from model.status import ProcessStatus, encode_status, missing_processes, session_elsewhere, status_file
from model.stop import Stop
from model.timestamps import utc_now

HOSTS = ("north:2101", "south:2101")
NORTH, SOUTH = (Place(number, 2, HOSTS) for number in range(2))
PIPELINE = """\
thingsboard: {url: "mqtt://192.0.2.1:1883", token: t}
templates: {t: {read: {energy: 1-0:1.8.0}}}
meters: [{id: m, connect: "sim://three-phase", template: t}]
nodes:
  - {id: meters, type: dlms-in}
  - {id: mapped, type: map, inputs: [meters]}
  - {id: out, type: thingsboard-out, inputs: [mapped]}
"""


def record(number: int, kind: Kind = Kind.TELEMETRY) -> Record:
    return Record("M", "m", kind, number, encode_record(number, {"x": number}), "poll", 1, number, 1)


def pipeline_in(folder: Path) -> PipelineSettings:
    return PipelineSettings.model_validate(
        {
            "thingsboard": {"url": "mqtt://127.0.0.1:1", "token": "t"},
            "templates": {"t": {"read": {"energy": "1-0:1.8.0"}}},
            "meters": [],
            "nodes": [{"id": "out", "type": "thingsboard-out"}],
            "state_dir": str(folder),
        }
    )


def filled(path: Path, *records: Record) -> Path:
    outbox = Outbox(path)
    outbox.append(records, [Device("M", "three-phase")])
    outbox.close()
    return path


def test_what_there_is_once_is_listed_by_process_0_only(tmp_path: Path) -> None:
    pipeline = pipeline_in(tmp_path)
    one_host = Place(1, 2, ("127.0.0.1:1", "127.0.0.1:2"))
    for place, listed in ((NORTH, 1), (SOUTH, 0), (Place(), 1), (one_host, 1)):
        assert len(ArchiveSink(tmp_path / "a", 9.0, place).list_parts()) == listed
    for place, listed in ((NORTH, 1), (SOUTH, 0), (Place(), 1), (one_host, 0)):  # sessions are dealt out on one host
        assert len(ThingsBoardSink(pipeline, str, Stop(), place=place).list_parts()) == listed
        assert len(outboxes_of(pipeline, place)) == listed


def test_a_recall_reaches_the_file_of_every_host(tmp_path: Path) -> None:
    places = [Place(number, 12, tuple(f"h{number}:1" for number in range(12))) for number in range(12)]
    parts = sorted(part for place in places for part in RecallSink(tmp_path, place).list_parts())
    copies = _for_each(12, ("m", Opening()))
    reached = [parts[RecallSink(tmp_path, places[0]).part_fn(key)] for key, _ in copies]
    assert [RecallSink(tmp_path, place).list_parts() for place in places] == [[part] for part in reached]


def test_partitions_of_processes_that_are_no_more_stay_listed(tmp_path: Path) -> None:
    stored = frozenset(f"recalls-{number:06}" for number in range(4))
    listed = [RecallSink(tmp_path, place, stored if place.keeps else frozenset()).list_parts() for place in (NORTH, SOUTH)]
    assert listed == [["recalls-000000", "recalls-000002", "recalls-000003"], ["recalls-000001"]]
    parts = sorted(listed[0] + listed[1])
    assert [parts[RecallSink(tmp_path, NORTH).part_fn(key)] for key, _ in _for_each(2, ("m", Opening()))] == parts[:2]


def test_what_waits_in_another_hosts_outbox_is_taken_over_behind_what_waits_here(tmp_path: Path) -> None:
    source = filled(tmp_path / "copy" / "outbox.sqlite", record(1), record(2, Kind.ATTRIBUTES), record(3))
    filled(tmp_path / "state" / "outbox.sqlite", record(9))
    taken = take_over(source, tmp_path / "state")
    assert (taken.records, taken.attributes) == (2, 1) and taken.aside.exists() and not source.exists()
    outbox = Outbox(tmp_path / "state" / "outbox.sqlite")
    assert [pending.record for pending in outbox.pending(0, 10)] == [record(9), record(1), record(3)]
    assert outbox.device_type("M") == "three-phase"
    outbox.close()
    assert look_into(taken.aside).waiting == 3  # kept as it was


def test_where_there_is_no_outbox_yet_one_is_made_for_what_is_taken_over(tmp_path: Path) -> None:
    assert take_over(filled(tmp_path / "copy" / "outbox.sqlite", record(1)), tmp_path / "state").records == 1
    assert look_into(tmp_path / "state" / "outbox.sqlite").waiting == 1


def test_nothing_is_taken_over_where_that_would_be_wrong(tmp_path: Path) -> None:
    own = filled(tmp_path / "state" / "outbox.sqlite", record(1))
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "outbox.sqlite"
    copy.write_bytes(own.read_bytes())
    (tmp_path / "copy" / "text").write_text("no database")
    for source, what in (
        (own, "is the outbox of this flow"),
        (copy, "is a copy of the outbox"),
        (tmp_path / "copy" / "none", "there is no outbox"),
        (tmp_path / "copy" / "text", "cannot be used"),
    ):
        with pytest.raises(StorageError, match=what):
            take_over(source, tmp_path / "state")
    other = filled(tmp_path / "other" / "outbox.sqlite", record(2))
    for used in ("state", "other"):
        lock = Lock(tmp_path / used / "outbox.lock", "x", "y", {})
        with pytest.raises(OwnershipError, match=f"pid {os.getpid()}"):
            take_over(other, tmp_path / "state")
        lock.release()
    assert look_into(own).waiting == look_into(other).waiting == 1


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    source = filled(tmp_path / "copy" / "outbox.sqlite", record(1))
    done = CliRunner().invoke(app, ["take-over", str(source), str(tmp_path / "pipeline.yaml")])
    assert done.exit_code == 0 and done.stdout.startswith("1 records taken over"), done.output
    again = CliRunner().invoke(app, ["take-over", str(source), str(tmp_path / "pipeline.yaml"), "--json"])
    assert again.exit_code == 1 and "there is no outbox" in again.stdout


def test_an_outbox_that_nobody_delivers_is_told_at_the_start(tmp_path: Path) -> None:
    filled(tmp_path / "outbox.sqlite", record(1))
    for place, told in ((SOUTH, 1), (NORTH, 0), (Place(), 0)):
        with capture_logs() as logs:
            tell_what_was_left(tmp_path, place)
        assert [entry["waiting"] for entry in logs] == [1] * told
    with capture_logs() as logs:
        tell_what_was_left(tmp_path / "empty", SOUTH)
    assert not logs


def test_another_outbox_than_before_is_told(tmp_path: Path) -> None:
    pipeline = pipeline_in(tmp_path)
    snapshot: dict[str, object] | None = None
    for former, told in ((None, 0), ("same", 0), ("other", 1), ({"version": 1}, 0)):
        state = {"version": 1, "outbox": "0123456789abcdef"} if former == "other" else snapshot if former == "same" else former
        with capture_logs() as logs:
            partition = ThingsBoardSink(pipeline, str, Stop(), SessionRecords()).build_part("out", "thingsboard", state)  # type: ignore[arg-type]
            snapshot = partition.snapshot()
            partition.close()
        assert sum("is not the one that the session used before" in entry["event"] for entry in logs) == told


@pytest.fixture
def status() -> ProcessStatus:
    """Of process 1, on the host that does not keep the session."""
    now = utc_now()
    elsewhere = SOUTH.elsewhere_by_number
    return ProcessStatus(os.getpid(), socket.gethostname(), 1, 2, now - timedelta(minutes=5), now, "p", progressed=now, elsewhere=elsewhere)


def test_processes_on_other_hosts_are_not_missing_here(status: ProcessStatus) -> None:
    assert missing_processes([status]) == []
    assert missing_processes([replace(status, processes=3)]) == [2]
    assert session_elsewhere([status]) == "north:2101"
    assert session_elsewhere([replace(status, elsewhere={1: "south:2101"})]) is None


def checked(tmp_path: Path, status: ProcessStatus) -> tuple[dict[str, str], dict[str, str]]:
    """Findings that are critical, and facts, by area."""
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    file = status_file(tmp_path / "state", status.process)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode_status(status))
    areas = look(site_of(tmp_path / "pipeline.yaml"))
    found = {
        area.name: "; ".join(f"{one.what} -> {one.remedy}" for one in area.findings if one.severity.value == "critical") for area in areas
    }
    return {name: text for name, text in found.items() if text}, {area.name: "; ".join([*area.facts, *area.unseen]) for area in areas}


def test_health_on_a_host_without_the_session_says_where_it_is(tmp_path: Path, status: ProcessStatus) -> None:
    critical, facts = checked(tmp_path, status)
    assert not critical
    for area in ("session owner", "session", "archive", "gaps", "meters", "flow"):
        assert "north:2101" in facts[area], area


def test_health_names_the_hosts_that_are_waited_for(tmp_path: Path, status: ProcessStatus) -> None:
    critical, _ = checked(tmp_path, replace(status, progressed=None, unconnected=("north:2101",)))
    assert list(critical) == ["flow"] and "waits" in critical["flow"] and "north:2101" in critical["flow"]
    assert "docs/cluster.md" in critical["flow"]


def test_health_does_not_forget_what_was_left_here(tmp_path: Path, status: ProcessStatus) -> None:
    filled(tmp_path / "state" / "outbox.sqlite", record(1))
    critical, _ = checked(tmp_path, status)
    assert list(critical) == ["outbox"] and "take-over" in critical["outbox"]


def test_what_a_host_may_have_of_its_own_is_no_difference(tmp_path: Path) -> None:
    pipeline = pipeline_in(tmp_path)
    secret = pipeline.thingsboard.model_copy(update={"token": SecretStr("other")})
    same = pipeline.model_copy(update={"state_dir": tmp_path / "elsewhere", "thingsboard": secret})
    other = pipeline.model_copy(update={"templates": {}})
    assert fingerprint(same) == fingerprint(pipeline) != fingerprint(other)


def test_hosts_that_run_different_pipelines_end_the_flow_and_are_named() -> None:
    told: list[PipelineError] = []
    comparison = Comparison(NORTH, "one", told.append)
    comparison.write_batch([(0, "one"), (1, "one")])
    assert not told
    comparison.write_batch([(1, "two"), (0, "one")])
    (error,) = told
    assert "process 1 on south:2101 has another pipeline.yaml than process 0" in error.what
