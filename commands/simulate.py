"""`simulate`: virtual meters to train with, some of which misbehave in a chosen way."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from commands.configuration import counted, refuse_argument
from simulator.meter.behaviour import NAMED, Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.installation import Installation
from simulator.meter.line_timing import LineTiming
from simulator.meter.options import parse_options
from simulator.meter.profiles import PROFILES

EXIT_PORT = 1
FIRST_ON_A_LINE = 17
"""Physical HDLC address of the first meter on a line; the others count up."""

MISBEHAVIOURS = {
    "honest": "does everything right; what the others are compared with",
    "silent": "accepts the connection and answers nothing: a meter without supply behind a converter that has one",
    "babbling": "sends junk all the time and no answer: wrong baud rate or parity, or a broken converter",
    "flood": "the same as fast as the network takes it",
    "noisy": "junk before frames, half, lost, doubled and late frames: a long or badly terminated RS-485 line",
    "slow": "takes 2 to 3 s for every answer: an old meter, or a modem",
    "slow-bytes": "answers byte by byte: a converter without a buffer",
    "busy": "answers nothing for 10 s in every minute",
    "dropping": "forgets the association every 20 requests without a word",
    "hanging-up": "closes the connection every 20 requests",
    "one-connection": "serves one client; a second one hangs: most real meters",
    "no-with-list": "refuses several values in one request, so each costs an exchange",
    "refusing": "refuses every association: wrong client or password",
    "stale": "begins a connection with old bytes: a converter that kept them",
    "attacked": "one in 20 protected answers is forged or replayed (ciphered meters only)",
}
"""What each misbehaviour stands for in the field."""

_Meters = list[tuple[MeterConfig, Behaviour, str]]


def simulate(
    count: Annotated[int, typer.Argument(min=1, max=5000, help="How many meters.")] = 1,
    misbehaviour: Annotated[
        str, typer.Option("--misbehaviour", "-m", help="Which of them misbehave, and how: silent=2,babbling=1. See --list.")
    ] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the first meter, the others follow; 0 takes free ones.")] = 4059,
    framing: Annotated[Literal["hdlc", "wrapper"], typer.Option(help="hdlc or wrapper.")] = "hdlc",
    line: Annotated[
        Literal["none", "tcp", "pty"],
        typer.Option(help="All meters on one line: behind a converter (tcp), or behind a pseudo terminal (pty)."),
    ] = "none",
    baud: Annotated[int, typer.Option(min=300, help="Baud rate of the line.")] = 9600,
    kind: Annotated[str, typer.Option("--kind", help=f"What kind of meter: {', '.join(PROFILES)}.")] = "three-phase",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    listed: Annotated[bool, typer.Option("--list", help="Explain the misbehaviours and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, then serve.")] = False,
) -> None:
    """Run virtual DLMS meters until Ctrl-C and print their entries for the meters: section of a pipeline.yaml.

    The misbehaving ones come last, so that the first meters of the list are honest. They are real servers on real sockets: read them
    with probe, discover or a pipeline, pull them away with Ctrl-C, and see what the tools say.

    Exit code 0 after Ctrl-C, 1 when a port is taken, 2 for a mistake in the arguments.

    Examples:

        python -m commands simulate 20 --misbehaviour silent=2,babbling=1

        python -m commands simulate 5 --line pty --baud 9600 -m noisy=2

        python -m commands simulate --list
    """
    if listed:
        _list(as_json)
        return
    try:
        meters = _meters(count, _parse(misbehaviour, count), framing, line, kind)
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        refuse_argument(what, remedy or "see simulate --help", as_json)
    if line != "none" and framing == "wrapper":
        refuse_argument("a line carries HDLC frames only", "leave --framing or --line out", as_json)
    if line == "none" and port and port + count > 65536:
        refuse_argument(f"{count} meters need the ports {port} to {port + count - 1}", "begin at a lower --port, or 0", as_json)
    try:
        asyncio.run(_serve(meters, line, LineTiming(baud), host, port, as_json))
    except OSError as error:
        typer.echo(f"cannot listen: {error}\n  -> choose another --port, or 0 for free ones", err=True)
        raise typer.Exit(EXIT_PORT) from None


def _list(as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"misbehaviours": MISBEHAVIOURS}))
        return
    table = Table("misbehaviour", "what it stands for")
    for name, meaning in MISBEHAVIOURS.items():
        table.add_row(name, meaning)
    Console(highlight=False).print(table)


def _parse(text: str, count: int) -> dict[str, int]:
    """Misbehaviour -> how many meters.

    :raises ValueError: when the text makes no sense.
    """
    wanted: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        if name not in NAMED:
            raise ValueError(f"there is no misbehaviour {name!r}; possible are {', '.join(NAMED)}")
        if number and not number.isdecimal():
            raise ValueError(f"{part!r} is not possible; write {name}=2")
        wanted[name] = wanted.get(name, 0) + int(number or 1)
    if sum(wanted.values()) > count:
        raise ValueError(f"{sum(wanted.values())} meters misbehave, but there are {count}; raise the number of meters")
    return wanted


def _meters(count: int, wanted: Mapping[str, int], framing: str, line: str, kind: str) -> _Meters:
    """:raises ValueError: when there is no such kind of meter."""
    names = [name for name, number in wanted.items() for _ in range(number)]
    meters = []
    for number in range(count):
        at = number - (count - len(names))
        name = names[at] if at >= 0 else "honest"
        options = parse_options(kind, {"behaviour": name})
        place: dict[str, Any] = {"server_physical": FIRST_ON_A_LINE + number} if line != "none" else {}
        config = MeterConfig(**{"id": _id(number, name), "seed": number + 1, "framing": framing, **place, **options.config})
        meters.append((config, Behaviour(**options.behaviour), name))
    return meters


def _id(number: int, name: str) -> str:
    return f"sim-{number + 1}" if name == "honest" else f"sim-{number + 1}-{name}"


async def _serve(meters: _Meters, line: str, timing: LineTiming, host: str, port: int, as_json: bool) -> None:
    installation, stopped = Installation(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(ValueError, RuntimeError):  # not in the main thread
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        addresses = await _start(installation, meters, line, timing, host, port)
        entries = list(_entries(meters, addresses))
        if as_json:
            typer.echo(json.dumps({"meters": entries}))
        else:
            typer.echo("meters:")
            for entry in entries:
                typer.echo("  - {" + ", ".join(f"{key}: {_yaml(value)}" for key, value in entry.items()) + "}")
            typer.echo(f"{counted(len(meters), 'virtual meter')} running; Ctrl-C ends this", err=True)
        await stopped.wait()
    finally:
        await installation.stop()


async def _start(installation: Installation, meters: _Meters, line: str, timing: LineTiming, host: str, port: int) -> list[str]:
    pairs = [(config, behaviour) for config, behaviour, _ in meters]
    if line != "none":
        on_pty = line == "pty"
        address = await (installation.start_line(pairs, timing) if on_pty else installation.start_converter(pairs, timing, host, port))
        return [address] * len(meters)
    return [
        str(await installation.start(config, behaviour, host, port + number if port else 0))
        for number, (config, behaviour) in enumerate(pairs)
    ]


def _entries(meters: _Meters, addresses: list[str]) -> Iterator[dict[str, Any]]:
    """What the meters section of a pipeline.yaml says of each."""
    for (config, _, _), address in zip(meters, addresses, strict=True):
        entry: dict[str, Any] = {"id": config.id, "connect": address, "template": config.profile}
        if config.framing != "hdlc":
            entry["framing"] = config.framing
        if config.server_logical != 1:
            entry["server_logical"] = config.server_logical
        if config.server_physical:
            entry["server_physical"] = config.server_physical
        yield entry


def _yaml(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if any(mark in text for mark in ":?&") else text
