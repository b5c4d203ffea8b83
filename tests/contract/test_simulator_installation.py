"""Many virtual meters: in one loop, in the background of synchronous code, and as a program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gurux_dlms.objects import GXDLMSData, GXDLMSRegister

from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.installation import Installation
from simulator.meter.virtual_meter import VirtualMeter
from tests.contract.gurux_peer import GuruxPeer
from tests.contract.gurux_secure_peer import GuruxSecurePeer

SNRM = bytes.fromhex("7EA0070321930F017E")
UA_SIZE = 34
DEADLINE = 10.0
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def program(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "simulator.meter", "--port", "0", *arguments]
    settings = {**os.environ, **environment}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def addresses(process: subprocess.Popen[str], count: int) -> dict[str, str]:
    assert process.stdout is not None
    return dict(process.stdout.readline().split() for _ in range(count))


def test_many_meters_on_one_loop_are_all_different() -> None:
    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(SNRM)
        answer = await asyncio.wait_for(reader.readexactly(UA_SIZE), DEADLINE)
        writer.close()
        await writer.wait_closed()
        return answer

    async def run() -> None:
        installation = Installation()
        for number in range(50):
            await installation.start(MeterConfig(f"meter-{number}"))
        found = [meter.address for meter in installation.meters.values() if meter.address]
        answers = await asyncio.gather(*(ask(address.port) for address in found))
        assert len(set(found)) == 50
        assert len(set(answers)) == 1
        assert len({meter.truth("1-0:1.8.0", 2, 1.77e9) for meter in installation.meters.values()}) == 50
        assert [counts["links"] for counts in installation.statistics().values()] == [1] * 50
        await installation.stop()
        assert not installation.meters

    asyncio.run(run())


def test_stopping_a_meter_resets_its_connections_and_it_comes_back_on_its_port() -> None:
    async def run() -> None:
        meter = VirtualMeter(MeterConfig("meter"))
        address = await meter.start()
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(SNRM)
        await asyncio.wait_for(reader.readexactly(UA_SIZE), DEADLINE)
        await meter.stop()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(address.host, address.port)
        assert await meter.start(port=address.port) == address
        await meter.stop()
        await meter.stop()

    asyncio.run(run())


def test_starting_a_meter_twice_in_the_background_keeps_the_first() -> None:
    with BackgroundMeters() as meters:
        address = meters.start(MeterConfig("meter", seed=1), Behaviour(latency=0.01))
        assert meters.start(MeterConfig("meter", seed=2)) == address
        assert meters.start(MeterConfig("other")) != address
        assert meters.behaviour("meter").latency == 0.01
        assert meters.meter("meter").config.seed == 1
        meters.stop("meter")
        with pytest.raises(KeyError):
            meters.counters("meter")


def test_the_background_closes_twice_and_begins_anew() -> None:
    meters = BackgroundMeters()
    meters.close()
    first = meters.start(MeterConfig("meter"))
    meters.close()
    meters.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(first.rsplit(":", 1)[1])), 1)
    assert meters.start(MeterConfig("meter"))
    meters.close()


def test_a_port_that_is_taken_is_an_error_in_the_caller() -> None:
    with BackgroundMeters() as meters:
        port = int(meters.start(MeterConfig("one")).rsplit(":", 1)[1])
        with pytest.raises(OSError):
            meters.start(MeterConfig("two"), port=port)
        with pytest.raises(ValueError, match="four-phase"):
            meters.start(MeterConfig("three", profile="four-phase"))


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_program_serves_until_a_signal_and_writes_its_counters(tmp_path: Path, stop: signal.Signals) -> None:
    statistics = tmp_path / "statistics.json"
    with program("--count", "2", "--profile", "single-phase", "--framing", "wrapper", "--stats-file", str(statistics)) as process:
        found = addresses(process, 2)
        with GuruxPeer(found["meter-2"], "wrapper") as peer:
            peer.associate()
            assert peer.read(GXDLMSRegister("1.0.32.7.0.255"), 2) > 20000
            process.send_signal(signal.SIGUSR1)
            end = time.monotonic() + DEADLINE
            while not statistics.exists() or not statistics.read_text().endswith("}"):
                assert time.monotonic() < end
                time.sleep(0.01)
            written = json.loads(statistics.read_text())
            peer.release()
        process.send_signal(stop)
        assert process.wait(DEADLINE) == 0
    assert written["meter-2"]["requests"] == {"aarq": 1, "get-normal": 1}
    assert written["meter-2"]["exchanges"][-1]["attributes"] == ["3/1.0.32.7.0.255/2"]
    assert json.loads(statistics.read_text())["meter-2"]["releases"] == 1
    assert written["meter-1"]["connections"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--profile", "four-phase"), "four-phase"),
        (("--behaviour", "evil"), "evil"),
        (("--option", "latency"), "key=value"),
        (("--option", "latency=-1"), "out of range"),
        (("--framing", "mbus"), "mbus"),
        (("--authentication", "high-ecdsa"), "none, low, high"),
        (("--security-policy", "encryption"), "need block_cipher_key"),
        (("--client-system-title", "geheim"), "--client-system-title is not possible; write pairs"),
        (("--option", "system_title=SERVER"), "pairs of hexadecimal digits"),
        (("--option", "system_title=01"), "system_title has 1 bytes; a system title has 8"),
        (("--count=2", "--option=counter_file=x"), "counter_file keeps the invocation counters of one meter"),
    ],
)
def test_the_program_explains_what_is_not_possible(arguments: tuple[str, str], message: str) -> None:
    with program(*arguments) as process:
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 2
    assert message in errors
    assert "Traceback" not in errors


def test_the_program_names_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, program("--port", str(taken.getsockname()[1])) as process:
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 1
    assert "--port" in errors
    assert "Traceback" not in errors


def test_the_program_takes_behaviours_by_name_and_by_field() -> None:
    with program("--behaviour", "silent", "--option", "capture_period=60") as process:
        address = addresses(process, 1)["meter-1"]
        with GuruxPeer(address, timeout=0.2) as peer, pytest.raises(TimeoutError):
            peer.open_link()


def test_the_program_serves_a_ciphered_client_and_the_public_one(tmp_path: Path) -> None:
    statistics = tmp_path / "statistics.json"
    keys = {"METER_BLOCK_CIPHER_KEY": bytes(range(16)).hex(), "METER_AUTHENTICATION_KEY": bytes(range(0xD0, 0xE0)).hex()}
    arguments = (
        *("--client-sap", "1", "--authentication", "high-sha256", "--security-suite", "1", "--stats-file", str(statistics)),
        *("--security-policy", "authenticated-encryption", "--client-system-title", b"CLIENT01".hex()),
        *(
            "--option",
            "initial_client_counter=70000",
            "--option",
            f"counter_file={tmp_path / 'counters.json'}",
            "--option",
            "foreign_title=1",
        ),
    )
    with program(*arguments, METER_PASSWORD="hex:" + b"sixteen bytes ok".hex(), **keys) as process:
        address = addresses(process, 1)["meter-1"]
        with GuruxPeer(address) as public:
            public.associate()
            counter = public.read(GXDLMSData("0.0.43.1.0.255"), 2)
        access = {
            "authentication": "high-sha256",
            "secret": b"sixteen bytes ok",
            "security_suite": 1,
            "block_cipher_key": bytes(range(16)),
            "authentication_key": bytes(range(0xD0, 0xE0)),
            "client_system_title": b"CLIENT01",
        }
        with GuruxSecurePeer(address, **access, counter=counter + 1) as peer:  # type: ignore[arg-type]
            peer.associate()
            with contextlib.suppress(Exception):  # an attack, and whatever an unsuspecting client makes of it
                peer.read(GXDLMSRegister("1.0.32.7.0.255"), 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    written = json.loads(statistics.read_text())["meter-1"]
    assert (written["associations"], written["refusals"], written["attacks"]) == (2, {}, {"foreign_title": 1})
    assert json.loads((tmp_path / "counters.json").read_text())["clients"]["1"] > counter == 70000
