"""`discover` against virtual meters: object lists, lines, networks, Ctrl-C, and what a running pipeline reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from commands.__main__ import app
from connectors.thingsboard.ownership import Ownership
from model.settings.meter import MeterSettings
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.line_timing import LineTiming
from simulator.meter.sim_url import parse_sim_url
from tests.contract.pipeline_process import ROOT, free_port
from tests.contract.test_commands_probe import AUTH_KEY, CIPHERED, KEY

TIMING = LineTiming(57_600, turnaround=0.005)
runner = CliRunner()


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but what a test makes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE", str(tmp_path / "none.yaml"))


def start(meters: BackgroundMeters, behaviour: Behaviour | None = None, **settings: Any) -> str:
    meter = MeterSettings.model_validate({"id": "m", "connect": "sim://three-phase", "template": "t", **settings})
    virtual = parse_sim_url(meter.connect, meter)
    return meters.start(virtual.config, behaviour or virtual.behaviour)


def discover(*arguments: str, **environment: str) -> Any:
    return runner.invoke(app, ["discover", *arguments], env=environment)


def settings_of(**settings: Any) -> list[str]:
    return [part for key, value in settings.items() for part in ("-s", f"{key}={value}")]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"framing": "wrapper"},
        {"referencing": "short"},
        {"connect": "sim://microstar?latency=0.01&jitter=0", "framing": "hdlc", "server_physical": 1234},
    ],
)
def test_a_template_is_written_that_passes_the_check_and_can_be_read(
    meters: BackgroundMeters, tmp_path: Path, settings: dict[str, Any]
) -> None:
    address = start(meters, **settings)
    given = {key: value for key, value in settings.items() if key != "connect"}
    result = discover("meter", address, *settings_of(**given), "-o", "found.yaml")
    assert result.exit_code == 0, result.output
    assert runner.invoke(app, ["check", "found.yaml"], env={"TB_TOKEN": "t"}).exit_code == 0
    probed = runner.invoke(app, ["probe", "found.yaml", "--json"], env={"TB_TOKEN": "t"})
    (meter,) = json.loads(probed.stdout)["meters"]
    assert meter["ok"] is True, meter
    keys = {value["key"] for value in meter["values"]}
    assert {"energy_import", "voltage_l1", "power_import"} <= keys
    assert meter["values"][0]["obis"]


def test_what_is_printed_can_be_pasted(meters: BackgroundMeters) -> None:
    result = discover("meter", start(meters))
    sections = yaml.safe_load(result.stdout)
    assert sections["templates"]["discovered"]["read"]["clock"] == {"obis": "0-0:1.0.0", "class": 8}
    assert sections["templates"]["discovered"]["profiles"]["load_profile"]["keys"]["1-0:1.8.0"] == "energy_import"
    assert sections["meters"][0]["template"] == "discovered"
    assert "objects;" in result.stderr


def test_a_ciphered_meter_is_walked_without_showing_its_keys(meters: BackgroundMeters) -> None:
    address = start(meters, **CIPHERED)
    given = {**CIPHERED, "block_cipher_key": "${K}", "authentication_key": "${A}"}
    result = discover("meter", address, *settings_of(**given), "--trace", K=KEY, A=AUTH_KEY)
    assert result.exit_code == 0, result.output
    everything = (result.stdout + result.stderr).upper()
    assert KEY not in everything
    assert AUTH_KEY not in everything
    assert yaml.safe_load(result.stdout)["meters"][0]["block_cipher_key"] == "${K}"
    assert "GLO-GET-REQUEST" in everything


def test_a_secret_on_the_command_line_is_refused(meters: BackgroundMeters) -> None:
    result = discover("meter", "tcp://127.0.0.1:1", "-s", "authentication=low", "-s", "password=m3ter")
    assert result.exit_code == 2
    assert "m3ter" not in result.output + result.stderr


def test_objects_that_are_refused_stand_in_comments(meters: BackgroundMeters) -> None:
    result = discover("meter", start(meters, connect="sim://three-phase?denied=1-0:32.7.0"))
    assert result.exit_code == 0
    assert "# 1-0:32.7.0 class 3 attribute 2: read-write-denied" in result.stdout
    assert "voltage_l1_ch1" in result.stdout or "voltage_l1:" in result.stdout


def test_a_meter_that_hangs_up_now_and_then_is_walked_to_its_end(meters: BackgroundMeters) -> None:
    result = discover("meter", start(meters, Behaviour(hang_up_every=15)), "--json")
    facts = json.loads(result.stdout)
    assert facts["stopped"] == ""
    assert len([value for value in facts["values"] if value["problem"] is None]) > 20


def test_a_silent_meter_is_named_with_its_remedy(meters: BackgroundMeters) -> None:
    result = discover("meter", start(meters, Behaviour(silent=True)), "-s", "exchange_timeout=0.3", "-s", "retries=0")
    assert result.exit_code == 1
    assert "no reply" in result.stderr
    assert "->" in result.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"server_physical": 1234}, "write server_logical: 1 and server_physical: 0"),
        ({"framing": "wrapper"}, "write framing: hdlc"),
    ],
)
def test_a_wrong_address_or_framing_is_told_from_a_dead_meter(meters: BackgroundMeters, given: dict[str, Any], told: str) -> None:
    result = discover("meter", start(meters), *settings_of(**given, exchange_timeout=0.3, retries=0))
    assert result.exit_code == 1
    assert told in result.stderr
    assert "-s KEY=VALUE" in result.stderr


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("precious")
    assert discover("meter", "tcp://127.0.0.1:1", "-o", "mine.yaml").exit_code == 2
    assert (tmp_path / "mine.yaml").read_text() == "precious"


def line_of(*addresses: int) -> list[tuple[MeterConfig, Behaviour]]:
    return [(MeterConfig(f"m{address}", server_physical=address, seed=address), Behaviour()) for address in addresses]


@pytest.mark.parametrize("kind", ["pty", "tcp"])
def test_the_meters_of_a_line_are_found_and_released(meters: BackgroundMeters, kind: str) -> None:
    configs = line_of(17, 19)
    address = meters.start_line(configs, TIMING) if kind == "pty" else meters.start_converter(configs, TIMING)
    result = discover("line", address, "--addresses", "16-20", "--deadline", "0.3", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["found"]
    assert [station["entry"]["server_physical"] for station in found] == [17, 19]
    assert found[0]["identity"]["serial_number"] == meters.meter("m17").device.config.serial_number
    assert all(meters.counters(f"m{n}").as_dict() for n in (17, 19))
    entries = yaml.safe_load(discover("line", address, "--addresses", "17", "--deadline", "0.3").stdout)["meters"]
    assert entries == [{"id": "meter-17", "connect": address, "server_physical": 17, "template": "discovered"}]


def test_four_byte_addresses_and_a_meter_that_refuses(meters: BackgroundMeters) -> None:
    configs = [*line_of(1042), (MeterConfig("no", server_physical=1043, seed=3), Behaviour(refuse_association=True))]
    configs.append((MeterConfig("dm", server_physical=1044, seed=4), Behaviour(refuse_link=True)))
    address = meters.start_converter(configs, TIMING)
    result = discover("line", address, "--addresses", "1041-1045", "--deadline", "0.3", "--json")
    found = {s["entry"]["server_physical"]: s for s in json.loads(result.stdout)["found"]}
    assert list(found) == [1042, 1043, 1044]
    assert found[1042]["remark"] == ""
    assert "does not let the public client in" in found[1043]["remark"]
    assert "DM" in found[1044]["remark"]


def test_nobody_on_the_line(meters: BackgroundMeters) -> None:
    address = meters.start_converter(line_of(17), TIMING)
    result = discover("line", address, "--addresses", "20-21", "--deadline", "0.2")
    assert result.exit_code == 1
    assert "nothing was found" in result.stderr
    assert discover("line", address, "--addresses", "x").exit_code == 2
    assert discover("line", "udp://127.0.0.1:1", "--addresses", "17").exit_code == 2
    assert discover("line", "tcp://127.0.0.1:1", "--addresses", "17").exit_code == 1


def test_a_meter_that_answers_too_late_is_noticed(meters: BackgroundMeters) -> None:
    configs = [(MeterConfig("late", server_physical=17, seed=1), Behaviour(latency=0.45))]
    address = meters.start_converter(configs, TIMING)
    result = discover("line", address, "--addresses", "17-19", "--deadline", "0.3")
    assert result.exit_code == 1
    assert "something arrived that was no answer" in result.stderr
    assert "longer --deadline" in result.stderr


def test_a_meter_with_two_addresses_is_told(meters: BackgroundMeters) -> None:
    twins = [(MeterConfig(f"m{n}", server_physical=n, seed=7, system_title=b"SIM00001"), Behaviour()) for n in (17, 10017)]
    address = meters.start_converter(twins, TIMING)
    stations = json.loads(discover("line", address, "--addresses", "17,10017", "--deadline", "0.3", "--json").stdout)["found"]
    assert stations[0]["identity"] == stations[1]["identity"]
    assert stations[0]["remark"] == ""
    assert "says it is the meter at address 17" in stations[1]["remark"]


def test_ctrl_c_prints_what_was_found(meters: BackgroundMeters, tmp_path: Path) -> None:
    address = meters.start_converter(line_of(17), TIMING)
    arguments = [sys.executable, "-m", "commands", "discover", "line", address, "--addresses", "17-9000", "--deadline", "0.2"]
    process = subprocess.Popen(
        arguments, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_for_requests(meters, address, 12)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert yaml.safe_load(out)["meters"][0]["server_physical"] == 17
    assert "stopped before the end; 1 was found until then" in err


def _wait_for_requests(meters: BackgroundMeters, address: str, count: int) -> None:
    deadline = time.monotonic() + 20
    while meters.line(address).record.requests < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_network_is_searched(meters: BackgroundMeters) -> None:
    wrapper, hdlc = (start(meters, id=f"m-{framing}", framing=framing) for framing in ("wrapper", "hdlc"))
    addressed = start(meters, id="m-4711", framing="hdlc", server_physical=4711)
    ports = [address.rpartition(":")[2] for address in (wrapper, hdlc, addressed)]
    result = discover("net", "127.0.0.1/32", "--ports", ",".join([*ports, str(free_port())]), "--deadline", "0.3", "--json")
    assert result.exit_code == 0, result.output
    found = {s["entry"]["connect"]: s for s in json.loads(result.stdout)["found"]}
    assert set(found) == {wrapper, hdlc, addressed}
    assert found[wrapper]["entry"]["framing"] == "wrapper"
    assert found[wrapper]["identity"]["logical_device_name"]
    assert "framing" not in found[hdlc]["entry"]


def test_only_small_networks_that_are_named(meters: BackgroundMeters) -> None:
    result = discover("net", "10.0.0.0/21")
    assert result.exit_code == 2
    assert "more than a /22" in result.stderr
    assert discover("net", "10.0.0.0/8", "--yes").exit_code == 2
    assert discover("net", "meters.example.org").exit_code == 2
    assert discover("net", "192.0.2.0/30", "--ports", "0").exit_code == 2


def test_what_a_running_pipeline_reads_is_left_alone(meters: BackgroundMeters, tmp_path: Path) -> None:
    address = start(meters)
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "thingsboard: {url: 'mqtt://127.0.0.1:18898', token: discover-test}\n"
        "templates: {t: {read: {energy: 1-0:1.8.0}}}\n"
        f"meters: [{{id: m, connect: '{address}', template: t}}]\n"
        "nodes: [{id: meters, type: dlms-in}, {id: tap, type: debug, inputs: [meters]}]\n"
    )
    (tmp_path / "state").mkdir()
    with Ownership("127.0.0.1:18898", ("", "discover-test"), tmp_path / "state"):
        for arguments in (["meter", "m"], ["meter", address], ["line", address, "--addresses", "1"]):
            result = discover(*arguments, "--file", str(file))
            assert result.exit_code == 3, (arguments, result.output)
        assert discover("meter", "m", "--file", str(file), "--force").exit_code == 0
