from __future__ import annotations

from datetime import datetime, timezone

import pytest

from model.messages import HealthReport

TS = datetime(2024, 3, 1, 12, tzinfo=timezone.utc)


def report(*read_times: float) -> HealthReport:
    return HealthReport("m1", TS, TS, 1, 1, 0, 0, 1, 5, 0, 5, 1, 0, 5, 0, read_times, TS, None, None)


@pytest.mark.parametrize(
    ("times", "quantile", "expected"),
    [
        ((1.0, 2.0), 0.5, 1.0),
        ((3.0, 1.0, 2.0), 0.5, 2.0),
        (tuple(map(float, range(1, 101))), 0.95, 95.0),
        (tuple(map(float, range(1, 101))), 0.07, 7.0),
        (tuple(map(float, range(1, 21))), 0.95, 19.0),
        ((5.0,), 0.95, 5.0),
        ((1.0, 2.0), 0.0, 1.0),
        ((1.0, 2.0), 1.0, 2.0),
    ],
)
def test_read_time_is_the_nearest_rank(times, quantile, expected):
    assert report(*times).read_time(quantile) == expected


def test_read_time_of_nothing_is_none():
    assert report().read_time(0.5) is None
