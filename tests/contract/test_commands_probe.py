"""`probe` against virtual meters over real sockets and pseudo terminals: values, errors, traces, counters, secrets."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from commands.__main__ import app
from connectors.dlms.invocation_counters import FILE_NAME as COUNTERS
from connectors.dlms.invocation_counters import InvocationCounters
from connectors.thingsboard.ownership import Ownership
from model.settings.meter import MeterSettings
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.line_timing import LineTiming
from simulator.meter.sim_url import parse_sim_url

TOKEN = "probe-test-token"
SERVER = "mqtt://127.0.0.1:18899"
KEY, AUTH_KEY = "0F0E0D0C0B0A09080706050403020100", "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"
CIPHERED = {
    "client_sap": 1,
    "authentication": "high-gmac",
    "security_policy": "authenticated-encryption",
    "block_cipher_key": KEY,
    "authentication_key": AUTH_KEY,
    "client_system_title": "4D4D4D0000000001",
}
READ: dict[str, Any] = {"voltage": "1-0:32.7.0", "energy": {"obis": "1-0:1.8.0", "unit": "kWh"}, "clock": {"obis": "0-0:1.0.0", "class": 8}}


@dataclass
class Site:
    folder: Path
    meters: BackgroundMeters
    template: dict[str, Any] = field(default_factory=lambda: {"interval": 60, "read": dict(READ)})
    entries: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, behaviour: Behaviour | None = None, **settings: Any) -> MeterSettings:
        """A running virtual meter and its entry."""
        quick = {"exchange_timeout": 1.0, "retries": 0, "connect_timeout": 2.0}
        entry = {"id": name, "connect": "sim://three-phase", "template": "t", **quick, **settings}
        meter = MeterSettings.model_validate(entry)
        virtual = parse_sim_url(meter.connect, meter)
        self.entries.append({**entry, "connect": self.meters.start(virtual.config, behaviour or virtual.behaviour)})
        return meter

    def write(self) -> Path:
        file = self.folder / "pipeline.yaml"
        data = {
            "thingsboard": {"url": SERVER, "token": TOKEN},
            "templates": {"t": self.template},
            "meters": self.entries,
            "nodes": [
                {"id": "meters", "type": "dlms-in"},
                {"id": "mapped", "type": "map", "inputs": ["meters"]},
                {"id": "out", "type": "thingsboard-out", "inputs": ["mapped"]},
            ],
        }
        file.write_text(yaml.safe_dump(data, sort_keys=False))
        return file

    def probe(self, *arguments: str) -> Any:
        return CliRunner().invoke(app, ["probe", str(self.write()), *arguments])

    def facts(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        result = self.probe("--json", *arguments)
        return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with BackgroundMeters() as meters:
        yield Site(tmp_path, meters)


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
def test_every_value_is_shown_from_the_wire_to_thingsboard(site: Site, framing: str) -> None:
    site.add("m", framing=framing)
    code, facts = site.facts()
    assert code == 0
    (meter,) = facts["meters"]
    values = {value["key"]: value for value in meter["values"]}
    truth = site.meters.meter("m").device.truth("1-0:1.8.0")
    energy = values["energy"]
    assert abs(energy["raw"] - truth) < 1000
    assert (energy["scaler"], energy["unit"], energy["published"]["unit"]) == (0, "Wh", "kWh")
    assert energy["published"]["value"] == f"{energy['raw'] // 1000}.{energy['raw'] % 1000:03d}"
    assert values["voltage"]["scaler"] == -2
    assert all(value["exchange_seconds"] > 0 for value in values.values())
    assert values["clock"]["published"]["value"].startswith("20")
    assert meter["with_list"] is True
    table = site.probe("m").output
    assert "1-0:32.7.0" in table
    assert "3 of 3 values" in table


def test_what_a_meter_refuses_is_named_with_its_remedy(site: Site) -> None:
    site.add("m", connect="sim://three-phase?denied=1-0:1.8.0")
    code, facts = site.facts()
    assert code == 1
    energy = next(value for value in facts["meters"][0]["values"] if value["key"] == "energy")
    assert "read-write-denied" in energy["problem"]
    assert energy["remedy"]
    output = site.probe().output
    assert "read-write-denied" in " ".join(output.split())
    assert "->" in output


def test_a_value_that_would_be_rejected_says_so(site: Site) -> None:
    site.template["read"]["voltage"] = {"obis": "1-0:32.7.0", "unit": "A"}
    site.add("m")
    code, facts = site.facts()
    assert code == 1
    voltage = facts["meters"][0]["values"][0]
    assert voltage["raw"] is not None
    assert "would be rejected" in voltage["problem"]


def test_a_silent_meter_ends_with_its_fault_and_the_others_are_read(site: Site) -> None:
    site.add("silent", Behaviour(silent=True), exchange_timeout=0.3)
    site.add("good")
    code, facts = site.facts("silent", "good")
    assert code == 1
    silent, good = facts["meters"]
    assert silent["fault"]["kind"] == "timeout"
    assert silent["fault"]["remedy"]
    assert good["ok"] is True
    assert "not read:" in site.probe("silent").output


def test_load_profiles_are_looked_at(site: Site) -> None:
    site.template["profiles"] = {"load": "1-0:99.1.0", "missing": "1-0:99.77.0"}
    site.add("m")
    code, facts = site.facts()
    assert code == 1
    load, missing = facts["meters"][0]["profiles"]
    assert load["period"] == 900
    assert {"object": "1.0.1.8.0.255", "key": "energy"} in load["columns"]
    assert 1 <= load["rows"] <= 6
    assert load["newest"]
    assert missing["problem"]
    assert "captured every 15 min" in site.probe().output


def test_a_trace_shows_frames_in_words_and_no_secret(site: Site) -> None:
    site.add("m", client_sap=32, authentication="low", password="m3ter-password")
    result = site.probe("--trace")
    assert result.exit_code == 0
    assert "-> SNRM" in result.stderr
    assert "AARQ" in result.stderr
    assert "GET-request-with-list" in result.stderr
    everything = result.output + result.stderr
    assert "m3ter-password" not in everything
    assert b"m3ter-password".hex() not in everything
    _, facts = site.facts("--trace")
    assert any("GET-response" in frame for frame in facts["trace"])
    assert b"m3ter-password".hex() not in json.dumps(facts)


def test_counters_go_on_where_the_pipeline_stopped(site: Site) -> None:
    meter = site.add("m", **CIPHERED)
    store = InvocationCounters(site.folder / "state" / COUNTERS)
    before = store.of(meter)
    before.raise_to(5000)
    first = before.next()
    assert site.probe().exit_code == 0
    used = [exchange for exchange in site.meters.counters("m").as_dict().items() if "counter" in exchange[0]]
    known = store.read(store.of(meter)._id)
    assert known is not None
    assert known[0] > first + 1, used
    result = site.probe("--trace")
    assert result.exit_code == 0
    again = store.read(store.of(meter)._id)
    assert again is not None
    assert again[0] > known[0]
    everything = (result.output + result.stderr).upper()
    assert KEY not in everything
    assert AUTH_KEY not in everything


def test_a_meter_is_left_to_the_running_pipeline(site: Site) -> None:
    site.add("m")
    (site.folder / "state").mkdir()
    with Ownership("127.0.0.1:18899", ("", TOKEN), site.folder / "state"):
        result = site.probe()
        assert result.exit_code == 3
        assert "the pipeline that runs here" in result.stderr
        assert site.meters.counters("m").connections == 0
        assert site.probe("--force").exit_code == 0


def test_a_serial_port_has_one_owner(site: Site, tmp_path: Path) -> None:
    address = site.meters.start_line([(MeterConfig("m", server_physical=17), Behaviour())], LineTiming(57_600, turnaround=0.005))
    site.entries.append({"id": "m", "connect": address, "template": "t", "server_physical": 17})
    assert site.probe().exit_code == 0
    port = os.open(address.removeprefix("serial://").partition("?")[0], os.O_RDWR | os.O_NOCTTY)
    try:
        fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        code, facts = site.facts()
    finally:
        os.close(port)
    assert code == 1
    assert "already belongs to" in facts["meters"][0]["fault"]["what"]


def test_mistakes_in_the_arguments_end_with_code_2(site: Site) -> None:
    site.add("m")
    site.add("n")
    assert site.probe("nobody").exit_code == 2
    assert site.probe().exit_code == 2  # two meters and none named
    assert site.probe("other.yaml").exit_code == 2
    assert site.probe("--all").exit_code == 0
