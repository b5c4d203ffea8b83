"""`probe`: reads everything that a meter's template asks for, once, and shows each value from the wire to ThingsBoard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.configuration import chosen_meters, duration_text, load_or_refuse, refuse_argument, running_pipeline
from commands.probing.read import Probed, ProbedProfile, ProbedValue, probe_meter
from commands.probing.trace import traced
from commands.quiet import quiet_log
from flows.embedded import Embedded
from flows.logs import SecretMask
from model.loading.load import Loaded
from model.messages import RawValue, Reading, Value
from model.settings.meter import MeterSettings
from model.units import unit_symbol

EXIT_INCOMPLETE = 1
EXIT_LEFT_ALONE = 3
EXIT_INTERRUPTED = 130

KEY_WIDTH = 24
"""Characters of a key that stay on one line."""

_NUMBERS: dict[str, Literal["left", "right"]] = {"raw": "right", "scaler": "right", "unit": "left", "published": "right"}

_LEFT_ALONE = "not asked: the pipeline that runs here (pid {pid}) reads it"
_LEFT_ALONE_REMEDY = (
    "stop the pipeline first, or give --force: the pipeline may then miss cycles of this meter, since many meters accept one client"
)


def probe(
    meters: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE|METER", help="Ids of meters; none if it has only one. A name with a dot is the FILE."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All meters of the file, one after the other.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Show every frame on stderr, decoded and in hex; secrets are masked.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also ask meters that a running pipeline reads.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Read everything a meter's template asks for, once: raw value, scaler, unit, what is published, and the time it took.

    Nothing is published. Load profiles are looked at too: what they capture, how often, and their newest row. Invocation counters
    of ciphered meters are taken from the pipeline's state_dir, so that none is used twice. Serial ports have one owner: while the
    pipeline has it, probe says so and ends.

    Exit code 0 when everything was read, 1 when something was not, 2 for a mistake in the configuration or the arguments, 3 when a
    meter was left to the running pipeline, 130 after Ctrl-C.

    Examples:

        python -m commands probe lab-1

        python -m commands probe my.yaml lab-1 lab-2 --trace
    """
    named = [name for name in meters or () if "." not in name]
    files = [Path(name) for name in meters or () if "." in name]
    if len(files) + (file is not None) > 1:
        refuse_argument("more than one file is named", "name one", as_json)
    loaded = load_or_refuse(file or (files[0] if files else None), as_json)
    if not named and not every and len(loaded.settings.meters) != 1:
        some = ", ".join(meter.id for meter in loaded.settings.meters[:10])
        refuse_argument("no meter is named", f"name one or more of {some}; or give --all", as_json)
    chosen = chosen_meters(loaded, named, as_json)
    holder = None if force else running_pipeline(loaded)
    asked = [meter for meter in chosen if meter.is_polled and holder is None]
    left = {meter.id: _why_not(meter, holder) for meter in chosen if meter not in asked}
    try:
        results, frames = _probed(loaded, asked, trace, as_json)
    except KeyboardInterrupt:
        typer.echo("stopped; the meter was released", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        answer = {
            "file": str(loaded.file),
            "meters": [_plain(result) for result in results],
            "left_alone": {name: {"what": what, "remedy": remedy} for name, (what, remedy) in left.items()},
        }
        typer.echo(json.dumps({**answer, **({"trace": frames} if trace else {})}))
    for name, (what, remedy) in {} if as_json else left.items():
        typer.echo(f"{name}: {what}\n  -> {remedy}", err=True)
    if not all(result.is_whole for result in results):
        raise typer.Exit(EXIT_INCOMPLETE)
    if left:
        raise typer.Exit(EXIT_LEFT_ALONE)


def _why_not(meter: MeterSettings, holder: str | None) -> tuple[str, str]:
    if not meter.is_polled:
        return "not asked: it only calls in (connect: push)", "watch a dlms-push-in node of the pipeline"
    return _LEFT_ALONE.format(pid=holder), _LEFT_ALONE_REMEDY


def _probed(loaded: Loaded, meters: list[MeterSettings], trace: bool, as_json: bool) -> tuple[list[Probed], list[str]]:
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    frames: list[str] = []
    embedded = Embedded(loaded.settings)
    results = []
    with ExitStack() as stack:
        if trace:
            shown = frames.append if as_json else lambda text: err.print(Text(text), soft_wrap=True)
            stack.enter_context(traced(SecretMask(loaded.secrets), shown))
        else:
            stack.enter_context(quiet_log())
        stack.callback(embedded.close)
        for meter in meters:
            with err.status("") as status:
                result = probe_meter(loaded, meter, embedded.resolve_meter, lambda what, status=status: status.update(Text(what)))  # type: ignore[misc]
            results.append(result)
            if not as_json:
                _show(out, result)
    return results, frames


def _show(out: Console, probed: Probed) -> None:
    meter = probed.meter
    out.print(Text.assemble((meter.id, "bold"), f"  {meter.connect}, {_who(meter)}"))
    if probed.fault is not None:
        out.print(Text.assemble(("not read: ", "bold red"), probed.fault.detail))
        if probed.fault.remedy:
            out.print(Text(f"  -> {probed.fault.remedy}"))
        out.print()
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("key", overflow="fold", width=min(KEY_WIDTH, max((len(value.read.key) for value in probed.values), default=3)))
    table.add_column("OBIS", no_wrap=True)
    for heading, side in _NUMBERS.items():
        table.add_column(heading, justify=side, overflow="fold")
    table.add_column("time", justify="right", no_wrap=True, min_width=6)
    for value in probed.values:
        table.add_row(*_row(value))
    out.print(table)
    for remedy in dict.fromkeys(value.remedy for value in probed.values if value.problem and value.remedy):
        keys = ", ".join(value.read.key for value in probed.values if value.problem and value.remedy == remedy)
        out.print(Text(f"  -> {keys}: {remedy}"))
    for profile in probed.profiles:
        for line in _profile_lines(profile):
            out.print(Text(line))
    out.print(Text(_summary(probed)))
    out.print()


def _row(value: ProbedValue) -> tuple[Text, ...]:
    raw = value.raw
    time = "" if value.timing is None else duration_text(value.timing.seconds) + ("*" if value.timing.shared_by > 1 else "")
    if raw is None:
        cells = ("", "", "", value.problem)
    else:
        published = value.problem or ("left out" if value.published is None else _with_unit(value.published))
        # Text is published as it is: it stands there once.
        cells = (
            "" if isinstance(raw.value, str) and not value.problem else _text(raw.value),
            "" if raw.scaler is None else str(raw.scaler),
            unit_symbol(raw.unit) or "",
            published,
        )
    style = "red" if value.problem else ""
    return (Text(value.read.key, style), Text(value.obis), *(Text(cell, style) for cell in cells), Text(time))


def _profile_lines(profile: ProbedProfile) -> Iterator[str]:
    head = f"{profile.name}  {profile.settings.obis}: "
    if profile.shape is None or profile.naming is None:
        yield head + profile.problem
        yield f"  -> {profile.remedy}"
        return
    shape = profile.shape
    every = duration_text(shape.period.total_seconds()) if shape.period else "upon events"
    used = "" if shape.entries_in_use is None else f", {shape.entries_in_use} rows kept"
    yield f"{head}captured {'every ' if shape.period else ''}{every}{used}, read in {duration_text(profile.seconds)}"
    for column, key in zip(shape.columns, profile.naming.keys, strict=True):
        scaler, unit = shape.scalers.get(column, (None, None))
        raws = {} if profile.newest is None else {raw.key: raw for raw in profile.newest.values}
        at = "" if profile.newest is None else profile.newest.started.isoformat(sep=" ", timespec="seconds")
        value = "left out" if key is None else _scaled(raws.get(key), scaler, unit)
        shown = "" if profile.newest is None else at if column.is_clock else value
        yield f"  {key or 'clock':<24} {column.name:<20} {shown}"
    if profile.newest is None:
        yield f"  no row of the last {duration_text(profile.span)}"


def _summary(probed: Probed) -> str:
    cycle = probed.cycle
    assert cycle is not None
    good = sum(value.raw is not None for value in probed.values)
    lists = (
        "several values per exchange (*)"
        if any(v.timing is not None and v.timing.shared_by > 1 for v in probed.values)
        else "one value per exchange"
    )
    return (
        f"{good} of {len(probed.values)} values, exchanges: {cycle.exchanges} with scalers, {lists}; "
        f"{duration_text(cycle.duration)} in all, {duration_text(probed.associated_in)} of it to associate"
    )


def _who(meter: MeterSettings) -> str:
    server = f"{meter.server_logical}/{meter.server_physical}" if meter.framing == "hdlc" else str(meter.server_logical)
    security = "" if not meter.is_ciphered else f", {meter.security_policy}"
    return f"{meter.framing}, client {meter.client_sap}, server {server}, authentication {meter.authentication}{security}"


def _text(value: Value) -> str:
    return str(value) if isinstance(value, (str, bool, int)) else format(value, "f")


def _with_unit(reading: Reading) -> str:
    return f"{_text(reading.value)} {reading.unit or ''}".strip()


def _scaled(raw: RawValue | None, scaler: int | None, unit: int | None) -> str:
    if raw is None:
        return "no value"
    if scaler is None or isinstance(raw.value, (str, bool)):
        return _text(raw.value)
    return f"{Decimal(raw.value).scaleb(scaler):f} {unit_symbol(unit) or ''}".strip()


def _plain(probed: Probed) -> dict[str, Any]:
    meter, cycle, fault = probed.meter, probed.cycle, probed.fault
    return {
        "id": meter.id,
        "connect": meter.connect,
        "ok": probed.is_whole,
        "fault": None if fault is None else {"kind": fault.kind.value, "what": fault.detail, "remedy": fault.remedy},
        "seconds": None if cycle is None else round(cycle.duration, 4),
        "association_seconds": round(probed.associated_in, 4),
        "exchanges": None if cycle is None else cycle.exchanges,
        "with_list": probed.with_list,
        "clock_offset": None if cycle is None else cycle.clock_offset,
        "values": [_plain_value(value) for value in probed.values],
        "profiles": [_plain_profile(profile) for profile in probed.profiles],
    }


def _plain_value(value: ProbedValue) -> dict[str, Any]:
    raw, published, timing = value.raw, value.published, value.timing
    return {
        "key": value.read.key,
        "obis": value.obis,
        "class": value.read.attribute.class_id,
        "attribute": value.read.attribute.index,
        "raw": None if raw is None else raw.value if isinstance(raw.value, (bool, int)) else _text(raw.value),
        "scaler": None if raw is None else raw.scaler,
        "unit": None if raw is None else unit_symbol(raw.unit),
        "published": None if published is None else {"key": published.key, "value": _text(published.value), "unit": published.unit},
        "problem": value.problem or None,
        "remedy": value.remedy or None,
        "exchange_seconds": None if timing is None else round(timing.seconds, 4),
        "exchange_values": None if timing is None else timing.shared_by,
    }


def _plain_profile(profile: ProbedProfile) -> dict[str, Any]:
    shape, newest = profile.shape, profile.newest
    columns = [] if shape is None or profile.naming is None else list(zip(shape.columns, profile.naming.keys, strict=True))
    return {
        "name": profile.name,
        "obis": profile.settings.obis,
        "period": None if shape is None else shape.period.total_seconds(),
        "entries": None if shape is None else shape.entries_in_use,
        "columns": [{"object": column.name, "key": key} for column, key in columns],
        "rows": profile.rows,
        "newest": None if newest is None else newest.started.isoformat(),
        "seconds": round(profile.seconds, 4),
        "problem": profile.problem or None,
        "remedy": profile.remedy or None,
    }
