"""`python -m simulator.meter`: virtual meters on consecutive ports until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from simulator.meter.behaviour import NAMED, Behaviour
from simulator.meter.client_access import ClientAccess, client_access
from simulator.meter.config import PUBLIC_CLIENT, MeterConfig
from simulator.meter.installation import Installation
from simulator.meter.options import parse_options
from simulator.meter.profiles import PROFILES
from simulator.meter.sim_url import password_bytes


def main(
    count: Annotated[int, typer.Option(min=1, help="How many meters.")] = 1,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the first meter, the others follow; 0 takes free ones.")] = 4059,
    profile: Annotated[str, typer.Option(help=f"Kind of meter: {', '.join(PROFILES)}.")] = "three-phase",
    framing: Annotated[str, typer.Option(help="hdlc or wrapper.")] = "hdlc",
    client_sap: Annotated[int, typer.Option(help="Client SAP that is served.")] = 16,
    authentication: Annotated[str, typer.Option(help="none, low, high, high-md5, high-sha1, high-sha256 or high-gmac.")] = "",
    security_suite: Annotated[int, typer.Option(help="0, 1 or 2.")] = 0,
    security_policy: Annotated[str, typer.Option(help="none, authentication, encryption or authenticated-encryption.")] = "none",
    client_system_title: Annotated[str, typer.Option(help="The only one the client may have, hexadecimal; empty takes any.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the first meter, the others count up.")] = 1,
    behaviour: Annotated[str, typer.Option(help=f"Named behaviour: {', '.join(NAMED)}.")] = "honest",
    option: Annotated[list[str], typer.Option(help="Any other option of a sim:// url, key=value; may be repeated.")] = [],  # noqa: B006
    stats_file: Annotated[Path | None, typer.Option(help="Write the counters here as JSON at exit and on SIGUSR1.")] = None,
) -> None:
    """Run virtual DLMS meters and print one line per meter: id and address.

    Secrets are environment variables: METER_PASSWORD (password or HLS secret; where it is set, --authentication is low unless
    said otherwise), METER_BLOCK_CIPHER_KEY and METER_AUTHENTICATION_KEY (hexadecimal). The public client 16 is served besides.
    """
    try:
        options = parse_options(profile, {**dict(_key_and_value(text) for text in option), "behaviour": behaviour})
        if count > 1 and "counter_file" in options.config:
            raise ValueError("counter_file keeps the invocation counters of one meter; leave it out, or run each meter by itself")
        access = _access(authentication, security_suite, security_policy, _hexadecimal("--client-system-title", client_system_title))
        clients = {PUBLIC_CLIENT: ClientAccess(), client_sap: access}
        shared: dict[str, Any] = {"framing": framing, "clients": clients, **options.config}
        meters = [
            (MeterConfig(**{"id": f"meter-{number + 1}", "seed": seed + number, **shared}), Behaviour(**options.behaviour))
            for number in range(count)
        ]
    except ValueError as problem:
        typer.echo(str(problem), err=True)
        raise typer.Exit(2) from None
    try:
        asyncio.run(_serve(meters, host, port, stats_file))
    except OSError as problem:
        typer.echo(f"{problem}; choose another --port, or 0 for free ones", err=True)
        raise typer.Exit(1) from None


def _access(authentication: str, suite: int, policy: str, title: bytes) -> ClientAccess:
    password = password_bytes(os.environ.get("METER_PASSWORD", ""))
    encryption, authentication_key = (_key(name) for name in ("METER_BLOCK_CIPHER_KEY", "METER_AUTHENTICATION_KEY"))
    return client_access(authentication or ("low" if password else "none"), password, suite, policy, encryption, authentication_key, title)


def _key(variable: str) -> bytes:
    return _hexadecimal(variable, os.environ.get(variable, ""))


def _hexadecimal(name: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError(f"{name} is not possible; write pairs of hexadecimal digits") from None


def _key_and_value(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"option {text!r} has no value; write key=value")
    return key, value


async def _serve(meters: list[tuple[MeterConfig, Behaviour]], host: str, port: int, stats_file: Path | None) -> None:
    installation = Installation()

    def write_statistics() -> None:
        if stats_file is not None:
            stats_file.write_bytes(orjson.dumps(installation.statistics(), option=orjson.OPT_INDENT_2))

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGUSR1, write_statistics)
    try:
        for offset, (config, behaviour) in enumerate(meters):
            address = await installation.start(config, behaviour, host, port + offset if port else 0)
            typer.echo(f"{config.id} {address}")
        await stopped.wait()
    finally:
        write_statistics()
        await installation.stop()


if __name__ == "__main__":
    typer.run(main)
