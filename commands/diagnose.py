"""`diagnose`: looks at every link of the chain from the meters to ThingsBoard and names the first that is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.status import Status
from rich.text import Text

from commands.configuration import counted
from commands.diagnosis.delivery import look_at_delivery
from commands.diagnosis.links import Chain, Link, Verdict
from commands.diagnosis.meter import MeterLook
from commands.diagnosis.owner import look_at_owners, look_at_stand_in, running_sessions
from commands.diagnosis.server import look_at_server
from commands.quiet import quiet_log
from connectors.thingsboard.connection import parse_address
from flows.embedded import Embedded, check_virtual_meter
from flows.process import EXIT_CONFIGURATION, pipeline_file
from flows.registry import installed_node_types
from model.errors import ConfigurationError
from model.loading.load import Loaded, load
from model.settings.meter import MeterSettings
from model.settings.thingsboard import EMBEDDED

EXIT_BROKEN = 1
MOST_METERS = 10
"""Meters looked at where none is named."""

MARKS = {
    Verdict.GOOD: ("ok", "green"),
    Verdict.BROKEN: ("BROKEN", "bold red"),
    Verdict.NOTED: ("note", "yellow"),
    Verdict.SKIPPED: ("-", "dim"),
}


def diagnose(
    file: Annotated[Path | None, typer.Argument(help="The file; PIPELINE or pipeline.yaml where left out.")] = None,
    meters: Annotated[
        list[str] | None, typer.Option("--meter", help=f"Only this meter; may be repeated. The first {MOST_METERS} where left out.")
    ] = None,
    login_token: Annotated[
        str | None,
        typer.Option(
            envvar="TB_DIAGNOSE_TOKEN", help="Log in to ThingsBoard with this token, of a device that nothing else uses.", show_envvar=True
        ),
    ] = None,
    login: Annotated[
        bool, typer.Option("--login", help="Log in with the pipeline's own tokens. ENDS THE RUNNING PIPELINE'S SESSIONS.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Connect also to meters that the running pipeline reads well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at every link from the meters to ThingsBoard and name the first that is broken, with its cause and its remedy.

    Exit code 0 when all links are whole, 1 when one is broken, 2 for a mistake in the configuration or the arguments. Nothing is
    published, and nobody logs in to ThingsBoard unless told to: its name, port and certificate are looked at without.

    Example: python -m commands diagnose my.yaml --meter lab-1
    """
    path = file or pipeline_file()
    try:
        loaded = load(path, installed_node_types(), check_meter=check_virtual_meter)
        chosen = _chosen(loaded, meters)
        tokens = _logins(loaded, login_token, login)
    except ConfigurationError as error:
        _refuse(as_json, path, [(problem.what, problem.remedy, problem.line) for problem in error.problems], str(error))
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        _refuse(as_json, path, [(what, remedy, None)], str(error))
    with quiet_log():
        chain = _look(loaded, chosen, tokens, force, as_json)
    first = chain.first_broken
    if as_json:
        links = [link.as_json() for link in chain.links]
        typer.echo(json.dumps({"file": str(path), "ok": first is None, "first_broken": first and first.as_json(), "links": links}))
    else:
        _conclude(first)
    if first is not None:
        raise typer.Exit(EXIT_BROKEN)


def _chosen(loaded: Loaded, wanted: list[str] | None) -> list[MeterSettings]:
    known = {meter.id: meter for meter in loaded.settings.meters}
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        raise ValueError(f"there is no meter {', '.join(unknown)} in {loaded.file}; its meters are {', '.join(list(known)[:MOST_METERS])}")
    return [known[name] for name in wanted] if wanted else list(known.values())[:MOST_METERS]


def _logins(loaded: Loaded, given: str | None, own: bool) -> dict[str, SecretStr]:
    """The tokens to log in with, if any, by session."""
    settings = loaded.settings.thingsboard
    production = {name: settings.of_session(name).access_token for name in settings.session_names}
    if own:
        return production
    if given and any(given == token.get_secret_value() for token in production.values()):
        raise ValueError(
            "the token for the login is the pipeline's own, and a login with it would end the pipeline's session; "
            "give one of another device, or write --login if you mean it"
        )
    return {"": SecretStr(given)} if given else {}


def _look(loaded: Loaded, meters: list[MeterSettings], logins: dict[str, SecretStr], force: bool, as_json: bool) -> Chain:
    console = Console(highlight=False, soft_wrap=True, quiet=as_json)
    settings = loaded.settings.thingsboard
    with console.status("") as status:
        chain = Chain(lambda what: _show_progress(status, what), lambda link: _show(console, link))
        with chain.link("settings", "configuration") as finding:
            nodes, count = len(loaded.nodes), len(loaded.settings.meters)
            finding.found = f"{loaded.file}: no mistakes, {counted(count, 'meter')}, {counted(nodes, 'node')}"
        if settings.url == EMBEDDED:
            holder = look_at_stand_in(chain, loaded)
            holders = dict.fromkeys(settings.session_names, holder)
        else:
            address = parse_address(settings.url)
            look_at_server(chain, settings, address, logins, running_sessions(loaded.settings.state_dir))
            holders = look_at_owners(chain, loaded, address)
            holder = next((pid for pid in holders.values() if pid is not None), None)
        embedded = Embedded(loaded.settings)
        try:
            look = MeterLook(loaded, embedded.resolve_meter, holder, force)
            for meter in meters:
                look.look_at(chain, meter)
        finally:
            embedded.close()
        if len(meters) < len(loaded.settings.meters):
            with chain.link("meters", "selection") as finding:
                finding.skip(f"{len(loaded.settings.meters) - len(meters)} further meters; name one with --meter")
        look_at_delivery(chain, loaded, holders)
    return chain


def _show_progress(status: Status, what: str) -> None:
    status.update(Text(what))


def _show(console: Console, link: Link) -> None:
    mark, style = MARKS[link.verdict]
    line = Text.assemble((f"{mark:>6} ", style), (f" {link.subject}: {link.name}", "bold"), f"  {link.found}")
    console.print(line)
    if link.remedy and link.verdict is not Verdict.SKIPPED:
        console.print(Text(f"        -> {link.remedy}"))


def _conclude(first: Link | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if first is None:
        console.print(Text("every link that was looked at is whole", style="green"))
        return
    console.print(
        Text.assemble(("the first broken link is ", "bold red"), (f"{first.subject}: {first.name}", "bold"), f"\n  {first.found}")
    )
    console.print(Text(f"  -> {first.remedy}"))


def _refuse(as_json: bool, path: Path, problems: list[tuple[str, str, int | None]], text: str) -> NoReturn:
    """End with exit code 2."""
    if as_json:
        plain = [{"what": what, "remedy": remedy, "line": line} for what, remedy, line in problems]
        typer.echo(json.dumps({"file": str(path), "ok": False, "problems": plain}))
    else:
        typer.echo(text, err=True)
    raise typer.Exit(EXIT_CONFIGURATION) from None
