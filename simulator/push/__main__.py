"""`python -m simulator.push tcp://127.0.0.1:4059`: a virtual meter that calls in."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from simulator.meter.config import MeterConfig
from simulator.push.framing import FRAMINGS
from simulator.push.notification import STYLES
from simulator.push.protection import Protection
from simulator.push.sender import DEFAULT_OBJECTS, PushingMeter, PushOptions, push


def main(
    target: Annotated[str, typer.Argument(help="tcp://host:port, udp://host:port or serial:///dev/ttyX.")],
    framing: Annotated[str, typer.Option(help=f"{', '.join(FRAMINGS)}.")] = "wrapper",
    style: Annotated[str, typer.Option(help=f"How the body looks: {', '.join(STYLES)}.")] = "list",
    count: Annotated[int, typer.Option(min=0, help="How many notifications; 0 for ever.")] = 1,
    every: Annotated[float, typer.Option(min=0, help="Seconds between two.")] = 1.0,
    block_size: Annotated[int, typer.Option(min=0, max=1024, help="Bytes per block of general-block-transfer; 0 for none.")] = 0,
    profile: Annotated[str, typer.Option(help="Kind of meter.")] = "three-phase",
    seed: Annotated[int, typer.Option(help="Seed of the meter.")] = 1,
    logical: Annotated[int, typer.Option(min=1, max=127, help="Logical device.")] = 1,
    system_title: Annotated[str, typer.Option(help="16 hexadecimal digits; ciphers with the keys of the environment.")] = "",
    counter: Annotated[int, typer.Option(min=0, help="First invocation counter.")] = 1,
) -> None:
    """Push notifications of a virtual meter, ciphered where a system title is given.

    The keys are in the environment variables METER_KEY and METER_AUTH_KEY, in hexadecimal.
    """
    try:
        protection = None
        if system_title:
            key, authentication = (bytes.fromhex(os.environ.get(name, "")) for name in ("METER_KEY", "METER_AUTH_KEY"))
            if len(key) not in (16, 32) or len(authentication) != len(key):
                raise ValueError("export METER_KEY and METER_AUTH_KEY, 32 hexadecimal digits each")
            protection = Protection(bytes.fromhex(system_title), key, authentication, counter=counter)
        options = PushOptions(style, framing, block_size, objects=DEFAULT_OBJECTS, protection=protection)
        config = MeterConfig("pushing", profile, "wrapper", server_logical=logical, seed=seed)
        push(PushingMeter(config, options), target, count, every)
    except ValueError as problem:
        typer.echo(str(problem), err=True)
        raise typer.Exit(2) from None
    except OSError as problem:
        typer.echo(f"{target}: {problem}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
