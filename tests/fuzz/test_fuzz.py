"""The fuzz targets, briefly: random bytes and honest ones that were damaged. `python -m tests.fuzz` goes on for longer."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

ROUNDS = 2_000
MOST_GROWTH = 1_000_000
"""Bytes; a target that keeps a single byte of each input would stay below, one that keeps the inputs would not."""


def test_every_target_has_seeds() -> None:
    assert set(SEEDS) == set(TARGETS)
    assert all(SEEDS.values())


@pytest.mark.parametrize("name", TARGETS)
def test_honest_bytes(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_bytes_of_any_kind(name: str, data: st.DataObject) -> None:
    pieces = st.sampled_from(SEEDS[name]).flatmap(
        lambda seed: st.tuples(st.integers(0, len(seed)), st.integers(0, len(seed))).map(lambda cut: seed[min(cut) : max(cut)])
    )
    TARGETS[name](b"".join(data.draw(st.lists(st.one_of(st.binary(max_size=20), pieces, st.sampled_from(SEEDS[name])), max_size=6))))


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_bytes_leave_nothing_behind(name: str) -> None:
    chance = random.Random(name)
    for _ in range(ROUNDS // 4):  # what is kept once, such as a cache, is not counted
        TARGETS[name](damaged(chance, SEEDS[name]))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(ROUNDS):
            TARGETS[name](damaged(chance, SEEDS[name]))
        assert tracemalloc.get_traced_memory()[0] - before < MOST_GROWTH
    finally:
        tracemalloc.stop()


def damaged(chance: random.Random, seeds: list[bytes]) -> bytes:
    """One of the seeds, or two in a row, with some bytes changed, left out, doubled or put in."""
    data = bytearray(b"".join(chance.choices(seeds, k=chance.choice((1, 1, 2)))))
    for _ in range(chance.choice((0, 1, 1, 2, 5, 20))):
        place = chance.randrange(len(data) + 1)
        how = chance.randrange(4)
        if how == 0 and place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        elif how == 1:
            del data[place : place + chance.randint(1, 8)]
        elif how == 2:
            data[place:place] = data[place : place + chance.randint(1, 16)]
        else:
            data[place:place] = chance.randbytes(chance.randint(1, 8))
    return bytes(data)
