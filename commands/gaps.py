"""`gaps`: which load profile intervals were read and delivered, which are missing, which are lost for good, and why."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from commands.configuration import counted, load_or_refuse, refuse_argument
from connectors.archive.reader import ArchiveReader
from connectors.archive.schema import FILE_NAME
from flows.interval_ledger import IntervalAccount, interval_accounts
from model.errors import StorageError
from model.messages import Gap, GapState

EXIT_OPEN, EXIT_LOST = 1, 2
SHOWN = 50
"""Load profiles listed one by one; of more, only those of which something is not delivered."""

ALWAYS = ("expected", "read", "delivered")
SOMETIMES = ("waiting", "refused", "given_up", "open", "lost")
"""Counts that have a column only where one of them is not 0, so that the table fits into a narrow terminal."""

_TIME = "%Y-%m-%d %H:%M:%S"


def gaps(
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    meter: Annotated[str | None, typer.Option("--meter", help="Only this meter.")] = None,
    days: Annotated[float, typer.Option("--days", min=0.01, help="How far back intervals are counted.")] = 7.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what became of the intervals of all load profiles: expected, read, delivered, missing; and each gap.

    Exit code 0 without gaps, 1 with open ones, 2 with lost ones or mistakes in the configuration. Reads only.

    Example: python -m commands gaps my.yaml --meter lab-1
    """
    loaded = load_or_refuse(file, as_json)
    try:
        with ArchiveReader(loaded.settings.state_dir / FILE_NAME) as archive:
            found = archive.gaps(meter)
            since = datetime.now(timezone.utc) - timedelta(days=days)
            accounts = list(interval_accounts(loaded.settings, archive, found, since, meter))
    except StorageError as error:
        refuse_argument(error.what, error.remedy, as_json)
    if as_json:
        ledger = [_plain_account(account) for account in accounts]
        facts = {"file": str(loaded.file), "since": since.isoformat(), "ledger": ledger, "gaps": [_plain(gap) for gap in found]}
        typer.echo(json.dumps(facts))
    else:
        _show_accounts(accounts, days)
        _show(found)
    states = {gap.state for gap in found}
    raise typer.Exit(EXIT_LOST if GapState.LOST in states else EXIT_OPEN if GapState.OPEN in states else 0)


def _plain(gap: Gap) -> dict[str, Any]:
    return {
        "meter": gap.meter,
        "profile": gap.profile,
        "start": gap.start.isoformat(),
        "end": gap.end.isoformat(),
        "intervals": gap.intervals,
        "state": gap.state.value,
        "since": gap.since.isoformat(),
        "at": gap.at.isoformat(),
        "reason": gap.reason,
    }


def _plain_account(account: IntervalAccount) -> dict[str, Any]:
    return {
        "meter": account.meter,
        "profile": account.profile,
        "expected": account.expected,
        "read": account.read,
        "delivered": account.delivered,
        "waiting": account.waiting,
        "refused": account.refused,
        "given_up": account.given_up,
        "open": account.open,
        "lost": account.lost,
        "oldest": None if account.oldest is None else account.oldest.isoformat(),
        "newest": None if account.newest is None else account.newest.isoformat(),
    }


def _show_accounts(accounts: list[IntervalAccount], days: float) -> None:
    console = Console(highlight=False, soft_wrap=True)
    shown = accounts if len(accounts) <= SHOWN else [account for account in accounts if not account.settled]
    if shown:
        table = Table(title=f"intervals of the last {days:g} days", title_justify="left", box=None, pad_edge=False, header_style="bold")
        counts = [*ALWAYS, *(name for name in SOMETIMES if any(getattr(each, name) for each in shown))]
        for heading in ("meter", "profile", "newest (UTC)"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "newest (UTC)")
        for name in counts:
            table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
        for each in shown:
            newest = "-" if each.newest is None else each.newest.strftime(_TIME)
            table.add_row(each.meter, each.profile, newest, *(str(getattr(each, name)) for name in counts))
        console.print(table)
    expected, delivered = (sum(getattr(each, what) for each in accounts) for what in ("expected", "delivered"))
    console.print(f"{counted(len(accounts), 'load profile')}: {counted(expected, 'interval')} expected, {delivered} delivered")


def _show(found: list[Gap]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if found:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("meter", "profile", "from (UTC)", "to (UTC)", "intervals", "state", "reason"):
            table.add_column(heading, overflow="fold")
        for gap in found:
            times = (gap.start.strftime(_TIME), gap.end.strftime(_TIME))
            table.add_row(gap.meter, gap.profile, *times, str(gap.intervals), gap.state.value, gap.reason)
        console.print(table)
    open_, lost = (sum(gap.intervals for gap in found if gap.state is state) for state in (GapState.OPEN, GapState.LOST))
    console.print(f"{counted(open_, 'interval')} missing and asked for again, {lost} lost for good")
