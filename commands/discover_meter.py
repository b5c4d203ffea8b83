"""`discover meter`: what is in a meter, as a template for it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from commands.configuration import counted, duration_text, load_or_refuse, progress, refuse_argument, running_pipeline
from commands.diagnosis.causes import asked_otherwise
from commands.discovery.entry import SECRETS, load_entry, parse_settings
from commands.discovery.guard import (
    EXIT_NOTHING,
    leave_alone_what_runs,
    left_alone,
    quietly_loaded,
    refuse_settings,
    until_stopped,
)
from commands.discovery.template import sections, whole_file
from commands.discovery.walk import FoundMeter, walk
from commands.probing.trace import traced
from commands.quiet import quiet_log
from connectors.dlms.invocation_counters import FILE_NAME as COUNTERS
from connectors.dlms.invocation_counters import InvocationCounters
from connectors.dlms.session import Session
from flows.embedded import Embedded
from flows.logs import SecretMask
from flows.process import pipeline_file
from model.errors import ConfigurationError, MeterError, PipelineError
from model.loading.load import Loaded
from model.obis import format_logical_name
from model.settings.link_address import parse_link
from model.settings.meter import MeterSettings

FEW_OBJECTS = 5
"""Objects of a meter that shows the public client hardly more than who it is."""

_NEXT = "Next: write your ThingsBoard to its `url`, export TB_TOKEN (the access token of a gateway device there), and check it"


def discover_meter(
    meter: Annotated[str, typer.Argument(help="A meter's id in the file, or where it is: tcp://192.0.2.10:4059.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="A setting of the meter's entry, such as client_sap=32; may be repeated."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the template that is written.")] = "discovered",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a whole pipeline.yaml here; never over a file.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show every frame on stderr, decoded and in hex; secrets are masked.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also while a running pipeline reads it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Walk a meter's object list and print a template for it, ready to paste: registers, demand registers, clock, profiles.

    Every object is read once, one request after the other. Keys come from well-known OBIS codes, units from the meter; what could
    not be read, and constants such as serial numbers, stand in comments. Ctrl-C ends it and prints what was found until then.

    Exit code 0 when a template was written, 1 when the meter or its object list could not be read, 2 for a mistake in the arguments,
    3 when a running pipeline reads the meter.

    Examples:

        python -m commands discover meter tcp://192.0.2.10:4059 -o lab.yaml

        python -m commands discover meter tcp://192.0.2.11:4059 -s framing=wrapper

        python -m commands discover meter tcp://192.0.2.12:3333 -s server_physical=1234

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
            interrupted = until_stopped(_walk(loaded, chosen, embedded.resolve_meter, found))
    except PipelineError as error:
        fault = error
    finally:
        embedded.close()
    if fault is not None and not found.values:
        _unread(chosen, fault, as_json, frames)
    if not found.objects:
        typer.echo(json.dumps({"ok": False, "interrupted": True}) if as_json else "stopped before anything was found", err=not as_json)
        raise typer.Exit(EXIT_NOTHING)
    if output is not None:
        output.write_text(whole_file(found, name, entry, _state_dir_of(output, chosen, loaded)), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({**_plain_meter(found, interrupted), "yaml": sections(found, name, entry), "trace": frames}))
    elif output is None:
        typer.echo(sections(found, name, entry), nl=False)
    else:
        typer.echo(f"{output} is written.\n{_NEXT}: python -m commands check {output}")
    if not as_json:
        err.print(Text(_walked(found, interrupted)))
    raise typer.Exit(0 if found.values or found.profiles else EXIT_NOTHING)


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
                leave_alone_what_runs(file, parse_link(named).line, as_json)
            return loaded, loaded.settings.meters[0], entry
    except ValueError as error:
        refuse_settings(error, as_json)
    loaded = load_or_refuse(file, as_json)
    meter = next((meter for meter in loaded.settings.meters if meter.id == named), None)
    if meter is None:
        some = ", ".join(meter.id for meter in loaded.settings.meters[:10])
        refuse_argument(
            f"there is no meter {named} in {loaded.file}", f"name one of {some}, or an address such as tcp://host:port", as_json
        )
    if not force and (holder := running_pipeline(loaded)) is not None:
        left_alone(holder, as_json)
    if given:
        with_secrets = [key for key in given if key in SECRETS]
        try:
            extra = load_entry({"id": named, "connect": meter.connect, **_public_part(meter), **given}, loaded.settings.state_dir)
        except ValueError as error:
            refuse_settings(error, as_json)
        changed = extra.settings.meters[0].model_dump(include=set(given) | set(with_secrets))
        meter = MeterSettings.model_validate({**meter.model_dump(exclude_unset=True), **changed})
    return loaded, meter, {"id": meter.id, "connect": meter.connect, **_public_part(meter), **given}


def _id_of(connect: str, settings: Mapping[str, Any]) -> str:
    """An id that no other meter gets: invocation counters are kept under it."""
    place = [
        connect.partition("://")[2].partition("?")[0],
        *(str(settings[key]) for key in ("server_logical", "server_physical") if key in settings),
    ]
    return "meter-" + re.sub(r"[^A-Za-z0-9]+", "-", "-".join(place)).strip("-")[:80]


def _state_dir(file: Path | None, as_json: bool) -> Path:
    """That of the configuration in use, so that its invocation counters are continued; ./state where there is none."""
    if file is None and not pipeline_file().exists():
        return Path("state")
    try:
        return (load_or_refuse(file, as_json) if file is not None else quietly_loaded()).settings.state_dir
    except ConfigurationError:
        return Path("state")


def _state_dir_of(output: Path, meter: MeterSettings, loaded: Loaded) -> str:
    """Where the new file keeps its state: apart from others', whose outbox is not for its server; of a ciphered meter where its
    invocation counter was just kept, which must never begin again."""
    if meter.is_ciphered or meter.is_high:
        return os.path.relpath(loaded.settings.state_dir, output.parent)
    return f"state/{output.name.partition('.')[0] or 'meter'}"


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

            try:
                await session.associate()
            except MeterError as error:
                bar.update(task, description="asking otherwise")
                raise await asked_otherwise(error, session, meter, resolve) from None
            bar.update(task, description="object list")
            await walk(session, meter.referencing == "short", found, advanced)
    finally:
        await session.close()


def _unread(meter: MeterSettings, fault: PipelineError, as_json: bool, frames: list[str]) -> None:
    if as_json:
        typer.echo(json.dumps({"ok": False, "fault": {"what": fault.what, "remedy": fault.remedy}, "trace": frames}))
    else:
        here = "" if "--set" in fault.remedy else " (here: -s KEY=VALUE)"
        typer.echo(f"{meter.connect}: {fault.what}" + (f"\n  -> {fault.remedy}{here}" if fault.remedy else ""), err=True)
    raise typer.Exit(EXIT_NOTHING)


def _walked(found: FoundMeter, interrupted: bool) -> str:
    readable = sum(not value.problem for value in found.values)
    usable = sum(not profile.problem for profile in found.profiles)
    per = found.seconds_per_exchange
    read = f"{readable} of {counted(len(found.values), 'value')} and {counted(usable, 'profile')}"
    text = f"{counted(len(found.objects), 'object')}; {read} could be read"
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
