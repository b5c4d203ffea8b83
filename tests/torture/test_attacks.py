"""Every attack, again and again at random places: none becomes a value, each is counted, the next honest reply is read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from connectors.dlms.invocation_counters import InvocationCounters
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.session import Session
from model.messages import Outcome, Violation
from model.settings.template import ReadSettings
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import ATTACKS, Behaviour
from tests.contract.test_dlms_security import EXPECTED, READS, is_true, settings_of, start


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dedicated", [False, True], ids=["global", "dedicated"])
@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_none_is_believed_and_each_is_counted(
    meters: BackgroundMeters, tmp_path: Path, long: bool, attack: str, framing: str, dedicated: bool
) -> None:
    """At full length a thousand times."""
    wanted = 1000 if long else 25
    settings, access = settings_of(framing=framing, ciphering="general", retries=0, dedicated_key=dedicated)
    address = start(meters, settings, access, Behaviour(**{attack: 0.5}))
    found: Counter[Violation] = Counter()

    async def run() -> None:
        plan = plan_reads({key: ReadSettings(obis=obis) for key, obis in READS.items()})
        session = Session(settings, lambda _id, _connect: address, InvocationCounters(tmp_path / "counters.sqlite"))
        poll = MeterPoll(settings, plan, 60.0, session)
        while meters.counters("m").attacks[attack] < wanted:
            cycle = await poll.cycle(datetime.now(timezone.utc))
            assert is_true(meters, cycle), cycle.values
            for violation in cycle.violations:
                found[violation.violation] += violation.count
            await asyncio.sleep(0.021)  # beyond the longest back-off of these tests
        sent = meters.counters("m").attacks[attack]
        meters.meter("m").behaviour = Behaviour()
        await asyncio.sleep(0.021)
        honest = await poll.cycle(datetime.now(timezone.utc))
        await poll.close()
        assert sum(found.values()) == sent
        assert set(found) <= EXPECTED[attack]
        assert honest.outcome is Outcome.OK
        assert is_true(meters, honest)

    asyncio.run(run())
