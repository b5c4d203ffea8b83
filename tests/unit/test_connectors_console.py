from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import bytewax.operators as op
import pytest
import structlog
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, cluster_main

from connectors.console.table import (
    NODE,
    ConsolePartition,
    ConsoleSettings,
    LastValues,
    Snapshot,
    TableLogic,
    console_out,
    render,
)
from model.messages import Origin, Reading, Receipt, Value

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def reading(seconds: float, value: Value = 230, *, meter: str = "m1", key: str = "voltage", unit: str | None = "V") -> Reading:
    return Reading(meter, key, value, unit, at(seconds), Origin.POLL, at(seconds))


def receipt(newest: float, meter: str = "m1") -> Receipt:
    return Receipt(meter, 1, at(newest), at(newest), at(newest + 1), 0.3, (at(newest),))


def snapshot_of(*messages: Reading | Receipt, rows: int = 40) -> Snapshot:
    values = LastValues()
    for message in messages:
        values.add(message)
    return values.snapshot(at(60), rows)


def lines_of(snapshot: Snapshot, width: int = 80, encoding: str = "utf-8") -> list[str]:
    return render(snapshot, width, encoding, color=False).splitlines()


def test_the_newest_value_of_each_key_by_meter_and_key() -> None:
    snapshot = snapshot_of(
        reading(5, 231), reading(0, 229), reading(1, 7, meter="m0", key="b"), reading(1, 6, meter="m0", key="a"), reading(5, 232)
    )
    assert [(row.reading.meter, row.reading.key, row.reading.value) for row in snapshot.values] == [
        ("m0", "a", 6),
        ("m0", "b", 7),
        ("m1", "voltage", 232),
    ]
    assert snapshot.more == 0


@pytest.mark.parametrize(
    ("receipts", "published"),
    [
        ([], False),
        ([receipt(4)], False),
        ([receipt(5)], True),
        ([receipt(6)], True),
        ([receipt(6), receipt(1)], True),
        ([receipt(6, "m2")], False),
    ],
)
def test_published_means_acknowledged_up_to_this_reading(receipts: list[Receipt], published: bool) -> None:
    (row,) = snapshot_of(reading(5), *receipts).values
    assert row.published is published


def test_at_most_so_many_rows() -> None:
    snapshot = snapshot_of(*[reading(0, n, key=f"k{n:03}") for n in range(100)], rows=3)
    assert [row.reading.key for row in snapshot.values] == ["k000", "k001", "k002"]
    assert snapshot.more == 97
    assert lines_of(snapshot)[0] == "last values at 2026-03-01 12:01:00 UTC (97 more not shown)"


def test_the_table_in_plain_text() -> None:
    snapshot = snapshot_of(reading(1, Decimal("230.10")), reading(2, True, meter="m2", key="relay", unit=None), receipt(1))
    assert lines_of(snapshot) == [
        "last values at 2026-03-01 12:01:00 UTC",
        "meter  key       value  unit  time      published",
        "m1     voltage  230.10  V     12:00:01  ✓",
        "m2     relay      true        12:00:02  waiting",
        "",
    ]


def test_long_names_fit_80_columns() -> None:
    long = "abcdefghij" * 5
    messages = [reading(n, long, meter=f"{n}{long}", key=long, unit=long) for n in range(3)]
    lines = lines_of(snapshot_of(*messages))
    assert max(len(line) for line in lines) <= 80
    assert "abcdefghi..." in lines[2]
    assert lines[2].endswith("12:00:00  waiting")
    assert max(len(line) for line in lines_of(snapshot_of(*messages), width=200)) > 100


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_terminal_encoding_can_show_it(encoding: str) -> None:
    text = render(snapshot_of(reading(0, "Zähler ✓ \ud800"), receipt(0)), 80, encoding, color=False)
    assert text.encode(encoding)
    assert text.splitlines()[2].endswith("✓" if encoding == "utf-8" else "yes")


def test_a_meters_text_cannot_steer_the_terminal() -> None:
    text = render(snapshot_of(reading(0, "[red]\x1b[2J\r\n")), 80, "utf-8", color=False)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "[red]?[2J??" in text


def test_a_terminal_gets_colour() -> None:
    assert "\x1b[33mwaiting" in render(snapshot_of(reading(0)), 80, "utf-8", color=True)


@pytest.mark.parametrize(
    ("value", "text"), [(Decimal("1E+3"), "1000"), (Decimal("1E+40"), "1E+40"), (Decimal("0.050"), "0.050"), (False, "false")]
)
def test_values_are_shown_as_people_write_them(value: Value, text: str) -> None:
    assert lines_of(snapshot_of(reading(0, value)))[2].split()[2] == text


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now


def test_a_table_every_so_often_and_one_at_the_end() -> None:
    clock = Clock()
    logic = TableLogic(timedelta(seconds=10), 40, clock)
    assert logic.on_batch([reading(1, 1)]) == ([], False)
    assert logic.notify_at() == at(10)
    clock.now = at(10)
    (first,) = logic.on_notify()[0]
    assert [row.reading.value for row in first.values] == [1]
    assert logic.notify_at() == at(20)
    clock.now = at(15)
    logic.on_batch([reading(12, 2)])
    (last,) = logic.on_eof()[0]
    assert [row.reading.value for row in last.values] == [2]


def test_a_clock_set_back_does_not_stop_the_tables() -> None:
    clock = Clock()
    logic = TableLogic(timedelta(seconds=10), 40, clock)
    clock.now = at(-3600)
    logic.on_batch([reading(1)])
    assert logic.notify_at() == at(-3590)


class _Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError("nobody reads")


def test_a_closed_stdout_ends_the_table_not_the_flow() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (_Gone(), closed):
        partition = ConsolePartition(stream)
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                partition.write_batch([snapshot_of(reading(0))])
        partition.close()
        assert [entry["log_level"] for entry in logs] == ["warning"]


@pytest.mark.parametrize("workers", [1, 2])
def test_in_a_flow_one_table_is_printed_at_the_end(workers: int, capsys: pytest.CaptureFixture[str]) -> None:
    items: list[tuple[str, Any]] = [(f"m{n}", reading(n, n, meter=f"m{n}")) for n in range(5)]
    flow = Dataflow("console_flow")
    readings = op.input("readings", flow, TestingSource(items))
    receipts = op.input("receipts", flow, TestingSource([("m3", receipt(3, "m3"))]))
    console_out("console", readings, receipts, settings=ConsoleSettings())
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    printed = capsys.readouterr().out
    assert printed.count("last values at") == 1
    rows = [line.split() for line in printed.splitlines() if line.startswith("m") and "meter" not in line]
    assert [row[0] for row in rows] == ["m0", "m1", "m2", "m3", "m4"]
    assert [row[-1] for row in rows].count("waiting") == 4


def test_settings() -> None:
    assert (ConsoleSettings().every, ConsoleSettings().rows) == (10.0, 40)
    assert NODE.accepts == (Reading, Receipt)
    with pytest.raises(ValueError):
        ConsoleSettings.model_validate({"every": "0.1s"})
