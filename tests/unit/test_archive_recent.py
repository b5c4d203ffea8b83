"""Recent and settled readings: whatever the order in which they come and move, the archive answers as if they were one table."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from connectors.archive import recent
from connectors.archive.schema import MIGRATIONS
from connectors.archive.store import ArchiveStore
from connectors.archive.survey import ArchiveSurvey
from model.messages import Origin, Reading
from model.timestamps import to_ms

T0 = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
FAR = T0 + timedelta(days=3_000)
KEEP = 365 * 86_400.0
METERS, KEYS = ("m1", "m2"), ("a", "b", "c")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "ENOUGH", 12)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.sqlite"


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


def reading(second: int, value: int = 0, meter: str = "m1", key: str = "a", origin: Origin = Origin.POLL) -> Reading:
    return Reading(meter, key, value, "V", at(second), origin, at(second + 1))


def tables(path: Path) -> tuple[list[int], list[int]]:
    """Seconds of the settled readings of m1 and of its recent ones."""
    with closing(sqlite3.connect(path)) as database:
        settled, newest = (
            [(ts - to_ms(T0)) // 1000 for (ts,) in database.execute(query)]
            for query in (
                "SELECT ts FROM readings_settled WHERE meter = 'm1' ORDER BY ts",
                "SELECT ts FROM readings_recent WHERE meter = 'm1' ORDER BY ts",
            )
        )
    return settled, newest


@pytest.mark.parametrize("seed", range(6))
def test_it_answers_as_one_table_would(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    kept: dict[tuple[str, str, datetime], Reading] = {}
    now = 0
    store = ArchiveStore(path, KEEP, 0)
    for step in range(120):
        now += chance.randrange(3)
        batch = [
            reading(
                chance.choice((now, now, now, now - chance.randrange(40), now + 500)),
                step,
                chance.choice(METERS),
                chance.choice(KEYS),
                chance.choice((Origin.POLL, Origin.PROFILE)),
            )
            for _ in range(chance.randrange(6))
        ]
        store.write(batch)
        kept.update({(each.meter, each.key, each.ts): each for each in batch})
        if chance.random() < 0.3:
            store.settle(to_ms(at(now)))
        if chance.random() < 0.05:
            store.close()
            store = ArchiveStore(path, KEEP, 0)
    store.close()
    settled, newest = tables(path)
    assert settled and newest
    assert max(settled) < min(newest)
    with ArchiveSurvey(path) as survey:
        _assert_same(survey, sorted(kept.values(), key=lambda each: (each.ts, each.key)))


def _assert_same(survey: ArchiveSurvey, kept: list[Reading]) -> None:
    assert survey.meters() == sorted({each.meter for each in kept})
    assert survey.totals(at(-1000), FAR).readings == len(kept)
    assert survey.latest() == [_newest(kept, meter, key) for meter in METERS for key in KEYS]
    for meter in METERS:
        of_meter = [each for each in kept if each.meter == meter]
        assert survey.readings(meter, at(-1000), FAR) == of_meter
        assert survey.readings(meter, at(20), at(60), limit=7) == [each for each in of_meter if at(20) <= each.ts < at(60)][:7]
        assert survey.keys(meter) == sorted({each.key for each in of_meter})
        read = survey.intervals_read(meter, ["a", "b"], at(10))
        profile = [each for each in of_meter if each.origin is Origin.PROFILE]
        assert set(read) == {to_ms(each.ts) for each in profile if each.key in ("a", "b") and each.ts >= at(10)}
        for key in KEYS:
            series = [each for each in of_meter if each.key == key]
            assert survey.readings(meter, at(-1000), FAR, key=key) == series
            curve = survey.curve(meter, key, at(-1000), FAR, 10_000)
            assert [(point.ts, point.number) for point in curve.points] == [(to_ms(each.ts), each.value) for each in series]
            thin = survey.curve(meter, key, at(-1000), FAR, 4).points
            assert {thin[0].ts, thin[-1].ts} <= {to_ms(each.ts) for each in series}
            assert max(each.value for each in series) in [point.number for point in thin]
            intervals = [to_ms(each.ts) for each in series if each.origin is Origin.PROFILE]
            assert survey.profile_intervals(meter, key)[0] == intervals[::-1]
            found = survey.intervals(meter, key)
            assert found is not None
            assert (found.read, found.first, found.last) == (len(intervals), intervals[0], intervals[-1])
            assert sum(day.read for day in survey.intervals_per_day(meter, key, at(-1000))) == len(intervals)
            newest = survey.newest_of_profile(meter, key)
            assert newest is not None
            assert to_ms(newest) == intervals[-1]


def _newest(kept: list[Reading], meter: str, key: str) -> Reading:
    return next(each for each in reversed(kept) if (each.meter, each.key) == (meter, key))


def test_many_recent_rows_move_to_their_series_and_late_ones_follow(path: Path) -> None:
    with closing(ArchiveStore(path, KEEP, 0)) as store:
        store.write([reading(second) for second in range(11)])
        assert store.settle(to_ms(FAR)) == 0
        store.write([reading(11)])
        assert tables(path) == ([], list(range(12)))
        assert store.settle(to_ms(FAR)) == 1
        store.write([reading(5, 7), reading(12)])
        assert tables(path) == (list(range(12)), [12])
        assert store.settle(to_ms(FAR)) == 0
    with ArchiveSurvey(path) as survey:
        assert [each.value for each in survey.readings("m1", T0, FAR)] == [0] * 5 + [7] + [0] * 7


def test_what_is_dated_in_the_future_does_not_settle(path: Path) -> None:
    with closing(ArchiveStore(path, KEEP, 0)) as store:
        store.write([reading(900)] + [reading(second) for second in range(12)])
        assert store.settle(to_ms(at(20))) == 1
        store.write([reading(21)])
    assert tables(path) == (list(range(12)), [21, 900])


def test_a_few_meters_settle_at_a_time_and_none_is_forgotten(path: Path) -> None:
    with closing(ArchiveStore(path, KEEP, 0)) as store:
        store.write([reading(second, meter=f"m{number}") for number in range(10) for second in range(12)])
        assert [store.settle(to_ms(FAR)) for _ in range(4)] == [4, 4, 2, 0]


def test_a_locked_archive_settles_later(path: Path) -> None:
    with closing(ArchiveStore(path, KEEP, 0)) as store, closing(sqlite3.connect(path, isolation_level=None)) as thief:
        store.write([reading(second) for second in range(12)])
        thief.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            store.settle(to_ms(FAR))
        thief.execute("ROLLBACK")
        assert store.settle(to_ms(FAR)) == 1
    assert tables(path) == (list(range(12)), [])


@pytest.fixture
def of_version_3(path: Path) -> Iterator[Path]:
    """An archive as the program before this one left it, with ten readings."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL)")
        for version, statements in enumerate(MIGRATIONS[:3], 1):
            for statement in statements:
                database.execute(statement)
            database.execute("INSERT INTO schema_version VALUES (?, 0)", (version,))
        rows = [("m1", "a", to_ms(at(second)), "5", "int", 5.0, "V", "poll", to_ms(at(second))) for second in range(10)]
        database.executemany("INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        database.commit()
    yield path


def test_an_archive_of_version_3_keeps_its_readings(of_version_3: Path) -> None:
    with closing(ArchiveStore(of_version_3, KEEP, 0)) as store:
        store.write([reading(4, 8), reading(10, 9)])
    assert tables(of_version_3) == (list(range(10)), [10])
    with ArchiveSurvey(of_version_3) as survey:
        assert [each.value for each in survey.readings("m1", T0, FAR)] == [5] * 4 + [8] + [5] * 5 + [9]
    with closing(sqlite3.connect(of_version_3)) as database:
        assert database.execute("SELECT count(*) FROM readings").fetchone() == (11,)
