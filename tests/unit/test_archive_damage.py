"""The archive after its file was damaged or deleted, or on a disk that is full from the start: said, and gone on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import structlog

from connectors.archive import sink as sink_module
from connectors.archive.reader import ArchiveReader
from connectors.archive.salvage import PATIENCE, replace_damaged
from connectors.archive.sink import ArchivePartition
from connectors.archive.store import ArchiveStore
from model.messages import Origin, Reading

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)
FAR = T0 + timedelta(days=3_000)
DAY = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.sqlite"


def reading(number: int) -> Reading:
    ts = T0 + timedelta(seconds=number)
    return Reading("m1", "energy", number, "kWh", ts, Origin.POLL, ts)


def partition(path: Path, clock: Clock) -> ArchivePartition:
    return ArchivePartition(path, 3_650 * DAY, wall=lambda: T0.timestamp(), monotonic=clock)


def numbers(path: Path) -> list[Any]:
    with closing(ArchiveReader(path)) as reader:
        return [found.value for found in reader.readings("m1", T0 - timedelta(days=1), FAR, limit=100_000)]


def filled(path: Path, count: int = 3_000) -> None:
    with closing(ArchiveStore(path, 3_650 * DAY, 0)) as store:
        store.write([reading(number) for number in range(count)])


def spoil(path: Path, first: int, last: int) -> None:
    content = bytearray(path.read_bytes())
    content[first * 4096 : last * 4096] = b"\xff" * ((last - first) * 4096)
    path.write_bytes(content)


def test_a_file_that_is_no_archive_is_moved_aside_and_said(path: Path, clock: Clock) -> None:
    path.write_bytes(b"no database" * 1_000)
    with structlog.testing.capture_logs() as logs:
        writer = partition(path, clock)
    writer.write_batch([reading(1)])
    writer.close()
    assert numbers(path) == [1]
    (aside,) = path.parent.glob("archive.sqlite.damaged-*")
    assert aside.read_bytes() == b"no database" * 1_000
    (said,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert said["moved_to"] == str(aside)
    assert "readings" in said["incomplete"]


def test_what_a_damaged_archive_still_holds_is_in_the_new_one(path: Path, clock: Clock) -> None:
    filled(path)
    spoil(path, 20, 22)
    writer = partition(path, clock)
    with structlog.testing.capture_logs() as logs:
        writer.write_batch([reading(number) for number in range(10_000, 10_100)])
        for number in range(3_000):  # every page is touched
            writer._waiting.append(reading(number + 20_000))
        writer.write_batch([reading(number) for number in range(500, 1_500)])
        clock.seconds += sink_module.RETRY_SECONDS
        writer.write_batch([reading(50_000)])
    writer.close()
    assert any("damaged" in entry["event"] for entry in logs)
    found = numbers(path)
    assert set(range(10_000, 10_100)) <= set(found)
    assert {50_000, *range(500, 1_500), *range(20_000, 23_000)} <= set(found)
    assert len([number for number in found if number < 3_000]) > 2_500
    assert list(path.parent.glob("archive.sqlite.damaged-*"))


def test_both_ends_of_a_damaged_table_are_salvaged(path: Path) -> None:
    filled(path)
    spoil(path, 20, 22)
    found = replace_damaged(path, 0)
    assert found.incomplete == ("readings_recent",)
    kept = numbers(path)
    assert kept[0] == 0
    assert kept[-1] == 2_999
    assert 2_500 < len(kept) == found.rows < 3_000


def test_salvaging_ends_when_it_takes_too_long(path: Path) -> None:
    filled(path)
    clock = Clock()

    def late() -> float:
        clock.seconds += PATIENCE / 3
        return clock.seconds

    found = replace_damaged(path, 0, late)
    assert "readings_recent" in found.incomplete
    assert found.aside.exists()


def test_a_sound_archive_goes_over_whole(path: Path) -> None:
    filled(path)
    found = replace_damaged(path, 0)
    assert (found.rows, found.incomplete) == (3_000, ())
    assert numbers(path) == list(range(3_000))


def test_an_archive_that_is_deleted_while_it_is_used_is_made_anew(path: Path, clock: Clock) -> None:
    writer = partition(path, clock)
    writer.write_batch([reading(1)])
    for file in path.parent.glob("archive.sqlite*"):
        file.unlink()
    with structlog.testing.capture_logs() as logs:
        writer.write_batch([reading(2)])
        writer.write_batch([reading(3)])
    writer.close()
    assert numbers(path) == [2, 3]
    assert ["deleted" in entry["event"] for entry in logs if entry["log_level"] == "error"] == [True]


def test_a_disk_that_is_full_at_the_start_is_waited_for(path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr("connectors.archive.store.migrate", full)
        writer = partition(path, clock)
        writer.write_batch([reading(1)])
    assert [entry["log_level"] for entry in logs] == ["error"]
    clock.seconds += sink_module.RETRY_SECONDS
    writer.write_batch([reading(2)])
    writer.close()
    assert numbers(path) == [1, 2]
