from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict

import pytest

from simulator.meter.behaviour import NAMED, Behaviour, named_behaviour
from simulator.meter.disturbance import Disturbance, junk, stale_bytes

REPLY = bytes(range(40))


def sent(replies: int = 1, seed: int = 1, **behaviour: float) -> list[list[bytes]]:
    disturbance = Disturbance("hdlc", random.Random(seed))
    return [disturbance.apply(REPLY, Behaviour(**behaviour)) for _ in range(replies)]  # type: ignore[arg-type]


def test_an_honest_meter_sends_what_it_says() -> None:
    assert sent(50) == [[REPLY]] * 50


def test_certain_misfortunes() -> None:
    assert sent(lost=1.0) == [[]]
    assert sent(duplicated=1.0) == [[REPLY, REPLY]]
    assert sent(half=1.0) == [[REPLY[:20]]]
    assert sent(3, late=1.0) == [[], [REPLY], [REPLY]]
    ((corrupted,),) = sent(wrong_check=1.0)
    assert [position for position in range(40) if corrupted[position] != REPLY[position]] == [38]
    ((noisy,),) = sent(junk=1.0, junk_length=5)
    assert (len(noisy), noisy[5:]) == (45, REPLY)


def test_a_wrapper_header_is_corrupted_in_its_version() -> None:
    (corrupted,) = Disturbance("wrapper", random.Random(1)).apply(REPLY, Behaviour(wrong_check=1.0))
    assert corrupted[0] != REPLY[0]
    assert corrupted[1:] == REPLY[1:]


def test_a_late_reply_is_sent_before_the_next_one() -> None:
    disturbance = Disturbance("hdlc", random.Random(1))
    assert disturbance.apply(b"first", Behaviour(late=1.0)) == []
    assert disturbance.apply(b"second", Behaviour()) == [b"first", b"second"]


def test_a_rate_is_kept_and_a_seed_repeats_itself() -> None:
    once, again, other = sent(1000, 5, lost=0.2), sent(1000, 5, lost=0.2), sent(1000, 6, lost=0.2)
    assert once == again != other
    assert 150 < Counter(map(len, once))[0] < 250


def test_junk_tempts_readers_that_trust_a_length() -> None:
    chance = random.Random(1)
    assert any(b"\x7e\xa7\xff" in junk(chance, 8) for _ in range(20))
    assert junk(chance, 0) == b""
    assert len(junk(chance, 3)) == 3


def test_stale_bytes_are_junk_half_a_reply_and_a_whole_one() -> None:
    stale = stale_bytes(random.Random(1), REPLY)
    assert stale[6:] == REPLY[20:] + REPLY


@pytest.mark.parametrize("name", NAMED)
def test_named_behaviours_are_possible_and_can_be_taken_back(name: str) -> None:
    behaviour = Behaviour(**named_behaviour(name))  # type: ignore[arg-type]
    assert (behaviour == Behaviour()) == (name == "honest")
    behaviour.reset()
    assert asdict(behaviour) == asdict(Behaviour())


@pytest.mark.parametrize("wrong", [{"lost": 1.5}, {"junk": -0.1}, {"latency": -1.0}, {"drop_every": -1}, {"clock_offset": 1e12}])
def test_impossible_numbers_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} .* out of range"):
        Behaviour(**wrong)  # type: ignore[arg-type]
