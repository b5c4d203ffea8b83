from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import structlog

import flows.status
from flows.status import StatusWriter, Told
from model.cluster import Place
from model.progress import Progress
from model.session_record import SessionRecord, SessionRecords
from model.settings.thingsboard import SINGLE
from model.status import ENDS_FILE, KEPT_ENDS, NodeStatus, read_files, read_session_ends, status_directory, status_file

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)


@pytest.fixture
def sessions() -> SessionRecords:
    return SessionRecords()


@pytest.fixture
def session(sessions: SessionRecords) -> SessionRecord:
    return sessions.of(SINGLE)


@pytest.fixture
def writer(tmp_path: Path, sessions: SessionRecords) -> Iterator[StatusWriter]:
    writer = new_writer(tmp_path, sessions)
    yield writer
    writer.close()


def new_writer(state_dir: Path, sessions: SessionRecords, place: Place | None = None) -> StatusWriter:
    told = Told(Path("pipeline.yaml"), place or Place(), lambda: {"mapped": NodeStatus("map", {"main": 3})}, sessions, Progress())
    return StatusWriter(state_dir, told)


def test_a_process_is_told_from_its_start_to_its_end(tmp_path: Path, writer: StatusWriter) -> None:
    writer.write()
    (status,) = read_files(tmp_path).processes
    assert (status.pid, status.ended, status.progressed, status.sessions) == (os.getpid(), None, None, ())
    assert status.nodes["mapped"].emitted == {"main": 3}
    assert status.is_running()
    writer.close()
    (status,) = read_files(tmp_path).processes
    assert status.ended == status.written
    assert not status.is_running()
    assert [path.name for path in status_directory(tmp_path).glob("*.partial")] == []


def test_a_second_writer_waits_until_the_first_has_gone(tmp_path: Path, writer: StatusWriter, sessions: SessionRecords) -> None:
    writer.write()
    before = status_file(tmp_path, 0).read_bytes()
    second = new_writer(tmp_path, sessions)
    second.write()
    assert status_file(tmp_path, 0).read_bytes() == before
    writer.close()
    second.write()
    assert read_files(tmp_path).processes[0].ended is None
    second.close()


def test_processes_of_a_cluster_have_a_file_each(tmp_path: Path, sessions: SessionRecords) -> None:
    writers = [new_writer(tmp_path, sessions, Place(number, 2)) for number in range(2)]
    for writer in writers:
        writer.write()
    assert [(status.process, status.processes) for status in read_files(tmp_path).processes] == [(0, 2), (1, 2)]
    for writer in writers:
        writer.close()


def test_a_disk_that_refuses_is_said_once_and_nothing_is_lost(
    tmp_path: Path, writer: StatusWriter, session: SessionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write()
    session.begin("mqtt://server:1883", "client", "5")

    def refuse(_file: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as events:
        patch.setattr(flows.status, "_replace", refuse)
        session.ended("taken-over", 142, "server", 3.0)
        writer.write()
        writer.write()
    assert [event["log_level"] for event in events] == ["warning"]
    assert "No space left" in events[0]["reason"]
    with structlog.testing.capture_logs() as events:
        writer.write()
    assert [event["log_level"] for event in events] == ["info"]
    assert [end.cause for end in read_session_ends(tmp_path)] == ["taken-over"]


def test_a_defect_is_logged_and_raises_nothing(tmp_path: Path, sessions: SessionRecords) -> None:
    told = Told(Path("pipeline.yaml"), Place(), lambda: {}["missing"], sessions, Progress())
    writer = StatusWriter(tmp_path, told)
    with structlog.testing.capture_logs() as events:
        writer.write()
        writer.write()
    assert [event["log_level"] for event in events] == ["error"]
    writer.close()


def test_a_write_that_fails_leaves_the_last_status_whole(tmp_path: Path, writer: StatusWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.write()
    before = status_file(tmp_path, 0).read_bytes()

    def torn(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", torn)
        writer.write()
    assert status_file(tmp_path, 0).read_bytes() == before
    assert [path.name for path in status_directory(tmp_path).glob(".*.partial")] == []


def test_ends_are_kept_across_runs_and_after_a_torn_line(tmp_path: Path, session: SessionRecord, writer: StatusWriter) -> None:
    session.ended("taken-over", 142, "server", 3.0, NOW)
    writer.write()
    writer.write()
    writer.close()
    with (status_directory(tmp_path) / ENDS_FILE).open("ab") as journal:
        journal.write(b'{"at": "2026')
    later = SessionRecords()
    again = new_writer(tmp_path, later)
    again.write()
    later.of(SINGLE).ended("refused", None, "server", None, NOW + timedelta(hours=1))
    again.write()
    again.close()
    assert [end.cause for end in read_session_ends(tmp_path)] == ["refused", "taken-over"]


def test_the_journal_is_bounded_and_keeps_the_newest(
    tmp_path: Path, session: SessionRecord, writer: StatusWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.status, "MOST_JOURNAL", 2000)
    for number in range(100):
        session.ended("taken-over", 142, f"number {number}", 1.0, NOW + timedelta(seconds=number))
        writer.write()
        assert (status_directory(tmp_path) / ENDS_FILE).stat().st_size <= 2000
    ends = read_session_ends(tmp_path)
    assert [end.detail for end in ends] == [f"number {number}" for number in range(99, 99 - len(ends), -1)]
    assert len(ends) > 5


def test_a_session_tells_its_state_its_counts_and_its_ends(session: SessionRecord) -> None:
    session.sent()
    assert session.status() is None
    session.begin("mqtts://server:8883", "client", "5")
    session.enter("up")
    session.acknowledged()
    session.ended("taken-over", 142, "server", 12.34567, NOW)
    session.ended("connection-lost", None, "server", 1.0, NOW)
    status = session.status()
    assert status is not None
    assert (status.state, status.sent, status.acknowledged) == ("up", 1, 1)
    assert [(end.cause, end.lasted) for end in status.ends] == [("connection-lost", 1.0), ("taken-over", 12.346)]
    assert status.ends_by_cause == {"taken-over": 1, "connection-lost": 1}
    since = status.since
    session.enter("up")
    assert session.status().since == since  # type: ignore[union-attr]


def test_an_outage_does_not_push_out_what_was_before(session: SessionRecord) -> None:
    session.begin("mqtt://server:1883", "client", "5")
    session.ended("taken-over", 142, "server", 3.0, NOW)
    for second in range(0, 1201, 10):
        session.ended("refused", None, "server", None, NOW + timedelta(seconds=second))
    status = session.status()
    assert status is not None
    assert status.ends_by_cause == {"taken-over": 1, "refused": 121}
    assert [(end.cause, end.times) for end in status.ends] == [("refused", 60), ("refused", 61), ("taken-over", 1)]
    assert status.ends[1].until == NOW + timedelta(minutes=10)


def test_what_was_not_written_in_time_is_bounded(session: SessionRecord) -> None:
    for number in range(3 * KEPT_ENDS):
        session.ended("taken-over", 142, str(number), 1.0, NOW)
    number, ends = session.ends_after(0)
    assert (number, len(ends), ends[-1].detail) == (3 * KEPT_ENDS, KEPT_ENDS, str(3 * KEPT_ENDS - 1))
    assert session.ends_after(number) == (number, ())


REPLACED = """\
import os, sys
from pathlib import Path
from flows.status import StatusWriter, Told
from model.cluster import Place
from model.progress import Progress
from model.session_record import SessionRecords

writer = StatusWriter(Path(sys.argv[1]), Told(Path(sys.argv[2]), Place(), lambda: {}, SessionRecords(), Progress()))
writer.write()
if sys.argv[2] == "first":
    os.execv(sys.executable, [*sys.orig_argv[:-1], "second"])
"""


def test_a_process_that_replaces_itself_goes_on_telling(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REPLACED, str(tmp_path), "first"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)
    (status,) = read_files(tmp_path).processes
    assert (status.pipeline, status.ended) == ("second", None)
    assert json.loads(status_file(tmp_path, 0).read_text())["version"] == 1


def test_ends_of_several_sessions_are_told_apart(tmp_path: Path, sessions: SessionRecords, writer: StatusWriter) -> None:
    sessions.of("north").begin("mqtt://server:1883", "client-1", "5")
    sessions.of("north").ended("taken-over", 142, "server", 3.0, NOW)
    sessions.of("south").ended("refused", None, "server", None, NOW - timedelta(seconds=1))
    writer.write()
    sessions.of("south").ended("taken-over", 142, "server", 1.0, NOW + timedelta(seconds=1))
    writer.write()
    assert [(end.session, end.cause) for end in read_session_ends(tmp_path)] == [
        ("south", "taken-over"),
        ("north", "taken-over"),
        ("south", "refused"),
    ]
    (status,) = read_files(tmp_path).processes
    assert [session.name for session in status.sessions] == ["north"]  # nobody began the other one here
