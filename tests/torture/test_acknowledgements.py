"""PUBACKs that refuse, come late or never: every reading is taken in the end, once, and what is called malformed is kept aside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from tests.contract.mosquitto import wait_for
from tests.contract.thingsboard_session import RunningSession, reading

DEVICES, READINGS = 4, 25
DEADLINE = 50.0
OWED = {(f"M{device}", ts): ts for device in range(DEVICES) for ts in range(1, READINGS + 1)}
CODES = (0x80, 0x83, 0x87, 0x90, 0x91, 0x97)
WAITS = {"ack_timeout": 0.5, "reconnect_min": 0.02, "reconnect_max": 0.2}


@pytest.fixture
def server() -> Iterator[BackgroundStandIn]:
    with BackgroundStandIn([Account("gateway", "gw-token", gateway=True)]) as server:
        server.misbehaviour.ack_matching = lambda message: message.topic == "v1/gateway/telemetry"
        yield server


def stored(server: BackgroundStandIn) -> dict[tuple[str, int], object]:
    return {(device, ts): value for device in (f"M{n}" for n in range(DEVICES)) for (_, ts), value in server.points(device).items()}


def deliver(running: RunningSession) -> None:
    for ts in range(1, READINGS + 1):
        running.deliver([reading(f"M{device}", ts, x=ts) for device in range(DEVICES)])


@pytest.mark.parametrize("closes", [False, True], ids=["stays", "closes"])
@pytest.mark.parametrize("code", CODES, ids=hex)
def test_what_is_refused_is_sent_again_until_it_is_taken(tmp_path: Path, server: BackgroundStandIn, code: int, closes: bool) -> None:
    server.misbehaviour.ack_closes, server.misbehaviour.ack_times, server.misbehaviour.ack_reason = closes, 3, code
    with RunningSession(tmp_path, server.address, **WAITS) as running:
        deliver(running)
        wait_for(lambda: running.empty() and stored(server) == OWED, f"delivery after 0x{code:02x}", DEADLINE)
        assert server.misbehaviour.ack_times == 0
        assert running.rows("dead_letter", "ts") == []


def test_what_is_called_malformed_for_ever_is_a_dead_letter_with_its_reason(tmp_path: Path, server: BackgroundStandIn) -> None:
    server.misbehaviour.ack_matching = lambda message: b'"M1"' in message.payload and b'"ts":7,' in message.payload
    server.misbehaviour.ack_reason = 0x99
    with RunningSession(tmp_path, server.address, **WAITS) as running:
        deliver(running)
        wait_for(running.empty, "delivery of the others", DEADLINE)
        assert stored(server) == {place: value for place, value in OWED.items() if place != ("M1", 7)}
        assert running.rows("dead_letter", "device, ts, code") == [("M1", 7, 0x99)]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize(
    "trouble", [{"withhold_acks": 1}, {"withhold_acks": 7}, {"ack_delay": 0.2}, {"drop_after": 3}], ids=["one", "seven", "late", "closed"]
)
def test_an_acknowledgement_that_does_not_come_costs_nothing(
    tmp_path: Path, server: BackgroundStandIn, protocol: str, trouble: dict[str, float]
) -> None:
    for name, value in trouble.items():
        setattr(server.misbehaviour, name, value)
    with RunningSession(tmp_path, server.address, protocol=protocol, **WAITS) as running:
        deliver(running)
        wait_for(lambda: running.empty() and stored(server) == OWED, "delivery", DEADLINE)
        assert running.rows("dead_letter", "ts") == []
        assert all(other == 0 for _, other in server.repeats().values())
