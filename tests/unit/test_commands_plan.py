"""`plan`, and the times that `check` shows: worked out by hand here, or as they were in the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from commands.__main__ import app
from commands.planning.line_time import cycle_time, line_times, warnings
from model.settings.meter import MeterSettings
from model.settings.pipeline import PipelineSettings

FIVE = {"voltage": "1-1:32.7.0", "current": "1-1:31.7.0", "frequency": "1-1:14.7.0", "power": "1-1:1.7.0", "energy": "1-1:1.8.0"}
runner = CliRunner()


def configuration(interval: float, *meters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "thingsboard": {"url": "mqtt://thingsboard.example.org", "token": "a-secret-token"},
        "templates": {"five": {"interval": interval, "read": FIVE}},
        "meters": [{"id": f"m{n}", "template": "five", **meter} for n, meter in enumerate(meters)],
        "nodes": [
            {"id": "meters", "type": "dlms-in"},
            {"id": "mapped", "type": "map", "inputs": ["meters"]},
            {"id": "out", "type": "thingsboard-out", "inputs": ["mapped"]},
            {"id": "archive", "type": "archive-out", "inputs": ["meters", "mapped"]},
        ],
        **more,
    }


def pipeline(interval: float, *meters: dict[str, Any]) -> PipelineSettings:
    return PipelineSettings.model_validate(configuration(interval, *meters))


def run(tmp_path: Path, data: dict[str, Any], *arguments: str) -> tuple[int, str]:
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    result = runner.invoke(app, ["plan", str(file), *arguments])
    return result.exit_code, result.output


def test_a_serial_exchange_is_its_bytes_and_the_turnaround() -> None:
    settings = pipeline(60, {"connect": "serial:///dev/ttyUSB0?baud=9600&parity=even", "server_physical": 17, "with_list": False})
    # GET: 7E A0 len 2+1 addresses control HCS LLC 13 FCS 7E is 28 bytes, its answer 24; start, 8 data, parity and stop bit each.
    by_hand = 5 * (0.030 + (28 + 24) * 11 / 9600)
    assert cycle_time(settings, settings.meters[0]).quick == pytest.approx(by_hand)


def test_a_slow_meter_takes_as_long_as_those_in_the_field() -> None:
    meter = {"connect": "tcp://192.0.2.10:3333", "server_physical": 1234, "with_list": False}
    settings = pipeline(5, meter)
    assert 3.3 <= cycle_time(settings, settings.meters[0]).slow <= 4.5


def test_lists_cost_fewer_exchanges() -> None:
    settings = pipeline(
        60, {"connect": "tcp://192.0.2.10:4059", "framing": "wrapper"}, {"connect": "tcp://192.0.2.11:4059", "with_list": False}
    )
    with_lists, singles = (cycle_time(settings, meter) for meter in settings.meters)
    assert (with_lists.exchanges, singles.exchanges) == (1, 5)
    assert with_lists.quick < singles.quick / 3


def test_halving_the_baud_rate_does_not_make_it_quicker() -> None:
    times = []
    for baud in (19_200, 9600, 4800, 300):
        settings = pipeline(60, {"connect": f"serial:///dev/ttyUSB0?baud={baud}"})
        times.append(cycle_time(settings, settings.meters[0]).quick)
    assert times == sorted(times)
    assert times[-1] > 10 * times[0]


def test_the_meters_of_a_line_share_its_time() -> None:
    line = {"connect": "serial:///dev/ttyUSB0?baud=300"}
    settings = pipeline(5, {**line, "server_physical": 17}, {**line, "server_physical": 18}, {"connect": "tcp://192.0.2.1:4059"})
    shared, own = line_times(settings)
    assert [cycle.meter for cycle in shared.cycles] == ["m0", "m1"]
    assert shared.quick_share > 1 > own.quick_share
    ((name, what, remedy),) = [found for found in warnings([shared, own]) if "cannot be kept" in found[1]]
    assert name == "serial:///dev/ttyUSB0"
    assert "2 meters need" in what
    assert "lengthen" in remedy


def test_virtual_and_pushing_meters_trouble_no_line(tmp_path: Path) -> None:
    settings = pipeline(5, {"connect": "sim://three-phase"}, {"connect": "push", "push_identity": "x"})
    (virtual,) = line_times(settings)
    assert virtual.slow == virtual.quick
    assert not warnings([virtual])


def test_the_exit_code_says_whether_intervals_can_be_kept(tmp_path: Path) -> None:
    assert run(tmp_path, configuration(60, {"connect": "serial:///dev/ttyUSB0?baud=9600"}))[0] == 0
    code, output = run(tmp_path, configuration(1, {"connect": "serial:///dev/ttyUSB0?baud=300"}))
    assert code == 1
    assert "cannot be kept" in output
    assert run(tmp_path, configuration(60))[0] == 2


def test_a_large_fleet_needs_processes_and_a_rate_limit_that_lets_it_through(tmp_path: Path) -> None:
    meters = [{"connect": f"tcp://192.0.2.1:{2000 + n}", "framing": "wrapper"} for n in range(2000)]
    code, output = run(tmp_path, configuration(1, *meters), "--json")
    facts = json.loads(output)
    assert code == 0
    assert facts["needs"]["cycles"] == 2000
    assert facts["needs"]["readings"] == 10_000
    assert facts["needs"]["processes"] > 1
    advice = " ".join(facts["advice"])
    assert f"start {facts['needs']['processes']} processes" in advice
    assert "3000:1,180000:60" in advice
    assert facts["assumptions"]


def test_meters_that_are_alike_are_shown_once(tmp_path: Path) -> None:
    code, output = run(tmp_path, configuration(60, *({"connect": f"tcp://192.0.2.1:{2000 + n}"} for n in range(300))))
    assert code == 0
    assert "m0 and 299 like it" in output
    assert "a-secret-token" not in output
    assert len(output.splitlines()) < 40


def test_check_says_what_is_read_from_whom(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump(configuration(60, {"connect": "tcp://192.0.2.10:3333", "with_list": False}), sort_keys=False))
    result = runner.invoke(app, ["check", str(file)])
    assert result.exit_code == 0
    assert "energy 1-1:1.8.0" in " ".join(result.output.split())
    facts = json.loads(runner.invoke(app, ["check", str(file), "--json"]).stdout)
    (meter,) = facts["meters"]
    assert meter["reads"] == list(FIVE)
    assert 0 < meter["cycle_seconds"]["quick"] < meter["cycle_seconds"]["slow"]
    assert facts["lines"][0]["baud_assumed"] is True


def test_a_setting_changes_nothing_that_it_should_not() -> None:
    meter = MeterSettings.model_validate({"id": "m", "connect": "tcp://192.0.2.10:3333", "template": "five"})
    settings = pipeline(60, {"connect": meter.connect}, {"connect": meter.connect, "via": "modem", "line": "separate"})
    near, far = (cycle_time(settings, one) for one in settings.meters)
    assert far.quick - near.quick == pytest.approx(0.98, abs=0.01)
