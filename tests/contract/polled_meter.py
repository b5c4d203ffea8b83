"""Polls one virtual meter over a real socket, as the pipeline does, and gives back what came of it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone

from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.session import Session
from model.messages import Cycle
from model.settings.meter import MeterSettings
from model.settings.template import ReadSettings
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.sim_url import parse_sim_url

REGISTERS: dict[str, object] = {
    "voltage": "1-1:32.7.0",
    "current": "1-1:31.7.0",
    "frequency": "1-1:14.7.0",
    "power": "1-1:1.7.0",
    "energy": "1-1:1.8.0",
}


def settings_of(**settings: object) -> MeterSettings:
    """A meter "m", patient with a busy machine and quick to try again."""
    base = {"id": "m", "connect": "sim://three-phase", "template": "t", "exchange_timeout": 2.0, "backoff_min": 0.01, "backoff_max": 0.02}
    return MeterSettings.model_validate({**base, **settings})


def poll_of(meter: MeterSettings, address: str, reads: dict[str, object] = REGISTERS) -> MeterPoll:
    """What polls `meter` at `address`."""
    plan = plan_reads({key: ReadSettings.model_validate(read) for key, read in reads.items()})
    return MeterPoll(meter, plan, 60.0, Session(meter, lambda _id, _connect: address))


def poll_virtual_meter(
    meters: BackgroundMeters, count: int, reads: dict[str, object] = REGISTERS, behaviour: Behaviour | None = None, **settings: object
) -> list[Cycle]:
    """`count` cycles of the meter "m", started with what `settings` and the query of `connect` say, then a release."""
    meter = settings_of(**settings)
    config, described = parse_sim_url(meter.connect, meter)
    address = meters.start(config, behaviour or described)

    async def run() -> list[Cycle]:
        poll = poll_of(meter, address, reads)
        try:
            cycles = []
            for _ in range(count):
                cycles.append(await poll.cycle(datetime.now(timezone.utc)))
                await asyncio.sleep(0.03)  # beyond the longest back-off of these tests
            return cycles
        finally:
            await poll.close()

    return asyncio.run(run())
