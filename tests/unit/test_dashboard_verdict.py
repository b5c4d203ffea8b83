from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from connectors.thingsboard.outbox_state import OutboxState
from dashboard.verdict import Facts, judge, not_ready
from model.errors import Problem
from model.finding import Degree, Verdict, verdict_of
from model.messages import FLEET, Alert, HealthReport, Severity
from model.settings.thingsboard import SINGLE
from model.status import DamagedStatus, ProcessStatus, SessionEnd, SessionStatus, StatusFiles

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
UP = SessionStatus("mqtts://tb:8883", "c", "5", "up", NOW - HOUR)
DOWN = replace(UP, state="backing-off", ends=(SessionEnd(NOW, "taken-over", 142, "another client"),))
RUNNING = ProcessStatus(os.getpid(), socket.gethostname(), 0, 1, NOW - HOUR, NOW, "p.yaml", sessions=(UP,))
REPORT = HealthReport(FLEET, NOW - HOUR, NOW, 20, 20, 0, 0, 20, 100, 0, 100, 20, 0, 20, 0, (), NOW, None, None)
OUTBOX = OutboxState(0, None, 0, NOW, None, True)
WELL = Facts(NOW, StatusFiles((RUNNING,)), fleet=REPORT, meters=3, outboxes={SINGLE: OUTBOX})


def status(*processes: ProcessStatus) -> StatusFiles:
    return StatusFiles(processes)


def alert(subject: str, severity: Severity = Severity.WARNING) -> Alert:
    return Alert("meter-silent", subject, severity, True, NOW - HOUR, "no reading", "check the link")


def test_where_all_is_well_nothing_is_found() -> None:
    assert judge(WELL) == [] and verdict_of([]) is Verdict.HEALTHY and not_ready(WELL) == []


CASES: list[tuple[Mapping[str, Any], Degree, str, str]] = [
    ({"status": status()}, Degree.CRITICAL, "flow", "has not run"),
    ({"status": status(replace(RUNNING, ended=NOW))}, Degree.CRITICAL, "flow", "it was stopped at 2026-06-01 12:00:00 UTC"),
    ({"status": status(replace(RUNNING, written=NOW - HOUR))}, Degree.CRITICAL, "flow", "did not stop in order"),
    ({"status": status(replace(RUNNING, processes=3))}, Degree.CRITICAL, "flow", "of 3 processes these do not run: 1, 2"),
    ({"status": StatusFiles((RUNNING,), (DamagedStatus(Path("x"), "torn"),))}, Degree.MINOR, "flow", "torn"),
    ({"status": status(replace(RUNNING, sessions=()))}, Degree.CRITICAL, "session", "no process owns"),
    (
        {"status": status(replace(RUNNING, processes=2), replace(RUNNING, process=1, processes=2))},
        Degree.CRITICAL,
        "session",
        "2 processes own",
    ),
    ({"status": status(replace(RUNNING, sessions=(DOWN,)))}, Degree.CRITICAL, "session", "taken-over, another client"),
    ({"problems": [Problem("p.yaml", 7, "no such thing", "")]}, Degree.MINOR, "configuration", "p.yaml:7: no such thing"),
    ({"unusable": [("archive", "there is no archive", "wait")]}, Degree.MINOR, "archive", "there is no archive"),
    ({"unreachable": ["m1"]}, Degree.MINOR, "meters", "1 of 3 meters"),
    ({"unreachable": ["m1", "m2", "m3"]}, Degree.CRITICAL, "meters", "m1, m2, m3"),
    ({"unreachable": [f"m{n}" for n in range(9)], "meters": 10}, Degree.MINOR, "meters", "and 4 more"),
    ({"fleet": replace(REPORT, cycles_published=18)}, Degree.MINOR, "publishing", "18 of 20 cycles"),
    ({"fleet": replace(REPORT, cycles_published=2)}, Degree.CRITICAL, "publishing", "10 %"),
    ({"gaps_open": 2}, Degree.MINOR, "gaps", "2 intervals"),
    ({"gaps_open": 2, "gaps_lost": 1}, Degree.MINOR, "gaps", "1 intervals of load profiles are lost"),
    ({"outboxes": {SINGLE: replace(OUTBOX, waiting=3, oldest=NOW - HOUR / 6)}}, Degree.MINOR, "outbox", "3 records wait"),
    ({"outboxes": {SINGLE: replace(OUTBOX, waiting=3, oldest=NOW - 2 * HOUR)}}, Degree.CRITICAL, "outbox", "3 records wait"),
    ({"outboxes": {SINGLE: replace(OUTBOX, dead=2)}}, Degree.MINOR, "outbox", "refused 2 records"),
    ({"standing": [alert("m1"), alert("m2")]}, Degree.MINOR, "m1", "(and 1 more)"),
    ({"standing": [alert("m1", Severity.CRITICAL)]}, Degree.CRITICAL, "m1", "meter-silent since"),
    ({"standing": [alert(FLEET)]}, Degree.MINOR, "all meters", "no reading"),
]


@pytest.mark.parametrize(("change", "severity", "subject", "what"), CASES)
def test_each_fault_is_named_with_a_remedy(change: Mapping[str, Any], severity: Degree, subject: str, what: str) -> None:
    (found,) = judge(replace(WELL, **change))
    assert (found.severity, found.subject) == (severity, subject)
    assert what in found.what and found.remedy
    assert verdict_of([found]) is Verdict(severity.value)


WELL_CASES: list[Mapping[str, Any]] = [
    {"status": status(replace(RUNNING, sessions=(replace(DOWN, since=NOW),)))},  # has just lost its connection
    {"status": status(replace(RUNNING, sessions=(), started=NOW))},  # has just begun
    {"status": status(replace(RUNNING, sessions=())), "delivers": False},
    {"status": status(replace(RUNNING, host="another"))},
    {"fleet": replace(REPORT, with_values=3, cycles_published=0)},  # too few to tell
    {"fleet": replace(REPORT, with_values=0, cycles_published=0)},
    {"fleet": None, "outboxes": {}},
    {"outboxes": {SINGLE: replace(OUTBOX, waiting=3, oldest=NOW)}},
]


@pytest.mark.parametrize("change", WELL_CASES)
def test_what_is_no_fault_is_not_found(change: Mapping[str, Any]) -> None:
    assert judge(replace(WELL, **change)) == []


def test_the_worst_comes_first() -> None:
    found = judge(replace(WELL, gaps_lost=1, unreachable=["m1", "m2", "m3"]))
    assert [finding.severity for finding in found] == [Degree.CRITICAL, Degree.MINOR] and verdict_of(found) is Verdict.CRITICAL


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": status()}, "the flow does not run"),
        ({"status": status(replace(RUNNING, sessions=()))}, "no process owns the session to ThingsBoard yet"),
        ({"status": status(replace(RUNNING, sessions=(DOWN,)))}, "the session to ThingsBoard is backing-off"),
        ({"unreachable": ["m1", "m2", "m3"]}, "no meter can be read"),
        ({"fleet": None}, "no window of the health node is complete yet"),
        ({"fleet": replace(REPORT, ok=0, failed=20)}, "no cycle of the newest window gave a value"),
    ],
)
def test_what_keeps_it_from_being_ready(change: Mapping[str, Any], reason: str) -> None:
    assert not_ready(replace(WELL, **change)) == [reason]
