"""Reads one profile of one meter over a real socket until it has caught up, as the pipeline does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from connectors.dlms.profile.ledger import Ledger
from connectors.dlms.profile.reader import ProfileReader
from connectors.dlms.session import Session
from model.errors import MeterError
from model.messages import Cycle, Gap
from model.settings.meter import MeterSettings
from model.settings.profile import ProfileSettings
from model.settings.template import ReadSettings


@dataclass
class Taken:
    """What was handed over: cycles and gaps in order, and the state with the last of them."""

    cycles: list[Cycle] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    state: dict[str, Any] | None = None
    faults: list[MeterError] = field(default_factory=list)
    steps: int = 0


def meter_settings(**settings: object) -> MeterSettings:
    """A meter "m" with short patience."""
    base = {"id": "m", "connect": "sim://three-phase", "template": "t", "backoff_min": 0.01, "backoff_max": 0.02}
    return MeterSettings.model_validate({**base, **settings})


def read_profile(
    meter: MeterSettings,
    address: str,
    settings: dict[str, object],
    reads: dict[str, str] | None = None,
    state: dict[str, Any] | None = None,
    rounds: int = 1,
    between: Callable[[int], None] = lambda _step: None,
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    patience: float = 60.0,
    into: Taken | None = None,
) -> Taken:
    """Steps until the profile rests for the `rounds`-th time.

    :arg between: called before each step with its number.
    :arg into: takes what comes, also when this raises.
    """
    taken = into or Taken()
    taken.state = state
    profile = ProfileSettings.model_validate({"obis": "1-0:99.1.0", **settings})
    named = {key: ReadSettings.model_validate(read) for key, read in (reads or {}).items()}
    reader = ProfileReader(meter, "p", profile, named, Ledger() if state is None else Ledger.restore(state), clock=clock)

    async def run() -> None:
        session = Session(meter, lambda _id, _connect: address)
        left = rounds
        try:
            while left:
                if reader.wait() > 0.1:
                    left -= 1
                    reader.hasten()
                    continue
                await asyncio.sleep(reader.wait())
                between(taken.steps)
                taken.steps += 1
                await step(session)
        finally:
            await session.close()

    async def step(session: Session) -> None:
        try:
            if not session.usable():
                await session.associate()
            progress = await reader.step(session)
        except MeterError as fault:
            taken.faults.append(fault)
            await session.abandon()
            return
        if progress is not None:
            taken.cycles += progress.cycles
            taken.gaps += progress.gaps
            taken.state = progress.state

    asyncio.run(asyncio.wait_for(run(), patience))
    return taken


def cells(cycles: list[Cycle]) -> dict[datetime, dict[str, object]]:
    """Interval -> key -> raw value."""
    return {cycle.started: {raw.key: raw.value for raw in cycle.values} for cycle in cycles}
