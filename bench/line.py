"""How busy a shared line is kept: eight meters on one pseudo terminal at 9600 baud, two of them dead.

The line is the bottleneck, so the living meters are due all the time. What the protocol allows: while the client waits
for a reply, bytes take their time and the meter its turnaround; everything else is time in which the line could have
carried something. Waiting for the dead is counted against us, although no client can know that they are dead.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise

from connectors.dlms.line import join_line
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.session import Session
from model.messages import Outcome
from model.settings.meter import MeterSettings
from model.settings.template import ReadSettings
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.installation import Installation
from simulator.meter.line_timing import LineRecord, LineTiming

METERS = 8
DEAD = (2, 5)
FIRST_ADDRESS = 17
SILENCE = 0.2
"""Seconds: a longer gap on the line is a wait for a meter that does not answer."""
REGISTERS = ["32.7.0", "31.7.0", "14.7.0", "1.7.0", "1.8.0"]


@dataclass(frozen=True)
class Occupancy:
    """What was on the line, and what came of it."""

    timing: LineTiming
    record: LineRecord
    seconds: float
    cycles: Counter[str]

    @property
    def vain(self) -> float:
        """Seconds of silences that no living meter causes."""
        spans = self.record.spans
        gaps = (later[0] - earlier[1] for earlier, later in pairwise(spans))
        return sum(gap for gap in gaps if gap > SILENCE)

    @property
    def busy(self) -> float:
        """Seconds of bytes and turnarounds, but for the requests that nobody answered: those are counted as vain."""
        return (self.record.request_bytes + self.record.reply_bytes) * self.timing.byte_time + self.record.replies * self.timing.turnaround

    def explained(self) -> list[str]:
        """The calculation, line by line."""
        record, timing = self.record, self.timing
        carried = record.request_bytes + record.reply_bytes
        living = [self.cycles[f"m{number}"] for number in range(METERS) if number not in DEAD]
        return [
            f"line occupancy: {METERS} meters on one line at {timing.baud} baud, {len(DEAD)} dead, {len(REGISTERS)} registers per cycle",
            f"  bytes         {record.request_bytes} in {record.requests} requests + {record.reply_bytes} in {record.replies} replies"
            f" = {carried} x {timing.bits_per_byte:g} bits / {timing.baud} baud = {carried * timing.byte_time:.2f} s",
            f"  turnarounds   {record.replies} replies x {timing.turnaround * 1000:g} ms = {record.replies * timing.turnaround:.2f} s",
            f"  busy          {self.busy:.2f} s of the {self.seconds:.2f} s measured = {self.busy / self.seconds:.1%}",
            f"  the dead      {self.vain:.2f} s of silence in their turns = {self.vain / self.seconds:.1%};"
            f" of the time the living had, the line was busy {self.busy / (self.seconds - self.vain):.1%}",
            f"  cycles        {sum(living)} of living meters, each {min(living)} to {max(living)}; {record.overlaps} requests into a reply",
        ]


def measure(seconds: float) -> Occupancy:
    """Read the line for `seconds`, from the first SNRM on."""
    return asyncio.run(_measure(seconds))


async def _measure(seconds: float) -> Occupancy:
    installation, timing = Installation(), LineTiming(baud=9600, turnaround=0.030)
    configs = [
        (MeterConfig(f"m{number}", server_physical=FIRST_ADDRESS + number, seed=number), Behaviour(silent=number in DEAD))
        for number in range(METERS)
    ]
    address = await installation.start_line(configs, timing)
    loop = asyncio.get_running_loop()
    until, cycles = loop.time() + seconds, Counter[str]()

    async def read(poll: MeterPoll, name: str) -> None:
        while loop.time() < until:
            cycle = await poll.cycle(datetime.now(timezone.utc))
            if cycle.outcome is Outcome.OK:
                cycles[name] += 1
            else:
                await asyncio.sleep(1.0)

    polls = {config.id: _poll(config.id, config.server_physical, address) for config, _ in configs}
    tasks = [asyncio.ensure_future(read(poll, name)) for name, poll in polls.items()]
    await asyncio.sleep(seconds)
    record = installation.lines[address].record
    result = Occupancy(timing, LineRecord(**{**vars(record), "spans": deque(record.spans)}), seconds, cycles.copy())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for poll in polls.values():
        await poll.close()
    await installation.stop()
    return result


def _poll(name: str, physical: int, address: str) -> MeterPoll:
    meter = MeterSettings.model_validate({"id": name, "connect": address, "template": "t", "server_physical": physical})
    plan = plan_reads({f"r{number}": ReadSettings(obis=f"1-0:{register}") for number, register in enumerate(REGISTERS)})
    access = join_line(meter.address.line, meter, None)
    return MeterPoll(meter, plan, 10.0, Session(meter, lambda _id, connect: connect, access=access), access)
