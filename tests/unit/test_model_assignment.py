from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from model.assignment import Assignment
from model.settings.thingsboard import SINGLE, ThingsBoardSettings

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True)
METERS = st.lists(NAMES, max_size=30, unique=True)


def assignment(*sessions: str | tuple[str, list[str]]) -> Assignment:
    entries = []
    for number, session in enumerate(sessions):
        name, meters = session if isinstance(session, tuple) else (session, None)
        entries.append({"name": name, "token": f"token-{number}", "meters": meters})
    return Assignment(ThingsBoardSettings.model_validate({"url": "embedded", "sessions": entries}))


def test_the_only_session_has_every_meter():
    single = Assignment(ThingsBoardSettings.model_validate({"url": "embedded", "token": "x"}))
    assert (single.sessions, single.first, single.of("desk")) == ((SINGLE,), SINGLE, SINGLE)


def test_patterns_go_before_the_hash_and_an_empty_list_takes_nothing():
    several = assignment(("old", []), ("north", ["n-*"]), "rest")
    assert several.meters(["n-1", "s-1", "n-2"]) == {"old": [], "north": ["n-1", "n-2"], "rest": ["s-1"]}
    assert several.first == "north"


def test_a_meter_that_no_pattern_fits_belongs_to_nobody_where_all_have_patterns():
    assert assignment(("north", ["n-*"])).of("s-1") is None


def test_the_hash_is_the_same_for_ever():
    """Another result after an upgrade would move meters between accounts."""
    several = assignment("a", "b", "c")
    assert [several.of(f"m-{number}") for number in range(12)] == list("aabcbaaabbbc")


def test_the_hash_deals_meters_out_evenly():
    several = assignment("a", "b", "c", "d")
    counts = Counter(several.of(f"meter-{number:05}") for number in range(4_000))
    assert set(counts) == {"a", "b", "c", "d"}
    assert max(counts.values()) < 1.2 * min(counts.values())


@given(st.lists(NAMES, min_size=2, max_size=6, unique=True), METERS)
def test_a_session_that_is_added_takes_meters_and_moves_no_other(names, meters):
    before, after = assignment(*names[:-1]), assignment(*names)
    for meter in meters:
        assert after.of(meter) in (before.of(meter), names[-1])


@given(st.lists(NAMES, min_size=1, max_size=6, unique=True), METERS, st.randoms())
def test_the_order_in_the_file_does_not_matter(names, meters, random):
    shuffled = random.sample(names, len(names))
    assert [assignment(*names).of(meter) for meter in meters] == [assignment(*shuffled).of(meter) for meter in meters]
