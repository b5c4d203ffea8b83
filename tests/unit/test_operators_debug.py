from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, get_args

import bytewax.operators as op
import pytest
import yaml
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, cluster_main, run_main
from structlog.testing import capture_logs

from model.loading.fields import secrets_in
from model.messages import (
    FLEET,
    Alert,
    Cycle,
    Dropped,
    ErrorKind,
    Gap,
    GapState,
    HealthReport,
    Message,
    Origin,
    Outcome,
    RawValue,
    ReadError,
    Reading,
    Receipt,
    Rejection,
    Severity,
)
from model.node import BuildContext
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from operators.debug import MASK, MOST_ITEMS, NODE, DebugSettings, RateLimit, Redaction

TS = datetime(2024, 3, 1, 12, tzinfo=timezone.utc)
READING = Reading("m1", "voltage", Decimal("230.10"), "V", TS, Origin.POLL, TS, (("site", "lab"), ("api_token", "abc")))
MESSAGES: tuple[Message, ...] = (
    Cycle("m1", TS, TS, 1.0, Outcome.PARTIAL, (RawValue("voltage", 2301, -1, 35),), (ReadError("power", ErrorKind.ACCESS, "denied"),)),
    READING,
    Rejection(READING, "max", "too much"),
    Receipt("m1", 5, TS, TS, TS, 0.5),
    HealthReport(FLEET, TS, TS, 1, 1, 0, 0, 1, 5, 0, 5, 1, 0, 5, 0, tuple(float(n) for n in range(100)), TS, None, None),
    Alert("meter-silent", "m1", Severity.WARNING, True, TS, "nothing for 60 s", "look at it"),
    Dropped("m1", 5, TS, TS, TS, "the outbox is full", (TS,)),
    Gap("m1", "load", TS, TS, 1, GapState.LOST, TS, TS, "the meter answered 2 requests without it", 0, 1, 95),
)
PIPELINE = PipelineSettings.model_validate(
    {
        "thingsboard": {"url": "embedded", "token": "gateway-token", "username": "u", "password": "mqtt+password"},
        "templates": {"t": {"read": {"voltage": "1-0:32.7.0"}}},
        "meters": [
            {"id": "m1", "connect": "sim://three-phase", "template": "t", "authentication": "low", "password": "00000001"},
            {"id": "m2", "connect": "sim://three-phase", "template": "t", "authentication": "low", "password": "1"},
        ],
        "nodes": [{"id": "tap", "type": "debug"}],
    }
)


def redaction() -> Redaction:
    return Redaction(DebugSettings().redact, secrets_in(PIPELINE))


def test_accepts_every_message_type() -> None:
    assert set(NODE.accepts) == set(get_args(Message)) == {type(message) for message in MESSAGES}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_becomes_plain_fields(message: Message) -> None:
    fields = redaction().fields(message)
    assert json.loads(json.dumps(fields)) == fields


def test_fields_say_what_the_message_says() -> None:
    fields = redaction().fields(READING)
    assert (fields["meter"], fields["value"], fields["unit"], fields["origin"]) == ("m1", "230.10", "V", "poll")
    assert fields["ts"] == "2024-03-01T12:00:00+00:00"
    cycle = redaction().fields(MESSAGES[0])
    assert cycle["values"] == [{"key": "voltage", "value": 2301, "scaler": -1, "unit": 35}]
    assert cycle["errors"][0]["kind"] == "access"


def test_long_lists_are_cut() -> None:
    times = redaction().fields(MESSAGES[4])["read_times"]
    assert len(times) == MOST_ITEMS + 1
    assert times[-1] == "and 80 more"


def test_values_named_like_secrets_are_masked_wherever_they_are() -> None:
    secret = Reading("m1", "LLS_Password", "open sesame", None, TS, Origin.POLL, TS, READING.tags)
    raw = Cycle("m1", TS, TS, 1.0, Outcome.OK, (RawValue("auth_key", "open sesame"),))
    for message in (secret, raw, Rejection(secret, "allowed", "'open sesame' is not one of 'x'")):
        text = json.dumps(redaction().fields(message))
        assert "open sesame" not in text
        assert MASK in text
    assert redaction().fields(secret)["tags"] == {"site": "lab", "api_token": MASK}


def test_secrets_of_the_configuration_are_masked_in_any_text() -> None:
    alert = Alert("k", "m1", Severity.WARNING, True, TS, "refused gateway-token and mqtt+password and 00000001", "1")
    fields = redaction().fields(alert)
    assert fields["evidence"] == f"refused {MASK} and {MASK} and {MASK}"
    assert fields["remedy"] == MASK
    assert redaction().fields(READING)["value"] == "230.10"


def test_redaction_does_not_show_its_secrets() -> None:
    assert "gateway-token" not in repr(redaction())
    assert "gateway-token" not in repr(PIPELINE)


def test_rate_limit_counts_what_it_left_out() -> None:
    now = 0.0
    limit = RateLimit(2, lambda: now)
    assert [limit.admits() for _ in range(5)] == [True, True, False, False, False]
    assert limit.take_left_out() == 3
    now = 0.99
    assert not limit.admits()
    now = 1.0
    assert [limit.admits() for _ in range(3)] == [True, True, False]
    assert limit.take_left_out() == 2
    assert limit.take_left_out() == 0


def tapped(settings: dict[str, Any], items: list[tuple[str, Message]], run: Callable[[Dataflow], None] = run_main) -> list[Any]:
    flow = Dataflow("test")
    first = op.input("first", flow, TestingSource(items[::2], batch_size=10))
    second = op.input("second", flow, TestingSource(items[1::2], batch_size=10))
    ctx = BuildContext(
        flow, "tap", NODE.settings.model_validate(settings), PIPELINE, Stop(), lambda meter, connect: connect, lambda url: url
    )
    assert NODE.build(ctx, [first, second]) == NODE.emits == {}
    with capture_logs() as logs:
        run(flow)
    assert all(entry["node"] == "tap" for entry in logs)
    return list(logs)


def _two_workers(flow: Dataflow) -> None:
    cluster_main(flow, [], 0, worker_count_per_proc=2)


@pytest.mark.parametrize("run", [run_main, _two_workers])
def test_flow_logs_every_message_once(run: Callable[[Dataflow], None]) -> None:
    logs = tapped({"max_per_second": 1000}, [("m1", message) for message in MESSAGES], run)
    assert sorted(entry["type"] for entry in logs) == sorted(type(message).__name__ for message in MESSAGES)
    assert {(entry["event"], entry["log_level"]) for entry in logs} == {("message tapped", "info")}
    assert "gateway-token" not in str(logs)


def test_flow_accounts_for_what_it_did_not_log() -> None:
    logs = tapped({"max_per_second": 3, "level": "debug"}, [("m1", READING)] * 500)
    shown = sum(entry["event"] == "message tapped" for entry in logs)
    left_out = sum(entry["count"] for entry in logs if entry["event"] == "messages left out by the tap")
    assert shown + left_out == 500
    assert shown < 500
    assert {entry["log_level"] for entry in logs} == {"debug"}


def test_only_the_meters_asked_for_are_shown() -> None:
    logs = tapped({"meters": ["lab-*"]}, [("lab-1", READING), ("field-1", READING)])
    assert len(logs) == 1


def test_example_is_valid() -> None:
    (node,) = yaml.safe_load(NODE.example)
    assert node["type"] == NODE.name
    NODE.settings.model_validate(node["settings"])
