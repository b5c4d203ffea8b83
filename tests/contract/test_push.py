"""`dlms-push-in` with a virtual meter that calls in: over TCP, UDP and a serial line, in every framing, to the archive."""

from __future__ import annotations

import os
import pty
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from connectors.dlms.loop import submit
from connectors.dlms.push import listener as listener_module
from connectors.dlms.push.authenticity import security_of
from connectors.dlms.push.listen import SerialPort, Socket
from connectors.dlms.push.listener import Listener
from connectors.dlms.push.source import DlmsPushInSettings, DlmsPushSource, dlms_push_in
from connectors.dlms.push.troubles import DOWN, OVERFLOW
from model.messages import Cycle, Origin, Outcome, Violation
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from simulator.meter.axdr import long_unsigned
from simulator.meter.config import MeterConfig
from simulator.push.notification import STYLES
from simulator.push.protection import Protection
from simulator.push.sender import Line, PushingMeter, PushOptions, push
from tests.contract.collected import Collected
from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import PipelineProcess
from tests.ports import free_port
from tests.unit.push_setup import Bench, values

DEADLINE = 20.0
AT = 1_770_000_000.0
KEY, AUTHENTICATION_KEY, TITLE = bytes(range(16)), bytes(range(0xD0, 0xE0)), b"SIM\x00\x00\x00\x00\x01"
READ = {
    "voltage": "1-0:32.7.0",
    "current": "1-0:31.7.0",
    "power": "1-0:1.7.0",
    "energy": "1-0:1.8.0",
    "event": {"obis": "0-0:96.11.0", "class": 1},
}
POSITIONAL = {
    "patterns": [[None, "voltage", "current", "power", "energy"]],
    "units": {
        "voltage": {"scaler": -2, "unit": "V"},
        "current": {"scaler": -3, "unit": "A"},
        "power": {"unit": "W"},
        "energy": {"unit": "Wh"},
    },
}


def truth(meter: PushingMeter) -> dict[str, Any]:
    return {key: meter.device.truth(READ[key], 2, AT) for key in ("voltage", "current", "power", "energy")}


@pytest.mark.parametrize("framing", ["wrapper", "hdlc", "mbus"])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("block_size", [0, 40])
@pytest.mark.parametrize("control", [None, 0x30, 0x20, 0x10])
def test_what_the_virtual_meter_pushes_is_what_it_holds(framing, style, block_size, control):
    protection = None if control is None else Protection(TITLE, KEY, AUTHENTICATION_KEY, control)
    options = PushOptions(style, framing, block_size, short_segments=True, protection=protection)
    meter = PushingMeter(MeterConfig("m", seed=5), options)
    policies = {0x30: "authenticated-encryption", 0x20: "encryption", 0x10: "authentication"}
    pipeline = pipeline_of({} if control is None else secured(policies[control]))
    security = security_of(pipeline.meters[0])
    bench = Bench(framing, READ, POSITIONAL if style == "positional" else None, security={} if security is None else {"m": security})
    (cycle,) = bench.push(meter.data(AT))
    assert {key: value for key, (value, _, _) in values(cycle).items()} == truth(meter)
    assert {key: (scaler, unit) for key, (_, scaler, unit) in values(cycle).items()} == {
        "voltage": (-2, 35),
        "current": (-3, 33),
        "power": (0, 27),
        "energy": (0, 30),
    }
    assert cycle.started.timestamp() == AT
    assert (cycle.outcome, bench.receiver.counts.malformed) == (Outcome.OK, 0)


def test_an_event_of_the_virtual_meter_is_read():
    bench = Bench("wrapper", READ)
    (cycle,) = bench.push(PushingMeter(MeterConfig("m")).event("0-0:96.11.0", 1, 2, long_unsigned(24), AT))
    assert values(cycle) == {"event": (24, None, None)}


def secured(policy: str = "authenticated-encryption") -> dict[str, Any]:
    keys = {"block_cipher_key": KEY.hex(), "authentication_key": AUTHENTICATION_KEY.hex()}
    return {"security_policy": policy, "server_system_title": TITLE.hex(), **keys}


def pipeline_of(meter: dict[str, Any]) -> PipelineSettings:
    how = meter or {"push_address": "127.0.0.1"}
    return PipelineSettings.model_validate(
        {
            "thingsboard": {"url": "mqtt://localhost", "token": "t"},
            "templates": {"t": {"interval": 5, "read": READ}},
            "meters": [{"id": "m", "connect": "push", "template": "t", **how}],
            "nodes": [{"id": "pushed", "type": "dlms-push-in"}],
        }
    )


class Running:
    """A listener on the background loop."""

    def __init__(self, listen: Socket | SerialPort, bench: Bench, framing: Any, most: int = 10) -> None:
        self.bench = bench
        self.listener = Listener(listen, framing, bench.receiver, bench.troubles, most)
        self._running = submit(self.listener.run())

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.stop()
        self._running.result(DEADLINE)

    @property
    def address(self) -> tuple[str, int]:
        wait_for(lambda: self.listener.address is not None, "listening", DEADLINE)
        assert self.listener.address is not None
        return self.listener.address

    def cycles(self, count: int) -> list[Cycle]:
        found: list[Cycle] = []

        def enough() -> bool:
            found.extend(self.listener.take())
            return len(found) >= count

        wait_for(enough, f"the arrival of {count} cycles", DEADLINE)
        return found


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("framing", ["wrapper", "hdlc", "mbus"])
def test_notifications_arrive_over_sockets(kind, framing, host):
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    bench = Bench(framing, READ, meters={"m": {"push_address": host}})
    meter = PushingMeter(MeterConfig("m", seed=5), PushOptions(framing=framing))
    with Running(Socket(kind, host, 0), bench, framing) as running:
        target = f"{kind}://{'[::1]' if host == '::1' else host}:{running.address[1]}"
        push(meter, target, count=3)
        cycles = running.cycles(3)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK] * 3


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
def line() -> Iterator[tuple[str, int]]:
    """A serial line: the device that we listen at, and the file that the meter writes to."""
    master, slave = pty.openpty()
    try:
        yield os.ttyname(slave), master
    finally:
        for file in (master, slave):
            try:
                os.close(file)
            except OSError:
                continue


@pytest.mark.parametrize("framing", ["hdlc", "mbus"])
def test_notifications_arrive_over_a_serial_line(framing, line):
    device, master = line
    bench = Bench(framing, READ, meters={"m": {"push_address": device}})
    meter = PushingMeter(MeterConfig("m", seed=5), PushOptions(framing=framing, short_segments=True))
    data = meter.data(AT)
    with Running(SerialPort(device), bench, framing) as running:
        wait_for(lambda: running.listener.is_listening, "listening", DEADLINE)
        # A listener that is switched on in the middle of a message, and another meter's noise, cost nothing behind them.
        os.write(master, data[len(data) // 2 :] + b"\x00\xff\x68")
        for start in range(0, len(data), 7):
            os.write(master, data[start : start + 7])
        (cycle,) = running.cycles(1)
    assert {key: value for key, (value, _, _) in values(cycle).items()} == truth(meter)


def test_a_port_in_use_is_told_and_taken_when_it_is_free(monkeypatch):
    monkeypatch.setattr(listener_module, "RETRY", 0.05)
    bench = Bench("wrapper", READ, meters={"m": {"push_address": "127.0.0.1"}})
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        running = Running(Socket("tcp", "127.0.0.1", port), bench, "wrapper")
        alerts = []
        wait_for(lambda: bool(alerts.extend(bench.alerts()) or alerts), "an alert", DEADLINE)
        assert (alerts[0].kind, alerts[0].raised) == (DOWN, True)
        assert f"tcp://127.0.0.1:{port}" in alerts[0].evidence
    with running:
        push(PushingMeter(MeterConfig("m")), f"tcp://127.0.0.1:{running.address[1]}")
        running.cycles(1)
    assert [alert.raised for alert in bench.alerts() if alert.kind == DOWN] == [False]


def test_a_serial_adapter_that_is_pulled_out_is_told(line):
    device, master = line
    bench = Bench("hdlc", READ, meters={"m": {"push_address": device}})
    with Running(SerialPort(device), bench, "hdlc") as running:
        wait_for(lambda: running.listener.is_listening, "listening", DEADLINE)
        os.close(master)
        alerts = []
        wait_for(lambda: bool(alerts.extend(bench.alerts()) or alerts), "an alert", DEADLINE)
    assert (alerts[0].kind, alerts[0].raised) == (DOWN, True)


def test_a_missing_serial_device_is_told():
    bench = Bench("hdlc")
    with Running(SerialPort("/dev/does-not-exist"), bench, "hdlc"):
        alerts = []
        wait_for(lambda: bool(alerts.extend(bench.alerts()) or alerts), "an alert", DEADLINE)
    assert alerts[0].kind == DOWN
    assert "/dev/does-not-exist" in alerts[0].evidence


def test_the_connection_that_was_silent_longest_makes_room():
    bench = Bench("wrapper", READ, meters={"m": {"push_address": "127.0.0.1"}})
    meter = PushingMeter(MeterConfig("m"))
    with Running(Socket("tcp", "127.0.0.1", 0), bench, "wrapper", most=3) as running:
        target = f"tcp://127.0.0.1:{running.address[1]}"
        with Line(target) as first, Line(target) as second, Line(target) as third:
            for line_ in (first, second, third):
                line_.send(meter.data(AT))
            running.cycles(3)
            with Line(target) as fourth:
                fourth.send(meter.data(AT))
                second.send(meter.data(AT))
                assert len(running.cycles(2)) == 2


def test_a_connection_that_carries_nothing_but_junk_is_closed():
    bench = Bench("hdlc", READ, meters={"m": {"push_address": "127.0.0.1"}})
    with Running(Socket("tcp", "127.0.0.1", 0), bench, "hdlc") as running, socket.create_connection(running.address, DEADLINE) as stranger:
        with suppress(ConnectionError):
            stranger.sendall(b"\x00junk" * 20_000)
            assert stranger.recv(1) == b""
        push(PushingMeter(MeterConfig("m"), PushOptions(framing="hdlc")), f"tcp://127.0.0.1:{running.address[1]}")
        running.cycles(1)


def test_what_the_flow_does_not_take_is_counted_and_told(monkeypatch):
    monkeypatch.setattr(listener_module, "MOST_WAITING", 5)
    bench = Bench("wrapper", READ, meters={"m": {"push_address": "127.0.0.1"}})
    with Running(Socket("tcp", "127.0.0.1", 0), bench, "wrapper") as running:
        push(PushingMeter(MeterConfig("m")), f"tcp://127.0.0.1:{running.address[1]}", count=20)
        wait_for(lambda: bench.receiver.counts.notifications == 20, "the arrival of 20 notifications", DEADLINE)
        assert len(running.listener.take()) == 5
    assert bench.receiver.counts.lost == 15
    assert [alert.kind for alert in bench.alerts()] == [OVERFLOW]


def test_a_defect_of_ours_does_not_end_the_listener(monkeypatch):
    bench = Bench("wrapper", READ, meters={"m": {"push_address": "127.0.0.1"}})
    honest = bench.receiver.receive

    def broken(sender: Any, data: bytes, datagram: bool = False) -> list[Cycle]:
        if data == b"defect":
            raise RuntimeError("a defect")
        return honest(sender, data, datagram)

    monkeypatch.setattr(bench.receiver, "receive", broken)
    with Running(Socket("udp", "127.0.0.1", 0), bench, "wrapper") as running, Line(f"udp://127.0.0.1:{running.address[1]}") as line_:
        line_.send(b"defect")
        line_.send(PushingMeter(MeterConfig("m")).data(AT))
        assert len(running.cycles(1)) == 1


def run(port: int, store: Path, data: list[bytes], count: int) -> list[Cycle]:
    """A flow with recovery that gets `data` until it has `count` cycles."""
    pipeline = pipeline_of(secured()).model_copy(update={"state_dir": store})
    security = security_of(pipeline.meters[0])
    assert security is not None
    stop = Stop()
    settings = DlmsPushInSettings(listen=f"tcp://127.0.0.1:{port}", framing="wrapper")
    flow = Dataflow("push")
    out = dlms_push_in("pushed", flow, DlmsPushSource("pushed", settings, pipeline, pipeline.meters, {"m": security}, stop))
    sink = Collected(stop, lambda cycles: len(cycles["m"]) >= count)
    op.output("out", out.cycles, sink)

    def send() -> None:
        def sent() -> bool:
            try:
                with Line(f"tcp://127.0.0.1:{port}") as line_:
                    for part in data:
                        line_.send(part)
            except OSError:
                return False
            return True

        wait_for(sent, "a connection", DEADLINE)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        run_main(flow, epoch_interval=timedelta(seconds=0.2), recovery_config=RecoveryConfig(str(store)))
    finally:
        sender.join()
    return sink.cycles["m"]


def test_a_recorded_notification_is_refused_after_a_restart(tmp_path):
    store = tmp_path / "recovery"
    store.mkdir()
    init_db_dir(store, 1)
    meter = PushingMeter(MeterConfig("m"), PushOptions(protection=Protection(TITLE, KEY, AUTHENTICATION_KEY, counter=7)))
    first, second = meter.data(AT), meter.data(AT + 5)
    port = free_port()
    (honest,) = run(port, store, [first], 1)
    assert (honest.outcome, honest.origin) == (Outcome.OK, Origin.PUSH)
    replayed, next_one = run(port, store, [first, second], 2)
    assert (replayed.outcome, replayed.values) == (Outcome.FAILED, ())
    assert [found.violation for found in replayed.violations] == [Violation.OLD_COUNTER]
    assert next_one.outcome is Outcome.OK


@pytest.mark.parametrize("processes", [1, 2])
def test_from_the_meters_call_to_thingsboard_and_the_archive(tmp_path, processes):
    port = free_port()
    meter = PushingMeter(MeterConfig("m", seed=5), PushOptions(objects=("0-0:96.1.0", *OBIS.values())))
    stranger = PushingMeter(MeterConfig("s", seed=6))
    ciphered = PushingMeter(MeterConfig("c", seed=7), PushOptions(protection=Protection(TITLE, KEY, AUTHENTICATION_KEY)))
    recorded = ciphered.data(float(int(time.time())))
    meters = [{"id": "caller", "push_identity": meter.config.serial_number}, {"id": "ciphered", **secured()}]
    with PipelineProcess(tmp_path, pushing_pipeline(port, meters), processes=processes) as process:
        sent: list[float] = []

        def call() -> bool:
            at = float(int(time.time()))
            if sent and at == sent[-1]:
                return False
            try:
                with Line(f"tcp://127.0.0.1:{port}") as line_:
                    line_.send(meter.data(at) + stranger.data(at) + recorded)
            except OSError:
                return False
            sent.append(at)
            return {"unknown-sender", "possible-attack"} <= alerts_of(process) and published(process)

        wait_for(call, "the alerts, and the report of published notifications", 2 * DEADLINE)
        archived = process.archived()
        assert process.stop() == [0] * processes
    values_at_first = {key: value for (name, key, ts), value in archived.items() if (name, ts) == ("caller", int(sent[0] * 1000))}
    held = {key: meter.device.truth(obis, 2, sent[0]) for key, obis in OBIS.items()}
    assert values_at_first == {
        "voltage": Decimal(held["voltage"]).scaleb(-2),
        "current": Decimal(held["current"]).scaleb(-3),
        "power": held["power"],
        "energy": Decimal(held["energy"]).scaleb(-3),
    }
    assert len({ts for name, _, ts in archived if name == "ciphered"}) == 1  # the first time it was honest
    assert alerts_of(process) == {"unknown-sender", "possible-attack"}


OBIS = {key: obis for key, obis in READ.items() if isinstance(obis, str)}


def pushing_pipeline(port: int, meters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "thingsboard": {"url": "embedded", "token": "${TB_TOKEN}"},
        "templates": {"pushing": {"interval": 60, "read": {**OBIS, "energy": {"obis": OBIS["energy"], "unit": "kWh"}}}},
        "meters": [{"connect": "push", "template": "pushing", **meter} for meter in meters],
        "nodes": [
            {"id": "pushed", "type": "dlms-push-in", "settings": {"listen": f"tcp://127.0.0.1:{port}"}},
            {"id": "receipts", "type": "receipts-in"},
            {"id": "mapped", "type": "map", "inputs": ["pushed"]},
            {"id": "checked", "type": "validate", "inputs": ["mapped"], "settings": {"rules": {"energy": {"monotonic": True}}}},
            {
                "id": "health",
                "type": "health",
                "inputs": ["pushed", "checked", "checked.rejected", "mapped.rejected", "receipts"],
                "settings": {"window": "2s", "wait": "1s"},
            },
            {"id": "alerts", "type": "alert", "inputs": ["health"], "settings": {"min_cycles": 10_000, "failing_cycles": 10_000}},
            {"id": "out", "type": "thingsboard-out", "inputs": ["checked", "health", "alerts", "pushed.alerts"]},
            {"id": "archive", "type": "archive-out", "inputs": ["pushed", "checked", "health", "alerts", "pushed.alerts"]},
        ],
        "log": {"format": "json"},
    }


def alerts_of(process: PipelineProcess) -> set[str]:
    """The kinds of alert that were raised."""
    return {event["kind"] for event in process.events() if event.get("event") == "alert raised"}


def published(process: PipelineProcess) -> bool:
    """Whether a report says that all cycles with values were acknowledged."""
    reports = [event for event in process.events() if event.get("cycles_published")]
    return any(report["cycles_published"] == report["with_values"] > 0 for report in reports)
