from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import model.wake
from model.wake import WAKE_GRID, WAKE_LIMIT, next_wake


@given(now=st.floats(1e9, 2e9), ahead=st.floats(-10, 1e6))
def test_a_wake_lies_on_the_grid_is_not_in_the_past_and_not_far_ahead(now: float, ahead: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.wake.time, "time", lambda: now)
        wake = next_wake(ahead).timestamp()
    assert wake == pytest.approx(round(wake / WAKE_GRID) * WAKE_GRID, abs=1e-5)
    assert now < wake + 1e-5
    assert min(max(ahead, 0.0), WAKE_LIMIT) - 1e-5 <= wake - now <= min(max(ahead, 0.001), WAKE_LIMIT) + WAKE_GRID + 1e-5
