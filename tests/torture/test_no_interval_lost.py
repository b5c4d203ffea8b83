"""Kills at random moments in a world that falls apart besides: every interval arrives, once, as the meter holds it.

At full length (--long) 100 kills and twenty meters; otherwise a few of each.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.campaign import Campaign

WAYS = {
    "alone": {"recovery": False},
    "alone-with-recovery": {"recovery": True},
    "two-workers-with-recovery": {"recovery": True, "workers": 2},
    "two-processes": {"recovery": False, "processes": 2},
    "two-processes-with-recovery": {"recovery": True, "processes": 2},
}
SHORT = ("alone", "two-workers-with-recovery", "two-processes-with-recovery")
"""Those that are run at less than full length too."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", WAYS)
def test_every_interval_arrives_once_as_the_meter_holds_it(tmp_path: Path, way: str, long: bool, torture_seed: int) -> None:
    if not long and way not in SHORT:
        pytest.skip("only with --long")
    meters, kills, horizon = (20, 100, 6 * 3600.0) if long else (6, 6, 900.0)
    with Campaign(tmp_path, meters, torture_seed, horizon=horizon, **WAYS[way]) as campaign:
        campaign.begin()
        for _ in range(kills):
            campaign.round()
        verdict = campaign.settle()
        assert verdict.is_good, f"seed {torture_seed}: {verdict}; what happened: {dict(campaign.happened)}"
        assert verdict.polled > 0
