"""`discover`: what is in a meter, which meters are on a line, and which in a network."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.configuration import progress, refuse_argument
from commands.discover_meter import discover_meter
from commands.discovery.entry import public_meter
from commands.discovery.guard import EXIT_NOTHING, leave_alone_what_runs, refuse_settings, until_stopped
from commands.discovery.stations import FoundStation, scan_line, scan_network
from commands.discovery.template import entry_lines
from commands.quiet import quiet_log
from model.errors import MeterError
from model.settings.link_address import parse_link

MOST_HOSTS = 1024
"""Addresses of a /22; more are asked for only with --yes."""
MOST_HOSTS_EVER = 65_536

app = typer.Typer(no_args_is_help=True, help="Find out what is in a meter, which meters are on a line, and which in a network.")
app.command("meter")(discover_meter)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
FileOption = Annotated[Path | None, typer.Option("--file", "-f", help="The file; PIPELINE or pipeline.yaml where left out.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Also while a running pipeline reads it.")]


@app.command("line")
def discover_line(
    connect: Annotated[str, typer.Argument(help="The line: serial:///dev/ttyUSB0?baud=9600, or the converter's tcp://host:port.")],
    addresses: Annotated[str, typer.Option(help="Physical HDLC addresses: 16-127, or 17,18,1000-1100.")] = "16-125",
    logical: Annotated[int, typer.Option(min=0, max=16381, help="Logical device that is asked for.")] = 1,
    size: Annotated[int | None, typer.Option(help="Bytes of the server address, 1, 2 or 4; the smallest that fits where left out.")] = None,
    deadline: Annotated[float, typer.Option(min=0.05, max=60, help="Seconds to wait for the answer at each address.")] = 1.0,
    file: FileOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the meters on a line by asking every HDLC address once, and print their entries.

    One SNRM goes to each address; whoever answers is asked who it is, as the public client, and let go. The line belongs to discover
    meanwhile: a serial port that another program has is not opened. Ctrl-C ends it and prints what was found until then.

    Exit code 0 when a meter was found, 1 when none was or the line failed, 2 for a mistake in the arguments, 3 when a running
    pipeline reads this line.

    Examples:

        python -m commands discover line 'serial:///dev/ttyUSB0?baud=9600' --addresses 16-127

        python -m commands discover line tcp://192.0.2.10:3333 --addresses 1000-9999 --deadline 0.5
    """
    try:
        wanted = _ranges(addresses)
        if parse_link(connect).scheme not in ("tcp", "serial", "rfc2217"):
            raise ValueError(f"{connect} is no line; write serial:///dev/ttyUSB0?baud=9600, tcp://host:port or rfc2217://host:port")
        for address in (min(wanted), max(wanted)):
            public_meter(connect, server_logical=logical, server_physical=address, server_address_size=size)
    except ValueError as error:
        refuse_settings(error, as_json)
    if not force:
        leave_alone_what_runs(file, parse_link(connect).line, as_json)
    stations: list[FoundStation] = []
    noise: list[str] = []
    fault: MeterError | None = None
    interrupted = False
    with quiet_log(), progress() as bar:
        task = bar.add_task(connect, total=len(wanted))

        def asked(address: int) -> None:
            bar.update(task, advance=1, description=f"address {address}, {len(stations)} found")

        async def scan() -> None:
            async for station in scan_line(connect, wanted, logical, size, deadline, asked, noise.append):
                stations.append(_compared(station, stations))

        try:
            interrupted = until_stopped(scan())
        except MeterError as error:
            fault = error
    entries = [{"id": f"meter-{s.settings['server_physical']}", "connect": connect, **s.settings} for s in stations]
    _print_entries(stations, entries, interrupted, fault, as_json, noise)


@app.command("net")
def discover_net(
    network: Annotated[str, typer.Argument(help="The subnet: 192.0.2.0/28, or one address.")],
    ports: Annotated[str, typer.Option(help="TCP ports: 4059,3333.")] = "4059",
    most: Annotated[int, typer.Option("--at-a-time", min=1, max=64, help="Connections at a time.")] = 8,
    deadline: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds to wait for a connection and for each answer.")] = 2.0,
    yes: Annotated[bool, typer.Option("--yes", help=f"Also more than {MOST_HOSTS} addresses (a /22).")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find meters in the subnet that you name, and print their entries. Only ask networks that are yours.

    A TCP connection is opened to every address and port, few at a time; whoever accepts is asked as the public client, first with the
    wrapper and then with HDLC. Many meters serve one client at a time, so a meter that a running pipeline reads may miss a cycle.
    Ctrl-C ends it and prints what was found until then.

    Exit code 0 when something was found, 1 when nothing was, 2 for a mistake in the arguments.

    Examples:

        python -m commands discover net 192.0.2.0/28

        python -m commands discover net 192.0.2.0/24 --ports 4059,3333 --at-a-time 4
    """
    hosts, numbers = _hosts(network, yes, as_json), _ports(ports, as_json)
    stations: list[FoundStation] = []
    with quiet_log(), progress() as bar:
        task = bar.add_task(network, total=len(hosts) * len(numbers))

        def asked() -> None:
            bar.update(task, advance=1, description=f"{network}, {len(stations)} found")

        interrupted = until_stopped(scan_network(hosts, numbers, most, deadline, asked, stations.append))
    stations.sort(key=lambda station: (ipaddress.ip_address(parse_link(station.settings["connect"]).host), station.settings["connect"]))
    entries = [{"id": f"meter-{number}", **station.settings} for number, station in enumerate(stations, 1)]
    _print_entries(stations, entries, interrupted, None, as_json, ())


def _ranges(text: str) -> list[int]:
    """:raises ValueError: when it is no list of numbers and ranges."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{part.strip()!r} is no address; write 16-127 or 17,18,1000-1100")
        found += range(int(first), int(last or first) + 1) if dash else [int(first)]
    if not found:
        raise ValueError(f"{text!r} names no address; write 16-127")
    return list(dict.fromkeys(found))


def _hosts(text: str, yes: bool, as_json: bool) -> list[str]:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        refuse_argument(f"{text!r} is no subnet", "write it as 192.0.2.0/28; names are not looked up", as_json)
    if network.num_addresses > MOST_HOSTS_EVER or (network.num_addresses > MOST_HOSTS and not yes):
        more = "split it" if network.num_addresses > MOST_HOSTS_EVER else "name a smaller one, or give --yes if it is yours and you mean it"
        refuse_argument(f"{network} has {network.num_addresses} addresses, which is more than a /22", more, as_json)
    return [str(host) for host in network.hosts()] or [str(network.network_address)]


def _ports(text: str, as_json: bool) -> list[int]:
    numbers = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(numbers) != len(text.split(",")) or not all(1 <= number <= 65535 for number in numbers):
        refuse_argument(f"{text!r} are no ports", "write 4059 or 4059,3333", as_json)
    return list(dict.fromkeys(numbers))


def _print_entries(
    stations: list[FoundStation],
    entries: list[dict[str, Any]],
    interrupted: bool,
    fault: MeterError | None,
    as_json: bool,
    noise: Sequence[str],
) -> None:
    if as_json:
        plain = [
            {"entry": entry, "identity": station.identity, "remark": station.remark}
            for station, entry in zip(stations, entries, strict=True)
        ]
        problem = None if fault is None else {"what": fault.what, "remedy": fault.remedy}
        typer.echo(json.dumps({"found": plain, "interrupted": interrupted, "fault": problem, "noise": list(noise)}))
    else:
        if entries:
            typer.echo("meters:")
        for station, entry in zip(stations, entries, strict=True):
            if station.comment:
                typer.echo(f"  # {station.comment}")
            for line in entry_lines({**entry, "template": "discovered"}):
                typer.echo(line)
        if fault is not None:
            typer.echo(f"{fault.what}\n  -> {fault.remedy}", err=True)
        if noise:
            typer.echo(f"at {len(noise)} addresses something arrived that was no answer, {noise[-1]}\n  -> {_NOISE_REMEDY}", err=True)
        typer.echo(_counted(len(entries), interrupted), err=True)
    raise typer.Exit(0 if entries else EXIT_NOTHING)


def _compared(station: FoundStation, others: Sequence[FoundStation]) -> FoundStation:
    """The station, with a remark where it says it is one that was found before: many meters answer at several addresses."""
    twin = next((other for other in others if other.identity and other.identity == station.identity), None)
    if twin is None:
        return station
    return dataclasses.replace(station, remark=f"says it is the meter at address {twin.settings['server_physical']}: keep one of them")


_NOISE_REMEDY = "a longer --deadline finds meters that answer late; else check baud rate, parity and wiring, or who else uses the line"


def _counted(count: int, interrupted: bool) -> str:
    found = "nothing was found" if not count else "1 was found" if count == 1 else f"{count} were found"
    return f"stopped before the end; {found} until then" if interrupted else found
