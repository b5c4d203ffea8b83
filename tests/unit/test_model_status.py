from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.status import (
    ENDS_FILE,
    STALE,
    NodeStatus,
    ProcessStatus,
    SessionEnd,
    SessionStatus,
    decode_status,
    encode_end,
    encode_status,
    owned_sessions,
    read_files,
    read_session_ends,
    status_directory,
    status_file,
)

NOW = datetime(2026, 11, 1, 12, 0, 0, 500_000, tzinfo=timezone.utc)
END = SessionEnd(NOW, "taken-over", 142, "server host:8883, reason code 0x8e", 12.3)
STATUS = ProcessStatus(
    pid=os.getpid(),
    host=socket.gethostname(),
    process=0,
    processes=1,
    started=NOW,
    written=NOW,
    pipeline="pipeline.yaml",
    progressed=NOW,
    nodes={"mapped": NodeStatus("map", {"main": 1234, "rejected": 2}, NOW), "out": NodeStatus("thingsboard-out")},
    sessions=(SessionStatus("mqtts://host:8883", "dlms-tb-1", "5", "up", NOW, 10, 9, (END,), {"taken-over": 3}),),
)


def put(state_dir: Path, content: bytes | str, name: str = "process-0.json") -> Path:
    status_directory(state_dir).mkdir(parents=True, exist_ok=True)
    file = status_directory(state_dir) / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_what_is_written_is_what_the_contract_says() -> None:
    document = json.loads(encode_status(STATUS))
    assert document["version"] == 1
    assert (document["written"], document["ended"]) == ("2026-11-01T12:00:00.500000Z", None)
    assert document["nodes"]["mapped"] == {"type": "map", "emitted": {"main": 1234, "rejected": 2}, "last": "2026-11-01T12:00:00.500000Z"}
    assert document["sessions"][0]["ends"] == [
        {
            "at": "2026-11-01T12:00:00.500000Z",
            "cause": "taken-over",
            "code": 142,
            "detail": "server host:8883, reason code 0x8e",
            "lasted": 12.3,
            "times": 1,
            "until": None,
            "session": "thingsboard",
        }
    ]


def test_a_file_of_a_program_that_knew_one_session_is_read() -> None:
    """A flow that was started before an upgrade still writes such files."""
    document = json.loads(encode_status(STATUS))
    (document["session"],) = document.pop("sessions")
    del document["session"]["name"]
    assert decode_status(json.dumps(document).encode()) == STATUS
    document["session"] = None
    assert decode_status(json.dumps(document).encode()).sessions == ()


def test_owners_are_found_by_session() -> None:
    (session,) = STATUS.sessions
    north = replace(session, name="north")
    other = replace(STATUS, process=1, sessions=(session,))
    found = owned_sessions([replace(STATUS, sessions=(session, north)), other])
    assert {name: [owned.process.process for owned in owners] for name, owners in found.items()} == {"thingsboard": [0, 1], "north": [0]}


def test_what_is_written_is_read_again_by_number_of_process(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        put(tmp_path, encode_status(replace(STATUS, process=number)), status_file(tmp_path, number).name)
    assert [status.process for status in read_files(tmp_path).processes] == [0, 2, 10]
    assert read_files(tmp_path).processes[0] == STATUS


def test_without_files_there_is_nothing(tmp_path: Path) -> None:
    assert list(read_files(tmp_path).processes) == []
    assert read_session_ends(tmp_path) == []
    (tmp_path / "status").write_text("a file where the directory should be")
    assert read_files(tmp_path).damaged == ()
    assert read_session_ends(tmp_path) == []


def test_unknown_keys_are_of_a_newer_program_and_do_no_harm() -> None:
    document = json.loads(encode_status(STATUS))
    document["load"] = 3
    document["nodes"]["mapped"]["queue"] = 3
    assert decode_status(json.dumps(document).encode()) == STATUS


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b"{}",
        encode_status(STATUS)[:-20],
        b"[" * 100_000,
        encode_status(replace(STATUS, version=2)),
        encode_status(STATUS).replace(b'"up"', b'"sideways"'),
        encode_status(STATUS).replace(b"00.500000Z", b"00.500000"),  # a time of no zone
        encode_status(replace(STATUS, process=1)),
    ],
    ids=["empty", "binary", "null", "list", "no-keys", "torn", "deep", "version", "state", "zoneless", "other-process"],
)
def test_a_damaged_file_is_reported_and_the_others_are_read(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, content)
    put(tmp_path, encode_status(replace(STATUS, process=1)), "process-1.json")
    found = read_files(tmp_path)
    assert [status.process for status in found.processes] == [1]
    ((file, what),) = [(damaged.file.name, damaged.what) for damaged in found.damaged]
    assert file == "process-0.json"
    assert what


def test_what_is_no_file_does_not_hold_a_reader_up(tmp_path: Path) -> None:
    status_directory(tmp_path).mkdir()
    os.mkfifo(status_file(tmp_path, 0))
    status_file(tmp_path, 1).mkdir()
    assert len(read_files(tmp_path).damaged) == 2
    (status_directory(tmp_path) / ENDS_FILE).mkdir()
    assert read_session_ends(tmp_path) == []


@given(st.binary(max_size=300))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_content_makes_a_reader_raise(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, content)
    put(tmp_path, content, ENDS_FILE)
    assert len(read_files(tmp_path).damaged) == 1
    assert read_session_ends(tmp_path) == []


def test_a_process_runs_while_it_writes_and_has_not_ended() -> None:
    assert STATUS.is_running(NOW + timedelta(seconds=STALE))
    assert not STATUS.is_running(NOW + timedelta(seconds=STALE + 0.1))
    assert not STATUS.is_running(NOW - timedelta(hours=1))
    assert not replace(STATUS, ended=NOW).is_running(NOW)


def test_a_process_that_is_gone_does_not_run() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert not replace(STATUS, pid=process.pid).is_running(NOW)
    assert replace(STATUS, pid=process.pid, host="another-host").is_running(NOW)
    assert not replace(STATUS, pid=0).is_running(NOW)
    assert not replace(STATUS, pid=2**80).is_running(NOW)


def test_the_journal_is_read_backwards_and_around_damage(tmp_path: Path) -> None:
    ends = [replace(END, at=NOW + timedelta(seconds=number)) for number in range(4)]
    lines = [encode_end(end) for end in ends]
    put(tmp_path, lines[0] + lines[1][:20] + b"\n" + lines[2] + b"\n" + lines[3] + lines[0][:30], ENDS_FILE)
    assert read_session_ends(tmp_path) == [ends[3], ends[2], ends[0]]
    assert read_session_ends(tmp_path, most=1) == [ends[3]]
