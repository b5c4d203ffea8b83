"""Every kind of link, framing, name and security against the virtual meter; what was read is what docs/exercised.md says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.settings.meter import MeterSettings
from model.settings.template import ReadSettings
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.line_timing import LineTiming
from simulator.meter.sign_on import SignOnConfig
from simulator.meter.sim_url import parse_sim_url
from tests.contract.test_dlms_transports import rfc2217_server
from tests.exercised import TABLE, VIRTUAL, Row, is_flawless, known, read_twice, rendered, row_of, write

READS: dict[str, object] = {"serial": ReadSettings(obis="0-0:96.1.0", **{"class": 1}), "voltage": ReadSettings(obis="1-0:32.7.0")}
SECRET = "sixteen bytes ok"
HIGH = ("high", "high-md5", "high-sha1", "high-sha256", "high-gmac")
POLICIES = ("authentication", "encryption", "authenticated-encryption")

LINKS: dict[str, tuple[str, ...]] = {
    "tcp": ("hdlc", "wrapper"),
    "udp": ("wrapper",),
    "serial": ("hdlc",),
    "serial, mode E": ("hdlc",),
    "rfc2217": ("hdlc",),
}


def keys(suite: int) -> dict[str, Any]:
    size = 32 if suite == 2 else 16
    return {
        "security_suite": suite,
        "block_cipher_key": bytes(range(size)).hex(),
        "authentication_key": bytes(range(100, 100 + size)).hex(),
        "client_system_title": "4D4D4D0000000001",
    }


def secured(authentication: str, policy: str = "none", suite: int = 0, **more: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"authentication": authentication, "security_policy": policy, **more}
    if authentication == "low":
        settings["password"] = "12345678"
    elif authentication in HIGH and authentication != "high-gmac":
        settings["hls_secret"] = SECRET
    if policy != "none" or authentication == "high-gmac":
        settings |= keys(suite)
    elif authentication in HIGH:
        settings["client_system_title"] = "4D4D4D0000000001"
    return settings


def combinations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Over TCP everything; over the other links what could depend on them: the plainest and the most secured."""
    for link, framings in LINKS.items():
        for framing in framings:
            for settings in _everything() if link == "tcp" else (secured("none"), secured("high-gmac", POLICIES[-1])):
                yield link, {"framing": framing, **settings}


def _everything() -> Iterator[dict[str, Any]]:
    for authentication in ("none", "low"):
        yield {"referencing": "short", **secured(authentication)}
    for authentication in ("none", "low", *HIGH):
        for policy in ("none", *POLICIES):
            yield secured(authentication, policy)
    for suite in (1, 2):
        for policy in POLICIES:
            yield secured("high-gmac", policy, suite)
    for suite in (0, 1, 2):
        for ciphering, dedicated in (("service-specific", True), ("general", False), ("general", True)):
            yield secured("high-gmac", POLICIES[-1], suite, ciphering=ciphering, dedicated_key=dedicated)


def _name(settings: dict[str, Any]) -> str:
    shown = ("framing", "referencing", "authentication", "security_policy", "security_suite", "ciphering", "dedicated_key")
    return "-".join(str(settings[name]) for name in shown if name in settings)


COMBINATIONS = list(combinations())
exercised: set[Row] = set()


@pytest.fixture(scope="module")
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


@pytest.mark.parametrize(("link", "settings"), COMBINATIONS, ids=[f"{link}-{_name(settings)}" for link, settings in COMBINATIONS])
def test_a_meter_is_read_flawlessly(meters: BackgroundMeters, tmp_path: Path, link: str, settings: dict[str, Any]) -> None:
    identity = f"m{COMBINATIONS.index((link, settings))}"
    base = {"id": identity, "connect": "sim://three-phase", "template": "t", "client_sap": 1, "exchange_timeout": 5}
    told = MeterSettings.model_validate({**base, **settings})
    config, _ = parse_sim_url(told.connect, told)
    if link in ("tcp", "udp"):
        address = meters.start(config, transport=link)
    elif link == "serial":
        address = meters.start_line([(config, Behaviour())], LineTiming(baud=115_200, turnaround=0.002))
    else:
        address = meters.start_line([(config, Behaviour())], LineTiming(baud=300, turnaround=0.02), SignOnConfig())
    if link == "rfc2217":
        with rfc2217_server(address.removeprefix("serial://").partition("?")[0]) as converter:
            _exercise(meters, told, f"{converter}?handshake=mode-e", tmp_path, link)
    else:
        _exercise(meters, told, address, tmp_path, link)


def _exercise(meters: BackgroundMeters, told: MeterSettings, address: str, state: Path, link: str) -> None:
    meter = MeterSettings.model_validate({**told.model_dump(exclude_unset=True), "connect": address})
    cycles = asyncio.run(read_twice(meter, READS, address, state))
    assert is_flawless(cycles), [cycle.errors or cycle.violations for cycle in cycles]
    serial = meters.meter(told.id).config.serial_number
    for cycle in cycles:
        values = {value.key: value for value in cycle.values}
        assert values["serial"].value == serial
        assert (values["voltage"].scaler, values["voltage"].unit) == (-2, 35)
        assert 18_000 < int(values["voltage"].value) < 28_000
    exercised.add(row_of(meter, VIRTUAL, link))


def test_the_table_says_what_was_exercised(write_tables: bool) -> None:
    """Runs last in this file; a part of the file proves only its part."""
    others = {row for row in known() if row.peer != VIRTUAL}
    if write_tables:
        assert len(exercised) == len(COMBINATIONS)
        write(exercised | others)
    written = {row for row in known() if row.peer == VIRTUAL}
    assert exercised <= written, "make the table anew: pytest tests/contract/test_exercised.py --write-tables"
    if len(exercised) == len(COMBINATIONS):
        assert exercised == written
    assert TABLE.read_text(encoding="utf-8") == rendered(written | others)
