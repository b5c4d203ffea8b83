"""The soak itself, for a minute (--long): every fault comes once, and all that the meters answered arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.broker import PROGRAM
from bench.soak import Soak, run
from bench.steadiness import MEASURES, SAMPLES

COUNTED = 3
"""Rows of the table after those of `MEASURES`: what arrived."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")
def test_a_minute_of_faults_loses_nothing(tmp_path: Path, long: bool) -> None:
    if not long:
        pytest.skip("only with --long")
    outcome = run(Soak(60.0, prepared=20, virtual=4), tmp_path)
    assert outcome.is_good, outcome
    assert [row[-1] for row in outcome.rows[len(MEASURES) :]] == ["all"] * COUNTED
    assert "session taken over" in outcome.about
    assert len((tmp_path / SAMPLES).read_text().splitlines()) > 10
