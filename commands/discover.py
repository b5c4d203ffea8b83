"""`discover`: what is in a meter, which meters are on a line, and which in a network."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from commands.configuration import duration_text, load_or_refuse, progress, refuse_argument, running_pipeline
from commands.discovery.entry import SECRETS, load_entry, parse_settings, public_meter
from commands.discovery.stations import FoundStation, scan_line, scan_network
from commands.discovery.template import entry_lines, sections, whole_file
from commands.discovery.walk import FoundMeter, walk
from commands.probing.trace import quiet_log, traced
from connectors.dlms.invocation_counters import FILE_NAME as COUNTERS
from connectors.dlms.invocation_counters import InvocationCounters
from connectors.dlms.session import Session
from flows.embedded import Embedded, check_virtual_meter
from flows.logs import SecretMask
from flows.process import pipeline_file
from flows.registry import installed_node_types
from model.errors import ConfigurationError, MeterError, PipelineError
from model.loading.load import Loaded, load
from model.obis import format_logical_name
from model.settings.link_address import parse_link
from model.settings.meter import MeterSettings

EXIT_NOTHING = 1
EXIT_LEFT_ALONE = 3
EXIT_INTERRUPTED = 130

MOST_HOSTS = 1024
"""Addresses of a /22; more are asked for only with --yes."""
MOST_HOSTS_EVER = 65_536

FEW_OBJECTS = 5
"""Objects of a meter that shows the public client hardly more than who it is."""

app = typer.Typer(no_args_is_help=True, help="Find out what is in a meter, which meters are on a line, and which in a network.")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
FileOption = Annotated[Path | None, typer.Option("--file", "-f", help="The file; PIPELINE or pipeline.yaml where left out.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Also while a running pipeline reads it.")]


@app.command("meter")
def discover_meter(
    meter: Annotated[str, typer.Argument(help="A meter's id in the file, or where it is: tcp://192.0.2.10:4059.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="A setting of the meter's entry, such as client_sap=32; may be repeated."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the template that is written.")] = "discovered",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a whole pipeline.yaml here; never over a file.")] = None,
    file: FileOption = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show every frame on stderr, decoded and in hex; secrets are masked.")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Walk a meter's object list and print a template for it, ready to paste: registers, demand registers, clock, profiles.

    Every object is read once, one request after the other. Keys come from well-known OBIS codes, units from the meter; what could
    not be read, and constants such as serial numbers, stand in comments. Ctrl-C ends it and prints what was found until then.

    Exit code 0 when a template was written, 1 when the meter or its object list could not be read, 2 for a mistake in the arguments,
    3 when a running pipeline reads the meter.

    Examples:

        python -m commands discover meter tcp://192.0.2.10:3333 -s server_physical=1234

        python -m commands discover meter tcp://192.0.2.11:4059 -s framing=wrapper -o lab.yaml

        METER_PASSWORD=... python -m commands discover meter lab-1 -s client_sap=32 -s authentication=low -s 'password=${METER_PASSWORD}'
    """
    if output is not None and output.exists():
        refuse_argument(f"{output} exists", "choose another name for --output; nothing is written over", as_json)
    loaded, chosen, entry = _meter(meter, settings or [], file, force, as_json)
    frames: list[str] = []
    err = Console(stderr=True, highlight=False)
    show = frames.append if as_json else lambda text: err.print(Text(text), soft_wrap=True)
    found, interrupted, fault = FoundMeter(), False, None
    embedded = Embedded(loaded.settings)
    try:
        with traced(SecretMask(loaded.secrets), show) if trace else quiet_log():
            interrupted = _until_stopped(_walk(loaded, chosen, embedded.resolve_meter, found))
    except PipelineError as error:
        fault = error
    finally:
        embedded.close()
    if fault is not None and not found.values:
        _unread(chosen, fault, as_json, frames)
    if output is not None and found.objects:
        output.write_text(whole_file(found, name, entry), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({**_plain_meter(found, interrupted), "yaml": sections(found, name, entry), "trace": frames}))
    elif output is None:
        typer.echo(sections(found, name, entry), nl=False)
    else:
        typer.echo(f"{output} is written; check it: python -m commands check {output}")
    if not as_json:
        err.print(Text(_walked(found, interrupted)))
    raise typer.Exit(0 if found.values or found.profiles else EXIT_NOTHING)


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
        _refuse(error, as_json)
    if not force:
        _leave_alone_what_runs(file, parse_link(connect).line, as_json)
    stations: list[FoundStation] = []
    fault: MeterError | None = None
    interrupted = False
    with quiet_log(), progress() as bar:
        task = bar.add_task(connect, total=len(wanted))

        def asked(address: int) -> None:
            bar.update(task, advance=1, description=f"address {address}, {len(stations)} found")

        async def scan() -> None:
            async for station in scan_line(connect, wanted, logical, size, deadline, asked):
                stations.append(station)

        try:
            interrupted = _until_stopped(scan())
        except MeterError as error:
            fault = error
    entries = [{"id": f"meter-{s.settings['server_physical']}", "connect": connect, **s.settings} for s in stations]
    _print_entries(stations, entries, interrupted, fault, as_json)


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

        interrupted = _until_stopped(scan_network(hosts, numbers, most, deadline, asked, stations.append))
    stations.sort(key=lambda station: (ipaddress.ip_address(parse_link(station.settings["connect"]).host), station.settings["connect"]))
    entries = [{"id": f"meter-{number}", **station.settings} for number, station in enumerate(stations, 1)]
    _print_entries(stations, entries, interrupted, None, as_json)


def _meter(
    named: str, settings: Sequence[str], file: Path | None, force: bool, as_json: bool
) -> tuple[Loaded, MeterSettings, dict[str, Any]]:
    """The meter to walk, and its entry as it is written down: secrets only as references."""
    try:
        given = parse_settings(settings)
        if "://" in named:
            entry = {"id": _id_of(named, given), "connect": named, **given}
            loaded = load_entry(entry, _state_dir(file, as_json))
            if not force:
                _leave_alone_what_runs(file, parse_link(named).line, as_json)
            return loaded, loaded.settings.meters[0], entry
    except ValueError as error:
        _refuse(error, as_json)
    loaded = load_or_refuse(file, as_json)
    meter = next((meter for meter in loaded.settings.meters if meter.id == named), None)
    if meter is None:
        some = ", ".join(meter.id for meter in loaded.settings.meters[:10])
        refuse_argument(f"there is no meter {named} in {loaded.file}", f"name one of {some}, or an address such as tcp://host:port", as_json)
    if not force and (holder := running_pipeline(loaded)) is not None:
        _left_alone(holder, as_json)
    if given:
        with_secrets = [key for key in given if key in SECRETS]
        try:
            extra = load_entry({"id": named, "connect": meter.connect, **_public_part(meter), **given}, loaded.settings.state_dir)
        except ValueError as error:
            _refuse(error, as_json)
        changed = extra.settings.meters[0].model_dump(include=set(given) | set(with_secrets))
        meter = MeterSettings.model_validate({**meter.model_dump(exclude_unset=True), **changed})
    return loaded, meter, {"id": meter.id, "connect": meter.connect, **_public_part(meter), **given}


def _id_of(connect: str, settings: Mapping[str, Any]) -> str:
    """An id that no other meter gets: invocation counters are kept under it."""
    place = [connect.partition("://")[2].partition("?")[0], *(str(settings[key]) for key in ("server_logical", "server_physical") if key in settings)]
    return "meter-" + re.sub(r"[^A-Za-z0-9]+", "-", "-".join(place)).strip("-")[:80]


def _state_dir(file: Path | None, as_json: bool) -> Path:
    """That of the configuration in use, so that its invocation counters are continued; ./state where there is none."""
    if file is None and not pipeline_file().exists():
        return Path("state")
    try:
        return (load_or_refuse(file, as_json) if file is not None else _quietly_loaded()).settings.state_dir
    except ConfigurationError:
        return Path("state")


def _public_part(meter: MeterSettings) -> dict[str, Any]:
    """What the entry says besides id, connect and template; a secret stands for itself by a reference that has to be filled in."""
    settings = meter.model_dump(exclude_unset=True, exclude={"id", "connect", "template", "overrides", "tags", *SECRETS})
    plain = {key: value for key, value in settings.items() if value is not None and not isinstance(value, (dict, list, tuple, set))}
    return {**plain, **{key: f"${{METER_{key.upper()}}}" for key in SECRETS if getattr(meter, key) is not None}}


async def _walk(loaded: Loaded, meter: MeterSettings, resolve: Callable[[str, str], str], found: FoundMeter) -> None:
    session = Session(meter, resolve, InvocationCounters(loaded.settings.state_dir / COUNTERS))
    try:
        with progress() as bar:
            task = bar.add_task("associating", total=1)

            def advanced(what: str, done: int, of: int) -> None:
                bar.update(task, completed=done, total=of, description=f"object {what}")

            await session.associate()
            bar.update(task, description="object list")
            await walk(session, meter.referencing == "short", found, advanced)
    finally:
        await session.close()


def _until_stopped(work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` to its end, or until SIGINT or SIGTERM, upon which it is cancelled and cleans up; whether that was so."""

    async def run() -> bool:
        task = asyncio.ensure_future(work)
        stopped = False

        def stop() -> None:
            nonlocal stopped
            stopped = True
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError, RuntimeError):  # not in the main thread
                asyncio.get_running_loop().add_signal_handler(number, stop)
        try:
            await task
        except asyncio.CancelledError:
            if not stopped:
                raise
        return stopped

    return asyncio.run(run())


def _leave_alone_what_runs(file: Path | None, line: str, as_json: bool) -> None:
    """End with exit code 3 where the pipeline that runs here reads a meter at this address."""
    if file is None and not pipeline_file().exists():
        return
    try:
        loaded = load_or_refuse(file, as_json) if file is not None else _quietly_loaded()
    except ConfigurationError:
        return
    if any(meter.address.line == line for meter in loaded.settings.meters) and (holder := running_pipeline(loaded)) is not None:
        _left_alone(holder, as_json)


def _quietly_loaded() -> Loaded:
    return load(pipeline_file(), installed_node_types(), check_meter=check_virtual_meter)


def _left_alone(holder: str, as_json: bool) -> None:
    what, remedy = f"the pipeline that runs here (pid {holder}) reads it", "stop the pipeline first, or give --force and disturb it"
    typer.echo(json.dumps({"ok": False, "left_alone": {"what": what, "remedy": remedy}}) if as_json else f"{what}\n  -> {remedy}", err=not as_json)
    raise typer.Exit(EXIT_LEFT_ALONE)


def _refuse(error: ValueError, as_json: bool) -> None:
    text = "; ".join(str(item["msg"]).removeprefix("Value error, ") for item in error.errors()) if isinstance(error, ValidationError) else str(error)
    what, _, remedy = text.partition("; ")
    refuse_argument(what, remedy or "see --help", as_json)


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
    stations: list[FoundStation], entries: list[dict[str, Any]], interrupted: bool, fault: MeterError | None, as_json: bool
) -> None:
    if as_json:
        plain = [{"entry": entry, "identity": station.identity, "remark": station.remark} for station, entry in zip(stations, entries, strict=True)]
        problem = None if fault is None else {"what": fault.what, "remedy": fault.remedy}
        typer.echo(json.dumps({"found": plain, "interrupted": interrupted, "fault": problem}))
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
        typer.echo(_counted(len(entries), interrupted), err=True)
    raise typer.Exit(0 if entries else EXIT_NOTHING)


def _counted(count: int, interrupted: bool) -> str:
    found = "nothing was found" if not count else "1 was found" if count == 1 else f"{count} were found"
    return f"stopped before the end; {found} until then" if interrupted else found


def _unread(meter: MeterSettings, fault: PipelineError, as_json: bool, frames: list[str]) -> None:
    if as_json:
        typer.echo(json.dumps({"ok": False, "fault": {"what": fault.what, "remedy": fault.remedy}, "trace": frames}))
    else:
        typer.echo(f"{meter.connect}: {fault.what}" + (f"\n  -> {fault.remedy}" if fault.remedy else ""), err=True)
    raise typer.Exit(EXIT_NOTHING)


def _walked(found: FoundMeter, interrupted: bool) -> str:
    readable = sum(not value.problem for value in found.values)
    per = found.seconds_per_exchange
    text = f"{len(found.objects)} objects; {readable} of {len(found.values)} values and {len(found.profiles)} profiles could be read"
    text += "" if per is None else f", {duration_text(per)} per exchange"
    if interrupted:
        return f"stopped before the end: {text}"
    if found.objects and len(found.objects) <= FEW_OBJECTS and not found.stopped:
        text += "\n  -> few objects: another client of this meter may see more (-s client_sap=..., with its password or keys)"
    return f"ended early {found.stopped}: {text}" if found.stopped else text


def _plain_meter(found: FoundMeter, interrupted: bool) -> dict[str, Any]:
    return {
        "ok": True,
        "interrupted": interrupted,
        "stopped": found.stopped,
        "objects": [
            {"obis": item.obis, "class": item.class_id, "version": item.version, "base_name": item.base_name} for item in found.objects
        ],
        "values": [
            {
                "obis": value.item.obis,
                "class": value.item.class_id,
                "attribute": value.attribute,
                "value": value.value if isinstance(value.value, (bool, int)) else None if value.value is None else str(value.value),
                "scaler": value.scaler,
                "unit": value.unit,
                "problem": value.problem or None,
            }
            for value in found.values
        ],
        "profiles": [
            {
                "obis": profile.item.obis,
                "period": profile.period,
                "entries": profile.entries,
                "columns": [
                    {"class": column.class_id, "obis": format_logical_name(column.logical_name), "attribute": column.attribute}
                    for column in profile.columns
                ],
                "problem": profile.problem or None,
            }
            for profile in found.profiles
        ],
        "seconds_per_exchange": found.seconds_per_exchange,
    }
