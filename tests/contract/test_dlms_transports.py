"""The client over every kind of link: IPv6, UDP, serial ports, the mode E handshake, RFC 2217; and one owner per port."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

import pytest
import serial
from serial.rfc2217 import PortManager

from connectors.dlms.link.opening import open_link
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.session import Session
from model.errors import MeterError
from model.messages import Cycle, ErrorKind, Outcome
from model.settings.meter import MeterSettings
from model.settings.template import ReadSettings
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.line_timing import LineTiming
from simulator.meter.sign_on import SignOnConfig

READS = {"voltage": "1-0:32.7.0", "energy": "1-0:1.8.0"}
FAST = LineTiming(baud=115_200, turnaround=0.002)


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def settings_of(connect: str, **settings: object) -> MeterSettings:
    base = {"id": "m", "template": "t", "exchange_timeout": 2.0, "backoff_min": 0.01, "backoff_max": 0.02}
    return MeterSettings.model_validate({**base, "connect": connect, **settings})


def read(connect: str, count: int = 1, **settings: object) -> list[Cycle]:
    """`count` cycles, then a release."""
    meter = settings_of(connect, **settings)

    async def run() -> list[Cycle]:
        plan = plan_reads({key: ReadSettings.model_validate(obis) for key, obis in READS.items()})
        poll = MeterPoll(meter, plan, 60.0, Session(meter, lambda _id, address: address))
        cycles = []
        for _ in range(count):
            cycles.append(await poll.cycle(datetime.now(timezone.utc)))
            await asyncio.sleep(0.03)  # beyond the longest back-off of these tests
        await poll.close()
        return cycles

    return asyncio.run(run())


def fault_of(connect: str, **settings: object) -> MeterError:
    async def run() -> None:
        await open_link(connect, settings_of(connect, **settings))

    with pytest.raises(MeterError) as caught:
        asyncio.run(run())
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("framing", ["hdlc", "wrapper"])
def test_a_meter_is_read_over_ipv6(meters: BackgroundMeters, framing: str) -> None:
    address = meters.start(MeterConfig("m", framing=framing), host="::1")  # type: ignore[arg-type]
    assert address.startswith("tcp://[::1]:")
    (cycle,) = read(address, framing=framing, source_address="::1")
    assert cycle.outcome is Outcome.OK


def test_the_connection_comes_from_the_address_that_was_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"tcp://127.0.0.1:{server.getsockname()[1]}"

        async def run() -> tuple[str, bool, bool]:
            link = await open_link(connect, settings_of(connect, source_address="127.0.0.9"))
            connection, (host, _) = server.accept()
            ours = link._transport.get_extra_info("socket")  # type: ignore[attr-defined]
            options = (ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            connection.close()
            await link.close()
            return host, bool(options[0]), bool(options[1])

        assert asyncio.run(run()) == ("127.0.0.9", True, True)
        fault = fault_of(connect, source_address="192.0.2.200")
    assert fault.kind is ErrorKind.CONNECT
    assert "source_address" in fault.remedy


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_meter_is_read_over_udp_and_a_lost_datagram_is_healed(meters: BackgroundMeters, host: str) -> None:
    address = meters.start(MeterConfig("m", framing="wrapper", seed=3), Behaviour(lost=0.25, duplicated=0.2), host=host, transport="udp")
    cycles = read(address, count=10, framing="wrapper", exchange_timeout=0.1, retries=6)
    assert {cycle.outcome for cycle in cycles} == {Outcome.OK}
    assert sum(cycle.exchanges for cycle in cycles) > len(cycles) + 1


def test_a_udp_port_where_nothing_listens_is_told_at_once() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (cycle,) = read(f"udp://127.0.0.1:{port}", framing="wrapper", exchange_timeout=20)
    assert cycle.errors[0].kind is ErrorKind.LINK_LOST
    assert "datagrams to 127.0.0.1" in cycle.errors[0].detail


def test_what_a_converter_delivers_late_is_thrown_away_while_the_link_settles() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"tcp://127.0.0.1:{server.getsockname()[1]}"

        def converter() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"stale")
                assert connection.recv(10) == b"fresh?"
                connection.sendall(b"fresh!")

        thread = threading.Thread(target=converter)
        thread.start()

        async def run() -> bytes:
            link = await open_link(connect, settings_of(connect, via="converter"))
            await link.write(b"fresh?")
            data = await link.read()
            await link.close()
            return data

        assert asyncio.run(run()) == b"fresh!"
        thread.join()


@pytest.mark.parametrize("baud", [300, 9600, 115200])
def test_a_serial_port_is_set_to_its_baud_rate_and_read(meters: BackgroundMeters, baud: int) -> None:
    timing = LineTiming(baud=baud, turnaround=0.0 if baud == 300 else 0.01)
    address = meters.start_line([(MeterConfig("m"), Behaviour())], timing)
    if baud == 300:  # a whole cycle would take half a minute
        assert read(address.replace("300", "600"))[0].errors[0].kind is ErrorKind.TIMEOUT
        assert meters.line(address).record.wrong_baud > 0
    else:
        cycles = read(address, 2)
        assert [cycle.outcome for cycle in cycles] == [Outcome.OK, Outcome.OK]
        assert meters.counters("m").releases == 1


def test_a_port_that_is_pulled_out_is_a_lost_link(meters: BackgroundMeters) -> None:
    address = meters.start_line([(MeterConfig("m"), Behaviour())], FAST)

    async def run() -> MeterError:
        link = await open_link(address, settings_of(address))
        waiting = asyncio.ensure_future(link.read())
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, meters.stop_line, address)
        with pytest.raises(MeterError) as caught:
            await waiting
        assert link.closed
        with pytest.raises(MeterError):
            await link.write(b"x")
        await link.close()
        return caught.value

    fault = asyncio.run(run())
    assert fault.kind is ErrorKind.LINK_LOST
    assert "is gone" in fault.what


def test_a_missing_port_and_a_file_that_is_none_are_explained(tmp_path: Path) -> None:
    assert fault_of(f"serial://{tmp_path}/ttyUSB9").what.startswith("there is no serial port")
    (tmp_path / "file").write_text("")
    assert "cannot be set to 9600 8N1" in fault_of(f"serial://{tmp_path}/file").what


def test_direction_control_that_the_port_cannot_do_is_refused(meters: BackgroundMeters) -> None:
    address = meters.start_line([(MeterConfig("m"), Behaviour())], FAST)
    assert "has no RS-485 direction control" in fault_of(f"{address}&rs485=rts-high").what
    assert read(address)[0].outcome is Outcome.OK  # the port was given back


HOLDER = """
import sys, time, serial
port = serial.Serial(sys.argv[1], exclusive=True)
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_owner_of_a_serial_port_is_told_who_has_it(meters: BackgroundMeters) -> None:
    address = meters.start_line([(MeterConfig("m"), Behaviour())], FAST)
    device = address.removeprefix("serial://").partition("?")[0]
    with subprocess.Popen([sys.executable, "-c", HOLDER, device], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        fault = fault_of(address)
        assert fault.what.startswith(f"the serial port {device} already belongs to pid {holder.pid} (")
        holder.communicate("")
    assert read(address)[0].outcome is Outcome.OK


def test_the_port_is_closed_to_others_while_a_meter_is_read_through_it(meters: BackgroundMeters) -> None:
    address = meters.start_line([(MeterConfig("m"), Behaviour())], FAST)

    async def run() -> None:
        link = await open_link(address, settings_of(address))
        with pytest.raises(MeterError, match="already belongs to this process itself"):
            await open_link(address, settings_of(address))
        with pytest.raises(serial.SerialException):
            serial.Serial(address.removeprefix("serial://").partition("?")[0], exclusive=True)
        await link.close()
        await (await open_link(address, settings_of(address))).close()

    asyncio.run(run())


@pytest.mark.parametrize(("options", "confirms"), [("", True), ("", False), ("&max_baud=9600", True), ("&address=12345678", True)])
def test_an_optical_port_signs_on_in_mode_e_and_changes_its_baud_rate(meters: BackgroundMeters, options: str, confirms: bool) -> None:
    sign_on = SignOnConfig("SIM6\\2MODE-E", address="12345678", confirms=confirms)
    address = meters.start_line([(MeterConfig("m"), Behaviour())], LineTiming(baud=300, turnaround=0.02), sign_on)
    cycles = read(address + options, 2)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK, Outcome.OK]
    assert meters.line(address).sign_on is not None
    assert meters.line(address).record.wrong_baud == 0  # the line heard everything at the rate agreed upon


def test_a_meter_without_mode_e_and_a_wrong_device_address_are_explained(meters: BackgroundMeters) -> None:
    timing = LineTiming(baud=300, turnaround=0.02)
    plain = meters.start_line([(MeterConfig("plain"), Behaviour())], timing, SignOnConfig("SIM5ELSTER"))
    assert "SIM ELSTER) does not know mode E" in fault_of(plain).what
    other = meters.start_line([(MeterConfig("other"), Behaviour())], timing, SignOnConfig(address="1"))
    assert "no meter answers the handshake" in fault_of(f"{other}&address=2").what


class PortWithoutModemLines(serial.Serial):  # type: ignore[misc]
    """A pseudo terminal has no CTS, DSR, RI and CD."""

    cts = dsr = ri = cd = False


@contextmanager
def rfc2217_server(device: str) -> Iterator[str]:
    """pyserial's own server side in front of a port, as a converter has it: a peer nobody here wrote."""
    with PortWithoutModemLines(device, timeout=0.02) as port, socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve(connection: socket.socket) -> None:
            class Writer:
                def write(self, data: bytes) -> None:
                    connection.sendall(data)

            manager = PortManager(port, Writer())
            connection.settimeout(0.02)
            while not ended.is_set():
                data = port.read(port.in_waiting or 1)
                if data:
                    connection.sendall(b"".join(manager.escape(data)))
                try:
                    received = connection.recv(1024)
                except TimeoutError:
                    continue
                if not received:
                    return
                port.write(b"".join(manager.filter(received)))

        def serve_one_after_another() -> None:
            server.settimeout(0.02)
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection, suppress(OSError):
                    serve(connection)

        thread = threading.Thread(target=serve_one_after_another)
        thread.start()
        yield f"rfc2217://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        thread.join()


def test_a_converter_that_speaks_rfc_2217_sets_its_port_as_we_say(meters: BackgroundMeters) -> None:
    address = meters.start_line([(MeterConfig("m", hdlc_information_size=2030, max_pdu_size=65535), Behaviour())], LineTiming(baud=19200))
    with rfc2217_server(address.removeprefix("serial://").partition("?")[0]) as converter:
        cycles = read(f"{converter}?baud=19200&stop_bits=2", 2, exchange_timeout=2)
    assert [cycle.outcome for cycle in cycles] == [Outcome.OK, Outcome.OK]
    assert meters.line(address).record.wrong_baud == 0


def test_the_handshake_of_mode_e_works_through_rfc_2217(meters: BackgroundMeters) -> None:
    line = [(MeterConfig("m"), Behaviour())]
    address = meters.start_line(line, LineTiming(baud=300, turnaround=0.02), SignOnConfig())
    with rfc2217_server(address.removeprefix("serial://").partition("?")[0]) as converter:
        assert read(f"{converter}?handshake=mode-e", exchange_timeout=2)[0].outcome is Outcome.OK


def test_a_raw_converter_is_not_taken_for_rfc_2217(meters: BackgroundMeters) -> None:
    address = meters.start_converter([(MeterConfig("m"), Behaviour())], FAST)
    fault = fault_of(address.replace("tcp", "rfc2217"))
    assert "does not answer RFC 2217 commands" in fault.what
