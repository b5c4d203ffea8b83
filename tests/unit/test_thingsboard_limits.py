from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.thingsboard.limits import MARGIN, Bucket, Limits, Pacer, Rates, parse_limits, parse_pairs


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_answer_for_a_gateway() -> None:
    answer = {
        "maxPayloadSize": 65536,
        "maxInflightMessages": 100,
        "rateLimits": {"messages": "10:1,60:60", "telemetryMessages": None, "telemetryDataPoints": ""},
        "gatewayRateLimits": {"messages": "200:1,6000:60", "telemetryMessages": "100:1", "telemetryDataPoints": "1000:1"},
    }
    limits = parse_limits(json.dumps(answer).encode())
    assert limits == Limits(65536, 100, Rates(((10, 1), (60, 60))), Rates(((200, 1), (6000, 60)), ((100, 1),), ((1000, 1),)))


def test_the_answer_for_a_device() -> None:
    limits = parse_limits(b'{"maxPayloadSize":1024,"maxInflightMessages":10,"rateLimits":{"messages":"5:1"}}')
    assert limits == Limits(1024, 10, Rates(((5, 1),)), Rates())


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b"7", b"{}", b'{"error":"unsupported"}', b"\xff"])
def test_other_answers_are_none(payload: bytes) -> None:
    assert parse_limits(payload) is None


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_strange_parts_do_not_limit_and_do_not_raise(part: object) -> None:
    answer = {"maxPayloadSize": part, "maxInflightMessages": part, "rateLimits": part, "gatewayRateLimits": {"messages": part}}
    limits = parse_limits(json.dumps(answer).encode())
    assert limits is not None
    assert limits.max_payload is None or limits.max_payload > 0


@pytest.mark.parametrize(
    ("text", "pairs"),
    [("200:1,6000:60", ((200, 1), (6000, 60))), (" 5 : 1 ", ((5, 1),)), ("0:1", ()), ("5:0", ()), ("x", ()), ("", ()), (None, ()), (7, ())],
)
def test_pairs(text: object, pairs: object) -> None:
    assert parse_pairs(text) == pairs


def test_a_bucket_gives_its_capacity_at_once_and_then_its_rate() -> None:
    clock = Clock()
    bucket = Bucket(((10, 1),), clock)
    for _ in range(9):
        assert bucket.wait() == 0.0
        bucket.take()
    assert bucket.wait() == pytest.approx(1 / 9)
    clock.now += 1 / 9
    assert bucket.wait() == pytest.approx(0.0, abs=1e-9)


def test_every_pair_must_have_enough() -> None:
    clock = Clock()
    bucket = Bucket(((10, 1), (20, 60)), clock)
    for _ in range(19):
        clock.now += max(bucket.wait(), 0.2)
        bucket.take()
    assert bucket.wait() > 0.5


def test_more_than_the_capacity_waits_for_a_full_bucket_and_not_for_ever() -> None:
    clock = Clock()
    bucket = Bucket(((10, 1),), clock)
    assert bucket.wait(1_000) == 0.0
    bucket.take(1_000)
    assert bucket.wait(1_000) == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=3), st.integers(min_value=1, max_value=5)), max_size=60))
def test_a_bucket_never_exceeds_the_limit_of_the_server(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    bucket = Bucket(((10, 2),), clock)
    server, filled = 10.0, clock.now
    for pause, count in steps:
        clock.now += pause + bucket.wait(count)
        bucket.take(count)
        server, filled = min(10.0, server + (clock.now - filled) * 5) - count, clock.now
        assert server >= -1e-6


def test_telemetry_and_plain_messages_count_apart_and_lanes_too() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    pacer.obey(Limits(own=Rates(messages=((1, 10),)), devices=Rates(((2, 10),), ((2, 10),), ((100, 10),))))
    own, devices = pacer.sender("own"), pacer.sender("devices")
    own.take(0)
    assert own.wait(0) > 0.0
    assert own.wait(5) == 0.0
    assert devices.wait(0) == 0.0
    assert devices.most_points == int(100 * MARGIN)
    devices.take(60)
    assert devices.wait(60) > 0.0
    assert devices.wait(0) == 0.0


def test_stating_the_same_limits_again_does_not_fill_the_buckets() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    limits = Limits(devices=Rates(messages=((1, 100),)))
    pacer.obey(limits)
    pacer.sender("devices").take(0)
    pacer.obey(limits)
    assert pacer.sender("devices").wait(0) > 0.0
    pacer.obey(Limits())
    assert pacer.sender("devices").wait(0) == 0.0
