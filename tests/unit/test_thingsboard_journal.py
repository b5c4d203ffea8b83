from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from connectors.thingsboard.journal import Journal
from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.receipts import LAST_LOOKS, ReceiptsSource
from connectors.thingsboard.records import alert_records, reading_records
from model.messages import Alert, Origin, Reading, Receipt, Rejection, Severity, Value
from model.stop import Stop

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)
ALERT = Alert("session", "thingsboard", Severity.CRITICAL, True, T0, "taken over", "stop the other one")


def reading(key: str, value: Value) -> Reading:
    return Reading("m1", key, value, None, T0, Origin.POLL, T0 + timedelta(seconds=1))


def receipt(number: int) -> Receipt:
    return Receipt("m1", number, T0, T0 + timedelta(seconds=1), T0 + timedelta(seconds=2), 1.5, (T0, T0 + timedelta(seconds=1)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


def test_the_file_may_come_later_and_everything_in_it_is_new(path: Path) -> None:
    with closing(Journal(path, None)) as journal:
        assert journal.look().receipts == []
        with closing(Outbox(path)) as outbox:
            outbox.done([([], receipt(1))])
            outbox.tell(ALERT)
            news = journal.look()
            assert (news.receipts, news.alerts) == ([receipt(1)], [ALERT])
            assert journal.look().receipts == []


def test_without_a_cursor_it_starts_at_the_end_and_with_one_behind_it(path: Path) -> None:
    with closing(Outbox(path)) as outbox:
        outbox.done([([], receipt(1))])
        with closing(Journal(path, None)) as first:
            assert first.look().receipts == []
            outbox.done([([], receipt(2))])
            cursor = dict(first.cursor)
            assert first.look().receipts == [receipt(2)]
        with closing(Journal(path, cursor)) as second:
            assert second.look().receipts == [receipt(2)]


def test_a_new_file_in_the_old_ones_place_is_read_from_its_start(path: Path) -> None:
    with closing(Journal(path, None)) as journal, closing(Outbox(path)) as outbox:
        outbox.done([([], receipt(number)) for number in range(5)])
        assert len(journal.look().receipts) == 5
        cursor = dict(journal.cursor)
    for file in path.parent.iterdir():
        file.unlink()
    with closing(Outbox(path)) as outbox:
        outbox.done([([], receipt(7))])
        with closing(Journal(path, cursor)) as journal:
            assert journal.look().receipts == [receipt(7)]


def test_a_dead_letter_is_a_rejection_of_every_reading_in_it(path: Path) -> None:
    values: dict[str, Value] = {"energy": Decimal("300.10"), "serial": "00012345", "on": True, "state": "ok", "count": 7}
    readings = [reading(key, value) for key, value in values.items()]
    with closing(Outbox(path)) as outbox, closing(Journal(path, None)) as journal:
        outbox.append([*reading_records(readings, str), *alert_records(ALERT, str)])
        outbox.dead([entry.id for entry in outbox.pending(0, 10)], "the server says that it is malformed", 0x99)
        rejections = journal.look().rejections
        assert [rejection.reading for rejection in rejections] == readings
        assert {rejection.rule for rejection in rejections} == {"thingsboard"}
        assert rejections[0].reason == "the server says that it is malformed (reason code 0x99)"


def test_a_file_that_is_no_database_is_not_an_exception(path: Path) -> None:
    path.write_bytes(b"x" * 5_000)
    with closing(Journal(path, None)) as journal:
        assert journal.look().receipts == []


def test_a_payload_that_is_no_json_still_counts_as_refused(path: Path) -> None:
    with closing(Outbox(path)) as outbox, closing(Journal(path, None)) as journal:
        (good,) = reading_records([reading("x", 1)], str)
        outbox.append([replace(good, payload=b'{"ts":1,"values":{"x":}}'), good])
        outbox.dead([1, 2], "malformed", 0x99)
        assert [rejection.reading.value for rejection in journal.look().rejections] == ['{"ts":1,"values":{"x":}}', 1]


def test_the_source_emits_by_meter_and_ends_some_looks_after_a_stop(path: Path) -> None:
    stop = Stop()
    with closing(Outbox(path)) as outbox:
        source = ReceiptsSource({"receipts": path}, stop)
        (part,) = source.list_parts()
        partition = source.build_part("receipts", part, None)
        try:
            outbox.done([([], receipt(1))])
            outbox.append(reading_records([reading("x", 1)], str))
            outbox.dead([1], "malformed")
            outbox.tell(ALERT)
            batch = partition.next_batch()
            assert [key for key, _ in batch] == ["m1", "m1", "thingsboard"]
            assert [type(message) for _, message in batch] == [Receipt, Rejection, Alert]
            assert partition.next_batch() == []
            snapshot = partition.snapshot()
            stop.request()
            outbox.done([([], receipt(2))])
            assert [message for _, message in partition.next_batch()] == [receipt(2)]
            for _ in range(LAST_LOOKS - 1):
                assert partition.next_batch() == []
            with pytest.raises(StopIteration):
                partition.next_batch()
        finally:
            partition.close()
        resumed = source.build_part("receipts", part, snapshot)
        assert resumed.snapshot() == snapshot
        resumed.close()


def test_wakes_lie_on_the_grid_and_are_near(path: Path) -> None:
    partition = ReceiptsSource({"receipts": path}, Stop()).build_part("receipts", "receipts", None)
    wake = partition.next_awake()
    ahead = (wake - datetime.now(timezone.utc)).total_seconds()
    assert ahead <= 1.0
    assert round(wake.timestamp() * 1000) % 100 == 0
    partition.close()
