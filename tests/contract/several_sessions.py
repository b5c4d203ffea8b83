"""A pipeline that delivers through three gateways of one server, and the server, which says who spoke for which meter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model.assignment import Assignment
from model.settings.thingsboard import ThingsBoardSettings
from model.status import SessionStatus, read_files
from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from tests.contract.pipeline_process import FIVE, PipelineProcess, as_json_number, pipeline

SESSIONS: list[dict[str, Any]] = [
    {"name": "north", "token": "token-north", "meters": ["n-*"]},
    {"name": "a", "token": "token-a"},
    {"name": "b", "token": "token-b"},
]
METERS: list[dict[str, Any]] = [
    {"id": name, "connect": f"sim://three-phase?seed={number}"} for number, name in enumerate(("n-1", "n-2", "s-1", "s-2", "s-3", "s-4"))
]


@contextmanager
def three_gateways(**tokens: str) -> Iterator[BackgroundStandIn]:
    """A server that knows the gateways gw-north, gw-a and gw-b; `tokens` in place of the usual ones by name of the session."""
    accounts = [
        Account(f"gw-{session['name']}", tokens.get(session["name"], session["token"]), gateway=True, device_type="gateway")
        for session in SESSIONS
    ]
    with BackgroundStandIn(accounts) as server:
        yield server


def several(url: str, sessions: list[dict[str, Any]] | None = None, interval: float = 0.3) -> dict[str, Any]:
    """pipeline.yaml with these sessions."""
    configuration = pipeline(url, METERS, interval, sessions=SESSIONS if sessions is None else sessions)
    del configuration["thingsboard"]["token"]
    receipts = ["receipts.alerts"]
    for node in configuration["nodes"]:
        if node["id"] in ("thingsboard", "archive"):
            node["inputs"] = [*(wire for wire in node["inputs"] if wire not in receipts), *receipts]
    return configuration


def shares(sessions: list[dict[str, Any]] | None = None) -> dict[str, list[str]]:
    """The meters of each session."""
    settings = ThingsBoardSettings.model_validate({"url": "embedded", "sessions": SESSIONS if sessions is None else sessions})
    return Assignment(settings).meters(meter["id"] for meter in METERS)


def told(folder: Path) -> dict[str, SessionStatus]:
    """What the processes that run say of their sessions."""
    return {session.name: session for status in read_files(folder / "state").running() for session in status.sessions}


def stored(server: BackgroundStandIn) -> dict[tuple[str, str, int], Any]:
    """The readings at the server: (device, key, ts in ms) -> value."""
    return {(meter["id"], key, ts): value for meter in METERS for (key, ts), value in server.points(meter["id"]).items() if key in FIVE}


def missing(running: PipelineProcess, server: BackgroundStandIn, *meters: str) -> set[tuple[str, str, int]]:
    """What the archive has of these meters, of all where none is named, and the server has not."""
    there = stored(server)
    archived = {row: as_json_number(value) for row, value in running.archived().items() if not meters or row[0] in meters}
    assert all(there[row] == value for row, value in archived.items() if row in there)
    return archived.keys() - there.keys()
