"""The virtual line and its ports, with plain file descriptors and sockets as the client."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.hdlc_frame import Control, Frame, encode_address, encode_frame
from simulator.meter.line_timing import LineTiming
from simulator.meter.shared_line import SharedLine
from simulator.meter.sign_on import SignOn, SignOnConfig
from tests.contract.pipeline_process import ROOT

CLIENT = 16


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def snrm(physical: int) -> bytes:
    return encode_frame(Frame(encode_address(1, physical, None), encode_address(CLIENT, 0, 1), Control.SNRM | 0x10))


def pair(**behaviour: object) -> list[tuple[MeterConfig, Behaviour]]:
    return [(MeterConfig(f"m{n}", server_physical=17 + n), Behaviour(**behaviour)) for n in range(2)]  # type: ignore[arg-type]


class Port:
    """A pseudo terminal as a client opens it."""

    def __init__(self, address: str, speed: int) -> None:
        self.descriptor = os.open(address.removeprefix("serial://").partition("?")[0], os.O_RDWR | os.O_NOCTTY)
        attributes = termios.tcgetattr(self.descriptor)
        attributes[4] = attributes[5] = speed
        termios.tcsetattr(self.descriptor, termios.TCSANOW, attributes)

    def __enter__(self) -> Port:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def ask(self, request: bytes, patience: float = 5.0, count: int = 2) -> bytes:
        """What comes back, until `count` flags or silence."""
        os.write(self.descriptor, request)
        reply = b""
        while reply.count(0x7E) < count and select.select([self.descriptor], [], [], patience)[0]:
            reply += os.read(self.descriptor, 4096)
        return reply


def test_no_reply_is_faster_than_the_line(meters: BackgroundMeters) -> None:
    address = meters.start_line(pair(), LineTiming(baud=2400, turnaround=0.03))
    request = snrm(17)
    with Port(address, termios.B2400) as port:
        begun = time.monotonic()
        reply = port.ask(request)
        took = time.monotonic() - begun
    assert took >= (len(request) + len(reply)) * 10 / 2400 + 0.03 - 0.002
    record = meters.line(address).record
    assert (record.requests, record.request_bytes, record.replies, record.reply_bytes) == (1, len(request), 1, len(reply))
    assert record.busy() == pytest.approx((len(request) + len(reply)) * 10 / 2400 + 0.03, abs=1e-6)
    assert record.elapsed() >= record.busy()


def test_only_the_meter_that_is_asked_answers_and_each_keeps_its_own_link(meters: BackgroundMeters) -> None:
    address = meters.start_line(pair(), LineTiming(baud=115200, turnaround=0.001))
    with Port(address, termios.B115200) as port:
        for number in (0, 1):
            assert encode_address(1, 17 + number, None) in port.ask(snrm(17 + number))
        assert port.ask(snrm(99), patience=0.2) == b""
    assert [meters.counters(f"m{number}").links for number in (0, 1)] == [1, 1]


def test_another_baud_rate_is_noise(meters: BackgroundMeters) -> None:
    address = meters.start_line(pair(), LineTiming(baud=9600))
    with Port(address, termios.B19200) as port:
        assert port.ask(snrm(17), patience=0.2) == b""
    assert meters.line(address).record.wrong_baud == len(snrm(17))


def test_a_request_into_a_reply_is_counted(meters: BackgroundMeters) -> None:
    address = meters.start_line(pair(), LineTiming(baud=2400))
    with Port(address, termios.B2400) as port:
        os.write(port.descriptor, snrm(17))
        deadline = time.monotonic() + 5
        while not meters.line(address).record.requests and time.monotonic() < deadline:
            time.sleep(0.001)
        port.ask(snrm(18), count=4)
    assert meters.line(address).record.overlaps == 1


def test_a_converter_serves_one_client(meters: BackgroundMeters) -> None:
    address = meters.start_converter(pair(), LineTiming(baud=115200))
    host, port = address.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), 5) as first:
        first.sendall(snrm(17))
        assert first.recv(100).startswith(b"\x7e")
        with socket.create_connection((host, int(port)), 5) as second, pytest.raises(ConnectionResetError):
            assert second.recv(1) == b""
            raise ConnectionResetError  # closed in order is as good
    assert meters.converter(address).rejected == 1


def test_a_line_has_hdlc_meters_with_addresses_of_their_own() -> None:
    with pytest.raises(ValueError, match="have one address"):
        SharedLine([(MeterConfig("a"), Behaviour()), (MeterConfig("b"), Behaviour())])
    with pytest.raises(ValueError, match="framing hdlc"):
        SharedLine([(MeterConfig("a", framing="wrapper"), Behaviour())])


def even(text: bytes) -> bytes:
    return bytes(byte | (byte.bit_count() & 1) << 7 for byte in text)


def test_an_optical_port_hears_7e1_only_and_its_own_address() -> None:
    port = SignOn(SignOnConfig("SIM5\\2X", address="12"))
    assert port.receive(b"/?!\r\n") == b""  # without parity bits
    assert port.receive(even(b"/?13!\r\n")) == b""
    assert port.receive(even(b"/?12!\r\n")) == even(b"/SIM5\\2X\r\n")
    assert port.receive(even(b"\x06262\r\n")) == b""  # faster than it offered
    assert port.receive(even(b"\x06252\r\n")) == b""  # it has begun anew
    for byte in even(b"/?!\r\n")[:-1]:
        assert port.receive(bytes([byte])) == b""
    assert port.receive(even(b"\n")) == even(b"/SIM5\\2X\r\n")
    assert port.receive(even(b"\x06242\r\n")) == even(b"\x06242\r\n")
    assert (port.done, port.baud, port.completed) == (True, 4800, 1)


@pytest.mark.parametrize(
    ("link", "address"),
    [("udp", "udp://"), ("pty", "serial://"), ("mode-e", "handshake=mode-e"), ("line-pty", "?baud=19200"), ("line-tcp", "tcp://")],
)
def test_the_command_line_offers_every_link(link: str, address: str) -> None:
    framing = "wrapper" if link == "udp" else "hdlc"
    options = ["--count", "2", "--port", "0", "--link", link, "--framing", framing, "--baud", "19200"]
    command = [sys.executable, "-m", "simulator.meter", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().split() for _ in range(2)]
        process.terminate()
        assert process.wait(10) == 0
    assert [name for name, _ in lines] == ["meter-1", "meter-2"]
    assert all(address in where for _, where in lines)
    assert (lines[0][1] == lines[1][1]) is link.startswith("line")
