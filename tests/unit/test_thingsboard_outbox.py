from __future__ import annotations

import sqlite3
import tempfile
import threading
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connectors.thingsboard.journal import Journal
from connectors.thingsboard.outbox import Device, Outbox, Pending
from connectors.thingsboard.payload import Kind, Record, encode_record, encode_values
from connectors.thingsboard.records import tags_record
from model.errors import StorageError
from model.messages import Alert, Receipt, Severity

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)


def record(device: str = "M1", ts: int = 1_000, **values: int) -> Record:
    return Record(device, device.lower(), Kind.TELEMETRY, ts, encode_record(ts, values or {"x": ts}), "poll", 1, ts + 5, 1)


def receipt(readings: int = 1, at: datetime = T0) -> Receipt:
    return Receipt("m1", readings, T0, T0, at, 0.25, (T0,))


def everything(outbox: Outbox, page: int = 3) -> list[Pending]:
    found: list[Pending] = []
    while batch := outbox.pending(found[-1].id if found else 0, page):
        found += batch
    return found


class OutboxModel(RuleBasedStateMachine):
    """The outbox against lists in memory; the file is closed and opened again at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "outbox.sqlite"
        self.waiting: list[Record] = []
        self.dead: list[tuple[Record, str, int | None]] = []
        self.receipts: list[Receipt] = []
        self.tags: dict[str, bytes] = {}
        self.highest = 0
        self.outbox = Outbox(self.path)
        self.journal = Journal(self.path, None)

    @initialize()
    def empty(self) -> None:
        assert everything(self.outbox) == []

    @rule(batch=st.lists(st.builds(record, st.sampled_from(["M1", "M2", "Ünïcode \0"]), st.integers(0, 2**47)), max_size=5))
    def append(self, batch: list[Record]) -> None:
        self.outbox.append(batch)
        self.waiting += batch

    @rule(device=st.sampled_from(["M1", "M2"]), site=st.sampled_from(["north", "south"]))
    def tag(self, device: str, site: str) -> None:
        tags = tags_record(device, device.lower(), {"site": site}, 7)
        self.outbox.append([], [Device(device, "default", tags)])
        if self.tags.get(device) != tags.payload:
            self.tags[device] = tags.payload
            self.waiting.append(tags)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        chosen = self._choose(data)
        told = receipt(len(chosen))
        self.outbox.done([([entry.id for entry in chosen], told)])
        self.receipts.append(told)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), code=st.sampled_from([0x99, None]))
    def die(self, data: st.DataObject, code: int | None) -> None:
        chosen = self._choose(data)
        self.outbox.dead([entry.id for entry in chosen], "malformed", code)
        self.dead += [(entry.record, "malformed", code) for entry in chosen]

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), parts=st.lists(st.builds(record, st.just("M1"), st.integers(0, 9)), min_size=2, max_size=3))
    def divide(self, data: st.DataObject, parts: list[Record]) -> None:
        entries = everything(self.outbox)
        chosen = data.draw(st.sampled_from(entries))
        self.outbox.divide(chosen.id, parts)
        self.waiting = [entry.record for entry in entries if entry is not chosen] + parts

    @rule()
    def reopen(self) -> None:
        self.outbox.close()
        self.outbox = Outbox(self.path)

    def _choose(self, data: st.DataObject) -> list[Pending]:
        entries = everything(self.outbox)
        chosen = data.draw(st.lists(st.sampled_from(entries), unique_by=lambda entry: entry.id, min_size=1, max_size=4))
        gone = {entry.id for entry in chosen}
        self.waiting = [entry.record for entry in entries if entry.id not in gone]
        return chosen

    @invariant()
    def the_same_waits_in_the_same_order(self) -> None:
        entries = everything(self.outbox)
        assert [entry.record for entry in entries] == self.waiting
        ids = [entry.id for entry in entries]
        assert ids == sorted(ids)
        assert self.outbox.depth == len(self.waiting)
        assert not ids or self.outbox.newest >= ids[-1]

    @invariant()
    def traces_are_complete(self) -> None:
        news = self.journal.look()
        assert news.receipts == self.receipts
        self.receipts.clear()
        with closing(sqlite3.connect(self.path)) as database:
            rows = database.execute("SELECT device, ts, payload, reason, code FROM dead_letter ORDER BY id").fetchall()
        assert sorted(rows, key=repr) == sorted(((r.device, r.ts, r.payload, reason, code) for r, reason, code in self.dead), key=repr)

    def teardown(self) -> None:
        self.journal.close()
        self.outbox.close()
        self.folder.cleanup()


TestOutboxModel = OutboxModel.TestCase
TestOutboxModel.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.sqlite"


def test_what_was_appended_is_there_without_closing(path: Path) -> None:
    with closing(Outbox(path)) as first:
        first.append([record()])
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT count(*) FROM records").fetchone() == (1,)
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_ids_are_never_used_again(path: Path) -> None:
    with closing(Outbox(path)) as outbox:
        outbox.append([record()])
        first = outbox.pending(0, 1)[0].id
        outbox.done([([first], None)])
    with closing(Outbox(path)) as outbox:
        outbox.append([record()])
        assert outbox.pending(0, 1)[0].id > first


def test_device_types_are_known_after_a_restart_and_tags_are_sent_once(path: Path) -> None:
    tags = tags_record("M1", "m1", {"site": "north"}, 1)
    with closing(Outbox(path)) as outbox:
        outbox.append([record()], [Device("M1", "three-phase", tags)])
        outbox.append([record()], [Device("M1", "three-phase", replace(tags, ts=2))])
        assert [entry.record.kind for entry in everything(outbox)] == [Kind.ATTRIBUTES, Kind.TELEMETRY, Kind.TELEMETRY]
    with closing(Outbox(path)) as outbox:
        outbox.append([], [Device("M1", "three-phase", tags)])
        assert outbox.depth == 3
        assert outbox.device_type("M1") == "three-phase"
        assert outbox.device_type("unknown") == "default"
        outbox.append([], [Device("M1", "three-phase", tags_record("M1", "m1", {"site": "south"}, 3))])
        assert everything(outbox)[-1].record.payload == encode_values({"site": "south"})


def test_receipts_and_alerts_are_forgotten_by_age_and_records_are_not(path: Path) -> None:
    now = T0.timestamp()
    with closing(Outbox(path, keep_receipts=100.0, clock=lambda: now)) as outbox:
        outbox.append([record(), record()])
        outbox.tell(Alert("session", "thingsboard", Severity.CRITICAL, True, T0, "e", "r"))
        outbox.done([([1], receipt(at=T0))])
        now += 300.0
        outbox.done([([], receipt(at=T0 + timedelta(seconds=300)))])
        news = Journal(path, {"version": 1, "outbox": None, "receipts": 0, "dead_letter": 0, "alerts": 0})
        found = news.look()
        news.close()
        assert [told.acknowledged for told in found.receipts] == [T0 + timedelta(seconds=300)]
        assert found.alerts == []
        assert outbox.depth == 1


def test_more_receipts_than_one_look_takes_are_forgotten_a_second_later(path: Path) -> None:
    now = T0.timestamp()

    def kept() -> int:
        with closing(sqlite3.connect(path)) as database:
            return int(database.execute("SELECT count(*) FROM receipts").fetchone()[0])

    with closing(Outbox(path, keep_receipts=100.0, clock=lambda: now)) as outbox:
        outbox.done([([], receipt(at=T0)) for _ in range(25_000)])
        for seconds, left in ((300.0, 15_000), (0.5, 15_000), (0.6, 5_000), (1.1, 0), (1.1, 0)):
            now += seconds
            outbox.done([([], receipt(at=T0 + timedelta(days=1)))])
            assert kept() - left in range(1, 6)  # those that were just received besides


def test_many_threads_may_use_it(path: Path) -> None:
    with closing(Outbox(path)) as outbox:

        def work(number: int) -> None:
            for ts in range(30):
                outbox.append([record(f"M{number}", ts)])
                entry = next(entry for entry in outbox.pending(0, 1_000) if entry.record.device == f"M{number}")
                outbox.done([([entry.id], receipt())])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outbox.depth == 0
        assert everything(outbox) == []


def test_a_failed_transaction_leaves_nothing_behind(path: Path) -> None:
    with closing(Outbox(path)) as outbox:
        outbox.append([record()])
        broken = replace(record(), payload=object())  # type: ignore[arg-type]
        with pytest.raises(StorageError, match="cannot be used"):
            outbox.append([record(), broken])
        assert outbox.depth == 1
        outbox.append([record()])
        assert len(everything(outbox)) == 2


def test_a_directory_in_its_place_is_a_storage_error(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StorageError) as caught:
        Outbox(path)
    assert "state_dir" in caught.value.remedy


def test_a_state_dir_that_is_a_file_is_a_storage_error(path: Path) -> None:
    path.parent.write_text("", encoding="ascii")
    with pytest.raises(StorageError):
        Outbox(path)


def test_another_schema_version_is_refused(path: Path) -> None:
    Outbox(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="schema version 99"):
        Outbox(path)


def test_a_foreign_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE something (x)")
    with pytest.raises(StorageError, match="schema version 0"):
        Outbox(path)


def test_a_file_that_is_locked_by_another_program(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.thingsboard.outbox_schema.BUSY_TIMEOUT", 0.05)
    monkeypatch.setattr("connectors.thingsboard.outbox_schema.BUSY_PATIENCE", 0.2)
    with closing(Outbox(path)) as outbox, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError) as caught:
            outbox.append([record()])
        assert "end the program" in caught.value.remedy
        other.execute("ROLLBACK")
        outbox.append([record()])
        assert outbox.depth == 1
