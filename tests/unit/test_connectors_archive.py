from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
import structlog
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, cluster_main, run_main
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.archive import retention
from connectors.archive import sink as sink_module
from connectors.archive.database import open_writer
from connectors.archive.reader import ArchivedReport, ArchiveReader, Totals
from connectors.archive.rows import restore_value
from connectors.archive.schema import FILE_NAME, MIGRATIONS, VERSION, version_of
from connectors.archive.sink import NODE, ArchivePartition, ArchiveSettings, archive_out
from connectors.archive.store import ArchiveStore
from connectors.console import table
from model.errors import StorageError
from model.messages import (
    FLEET,
    Alert,
    Cycle,
    ErrorKind,
    Gap,
    HealthReport,
    Message,
    Origin,
    Outcome,
    RawValue,
    ReadError,
    Reading,
    Receipt,
    Rejection,
    Severity,
    Value,
    Violation,
    ViolationCount,
)
from model.node import MAIN, BuildContext, NodeType
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from model.timestamps import from_ms, to_ms
from operators import alert as alert_node
from operators import health

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
FAR = T0 + timedelta(days=3650)
DAY = 86_400.0


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def reading(seconds: float, value: Value = 230, *, meter: str = "m1", key: str = "voltage") -> Reading:
    return Reading(meter, key, value, "V", at(seconds), Origin.POLL, at(seconds + 0.5))


def cycle(seconds: float, outcome: Outcome = Outcome.OK, *errors: ReadError, meter: str = "m1") -> Cycle:
    values = (RawValue("voltage", 2300, -1, 35),)
    return Cycle(meter, at(seconds), at(seconds), 0.7, outcome, values, errors, 5, True, -2.5)


def receipt(seconds: float, readings: int = 5) -> Receipt:
    return Receipt("m1", readings, at(seconds), at(seconds + 1), at(seconds + 2), 0.4, (at(seconds), at(seconds + 1)))


def report(seconds: float, meter: str = "m1") -> HealthReport:
    return HealthReport(
        meter, at(seconds), at(seconds + 60), 12, 10, 1, 1, 11, 55, 2, 50, 10, 3, 60, 1, (0.5, 0.7), at(seconds), None, "timeout: no reply"
    )


def alert(seconds: float, raised: bool = True, *, kind: str = "meter-silent", subject: str = "m1") -> Alert:
    return Alert(kind, subject, Severity.CRITICAL, raised, at(seconds), "no good reading", "check the link" if raised else "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / FILE_NAME


@pytest.fixture
def store(path: Path) -> Iterator[ArchiveStore]:
    opened = ArchiveStore(path, 90 * DAY, to_ms(T0))
    yield opened
    opened.close()


@pytest.fixture
def reader(store: ArchiveStore, path: Path) -> Iterator[ArchiveReader]:
    with ArchiveReader(path) as opened:
        yield opened


def test_every_message_comes_back_as_it_was(store: ArchiveStore, reader: ArchiveReader) -> None:
    error = ReadError("current", ErrorKind.ACCESS, "read-write-denied", "use another client")
    lost = ReadError(None, ErrorKind.TIMEOUT, "no reply")
    rejected = Rejection(reading(3, Decimal("999.9")), "max", "999.9 is above 300")
    messages: list[Message] = [
        reading(1),
        cycle(1, Outcome.PARTIAL, error, lost),
        rejected,
        receipt(1),
        report(0),
        report(60, FLEET),
        alert(5),
    ]
    store.write(messages)
    assert reader.readings("m1", T0, FAR) == [reading(1)]
    (kept,) = reader.cycles("m1", T0, FAR)
    assert (kept.started, kept.due, kept.duration, kept.outcome) == (at(1), at(1), 0.7, Outcome.PARTIAL)
    assert (kept.errors, kept.value_count, kept.exchanges, kept.associated, kept.clock_offset) == ((error, lost), 1, 5, True, -2.5)
    assert reader.rejections("m1", T0, FAR) == [rejected]
    assert reader.reports("m1", T0, FAR) == [ArchivedReport(replace(report(0), read_times=()), 0.5, 0.7)]
    assert reader.latest_report(FLEET) == ArchivedReport(replace(report(60, FLEET), read_times=()), 0.5, 0.7)
    assert reader.latest_report("other") is None
    assert reader.alerts(T0, FAR) == [alert(5)]
    assert reader.totals(T0, FAR) == Totals({Outcome.OK: 0, Outcome.PARTIAL: 1, Outcome.FAILED: 0}, 1, 1, 5)
    assert reader.meters() == ["m1"]


def test_what_was_not_authentic_is_kept(store: ArchiveStore, reader: ArchiveReader) -> None:
    violations = (ViolationCount(Violation.OLD_COUNTER, 1, "old"), ViolationCount(Violation.WRONG_TAG, 2, "wrong"))
    store.write([replace(cycle(1), violations=violations), cycle(2), replace(report(0), violations=violations, invocation_counter=7)])
    assert [kept.violations for kept in reader.cycles("m1", T0, FAR)] == [violations, ()]
    (kept,) = reader.reports("m1", T0, FAR)
    assert (kept.report.violations, kept.report.invocation_counter) == (violations, 7)


def test_an_archive_of_version_1_becomes_one_of_this_version(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        for statement in (*MIGRATIONS[0], "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL)"):
            database.execute(statement)
        database.execute("INSERT INTO schema_version VALUES (1, 0)")
        database.execute("INSERT INTO reports VALUES ('m1', ?, ?" + ", 0" * 12 + ", NULL, NULL, NULL, NULL, NULL)", (to_ms(T0), to_ms(T0)))
    database.close()
    store = ArchiveStore(path, 90 * DAY, to_ms(T0))
    store.write([report(60)])
    store.close()
    with ArchiveReader(path) as reader:
        assert [kept.report.violations for kept in reader.reports("m1", T0, FAR)] == [(), ()]


@pytest.mark.parametrize(
    ("value", "text", "number"),
    [
        (300, "300", 300.0),
        (Decimal("300.001"), "300.001", 300.001),
        (Decimal("230.10"), "230.10", 230.1),
        (Decimal("1E+400"), "1E+400", None),
        (10**400, "1" + "0" * 400, None),
        (2**64, str(2**64), 2.0**64),
        ("00012345", "00012345", None),
        ("", "", None),
        (True, "true", 1.0),
        (False, "false", 0.0),
    ],
)
def test_values_are_exact(store: ArchiveStore, reader: ArchiveReader, path: Path, value: Value, text: str, number: float | None) -> None:
    store.write([reading(1, value)])
    (kept,) = reader.readings("m1", T0, FAR)
    assert kept.value == value
    assert type(kept.value) is type(value)
    assert str(kept.value) == str(value)
    database = sqlite3.connect(path)
    assert database.execute("SELECT value, number FROM readings").fetchall() == [(text, number)]
    database.close()


def test_a_value_of_unknown_type_is_an_error_not_a_guess() -> None:
    with pytest.raises(ValueError, match="newer version"):
        restore_value("complex", "1j")


def test_a_repeat_changes_nothing(store: ArchiveStore, reader: ArchiveReader) -> None:
    messages: list[Message] = [
        reading(1),
        cycle(1, Outcome.FAILED, ReadError(None, ErrorKind.CONNECT, "refused")),
        receipt(1),
        report(0),
        alert(1),
    ]
    store.write(messages)
    before = (reader.totals(T0, FAR), reader.cycles("m1", T0, FAR), reader.reports("m1", T0, FAR), reader.alerts(T0, FAR))
    store.write(messages + messages)
    assert (reader.totals(T0, FAR), reader.cycles("m1", T0, FAR), reader.reports("m1", T0, FAR), reader.alerts(T0, FAR)) == before


def test_queries_take_the_span_the_key_and_the_limit(store: ArchiveStore, reader: ArchiveReader) -> None:
    store.write([reading(s, s, key=key, meter=meter) for s in range(10) for key in ("a", "b") for meter in ("m1", "m2")])
    assert [r.value for r in reader.readings("m1", at(3), at(5))] == [3, 3, 4, 4]
    assert [r.value for r in reader.readings("m1", at(3), at(5), key="b")] == [3, 4]
    assert [r.value for r in reader.readings("m1", at(0), at(9), limit=3)] == [0, 0, 1]
    assert reader.readings("other", at(0), at(9)) == []
    assert [(r.meter, r.key, r.value) for r in reader.latest()] == [("m1", "a", 9), ("m1", "b", 9), ("m2", "a", 9), ("m2", "b", 9)]
    assert [(r.meter, r.key, r.value) for r in reader.latest_of("m2")] == [("m2", "a", 9), ("m2", "b", 9)]
    assert reader.totals(at(2), at(4)).readings == 8


def test_an_empty_archive_answers_everything(reader: ArchiveReader) -> None:
    assert reader.latest() == []
    assert reader.meters() == []
    assert reader.standing_alerts() == []
    assert reader.totals(T0, FAR) == Totals(dict.fromkeys(Outcome, 0), 0, 0, 0)


def test_standing_alerts_are_those_not_cleared_since(store: ArchiveStore, reader: ArchiveReader) -> None:
    store.write(
        [alert(1), alert(2, False), alert(3), alert(1, kind="clock-off"), alert(2, False, kind="clock-off"), alert(2, subject="m2")]
    )
    assert reader.standing_alerts() == [alert(2, subject="m2"), alert(3)]


values = st.one_of(st.integers(-(2**70), 2**70), st.decimals(allow_nan=False, allow_infinity=False), st.text(max_size=5), st.booleans())
readings_of_two_meters = st.builds(
    lambda meter, key, second, value: reading(second, value, meter=meter, key=key),
    st.sampled_from(["m1", "m2"]),
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 5),
    values,
)


@given(st.lists(st.lists(readings_of_two_meters, max_size=8), max_size=6))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_archive_behaves_as_a_dict(tmp_path_factory: pytest.TempPathFactory, batches: list[list[Reading]]) -> None:
    file = tmp_path_factory.mktemp("model") / FILE_NAME
    store = ArchiveStore(file, 90 * DAY, to_ms(T0))
    expected: dict[tuple[str, str, datetime], Reading] = {}
    for batch in batches:
        store.write(batch)
        expected.update({(r.meter, r.key, r.ts): r for r in batch})
    with ArchiveReader(file) as reader:
        for meter in ("m1", "m2"):
            mine = sorted((r for r in expected.values() if r.meter == meter), key=lambda r: (r.ts, r.key))
            assert reader.readings(meter, T0, FAR) == mine
        newest = {(r.meter, r.key): r for r in sorted(expected.values(), key=lambda r: r.ts)}
        assert reader.latest() == [newest[series] for series in sorted(newest)]
    store.close()


def test_half_a_surrogate_pair_is_kept_as_a_question_mark(store: ArchiveStore, reader: ArchiveReader) -> None:
    store.write([reading(1, "ok"), reading(2, "bad \ud800 text"), reading(3, "ok")])
    assert [r.value for r in reader.readings("m1", T0, FAR)] == ["ok", "bad ? text", "ok"]


def test_a_row_that_does_not_fit_is_left_out_and_logged(store: ArchiveStore, reader: ArchiveReader) -> None:
    with structlog.testing.capture_logs() as logs:
        store.write([receipt(1), replace(receipt(2), delay=float("nan")), receipt(3)])
    assert reader.totals(T0, FAR).acknowledged == 10
    assert [(entry["log_level"], entry["table"], entry["meter"]) for entry in logs] == [("error", "receipts", "m1")]


def test_readers_do_not_block_the_writer_and_see_whole_batches(store: ArchiveStore, reader: ArchiveReader, path: Path) -> None:
    store.write([reading(1)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM readings").fetchone() == (1,)
    store.write([reading(2)])
    assert other.execute("SELECT count(*) FROM readings").fetchone() == (1,)
    assert len(reader.readings("m1", T0, FAR)) == 2
    other.close()


def test_the_reader_cannot_write(reader: ArchiveReader) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._database.execute("DELETE FROM readings_settled")


def _slices(store: ArchiveStore, now: datetime) -> list[int]:
    """Slices until a whole round is over."""
    counts = [store.delete_old(to_ms(now))]
    while store._retention._table is not None:
        counts.append(store.delete_old(to_ms(now)))
    return counts


def test_old_rows_are_deleted_in_small_slices(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_ROWS_PER_SLICE", 7)
    store = ArchiveStore(path, 50.0, to_ms(T0))
    for second in range(100):
        store.write([reading(second, key=key, meter=meter) for key in ("a", "b") for meter in ("m1", "m2")])
        store.write([cycle(second, Outcome.FAILED, ReadError(None, ErrorKind.TIMEOUT, "x")), receipt(second - 2), report(second)])
        store.write([Rejection(reading(second), "max", "too high")])
    counts = _slices(store, at(100))
    assert max(counts) <= 2 * 7 + 1
    assert sum(counts) == 50 * (4 + 1 + 1 + 1 + 1 + 1)
    with ArchiveReader(path) as reader:
        assert [r.ts for r in reader.readings("m2", T0, FAR, key="b")] == [at(s) for s in range(50, 100)]
        assert reader.cycles("m1", T0, at(50)) == []
        assert len(reader.cycles("m1", T0, FAR)) == 50
        assert reader.totals(T0, FAR) == Totals({Outcome.OK: 0, Outcome.PARTIAL: 0, Outcome.FAILED: 50}, 200, 50, 250)
    assert store.delete_old(to_ms(at(104))) == 0  # the next round is a tenth of what is kept later
    assert sum(_slices(store, at(106))) == 6 * (4 + 1 + 1 + 1 + 1 + 1)
    store.close()


def test_a_batch_in_a_while_deletes_as_much_as_many_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_ROWS_PER_SLICE", 7)
    wall, seconds = [T0.timestamp()], [0.0]

    def monotonic() -> float:
        seconds[0] += 0.001  # what a step takes
        return seconds[0]

    partition = ArchivePartition(path, 100.0, wall=lambda: wall[0], monotonic=monotonic)
    partition.write_batch([reading(second) for second in range(300)])
    wall[0] += 360.0
    partition.write_batch([reading(300)])  # a moment after the last one
    with ArchiveReader(path) as reader:
        assert len(reader.readings("m1", T0, FAR)) > 280
    seconds[0] += 10.0
    partition.write_batch([reading(301)])
    partition.close()
    with ArchiveReader(path) as reader:
        assert [found.ts for found in reader.readings("m1", T0, FAR)] == [at(second) for second in range(260, 302)]


def test_where_much_is_kept_a_round_is_an_hour_after_the_last_one(path: Path) -> None:
    store = ArchiveStore(path, DAY, to_ms(T0))
    store.write([reading(0), reading(60)])
    assert sum(_slices(store, at(DAY + 1))) == 1
    assert sum(_slices(store, at(DAY + 3600))) == 0
    assert sum(_slices(store, at(DAY + 3601))) == 1
    store.close()


def test_an_alert_that_stands_outlives_the_retention(path: Path) -> None:
    store = ArchiveStore(path, 50.0, to_ms(T0))
    store.write([alert(0), alert(1, False), alert(2), alert(3, kind="clock-off")])
    _slices(store, at(1000))
    with ArchiveReader(path) as reader:
        assert reader.alerts(T0, FAR) == [alert(2), alert(3, kind="clock-off")]
    store.close()


def test_opening_again_keeps_what_is_there(path: Path) -> None:
    for second in (1, 2):
        store = ArchiveStore(path, DAY, to_ms(T0))
        store.write([reading(second)])
        store.close()
    with ArchiveReader(path) as reader:
        assert len(reader.readings("m1", T0, FAR)) == 2


def test_the_version_is_recorded(store: ArchiveStore, path: Path) -> None:
    database = sqlite3.connect(path)
    assert version_of(database) == VERSION
    applied = database.execute("SELECT version, applied FROM schema_version").fetchall()
    assert applied == [(number, to_ms(T0)) for number in range(1, VERSION + 1)]
    database.close()


def _newer(path: Path) -> None:
    ArchiveStore(path, DAY, 0).close()
    database = sqlite3.connect(path)
    database.execute("INSERT INTO schema_version VALUES (99, 0)")
    database.commit()
    database.close()


def _not_a_database(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is text, not a database. " * 100)


def _a_directory(path: Path) -> None:
    path.mkdir(parents=True)


def _parent_is_a_file(path: Path) -> None:
    path.parent.write_text("in the way")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_newer, "newer version"),
        (_not_a_database, "move the file away"),
        (_a_directory, "cannot be opened"),
        (_parent_is_a_file, "writable"),
    ],
)
def test_an_archive_that_cannot_be_used_is_an_error_at_start(path: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(path)
    with pytest.raises(StorageError, match=says) as caught:
        ArchiveStore(path, DAY, 0)
    assert str(path) in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("spoil", [_newer, _not_a_database, lambda path: None])
def test_a_reader_says_why_it_cannot_read(path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(path)
    with pytest.raises(StorageError) as caught:
        ArchiveReader(path)
    assert str(path) in str(caught.value)
    assert caught.value.remedy


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _partition(path: Path, clock: Clock) -> ArchivePartition:
    return ArchivePartition(path, 90 * DAY, wall=lambda: T0.timestamp(), monotonic=clock)


def test_a_locked_file_makes_messages_wait_and_nothing_is_missing_afterwards(path: Path, clock: Clock) -> None:
    partition = _partition(path, clock)
    partition.write_batch([reading(0)])
    thief = sqlite3.connect(path, isolation_level=None)
    with structlog.testing.capture_logs() as logs:
        thief.execute("BEGIN IMMEDIATE")
        partition.write_batch([reading(1)])
        clock.seconds += sink_module.RETRY_SECONDS
        partition.write_batch([reading(2)])
        thief.execute("ROLLBACK")
        partition.write_batch([reading(3)])  # not tried before the pause is over
        with ArchiveReader(path) as reader:
            assert len(reader.readings("m1", T0, FAR)) == 1
        clock.seconds += sink_module.RETRY_SECONDS
        partition.write_batch([reading(4)])
    thief.close()
    partition.close()
    with ArchiveReader(path) as reader:
        assert [r.ts for r in reader.readings("m1", T0, FAR)] == [at(s) for s in range(5)]
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
    assert "remedy" in logs[0]


def test_a_full_disk_does_not_end_the_flow_and_drops_the_oldest_at_last(path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "WAITING_MAX", 10)
    partition = _partition(path, clock)
    database = partition._store._database
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")
    big = "x" * 20_000
    with structlog.testing.capture_logs() as logs:
        for second in range(15):
            clock.seconds += sink_module.RETRY_SECONDS
            partition.write_batch([reading(second, big)])
        database.execute("PRAGMA max_page_count = 1073741823")
        clock.seconds += sink_module.RETRY_SECONDS
        partition.write_batch([])
    partition.close()
    assert [(entry["log_level"], entry.get("lost")) for entry in logs] == [("error", None), ("info", 5)]
    assert "full" in logs[0]["error"]
    with ArchiveReader(path) as reader:
        assert [r.ts for r in reader.readings("m1", T0, FAR)] == [at(s) for s in range(5, 15)]


def test_closing_with_messages_unwritten_says_how_many(path: Path, clock: Clock) -> None:
    partition = _partition(path, clock)
    thief = sqlite3.connect(path, isolation_level=None)
    thief.execute("BEGIN IMMEDIATE")
    with structlog.testing.capture_logs() as logs:
        partition.write_batch([reading(1), reading(2)])
        partition.close()
    thief.close()
    assert logs[-1]["lost"] == 2


def test_default_settings() -> None:
    assert ArchiveSettings().keep == 90 * DAY
    assert NODE.settings is ArchiveSettings
    assert set(NODE.accepts) == {Cycle, Reading, Rejection, Receipt, HealthReport, Alert, Gap}
    with pytest.raises(ValueError):
        ArchiveSettings.model_validate({"keep": "1s"})


def _flow(path: Path, items: list[Any]) -> Dataflow:
    flow = Dataflow("archive_flow")
    source = op.input("in", flow, TestingSource(items))
    readings = op.filter("readings", source, lambda item: isinstance(item[1], Reading))
    others = op.filter("others", source, lambda item: not isinstance(item[1], Reading))
    archive_out("archive", readings, others, path=path, keep=36500 * DAY)
    return flow


@pytest.mark.parametrize("workers", [1, 2])
def test_in_a_flow_everything_arrives_in_one_file(path: Path, workers: int) -> None:
    items = [(f"m{n % 7}", reading(n, meter=f"m{n % 7}")) for n in range(50)] + [("m1", cycle(1)), ("m1", alert(1))]
    cluster_main(_flow(path, items), [], 0, worker_count_per_proc=workers)
    with ArchiveReader(path) as reader:
        assert reader.totals(T0, FAR).readings == 50
        assert len(reader.meters()) == 7
        assert reader.standing_alerts() == [alert(1)]


def test_after_an_abort_what_is_read_again_is_there_once(path: Path, tmp_path: Path) -> None:
    recovery = tmp_path / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, 1)
    items: list[Any] = [("m1", reading(n)) for n in range(20)]
    items.insert(13, TestingSource.ABORT())
    flow = _flow(path, items)
    for _ in range(2):
        run_main(flow, epoch_interval=timedelta(days=1), recovery_config=RecoveryConfig(str(recovery)))
    with ArchiveReader(path) as reader:
        assert [r.ts for r in reader.readings("m1", T0, FAR)] == [at(n) for n in range(20)]


def test_milliseconds_are_exact() -> None:
    moment = datetime(2026, 10, 25, 0, 59, 59, 999999, tzinfo=timezone.utc)
    assert to_ms(moment) == 1792889999999
    assert from_ms(to_ms(moment)) == moment.replace(microsecond=999000)
    assert to_ms(moment.astimezone(timezone(timedelta(hours=2)))) == to_ms(moment)


def test_the_writer_uses_wal(path: Path) -> None:
    database = open_writer(path)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()


def test_health_alert_archive_and_console_nodes_can_be_wired(tmp_path: Path) -> None:
    pipeline = PipelineSettings.model_validate(
        {
            "thingsboard": {"url": "embedded", "token": "t"},
            "templates": {"t": {"interval": "5s", "read": {"voltage": "1-0:32.7.0"}}},
            "meters": [{"id": "m1", "connect": "sim://three-phase", "template": "t"}],
            "nodes": [{"id": "health", "type": "health"}],
            "state_dir": str(tmp_path),
        }
    )
    flow = Dataflow("wired")

    def build(node: NodeType, node_id: str, *inputs: Any, **node_settings: Any) -> Any:
        own = node.settings.model_validate(node_settings)
        context = BuildContext(flow, node_id, own, pipeline, Stop(), lambda meter, connect: connect, lambda url: url)
        return node.build(context, inputs)

    source = op.input("in", flow, TestingSource([("m1", cycle(1)), ("m1", reading(1)), ("m1", receipt(1))]))
    reports = build(health.NODE, "health", source)[MAIN]
    alerts = build(alert_node.NODE, "alerts", reports)[MAIN]
    assert build(NODE, "archive", source, reports, alerts, keep="36500d") == {}
    assert build(table.NODE, "console", op.filter("shown", source, lambda item: not isinstance(item[1], Cycle))) == {}
    run_main(flow)
    with ArchiveReader(tmp_path / FILE_NAME) as reader:
        assert reader.totals(T0, FAR) == Totals({Outcome.OK: 1, Outcome.PARTIAL: 0, Outcome.FAILED: 0}, 1, 0, 5)
