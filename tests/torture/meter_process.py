"""`python -m tests.torture.meter_process COUNT [HOST]`: virtual meters in a process that a test may kill, told what to do by lines of JSON.

Prints the ports in the order of the meters. A line is {"meter": number, "reboot": seconds} or {"meter": number,
"behaviour": {...}}. What a meter remembers is a function of seed and time, so a killed process comes back with all of it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.virtual_meter import VirtualMeter
from tests.ports import free_port
from tests.torture.told import lines_told

CAPTURE_PERIOD = 15


def meter_config(number: int) -> MeterConfig:
    """What meter `number` is; half of them speak the wrapper, the others HDLC."""
    return MeterConfig(
        id=f"m{number}",
        seed=number + 1,
        framing="wrapper" if number % 2 else "hdlc",
        capture_period=CAPTURE_PERIOD,
        profile_entries=4000,
        exchanges_kept=0,
    )


def meter_behaviour(number: int) -> Behaviour:
    """What it does wrong for ever: every third one loses its clock now and again, and the rows of that time are dated 2000."""
    return Behaviour(clock_lost_period=240.0, clock_lost_length=40.0) if number % 3 == 2 else Behaviour()


async def serve(count: int, host: str) -> None:
    """Run the meters until the end of the input."""
    meters = [VirtualMeter(meter_config(number), meter_behaviour(number)) for number in range(count)]
    ports = [(await meter.start(host, free_port())).port for meter in meters]
    print(json.dumps(ports), flush=True)
    reboots: set[asyncio.Task[None]] = set()
    async for told in lines_told():
        meter = meters[told["meter"]]
        for name, value in told.get("behaviour", {}).items():
            setattr(meter.behaviour, name, value)
        if "reboot" in told:
            reboots.add(asyncio.create_task(reboot(meter, told["reboot"])))


async def reboot(meter: VirtualMeter, seconds: float) -> None:
    """Without supply for so long; a meter that has none already does not lose it."""
    if meter.address is None:
        return
    host, port, meter.address = meter.address.host, meter.address.port, None
    await meter.stop()
    await asyncio.sleep(seconds)
    await meter.start(host, port)


def described(number: int, port: int, host: str = "127.0.0.1") -> dict[str, Any]:
    """The meter in pipeline.yaml."""
    return {"id": f"m{number}", "connect": f"tcp://{host}:{port}", "framing": meter_config(number).framing}


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), *(sys.argv[2:3] or ["127.0.0.1"])))
