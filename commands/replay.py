"""`replay`: lets archived readings flow through the nodes of an edited configuration, to try a rule before it goes live."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.configuration import chosen_meters, load_or_refuse, refuse_argument
from commands.quiet import quiet_log
from commands.replaying.flow import Replayed, replay_through
from commands.replaying.stored import Identity, Stored, TooMuchError, identity, stored
from connectors.archive.reader import ArchiveReader
from connectors.archive.schema import FILE_NAME
from model.errors import PipelineError, StorageError
from model.loading.load import Loaded
from model.messages import FLEET, Alert, Reading, Rejection
from model.timestamps import utc_now

EXIT_DIFFERENT = 1
REMEMBERED = timedelta(days=30)
"""How long before the span an alert may have been raised that still stands."""

MOST_ALERTS = 1_000_000

SHOWN = 20
"""Changes and alerts that are listed."""

_AGO = re.compile(r"^-(\d+(?:\.\d+)?)([smhd])$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Fate(str, Enum):
    """What becomes of a reading."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    HELD_BACK = "held back"
    """Passed on by no filter, and so not sent."""
    NOT_TAKEN = "not taken"
    """No map node of the configuration takes it."""


@dataclass(frozen=True, slots=True)
class Change:
    """Readings of one meter and key that fare otherwise than they did, for the same reason."""

    meter: str
    key: str
    then: Fate
    now: Fate
    rule: str
    count: int
    first: datetime
    example: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of a stored span then, and what becomes of it now; `news` are alerts that are raised or cleared now only."""

    loaded: Loaded
    begin: datetime
    until: datetime
    span: Stored
    then: Counter[Fate]
    now: Counter[Fate]
    changed: Sequence[Change]
    news: Sequence[Alert]
    emitted: Mapping[str, int]


def replay(
    file: Annotated[Path | None, typer.Argument(help="The file, edited or not; PIPELINE or pipeline.yaml where left out.")] = None,
    start: Annotated[str, typer.Option("--from", help="Begin of the span: 2026-11-24T08:00 (UTC unless it says), or -2h.")] = "-1h",
    end: Annotated[str, typer.Option("--to", help="End of the span, not included; now where left out.")] = "now",
    meters: Annotated[list[str] | None, typer.Option("--meter", help="Only this meter; may be repeated.")] = None,
    state: Annotated[Path | None, typer.Option("--state", help="Folder with the archive; state_dir of the file where left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Let a stored span of readings flow through the nodes of a configuration, and compare with what happened then.

    The readings of the archive, accepted and rejected ones, enter where map nodes leave, and the archived health reports where health
    nodes leave; all other nodes are the real ones. Nothing is delivered, archived or remembered. Rules along time (monotonic,
    max_step, frozen) know nothing from before the span.

    Exit code 0 when all readings fare as they did then, 1 when some do not, 2 for a mistake in the configuration or the arguments, or
    when there is nothing to replay.

    Examples:

        python -m commands replay edited.yaml --from -2h

        python -m commands replay --from 2026-11-23T00:00 --to 2026-11-24T00:00 --meter lab-1 edited.yaml
    """
    try:
        begin, until = parse_moment(start), parse_moment(end)
    except ValueError as error:
        refuse_argument(str(error), "write 2026-11-24T08:00, 2026-11-24T08:00+01:00, -2h or now", as_json)
    if begin >= until:
        refuse_argument("the span ends before it begins", "--from must be earlier than --to", as_json)
    loaded = load_or_refuse(file, as_json)
    wanted = [meter.id for meter in chosen_meters(loaded, meters or (), as_json)]
    archive_file = (state or loaded.settings.state_dir) / FILE_NAME
    waiting = Console(stderr=True).status("reading the archive")
    try:
        with waiting, ArchiveReader(archive_file) as archive:
            span = stored(archive, wanted, FLEET, begin, until)
            before = archive.alerts(begin - REMEMBERED, begin, limit=MOST_ALERTS)
            alerts = archive.alerts(begin, until, limit=MOST_ALERTS)
        waiting = Console(stderr=True).status(f"replaying {len(span.readings)} readings")
        with waiting, quiet_log(), tempfile.TemporaryDirectory() as folder:
            result = replay_through(loaded, span, Path(folder))
    except StorageError as error:
        refuse_argument(error.what, error.remedy, as_json)
    except TooMuchError as error:
        refuse_argument(str(error), "name a shorter span, or single meters with --meter", as_json)
    except PipelineError as error:
        refuse_argument(error.what, error.remedy, as_json)
    if not span.readings:
        refuse_argument(
            f"{archive_file} has no reading of {len(wanted)} meters from {begin:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC",
            "name another span; `archive-out` must have been wired to the readings",
            as_json,
        )
    then, now, why = fates(span, result)
    changed = changes(span.readings, then, now, why)
    news = _new_alerts(result.alerts, alerts, standing(before), set(wanted))
    comparison = Comparison(loaded, begin, until, span, Counter(then.values()), Counter(now.values()), changed, news, result.emitted)
    if as_json:
        typer.echo(json.dumps(_plain(comparison)))
    else:
        _show(comparison)
    raise typer.Exit(EXIT_DIFFERENT if changed or news else 0)


def parse_moment(text: str) -> datetime:
    """A moment in UTC: ISO 8601 (UTC where no offset stands there), "now", or a time ago such as "-2h".

    :raises ValueError: when it is none of these.
    """
    if text == "now":
        return utc_now()
    ago = _AGO.match(text)
    if ago is not None:
        return utc_now() - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(f"{text!r} is no time") from None
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


def fates(span: Stored, result: Replayed) -> tuple[dict[Identity, Fate], dict[Identity, Fate], dict[Identity, Rejection]]:
    """What became of each reading then, what becomes of it now, and the rejections now."""
    then = {identity(reading): Fate.REJECTED if identity(reading) in span.rejected else Fate.ACCEPTED for reading in span.readings}
    delivered = {identity(reading) for reading in result.delivered}
    why: dict[Identity, Rejection] = {}
    for _, rejection in result.rejected:
        why.setdefault(identity(rejection.reading), rejection)
    now = {}
    for name in then:
        if name in delivered:
            now[name] = Fate.ACCEPTED
        elif name in why:
            now[name] = Fate.REJECTED
        else:
            now[name] = Fate.HELD_BACK if name in result.entered else Fate.NOT_TAKEN
    return then, now, why


def changes(
    readings: Sequence[Reading], then: Mapping[Identity, Fate], now: Mapping[Identity, Fate], why: Mapping[Identity, Rejection]
) -> list[Change]:
    """What fares otherwise, most readings first."""
    groups: dict[tuple[str, str, Fate, Fate, str], list[Reading]] = {}
    for reading in readings:
        name = identity(reading)
        if then[name] is not now[name]:
            rule = why[name].rule if now[name] is Fate.REJECTED else ""
            groups.setdefault((reading.meter, reading.key, then[name], now[name], rule), []).append(reading)
    found = []
    for (meter, key, before, after, rule), members in groups.items():
        first = min(members, key=lambda reading: reading.ts)
        example = why[identity(first)].reason if after is Fate.REJECTED else _value(first)
        found.append(Change(meter, key, before, after, rule, len(members), first.ts, example))
    return sorted(found, key=lambda change: (-change.count, change.meter, change.key))


def over_meters(changed: Sequence[Change]) -> list[Change]:
    """The same with all meters of a key taken together."""
    groups: dict[tuple[str, Fate, Fate, str], list[Change]] = {}
    for change in changed:
        groups.setdefault((change.key, change.then, change.now, change.rule), []).append(change)
    found = []
    for members in groups.values():
        first = min(members, key=lambda change: change.first)
        who = first.meter if len(members) == 1 else f"{len(members)} meters"
        found.append(dataclasses.replace(first, meter=who, count=sum(change.count for change in members)))
    return sorted(found, key=lambda change: (-change.count, change.key))


def standing(alerts: Sequence[Alert]) -> set[tuple[str, str]]:
    """Kind and subject of those that were raised and not cleared, in order of time."""
    latest = {(alert.kind, alert.subject): alert.raised for alert in alerts}
    return {name for name, raised in latest.items() if raised}


def _new_alerts(now: Sequence[Alert], then: Sequence[Alert], stood: set[tuple[str, str]], meters: set[str]) -> list[Alert]:
    """Alerts that the archived reports raise or clear now and did not then; what stood before is raised first and no news."""
    known = {(alert.kind, alert.subject, alert.raised, alert.ts) for alert in then}
    news, stood = [], set(stood)
    for alert in now:
        name = (alert.kind, alert.subject)
        if alert.raised and name in stood:
            stood.discard(name)
        elif (*name, alert.raised, alert.ts) not in known and (alert.subject in meters or alert.subject == FLEET):
            news.append(alert)
    return news


def _value(reading: Reading) -> str:
    return f"{reading.value} {reading.unit or ''}".strip()


def _show(comparison: Comparison) -> None:
    out = Console(highlight=False)
    span, changed, news = comparison.span, comparison.changed, comparison.news
    meters = len({reading.meter for reading in span.readings})
    times = f"{comparison.begin:%Y-%m-%d %H:%M} to {comparison.until:%Y-%m-%d %H:%M} UTC"
    out.print(Text(f"{comparison.loaded.file}: {len(span.readings)} readings of {meters} meters, {times}"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "then", "now"):
        table.add_column(heading, justify="left" if not heading else "right")
    for fate in Fate:
        if comparison.then[fate] or comparison.now[fate]:
            table.add_row(fate.value, str(comparison.then[fate]), str(comparison.now[fate]))
    out.print(table)
    if changed:
        out.print()
        shown = changed if len(changed) <= SHOWN else over_meters(changed)
        out.print(_changes_table(shown[:SHOWN]))
        if len(shown) > SHOWN:
            out.print(Text(f"and {len(shown) - SHOWN} more (--json lists all)"))
    else:
        out.print(Text("every reading fares as it did then", style="green"))
    for alert in news[:SHOWN]:
        verb = "raised" if alert.raised else "cleared"
        out.print(Text(f"alert {verb} now and not then: {alert.kind} of {alert.subject}, {alert.ts:%Y-%m-%d %H:%M:%S}: {alert.evidence}"))
    if len(news) > SHOWN:
        out.print(Text(f"and {len(news) - SHOWN} more alerts (--json lists all)"))
    if span.unmapped:
        out.print(Text(f"{span.unmapped} values that the map node itself rejected then are not replayed", style="dim"))


def _changes_table(changed: Sequence[Change]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("readings", justify="right")
    table.add_column("meter", overflow="fold")
    table.add_column("key", overflow="fold")
    table.add_column("then -> now", no_wrap=True)
    table.add_column("why, or the first of them", overflow="fold")
    for change in changed:
        style = "red" if change.now is Fate.REJECTED else "green" if change.now is Fate.ACCEPTED else "yellow"
        why = f"{change.rule}: {change.example}" if change.rule else f"{change.example} at {change.first:%m-%d %H:%M:%S}"
        way = Text(f"{change.then.value} -> {change.now.value}", style)
        table.add_row(str(change.count), Text(change.meter), Text(change.key), way, Text(why))
    return table


def _plain(comparison: Comparison) -> dict[str, Any]:
    return {
        "file": str(comparison.loaded.file),
        "from": comparison.begin.isoformat(),
        "to": comparison.until.isoformat(),
        "readings": len(comparison.span.readings),
        "then": {fate.value: comparison.then[fate] for fate in Fate},
        "now": {fate.value: comparison.now[fate] for fate in Fate},
        "changes": [
            {
                "meter": change.meter,
                "key": change.key,
                "then": change.then.value,
                "now": change.now.value,
                "rule": change.rule or None,
                "readings": change.count,
                "first": change.first.isoformat(),
                "example": change.example,
            }
            for change in comparison.changed
        ],
        "alerts": [
            {"kind": a.kind, "subject": a.subject, "raised": a.raised, "at": a.ts.isoformat(), "evidence": a.evidence}
            for a in comparison.news
        ],
        "emitted": comparison.emitted,
        "not_replayed": comparison.span.unmapped,
    }
