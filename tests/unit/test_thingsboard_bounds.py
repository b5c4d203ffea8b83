"""The bounds of the outbox and their policies against a model of lists, and what is told about what was dropped."""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connectors.thingsboard.bounds import ROW_BYTES, Bounds, Load, Policy, load_of
from connectors.thingsboard.journal import Journal
from connectors.thingsboard.outbox import PRUNE_EVERY, Device, Outbox, OutboxFull
from connectors.thingsboard.outbox_trouble import QUIET
from connectors.thingsboard.payload import Kind, Record, encode_record
from connectors.thingsboard.records import tags_record
from model.messages import Alert, Dropped
from model.timestamps import from_ms, to_ms

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)
MOST = 12
METERS = st.sampled_from(["m1", "m2"])
ORIGINS = st.sampled_from(["poll", "profile", "report"])


class Clock:
    def __init__(self) -> None:
        self.now = T0.timestamp()

    def __call__(self) -> float:
        return self.now


def record(meter: str, ts: int, origin: str = "poll", readings: int = 1, read_at: int = 0) -> Record:
    values = {f"x{number}": ts for number in range(readings)}
    count = readings if origin in ("poll", "profile") else 0
    return Record(meter.upper(), meter, Kind.TELEMETRY, ts, encode_record(ts, values), origin, count, read_at or ts, readings)


class BoundedOutbox(RuleBasedStateMachine):
    """What waits and what is dropped, against lists; the file is closed and opened again at any time."""

    policy: Policy = "drop-oldest"

    @initialize(policy=st.sampled_from(["drop-oldest", "drop-newest", "block"]), aged=st.booleans())
    def start(self, policy: Policy, aged: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "outbox.sqlite"
        self.clock = Clock()
        self.bounds = Bounds(readings=MOST, age=1000.0 if aged and policy != "block" else float("inf"), policy=policy)
        self.outbox = Outbox(self.path, clock=self.clock, bounds=self.bounds)
        self.journal = Journal(self.path, None)
        self.waiting: list[Record] = []
        self.dropped: list[Record] = []
        self.pruned = self.clock.now
        self.ts = 0

    def batch(self, shape: list[tuple[str, str, int]]) -> list[Record]:
        records = []
        for meter, origin, readings in shape:
            self.ts += 1
            records.append(record(meter, self.ts, origin, readings, to_ms(from_ms(int(self.clock.now * 1000)))))
        return records

    def prune(self) -> None:
        if abs(self.clock.now - self.pruned) < PRUNE_EVERY:
            return
        self.pruned = self.clock.now
        while self.waiting and self.waiting[0].read_at < int((self.clock.now - self.bounds.age) * 1000 if self.bounds.age < 1e9 else -1):
            self.dropped.append(self.waiting.pop(0))

    def full(self, records: list[Record]) -> bool:
        return sum(entry.readings for entry in records) > MOST

    @rule(
        shape=st.lists(
            st.tuples(st.sampled_from(["m1", "m2"]), st.sampled_from(["poll", "profile", "report"]), st.integers(1, 5)),
            min_size=1,
            max_size=6,
        )
    )
    def append(self, shape: list[tuple[str, str, int]]) -> None:
        records = self.batch(shape)
        if self.bounds.policy == "block" and sum(entry.readings for entry in self.waiting) >= MOST:
            with pytest.raises(OutboxFull):
                self.outbox.append(records)
            self.prune()
            return
        self.outbox.append(records)
        self.prune()
        if self.bounds.policy == "drop-newest":
            for count, entry in enumerate(records):
                if self.full([*self.waiting, entry]):
                    self.dropped += records[count:]
                    return
                self.waiting.append(entry)
            return
        self.waiting += records
        while self.bounds.policy == "drop-oldest" and self.full(self.waiting):
            self.dropped.append(self.waiting.pop(0))

    @precondition(lambda self: self.waiting)
    @rule(count=st.integers(1, 4))
    def done(self, count: int) -> None:
        entries = self.outbox.pending(0, count)
        self.outbox.done([([entry.id for entry in entries], None)])
        self.waiting = self.waiting[len(entries) :]
        self.prune()

    @rule(seconds=st.sampled_from([1.0, 100.0, 900.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def reopen(self) -> None:
        self.outbox.close()
        self.outbox = Outbox(self.path, clock=self.clock, bounds=self.bounds)
        self.pruned = self.clock.now

    @invariant()
    def the_same_waits(self) -> None:
        if not hasattr(self, "outbox"):
            return
        assert [entry.record for entry in self.outbox.pending(0, 1_000)] == self.waiting
        newest_first = self.outbox.pending_before(self.outbox.newest + 1, 1_000)
        assert [entry.record for entry in newest_first] == self.waiting[::-1]
        assert self.outbox.load == load_of(self.waiting)

    @invariant()
    def everything_dropped_is_told_once(self) -> None:
        if not hasattr(self, "outbox"):
            return
        told = self.journal.look().dropped
        for meter in ("m1", "m2"):
            mine = [entry for entry in self.dropped if entry.meter == meter and entry.readings]
            heard = [message for message in told if message.meter == meter]
            assert sum(message.readings for message in heard) == sum(entry.readings for entry in mine)
            profile = sorted(entry.ts for entry in mine if entry.origin == "profile")
            assert sorted(to_ms(ts) for message in heard for ts in message.intervals) == profile
            if mine:
                assert min(to_ms(message.oldest) for message in heard) == min(entry.ts for entry in mine)
                assert max(to_ms(message.newest) for message in heard) == max(entry.ts for entry in mine)
        self.dropped.clear()

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.journal.close()
            self.outbox.close()
            self.folder.cleanup()


TestBoundedOutbox = BoundedOutbox.TestCase
TestBoundedOutbox.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


def alerts(path: Path) -> list[Alert]:
    with closing(Journal(path, {"version": 1, "outbox": None})) as journal:
        return journal.look().alerts


def test_a_full_outbox_is_one_alert_with_evidence_and_cleared_when_there_is_room_again(path: Path) -> None:
    clock = Clock()
    with closing(Outbox(path, clock=clock, bounds=Bounds(readings=10))) as outbox:
        for ts in range(20):
            outbox.append([record("m1", ts), record("m2", ts)])
        (raised,) = alerts(path)
        assert (raised.kind, raised.raised) == ("outbox-full", True)
        assert "readings dropped, from 1970-01-01T00:00:00+00:00 to" in raised.evidence
        assert "m1" in raised.evidence
        assert "max_size" in raised.remedy
        outbox.done([([entry.id for entry in outbox.pending(0, 10)], None)])
        clock.now += QUIET + PRUNE_EVERY
        outbox.append([record("m1", 21)])
        outbox.append([record("m1", 22)])
        _, cleared = alerts(path)
        assert (cleared.kind, cleared.raised) == ("outbox-full", False)
        assert cleared.evidence.startswith("the outbox has room again; 30 readings dropped, from")
        assert cleared.evidence.endswith("of m1, m2 in all")


def test_an_alert_that_stood_when_the_process_ended_is_cleared_by_the_next_one(path: Path) -> None:
    clock = Clock()
    with closing(Outbox(path, clock=clock, bounds=Bounds(readings=2))) as outbox:
        outbox.append([record("m1", ts) for ts in range(5)])
    with closing(Outbox(path, clock=clock, bounds=Bounds(readings=2))) as outbox:
        outbox.append([record("m1", 6)])
        assert [alert.raised for alert in alerts(path)] == [True]
        outbox.done([([entry.id for entry in outbox.pending(0, 10)], None)])
        clock.now += QUIET + PRUNE_EVERY
        outbox.append([record("m1", 7)])
        outbox.append([])
        assert [alert.raised for alert in alerts(path)] == [True, False]


def test_the_size_bound_counts_payload_and_row(path: Path) -> None:
    one = load_of([record("m1", 5)])
    with closing(Outbox(path, bounds=Bounds(size=3 * one.size))) as outbox:
        for ts in range(5, 10):
            outbox.append([record("m1", ts)])
        assert [entry.record.ts for entry in outbox.pending(0, 10)] == [7, 8, 9]
        assert outbox.load == Load(3, 3, 3 * one.size)


def test_the_size_that_is_counted_is_about_what_the_file_takes(path: Path) -> None:
    rows = [record(f"meter-{ts % 40:04d}", 1_767_225_600_000 + ts, readings=20) for ts in range(20_000)]
    with closing(Outbox(path)) as outbox:
        empty = path.stat().st_size
        outbox.append(rows)
        counted = outbox.load.size
    assert counted == pytest.approx(path.stat().st_size - empty, rel=0.15)
    assert load_of(rows).size == sum(len(row.payload) for row in rows) + len(rows) * ROW_BYTES


def test_a_bound_smaller_than_a_batch_keeps_the_newest(path: Path) -> None:
    with closing(Outbox(path, bounds=Bounds(readings=3))) as outbox:
        outbox.append([record("m1", ts) for ts in range(2_000)])
        assert [entry.record.ts for entry in outbox.pending(0, 10)] == [1997, 1998, 1999]


def test_tags_that_were_dropped_are_told_again(path: Path) -> None:
    tags = Device("M1", "meter", tags_record("M1", "m1", {"site": "north"}, 1))
    with closing(Outbox(path, bounds=Bounds(size=1_000))) as outbox:
        outbox.append([record("m1", 1)], [tags])
        for ts in range(2, 12):
            outbox.append([record("m1", ts)])
        assert all(entry.record.kind is Kind.TELEMETRY for entry in outbox.pending(0, 100))
        outbox.append([record("m1", 12)], [tags])
        assert [entry.record.kind for entry in outbox.pending(0, 100)].count(Kind.ATTRIBUTES) == 1


def test_what_waits_on_a_stop_is_kept_beyond_the_bounds(path: Path) -> None:
    with closing(Outbox(path, bounds=Bounds(readings=1, policy="block"))) as outbox:
        outbox.append([record("m1", 1)])
        with pytest.raises(OutboxFull):
            outbox.append([record("m1", 2)])
        outbox.append_beyond_bounds([record("m1", 2)])
        assert outbox.depth == 2


def test_many_dropped_intervals_are_told_in_parts(path: Path) -> None:
    with closing(Outbox(path, bounds=Bounds(readings=1))) as outbox, closing(Journal(path, None)) as journal:
        outbox.append([record("m1", ts, "profile") for ts in range(12_001)])
        told = journal.look().dropped
        assert [type(message) for message in told] == [Dropped] * len(told)
        assert [len(message.intervals) for message in told] == [5_000, 5_000, 2_000]
        assert sum(message.readings for message in told) == 12_000
        assert told[0].oldest == from_ms(0)
        assert told[0].newest - told[0].oldest == timedelta(milliseconds=11_999)


def test_a_dropped_record_that_is_divided_does_not_come_back(path: Path) -> None:
    with closing(Outbox(path, bounds=Bounds(readings=2))) as outbox:
        outbox.append([record("m1", 1, readings=2)])
        (entry,) = outbox.pending(0, 1)
        outbox.append([record("m1", 2, readings=2)])
        outbox.divide(entry.id, [record("m1", 1), record("m1", 1)])
        assert [entry.record.ts for entry in outbox.pending(0, 10)] == [2]
