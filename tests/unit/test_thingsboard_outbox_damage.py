"""What is left of the outbox after power was lost, the file was damaged or deleted, or the disk is full."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.disk import may_heal
from connectors.thingsboard import outbox as outbox_module
from connectors.thingsboard.bulletin import bulletin_of
from connectors.thingsboard.journal import Journal
from connectors.thingsboard.outbox import Device, Outbox
from connectors.thingsboard.outbox_schema import DamagedError
from connectors.thingsboard.payload import Kind, Record, encode_record
from model.errors import StorageError
from model.messages import Alert, Receipt, Severity

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)
START = {"version": 1, "outbox": None}


def record(ts: int, size: int = 1) -> Record:
    return Record("M1", "m1", Kind.TELEMETRY, ts, encode_record(ts, {"x": "y" * size}), "poll", 1, ts, 1)


def waiting(outbox: Outbox) -> list[int]:
    return [entry.record.ts for entry in outbox.pending(0, 100_000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture(autouse=True)
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "LOOK_EVERY", 0.0)


def alerts(path: Path) -> list[Alert]:
    with closing(Journal(path, START)) as journal:
        return journal.look().alerts


# Power loss: the file system may have written any prefix of what the WAL got since the last fsync; committed means fsynced.


@pytest.fixture(scope="module")
def powered(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, list[int]]:
    """The bytes of an outbox in use and of its WAL, and the WAL's length after each of ten batches."""
    path = tmp_path_factory.mktemp("powered") / "outbox.sqlite"
    wal = path.with_name(path.name + "-wal")
    lengths = []
    with closing(Outbox(path)) as outbox:
        for batch in range(10):
            outbox.append([record(ts, 300) for ts in range(batch * 10, batch * 10 + 10)])
            lengths.append(wal.stat().st_size)
        return path.read_bytes(), wal.read_bytes(), lengths


def reopened(main: bytes, wal: bytes) -> list[int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.sqlite"
        path.write_bytes(main)
        path.with_name(path.name + "-wal").write_bytes(wal)
        with closing(Outbox(path)) as outbox:
            found = waiting(outbox)
            outbox.append([record(1_000)])
            assert waiting(outbox) == [*found, 1_000]
        assert sorted(file.name for file in path.parent.iterdir()) == ["outbox.sqlite"]
        return found


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_wal_that_was_cut_anywhere_keeps_every_batch_before_the_cut(powered: tuple[bytes, bytes, list[int]], data: st.DataObject) -> None:
    main, wal, lengths = powered
    cut = data.draw(st.one_of(st.integers(0, len(wal)), st.sampled_from(lengths).map(lambda at: at - 1), st.sampled_from(lengths)))
    batches = sum(length <= cut for length in lengths)
    assert reopened(main, wal[:cut]) == list(range(batches * 10))


@given(data=st.data(), junk=st.binary(min_size=1, max_size=5_000))
@settings(max_examples=40, deadline=None)
def test_junk_in_the_last_frames_of_the_wal_costs_only_the_batch_it_is_in(
    powered: tuple[bytes, bytes, list[int]], data: st.DataObject, junk: bytes
) -> None:
    main, wal, lengths = powered
    at = data.draw(st.integers(lengths[-2], len(wal)))
    torn = wal[:at] + junk
    found = reopened(main, torn)
    assert found in (list(range(90)), list(range(100)))
    if at == len(wal):
        assert found == list(range(100))


# A damaged file


def filled(path: Path, count: int = 3_000) -> None:
    with closing(Outbox(path)) as outbox:
        outbox.append([record(ts, 100) for ts in range(count)], [Device("M1", "three-phase")])
        outbox.append([record(ts) for ts in (7_000, 7_001)])
        outbox.done([([1], Receipt("m1", 1, T0, T0, T0, 0.1, (T0,)))])
        outbox.dead([2], "malformed", 0x99)
        outbox.tell(Alert("session", "thingsboard", Severity.CRITICAL, True, T0, "e", "r"))


@pytest.mark.parametrize("content", [b"not a database, but long enough to be read as one" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_outbox_is_moved_aside_and_a_new_one_made(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with closing(Outbox(path)) as outbox:
        outbox.append([record(1)])
        assert waiting(outbox) == [1]
    (aside,) = path.parent.glob("outbox.sqlite.damaged-*")
    assert aside.read_bytes() == content
    (alert,) = alerts(path)
    assert (alert.kind, alert.raised, alert.severity) == ("outbox-file", True, Severity.CRITICAL)
    assert str(aside) in alert.evidence
    assert "cannot be said" in alert.evidence


@given(pages=st.lists(st.integers(1, 60), min_size=1, max_size=5), data=st.binary(min_size=64, max_size=4096))
@settings(max_examples=25, deadline=None)
def test_what_a_damaged_file_still_holds_is_salvaged_and_never_invented(pages: list[int], data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.sqlite"
        filled(path)
        spoil(path, pages, data)
        before = path.read_bytes()
        with closing(Outbox(path)) as outbox:
            found = waiting(outbox)
            if found != [*range(2, 3_000), 7_000, 7_001]:
                assert list(path.parent.glob("outbox.sqlite.damaged-*"))
            assert set(found) <= {*range(3_000), 7_000, 7_001}
            assert len(set(found)) == len(found)
            assert outbox.depth == len(found)
            outbox.append([record(9_999)])
            assert waiting(outbox) == [*found, 9_999]
            newest = outbox.pending(outbox.newest - 1, 1)[0].id
            outbox.done([([newest], None)])
        for aside in path.parent.glob("outbox.sqlite.damaged-*[0-9]"):
            assert aside.read_bytes() == before


def spoil(path: Path, pages: list[int], data: bytes) -> None:
    content = bytearray(path.read_bytes())
    for page in pages:
        start = page * 4096
        if start < len(content):
            content[start : start + len(data)] = data[: len(content) - start]
    path.write_bytes(content)


def test_around_one_damaged_page_everything_is_salvaged_with_its_ids(path: Path) -> None:
    filled(path)
    with closing(Journal(path, START)) as journal:
        journal.look()
        cursor = dict(journal.cursor)
    spoil(path, [40], b"\xff" * 4096)
    with closing(Outbox(path)) as outbox:
        entries = outbox.pending(0, 10_000)
        assert len(entries) > 2_900
        assert all(entry.record.ts in (entry.id - 1, 7_000, 7_001) for entry in entries)
        assert outbox.newest == 3_002
        assert outbox.device_type("M1") == "three-phase"
        outbox.append([record(1)])
        assert outbox.newest == 3_003
    with closing(Journal(path, cursor)) as journal:
        news = journal.look()
        assert news.receipts == []  # those were heard before
        (alert,) = news.alerts
        assert f"{len(entries)} waiting records were kept, at most {3_000 - len(entries)} were lost" in alert.evidence


def test_damage_that_shows_while_it_is_used_is_mended_too(path: Path) -> None:
    with closing(Outbox(path)) as outbox:
        outbox.append([record(ts, 100) for ts in range(3_000)])
        checkpointed(path)
        spoil(path, [*range(20, 30)], b"\xff" * 4096)
        outbox.append([record(5_000)])
        found = waiting(outbox)
        assert 2_500 < len(found) < 3_001
        assert found[-1] == 5_000
        assert outbox.depth == len(found)
        outbox.done([([entry.id for entry in outbox.pending(0, 100_000)], None)])
        assert (outbox.depth, waiting(outbox)) == (0, [])
    assert list(path.parent.glob("outbox.sqlite.damaged-*"))


def checkpointed(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_payload_that_rotted_is_not_sent(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE records SET payload = x'7b22' WHERE id = 100")
        database.commit()
    spoil(path, [40], b"\xff" * 4096)
    with closing(Outbox(path)) as outbox:
        assert 99 not in waiting(outbox)
        assert 98 in waiting(outbox)
    (alert,) = [alert for alert in alerts(path) if alert.kind == "outbox-file"]
    assert "1 were damaged" in alert.evidence


def test_a_row_that_rotted_unseen_is_found_when_it_is_read(path: Path) -> None:
    with closing(Outbox(path)) as outbox:
        outbox.append([record(ts) for ts in range(5)])
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE records SET kind = 'telemetrz' WHERE id = 3")
            database.commit()
        assert waiting(outbox) == [0, 1, 3, 4]
        assert outbox.depth == 4
    assert "1 were damaged" in alerts(path)[0].evidence


def test_a_crash_between_the_renames_is_finished_at_the_next_start(path: Path) -> None:
    filled(path, 10)
    path.rename(path.with_name("outbox.sqlite.new"))
    with closing(Outbox(path)) as outbox:
        assert waiting(outbox) == [*range(2, 10), 7_000, 7_001]


def test_a_draft_of_an_attempt_that_was_cut_short_is_no_danger(path: Path) -> None:
    filled(path, 10)
    path.with_name("outbox.sqlite.new").write_bytes(b"half a file")
    with closing(Outbox(path)) as outbox:
        assert len(waiting(outbox)) == 10


# A deleted file


def _everything(folder: Path) -> None:
    for file in folder.glob("outbox.sqlite*"):
        file.unlink()


def _replaced(folder: Path) -> None:
    _everything(folder)
    Outbox(folder / "elsewhere.sqlite").close()
    shutil.move(folder / "elsewhere.sqlite", folder / "outbox.sqlite")


@pytest.mark.parametrize("delete", [_everything, lambda folder: (folder / "outbox.sqlite").unlink(), shutil.rmtree, _replaced])
def test_a_file_that_is_deleted_while_it_is_used_is_made_again_with_everything_in_it(path: Path, delete: Callable[[Path], Any]) -> None:
    path = path.parent / "state" / path.name
    with closing(Outbox(path)) as outbox:
        outbox.append([record(ts) for ts in range(10)])
        ids = [entry.id for entry in outbox.pending(0, 3)]
        delete(path.parent)
        outbox.append([record(10)])
        assert waiting(outbox) == list(range(11))
        outbox.done([(ids, None)])
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as other:
            assert other.execute("SELECT count(*) FROM records").fetchone() == (8,)
        (alert,) = alerts(path)
        assert alert.kind == "outbox-file"
        assert "deleted or replaced" in alert.evidence
    with closing(Outbox(path)) as outbox:
        assert waiting(outbox) == list(range(3, 11))


def test_a_journal_follows_a_file_that_was_made_again(path: Path) -> None:
    receipt = Receipt("m1", 1, T0, T0, T0, 0.1, (T0,))
    with closing(Outbox(path)) as outbox, closing(Journal(path, None)) as journal:
        outbox.done([([], receipt)])
        assert journal.look().receipts == [receipt]
        _everything(path.parent)
        outbox.done([([], receipt)])
        assert journal.look().receipts == [receipt]
        assert journal.look().receipts == []


# A full disk


class FullDisk:
    """Lets SQLite take no further page of the file, as a full disk does, until it is given room."""

    def __init__(self, outbox: Outbox) -> None:
        self._writer = outbox._file._writer
        pages = self._writer.execute("PRAGMA page_count").fetchone()[0]
        self._writer.execute(f"PRAGMA max_page_count = {pages}")

    def gets_room(self) -> None:
        self._writer.execute("PRAGMA max_page_count = 4294967294")


def test_a_full_disk_is_an_error_that_may_heal_and_leaves_the_books_right(path: Path) -> None:
    with closing(Outbox(path)) as outbox:
        outbox.append([record(1)])
        disk = FullDisk(outbox)
        with pytest.raises(StorageError) as caught:
            outbox.append([record(ts, 1_000) for ts in range(100)])
        assert may_heal(caught.value, path)
        assert not isinstance(caught.value, DamagedError)
        assert "free space" in caught.value.remedy
        assert (outbox.depth, waiting(outbox)) == (1, [1])
        disk.gets_room()
        outbox.append([record(2)])
        assert waiting(outbox) == [1, 2]


def test_an_alert_that_the_disk_refuses_is_in_the_bulletin_and_in_the_file_later(path: Path) -> None:
    alert = Alert("session", "thingsboard", Severity.CRITICAL, True, T0, "e" * 20_000, "r")
    with closing(Outbox(path)) as outbox:
        disk = FullDisk(outbox)
        outbox.tell(alert)
        assert alerts(path) == []
        disk.gets_room()
        outbox.tell(alert)
        assert alerts(path) == [alert, alert]
        disk = FullDisk(outbox)
        outbox.tell(alert)
        assert bulletin_of(path).take() == [alert]
        disk.gets_room()


def test_an_outbox_of_the_version_before_is_taken_over(path: Path) -> None:
    filled(path, 10)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE dropped")
        database.execute("DROP INDEX attributes")
        database.execute("PRAGMA user_version = 1")
        database.commit()
    with closing(Outbox(path)) as outbox:
        assert len(waiting(outbox)) == 10
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM dropped").fetchone() == (0,)
