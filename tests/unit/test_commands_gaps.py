from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.__main__ import app
from connectors.archive.schema import FILE_NAME
from connectors.archive.store import ArchiveStore
from connectors.dlms.profile.recalls import RECALLS, Recalls
from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.outbox_schema import FILE_NAME as OUTBOX
from connectors.thingsboard.payload import Kind, Record
from model.messages import Gap, GapState, Origin, Reading
from model.timestamps import to_ms

T0 = datetime(2026, 3, 1, tzinfo=timezone.utc)
QUARTER = timedelta(minutes=15)
runner = CliRunner()


def gap(meter: str, first: int, last: int, state: GapState) -> Gap:
    return Gap(meter, "load", T0 + first * QUARTER, T0 + last * QUARTER, last - first + 1, state, T0, T0, "why", 0, 0, 0)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "thingsboard: {url: embedded, token: t}\n"
        "templates: {t: {read: {energy: 1-0:1.8.0}, profiles: {load: 1-0:99.1.0}}}\n"
        "meters: [{id: m1, connect: tcp://192.0.2.1:4059, template: t}]\n"
        "nodes:\n"
        "  - {id: meters, type: dlms-in}\n"
        "  - {id: tap, type: debug, inputs: [meters, meters.gaps]}\n"
    )
    return file


def keep(configuration: Path, *gaps: Gap) -> None:
    store = ArchiveStore(configuration.parent / "state" / FILE_NAME, 86400.0 * 36500, 0)
    store.write(gaps)
    store.close()


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([], 0),
        ([GapState.CLOSED], 0),
        ([GapState.OPEN, GapState.CLOSED], 1),
        ([GapState.OPEN, GapState.LOST], 2),
    ],
)
def test_the_exit_code_says_what_there_is(configuration: Path, states: list[GapState], code: int) -> None:
    keep(configuration, *(gap("m1", 10 * n, 10 * n + 3, state) for n, state in enumerate(states)))
    result = runner.invoke(app, ["gaps", str(configuration)])
    assert result.exit_code == code, result.output
    counts = {state: 4 * states.count(state) for state in GapState}
    assert f"{counts[GapState.OPEN]} intervals missing and asked for again, {counts[GapState.LOST]} lost for good" in result.stdout


def test_json_names_each_gap_of_the_meter_asked_for(configuration: Path) -> None:
    keep(configuration, gap("m1", 0, 3, GapState.LOST), gap("m2", 0, 0, GapState.OPEN))
    result = runner.invoke(app, ["gaps", str(configuration), "--meter", "m2", "--json"])
    assert result.exit_code == 1
    (shown,) = json.loads(result.stdout)["gaps"]
    assert (shown["meter"], shown["intervals"], shown["state"], shown["reason"]) == ("m2", 1, "open", "why")
    assert shown["start"] == "2026-03-01T00:00:00+00:00"


def test_a_gap_that_was_closed_or_lost_replaces_what_was_known_of_it(configuration: Path) -> None:
    keep(configuration, gap("m1", 0, 3, GapState.OPEN), gap("m1", 0, 3, GapState.CLOSED), gap("m1", 8, 8, GapState.OPEN))
    keep(configuration, gap("m1", 8, 8, GapState.LOST))
    shown = json.loads(runner.invoke(app, ["gaps", str(configuration), "--json"]).stdout)["gaps"]
    assert [(each["start"][11:16], each["state"]) for each in shown] == [("02:00", "lost")]


def test_without_an_archive_it_says_so(configuration: Path) -> None:
    result = runner.invoke(app, ["gaps", str(configuration)])
    assert result.exit_code == 2
    assert "->" in result.stderr


def test_the_ledger_counts_what_waits_was_refused_and_was_given_up(configuration: Path) -> None:
    state = configuration.parent / "state"
    now = datetime.now(timezone.utc).replace(microsecond=0)
    times = [now - (n + 1) * QUARTER for n in range(10)]
    store = ArchiveStore(state / FILE_NAME, 86400.0 * 36500, 0)
    store.write(Reading("m1", "energy", n, "Wh", at, Origin.PROFILE, now) for n, at in enumerate(times))
    store.write([Reading("m1", "energy", 99, "Wh", now, Origin.POLL, now), gap("m1", 0, 3, GapState.LOST)])
    store.write([replace(gap("m1", 0, 1, GapState.OPEN), start=times[9] - 2 * QUARTER, end=times[9] - QUARTER)])
    store.close()
    outbox = Outbox(state / OUTBOX)
    outbox.append([Record("m1", "m1", Kind.TELEMETRY, to_ms(at), b"{}", "profile", 1, to_ms(now), 1) for at in times[:5]])
    outbox.append([Record("m1", "m1", Kind.TELEMETRY, to_ms(now), b"{}", "poll", 1, to_ms(now), 1)])
    outbox.dead([1, 2], "too large", 149)
    outbox.close()
    Recalls(state / RECALLS).note("m1", times[4:6])  # of these the first was read again: it waits
    result = runner.invoke(app, ["gaps", str(configuration), "--json"])
    (account,) = json.loads(result.stdout)["ledger"]
    counts = {name: account[name] for name in ("expected", "read", "delivered", "waiting", "refused", "given_up", "open", "lost")}
    assert counts == {"expected": 12, "read": 10, "delivered": 4, "waiting": 3, "refused": 2, "given_up": 1, "open": 2, "lost": 0}
    assert (account["oldest"], account["newest"]) == (times[-1].isoformat(), times[0].isoformat())
    shown = runner.invoke(app, ["gaps", str(configuration)]).stdout
    assert "1 load profile: 12 intervals expected, 4 delivered" in shown
