"""The client against virtual meters with ciphering and high authentication: what it reads, and what it refuses to believe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from connectors.dlms.invocation_counters import CHUNK, CounterId, InvocationCounters
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.session import Session
from model.messages import Cycle, ErrorKind, Outcome, Violation
from model.settings.meter import MeterSettings
from model.settings.template import ReadSettings
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import ATTACKS, Behaviour
from simulator.meter.client_access import ClientAccess, client_access
from simulator.meter.config import MeterConfig

CLIENT_TITLE = "4D4D4D0000000001"
READS = {"voltage": "1-1:32.7.0", "energy": "1-1:1.8.0"}
HIGH = ("high", "high-md5", "high-sha1", "high-sha256", "high-gmac")
SECRET = "sixteen bytes ok"
FORGED = {"voltage": (0x6B6B, 0x6B6B6B6B), "energy": (0x6B6B, 0x6B6B6B6B)}
EXPECTED = {
    "flipped_tag": {Violation.WRONG_TAG},
    "flipped_ciphertext": {Violation.WRONG_TAG},
    "flipped_control": {Violation.WRONG_TAG, Violation.WEAKER_PROTECTION, Violation.MALFORMED},
    "replayed_reply": {Violation.OLD_COUNTER},
    "plaintext_reply": {Violation.PLAINTEXT},
    "foreign_title": {Violation.FOREIGN_TITLE, Violation.WRONG_TAG},
    "weaker_protection": {Violation.WEAKER_PROTECTION},
    "old_counter": {Violation.OLD_COUNTER},
}


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def settings_of(
    authentication: str = "high-gmac", policy: str = "authenticated-encryption", suite: int = 0, **more: Any
) -> tuple[MeterSettings, ClientAccess]:
    """What the client is told, and the same for the meter."""
    size = 32 if suite == 2 else 16
    keys = {"block_cipher_key": bytes(range(size)), "authentication_key": bytes(range(100, 100 + size))}
    secret = "" if authentication in ("none", "high-gmac") else SECRET
    ciphered = policy != "none" or authentication == "high-gmac"
    fields: dict[str, Any] = {"authentication": authentication, "security_policy": policy, "client_system_title": CLIENT_TITLE}
    if ciphered:
        fields |= {"security_suite": suite, **{name: key.hex() for name, key in keys.items()}}
    if secret:
        fields["password" if authentication == "low" else "hls_secret"] = secret
    base = {"id": "m", "connect": "sim://m", "template": "t", "client_sap": 1, "framing": "wrapper", "exchange_timeout": 2.0}
    settings = MeterSettings.model_validate({**base, "backoff_min": 0.01, "backoff_max": 0.02, **fields, **more})
    access = client_access(authentication, secret.encode(), suite if ciphered else 0, policy, **(keys if ciphered else {}))
    return settings, access


def start(meters: BackgroundMeters, settings: MeterSettings, access: ClientAccess, behaviour: Behaviour | None = None, **more: Any) -> str:
    config = MeterConfig("m", framing=settings.framing, seed=7, clients={16: ClientAccess(), 1: access}, **more)
    return meters.start(config, behaviour)


def read(
    settings: MeterSettings,
    address: str,
    state: Path,
    count: int = 1,
    then: Callable[[], None] = lambda: None,
    snapshot: list[Any] | None = None,
) -> list[Cycle]:
    """`count` cycles of one process, then a release; `then` is called after the first one.

    :arg snapshot: what is restored of the counter, and replaced by what it is in the end.
    """

    async def run() -> list[Cycle]:
        plan = plan_reads({key: ReadSettings(obis=obis) for key, obis in READS.items()})
        session = Session(settings, lambda _id, _connect: address, InvocationCounters(state / "counters.sqlite"))
        if snapshot is not None:
            session.restore_counter(snapshot.pop())
        poll = MeterPoll(settings, plan, 60.0, session)
        cycles = []
        try:
            for number in range(count):
                cycles.append(await poll.cycle(datetime.now(timezone.utc)))
                if number == 0:
                    then()
                await asyncio.sleep(0.03)  # beyond the longest back-off of these tests
            if snapshot is not None:
                snapshot.append(session.counter_state)
            return cycles
        finally:
            await poll.close()

    return asyncio.run(run())


def is_true(meters: BackgroundMeters, cycle: Cycle) -> bool:
    """Whether every value is near what the meter shows now; voltage varies by volts, energy by Wh."""
    tolerance = {"voltage": 5000, "energy": 1000}
    for value in cycle.values:
        truth = meters.meter("m").truth(READS[value.key].replace("-", ".").replace(":", ".") + ".255", 2, cycle.started)
        if value.value in FORGED[value.key] or abs(int(value.value) - truth) > tolerance[value.key]:
            return False
    return True


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
@pytest.mark.parametrize("policy", ["none", "authentication", "encryption", "authenticated-encryption"])
@pytest.mark.parametrize("authentication", ["none", "low", *HIGH])
def test_each_mechanism_and_policy(meters: BackgroundMeters, tmp_path: Path, authentication: str, policy: str, framing: str) -> None:
    if (authentication, policy) in (("none", "none"), ("low", "none")):
        return
    settings, access = settings_of(authentication, policy, framing=framing)
    cycles = read(settings, start(meters, settings, access), tmp_path, 2)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK, Outcome.OK], cycles[-1].errors
    assert all(is_true(meters, cycle) for cycle in cycles)
    assert not any(cycle.violations for cycle in cycles)
    assert not meters.counters("m").refusals


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("ciphering", ["service-specific", "general"])
@pytest.mark.parametrize("dedicated", [False, True])
def test_each_suite_and_form(meters: BackgroundMeters, tmp_path: Path, suite: int, ciphering: str, dedicated: bool) -> None:
    settings, access = settings_of(suite=suite, ciphering=ciphering, dedicated_key=dedicated)
    cycles = read(settings, start(meters, settings, access), tmp_path, 2)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK, Outcome.OK], cycles[-1].errors
    assert all(is_true(meters, cycle) for cycle in cycles)


def test_wrong_keys_are_told_as_such_and_cost_one_question(meters: BackgroundMeters, tmp_path: Path) -> None:
    settings, access = settings_of()
    wrong, _ = settings_of(authentication_key="00" * 16)
    (cycle,) = read(wrong, start(meters, settings, access), tmp_path)
    assert cycle.outcome is Outcome.FAILED
    assert cycle.errors[0].kind is ErrorKind.REFUSED and "keys" in cycle.errors[0].remedy
    assert meters.counters("m").associations == 2  # those of the public client that told the counter, at first and in doubt


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_becomes_a_value_each_is_counted_and_the_next_reply_is_read(
    meters: BackgroundMeters, tmp_path: Path, attack: str, framing: str
) -> None:
    settings, access = settings_of(framing=framing, ciphering="general", retries=0)
    behaviour = Behaviour(**{attack: 0.3})
    address = start(meters, settings, access, behaviour)
    cycles = read(settings, address, tmp_path, 40)
    found = [violation for cycle in cycles for violation in cycle.violations]
    sent = meters.counters("m").attacks[attack]
    assert sent > 5
    assert sum(violation.count for violation in found) == sent
    assert {violation.violation for violation in found} <= EXPECTED[attack]
    assert all(is_true(meters, cycle) for cycle in cycles)
    assert sum(cycle.outcome is Outcome.OK for cycle in cycles) > 10
    meters.meter("m").behaviour = Behaviour()
    (after,) = read(settings, address, tmp_path)
    assert after.outcome is Outcome.OK


def test_counters_go_on_over_restarts_without_one_refusal(meters: BackgroundMeters, tmp_path: Path) -> None:
    settings, access = settings_of()
    address = start(meters, settings, access)
    for _ in range(5):
        (cycle,) = read(settings, address, tmp_path)
        assert cycle.outcome is Outcome.OK
    assert not meters.counters("m").refusals
    known = InvocationCounters(tmp_path / "counters.sqlite").read(CounterId.of(settings))
    assert known is not None and known[0] > 5 * CHUNK


def test_a_lost_counter_file_is_recovered_by_asking_the_meter(meters: BackgroundMeters, tmp_path: Path) -> None:
    settings, access = settings_of()
    address = start(meters, settings, access, initial_client_counter=123_456)
    (cycle,) = read(settings, address, tmp_path)
    assert cycle.outcome is Outcome.OK
    assert cycle.invocation_counter is not None and cycle.invocation_counter > 123_456
    assert not meters.counters("m").refusals


def test_a_counter_that_another_client_drove_up_is_recovered_once(meters: BackgroundMeters, tmp_path: Path) -> None:
    settings, access = settings_of()
    address = start(meters, settings, access)
    read(settings, address, tmp_path)
    read(settings, address, tmp_path / "another", 1)
    store = InvocationCounters(tmp_path / "another" / "counters.sqlite")
    store.reserve(CounterId.of(settings), 50_000)
    read(settings, address, tmp_path / "another", 1)
    (cycle,) = read(settings, address, tmp_path)
    assert cycle.outcome is Outcome.OK
    assert cycle.invocation_counter is not None and cycle.invocation_counter > 50_000


def test_a_meter_that_moves_between_hosts_is_never_given_a_number_twice(meters: BackgroundMeters, tmp_path: Path) -> None:
    """Each host has a counter file of its own; the snapshot comes along."""
    settings, access = settings_of(invocation_counter_object="0-0:43.1.99.255")  # which the meter does not have: it cannot be asked
    address = start(meters, settings, access)
    snapshot: list[Any] = [None]
    used: list[int] = []
    for host in ("north", "south", "north", "north", "south"):
        (cycle,) = read(settings, address, tmp_path / host, snapshot=snapshot)
        assert cycle.outcome is Outcome.OK and cycle.invocation_counter is not None
        used.append(cycle.invocation_counter)
    assert used == sorted(set(used))
    assert not meters.counters("m").refusals


def test_a_meter_that_refuses_every_counter_is_left_alone(meters: BackgroundMeters, tmp_path: Path) -> None:
    """Its public client tells a counter that is not believed: one question, then the longest back-off."""
    settings, access = settings_of(backoff_max=60.0)
    address = start(meters, settings, access, initial_client_counter=2**31 + 5)
    InvocationCounters(tmp_path / "counters.sqlite").reserve(CounterId.of(settings), 1)
    cycles = read(settings, address, tmp_path, 5)
    assert {cycle.outcome for cycle in cycles} == {Outcome.FAILED}
    assert all(cycle.errors[0].kind is ErrorKind.COUNTER for cycle in cycles)
    assert "left alone" in cycles[-1].errors[0].detail
    counters = meters.counters("m")
    assert (counters.requests["aarq"], counters.associations) == (2, 1)


def test_nothing_is_believed_of_a_meter_with_another_title(meters: BackgroundMeters, tmp_path: Path) -> None:
    settings, access = settings_of(server_system_title="0102030405060708")
    (cycle,) = read(settings, start(meters, settings, access), tmp_path)
    assert not cycle.values and cycle.errors[0].kind is ErrorKind.SECURITY
    assert cycle.violations[0].violation is Violation.FOREIGN_TITLE
