"""Several sessions with ThingsBoard: each delivers its own meters, and what happens to one leaves the others alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commands.__main__ import app
from connectors.thingsboard.session_names import outboxes_on_disk
from model.status import read_session_ends
from simulator.thingsboard.background import BackgroundStandIn
from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import TOKEN, PipelineProcess, pipeline
from tests.contract.several_sessions import METERS, missing, several, shares, stored, three_gateways, told
from tests.contract.test_pipeline_recovery import prepared
from tests.torture.rival import Rival
from tests.torture.test_kill import waiting

ALL = {meter["id"] for meter in METERS}
BY_THEIR_OWN = {meter: [f"gw-{session}"] for session, meters in shares().items() for meter in meters}


def up(folder: Path) -> set[str]:
    """The sessions that are up and have delivered something."""
    return {name for name, session in told(folder).items() if session.state == "up" and session.acknowledged}


def held(folder: Path, *sessions: str) -> dict[tuple[str, str, int], Any]:
    """The readings in the outboxes of these sessions, of all where none is named; an outbox may be just being made."""
    rows: dict[tuple[str, str, int], Any] = {}
    for session, path in outboxes_on_disk(folder / "state").items():
        if not sessions or session in sessions:
            with suppress(sqlite3.OperationalError):
                rows |= waiting(path)
    return rows


def reports(points: Iterable[tuple[str, int]]) -> bool:
    """Whether there are health reports among the points of a device."""
    return any(key.startswith("health_") for key, _ in points)


def of_north(server: BackgroundStandIn) -> int:
    """How many readings there are of the session north."""
    return sum(device.startswith("n-") for device, _, _ in stored(server))


def gateways_of_meters(server: BackgroundStandIn) -> dict[str, list[str]]:
    """Who has spoken for each meter."""
    return {device: gateways for device, gateways in server.snapshot().gateways_of.items() if device in ALL}


def asked(folder: Path, *command: str) -> tuple[int, dict[str, Any]]:
    """Exit code of a command and the JSON that it prints."""
    name, *options = command
    result = CliRunner().invoke(app, [name, str(folder / "pipeline.yaml"), "--json", *options])
    return result.exit_code, json.loads(result.stdout)


def findings(folder: Path) -> dict[str, str]:
    """What `health` finds, by subject."""
    return {finding["subject"]: finding["what"] for finding in asked(folder, "health")[1]["findings"]}


def test_a_refused_token_and_a_takeover_leave_the_other_sessions_delivering(tmp_path: Path) -> None:
    with three_gateways(b="another") as server, PipelineProcess(tmp_path, several(server.address)) as running:
        others = [meter for session, meters in shares().items() if session != "b" for meter in meters]
        wait_for(lambda: {device for device, _, _ in stored(server)} == set(others), "readings of the other sessions", 60)
        wait_for(lambda: "alert_session_thingsboard_b" in server.attributes("gw-north"), "the alert about b", 60)
        assert server.attributes("gw-north")["alert_session_thingsboard_b_subject"] == "thingsboard-b"
        assert "session b" in findings(tmp_path)
        assert "the server does not accept the token" in findings(tmp_path)["session b"]
        assert not {"session a", "session north"} & findings(tmp_path).keys()
        broken = [link for link in asked(tmp_path, "diagnose", "--meter", "n-1")[1]["links"] if link["verdict"] == "broken"]
        assert [(link["subject"], link["link"]) for link in broken] == [("delivery", "publish (b)")]
        logged = [event for event in running.events() if event.get("cause") == "refused-credentials"]
        assert {event["session"] for event in logged} == {"b"}

        with Rival(server.port, "5", (1.0, 2.0), token="token-a"):
            wait_for(lambda: any(end.session == "a" for end in read_session_ends(tmp_path / "state")), "the takeover of a", 60)
            before = len([row for row in stored(server) if row[0].startswith("n-")])
            wait_for(
                lambda: len([row for row in stored(server) if row[0].startswith("n-")]) > before + 20, "readings of north meanwhile", 60
            )
        assert {end.session: end.cause for end in read_session_ends(tmp_path / "state")} == {"a": "taken-over", "b": "refused-credentials"}

        server.change_token("gw-b", "token-b")
        wait_for(lambda: up(tmp_path) == {"a", "b", "north"}, "all sessions", 60)
        wait_for(lambda: not missing(running, server, *shares()["b"]), "what waited for b", 60)
        assert running.stop() == [0]


@pytest.mark.timeout(240)
def test_each_meter_has_its_own_session_and_kill_9_loses_nothing(tmp_path: Path, long: bool) -> None:
    owed: dict[tuple[str, str, int], Any] = {}
    with three_gateways() as server:
        configuration = several(server.address)
        for processes in (2, 1, 2, 1) if long else (2,):
            before = {meter: len(server.points(meter)) for meter in ALL}
            with prepared(tmp_path, configuration, processes=processes) as running:
                wait_for(lambda: all(len(server.points(meter)) > before[meter] + 10 for meter in ALL), "readings of all", 60)  # noqa: B023
                server.stop_listening()
                wait_for(lambda: {meter for meter, _, _ in held(tmp_path)} == ALL, "what waits", 60)
                running.kill()
            owed |= held(tmp_path)
            server.start_listening()
        with prepared(tmp_path, configuration, processes=1) as running:
            wait_for(lambda: up(tmp_path) == {"a", "b", "north"}, "all sessions", 60)
            wait_for(lambda: owed.keys() <= stored(server).keys(), "all that was in the outboxes", 60)
            wait_for(lambda: reports(server.points("gw-north")), "a report on all meters, by the first session", 60)
            assert len({session.client_id for session in told(tmp_path).values()}) == 3
            assert running.stop() == [0]
        assert {row: stored(server)[row] for row in owed} == owed
        assert gateways_of_meters(server) == BY_THEIR_OWN
        assert server.snapshot().takeovers == 0
        assert not reports(server.points("gw-a"))


@pytest.mark.timeout(240)
def test_sessions_come_and_go_and_nothing_is_lost(tmp_path: Path) -> None:
    """From one to two under the name that goes on with its outbox; one is removed with records waiting, which is told; it is put back."""
    first = {"name": "thingsboard", "token": TOKEN}
    two, retired = ([first, {"name": "b", "token": "token-b", **more}] for more in ({}, {"meters": []}))
    with three_gateways(north=TOKEN, b="another") as server:
        with prepared(tmp_path, pipeline("mqtt://127.0.0.1:1", METERS, 0.3)) as running:
            wait_for(lambda: {meter for meter, _, _ in running.archived()} == ALL, "readings that wait for the only session", 60)
            assert running.stop() == [0]
        with prepared(tmp_path, several(server.address, two)) as running:
            wait_for(lambda: not missing(running, server, *shares(two)["thingsboard"]), "what had waited", 60)
            wait_for(lambda: {meter for meter, _, _ in held(tmp_path, "b")} == set(shares(two)["b"]), "what waits for b", 60)
            assert running.stop() == [0]
        owed = held(tmp_path, "b")
        assert not [event for event in running.events() if "configured no more" in event["event"]]

        with prepared(tmp_path, several(server.address, [first])) as running:
            before = len(stored(server))
            wait_for(lambda: len(stored(server)) > before + 60, "readings of all by the other one", 60)
            (said,) = [event for event in running.events() if "configured no more" in event["event"]]
            assert "put it back" in said["remedy"]
            assert "configured no more" in findings(tmp_path)["outbox b"]
            assert [warning["what"] for warning in asked(tmp_path, "check")[1]["warnings"] if "configured no more" in warning["what"]]
            assert not owed.keys() & stored(server).keys()
            assert held(tmp_path, "b") == owed
            assert running.stop() == [0]

        server.change_token("gw-b", "token-b")
        with prepared(tmp_path, several(server.address, retired)) as running:
            wait_for(lambda: owed.keys() <= stored(server).keys(), "what had waited", 60)
            wait_for(lambda: not missing(running, server), "everything", 60)
            assert "outbox b" not in findings(tmp_path)
            assert running.stop() == [0]


def test_a_token_of_a_device_for_each_meter(tmp_path: Path) -> None:
    sessions = [{"name": meter["id"], "token": f"token-{meter['id']}", "meters": [meter["id"]]} for meter in METERS]
    configuration = several("embedded", sessions)
    configuration["thingsboard"]["api"] = "device"
    with PipelineProcess(tmp_path, configuration) as running:
        wait_for(lambda: len(told(tmp_path)) == len(METERS), "the sessions", 60)
        wait_for(lambda: all(session.acknowledged > 5 for session in told(tmp_path).values()), "acknowledgements of all", 60)
        assert running.stop() == [0]
    assert not [subject for subject in findings(tmp_path) if subject.startswith(("session", "outbox"))]
