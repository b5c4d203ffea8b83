"""What is read, missing and lost, against a plain model: a meter with holes that is asked in pieces, cut, and restarted."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.dlms.profile.ledger import Ledger, OpenGap
from tests.unit.profile_buffers import QUARTER, utc

START = utc(2026, 1, 1)
NOW = utc(2026, 2, 1)


def at(number: int) -> datetime:
    return START + number * QUARTER


def rows(*numbers: int) -> list[datetime]:
    return [at(number) for number in numbers]


def ledger(**fields: object) -> Ledger:
    return Ledger(period=QUARTER, **fields)  # type: ignore[arg-type]


def spans(gaps: object) -> list[tuple[int, int]]:
    return [((gap.start - START) // QUARTER, (gap.end - START) // QUARTER) for gap in gaps]  # type: ignore[attr-defined]


def test_the_first_row_ever_seen_is_where_expectation_begins() -> None:
    fresh = ledger()
    news, lost = fresh.take(rows(5, 6, 7), (at(0), at(7)), NOW)
    assert (news, lost, fresh.gaps, fresh.last) == (set(rows(5, 6, 7)), [], [], at(7))


def test_missing_rows_are_a_gap_until_they_come() -> None:
    known = ledger()
    known.take(rows(0, 1, 4, 5), (at(0), at(5)), NOW)
    assert spans(known.gaps) == [(2, 3)] and known.missing == 2
    news, lost = known.take(rows(1, 2, 4), (at(2), at(3)), NOW)
    assert news == {at(2)} and spans(lost) == [(3, 3)] and known.gaps == [] and known.lost == 1


def test_a_gap_is_lost_after_two_answers_without_it_and_only_where_it_was_asked_for() -> None:
    known = ledger()
    known.take(rows(0, 9), (at(0), at(9)), NOW)
    assert [gap.answers for gap in known.gaps] == [1]
    _, lost = known.take([], (at(1), at(4)), NOW)
    assert spans(lost) == [(1, 4)] and "answered 2 requests" in lost[0].reason
    assert spans(known.gaps) == [(5, 8)]


def test_what_is_older_than_the_meters_memory_is_lost_at_once() -> None:
    known = ledger(last=at(0))
    known.take(rows(10), (at(0), at(10)), NOW)
    lost = known.begins_at(at(6))
    assert spans(lost) == [(1, 5)] and "memory begins at" in lost[0].reason
    assert spans(known.gaps) == [(6, 9)] and known.lost == 5


def test_rows_off_the_grid_are_news_but_make_no_gaps() -> None:
    known = ledger()
    odd = at(2) + timedelta(minutes=7)
    news, _ = known.take(sorted([*rows(0, 1, 2, 3, 4), odd]), (at(0), at(4)), NOW)
    assert odd in news and known.gaps == []
    known.take([at(4), at(4) + timedelta(minutes=7), at(7)], (at(4), at(7)), NOW)
    assert spans(known.gaps) == [(5, 6)]


def test_a_meter_that_captures_a_few_seconds_late_has_no_gaps() -> None:
    known = ledger()
    late = [at(n) + timedelta(seconds=n % 4) for n in range(20)]
    known.take(late, (at(0), at(20)), NOW)
    assert known.gaps == []


def test_a_meter_that_captures_less_often_than_it_says_has_no_gaps() -> None:
    known = Ledger(period=timedelta(minutes=1))
    known.take([at(4 * n) for n in range(24)], (at(0), at(96)), NOW)
    assert known.gaps == [] and known.period == timedelta(hours=1)
    known.take([at(4 * n) for n in (23, 24, 27)], (at(92), at(108)), NOW)
    assert [gap.end - gap.start for gap in known.gaps] == [timedelta(hours=1)]


def test_the_bookmark_is_never_ahead_of_our_clock() -> None:
    known = ledger()
    known.take(rows(0, 1, 2), (at(0), at(2)), at(1))
    assert known.last == at(1)


def test_what_the_outbox_dropped_is_asked_for_again() -> None:
    known = ledger(last=at(9))
    known.recall(rows(3, 4, 7, 12), NOW)
    assert spans(known.gaps) == [(3, 4), (7, 7)]
    known.recall(rows(3), NOW)
    news, lost = known.take(rows(2, 3, 4, 5), (at(3), at(4)), NOW)
    assert news == set(rows(3, 4)) and lost == [] and spans(known.gaps) == [(7, 7)]


def test_dropped_rows_of_another_profile_are_forgotten_not_lost() -> None:
    known = ledger(last=at(9))
    known.recall([at(3) + timedelta(minutes=5)], NOW)
    for _ in range(2):
        _, lost = known.take([], (at(0), at(9)), NOW)
        assert lost == []
    assert known.gaps == [] and known.lost == 0


@settings(max_examples=150, deadline=None)
@given(cuts=st.lists(st.booleans(), max_size=20), held=st.sets(st.integers(0, 40), min_size=1), chunk=st.integers(1, 5))
def test_whatever_is_cut_every_row_comes_once_and_every_hole_is_lost(cuts: list[bool], held: set[int], chunk: int) -> None:
    """Chunks from the bookmark on, some cut short and asked again, restarts in between, then the gaps twice."""
    known, taken, lost = ledger(), list[datetime](), list[tuple[int, int]]()
    cursor = 0
    while cursor < 40:
        end = min(cursor + chunk, 40)
        if cuts and cuts.pop():
            known = Ledger.restore(json.loads(json.dumps(known.snapshot())))
            cursor = cursor if known.last is None else (known.last - START) // QUARTER
            continue
        answer = [at(n) for n in sorted(held) if cursor - 1 <= n <= end + 1]
        news, gone = known.take(answer, (at(cursor), at(end)), NOW)
        taken += sorted(news)
        lost += spans(gone)
        cursor = end
    for _ in range(2):
        for gap in list(known.gaps):
            answer = [time for time in rows(*sorted(held)) if gap.start - QUARTER <= time <= gap.end + QUARTER]
            news, gone = known.take(answer, (gap.start, gap.end), NOW)
            taken += sorted(news)
            lost += spans(gone)
    assert sorted(taken) == rows(*sorted(held)) and len(set(taken)) == len(taken)
    holes = set(range(min(held), max(held))) - held
    assert {n for first, last in lost for n in range(first, last + 1)} == holes
    assert known.gaps == [] and known.lost == len(holes)


def test_a_snapshot_says_everything() -> None:
    known = ledger(last=at(3), gaps=[OpenGap(at(1), at(2), 1, NOW, dropped=True)], read=7, lost=2)
    assert Ledger.restore(json.loads(json.dumps(known.snapshot()))) == known


class _RowByRow(Ledger):
    """Never takes the way for rows among which nothing is missing."""

    def _is_whole(self, times: object) -> bool:
        return False


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 25), st.sets(st.integers(0, 24), max_size=2), st.booleans()), max_size=6))
def test_rows_among_which_nothing_is_missing_are_taken_as_row_by_row(answers: list[tuple[int, int, set[int], bool]]) -> None:
    quick, slow = ledger(), _RowByRow(period=QUARTER)
    for first, count, holes, recalled in answers:
        answer = [at(first + n) for n in range(count) if n not in holes]
        asked, now = (at(first), at(first + count)), at(first + count - 2)
        assert quick.take(answer, asked, now) == slow.take(answer, asked, now)
        if recalled:
            quick.recall(rows(first), now)
            slow.recall(rows(first), now)
        assert quick.snapshot() == slow.snapshot()
