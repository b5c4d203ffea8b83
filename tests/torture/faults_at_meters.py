"""Faults at meters and their lines."""

from __future__ import annotations

import grp  # noqa: F401 - as above
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from simulator.meter.behaviour import Behaviour
from tests.contract.pipeline_process import free_port
from tests.torture.faults import CIPHERED, PLAIN, WRAPPED, Fault, Ground

NOBODY = 65534
_CONNECTS = """
import socket, sys, time
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("connected", flush=True)
time.sleep(600)
"""
_LOCKS = """
import fcntl, os, sys, time
port = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
fcntl.flock(port, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(600)
"""


def wrong(
    base: dict[str, Any], settings: dict[str, Any], behaviour: Behaviour | None = None, **config: Any
) -> Callable[[Ground], Iterator[None]]:
    """A meter that fits `base`, and settings that do not."""

    def play(ground: Ground) -> Iterator[None]:
        ground.meter(base, behaviour, **config).update(settings)
        yield

    return play


def unplugged(ground: Ground) -> Iterator[None]:
    """Nothing listens at its address."""
    ground.meter(PLAIN)["connect"] = f"tcp://127.0.0.1:{free_port()}"
    yield


def black_hole(ground: Ground) -> Iterator[None]:
    """A listener whose queue is full: the kernel drops what comes, as a firewall does."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filling in (first, second):
            filling.setblocking(False)
            filling.connect_ex(full.getsockname())
        ground.meter(PLAIN)["connect"] = f"tcp://127.0.0.1:{full.getsockname()[1]}"
        yield


def taken(ground: Ground) -> Iterator[None]:
    """Another program has the only connection that the meter allows."""
    entry = ground.meter(PLAIN, Behaviour(connections="one-refuse"))
    port = int(str(entry["connect"]).rpartition(":")[2])
    with subprocess.Popen([sys.executable, "-c", _CONNECTS, str(port)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline().strip() == "connected"
        yield
        owner.kill()


def locked_port(ground: Ground) -> Iterator[None]:
    """Another process has opened and locked the serial port."""
    device = _terminal(ground)
    command = [sys.executable, "-c", _LOCKS, device]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline().strip() == "locked"
        yield
        owner.kill()


def forbidden_port(ground: Ground) -> Iterator[None]:
    """A port of somebody else's; looked at by a user without rights, whoever plays this."""
    device = _terminal(ground)
    os.chmod(device, 0o600)  # noqa: PTH101
    ground.folder.chmod(0o777)
    (ground.folder / "pipeline.yaml").touch(0o666)
    (ground.folder / "pipeline.yaml").chmod(0o666)
    ground.invoke("diagnose")  # what is imported late is imported now: that user may not read where Python lives
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def _terminal(ground: Ground) -> str:
    """A pseudo terminal in place of the meter's port."""
    master, slave = pty.openpty()
    ground.stack.callback(os.close, master)
    device = os.ttyname(slave)
    os.close(slave)
    ground.meter(PLAIN)["connect"] = f"serial://{device}?baud=9600"
    return device


def wrong_clock(ground: Ground) -> Iterator[None]:
    """An hour ahead, while this host's clock is kept."""
    entry = ground.meter(PLAIN, Behaviour(clock_offset=3600.0))
    entry["overrides"] = {"clock": {"class": 8, "obis": "0-0:1.0.0"}}
    yield


COUNTER = {"invocation_counter_object": "0-0:43.1.9"}
"""An object that the meter does not have, so that its counter cannot be asked for."""

METER_FAULTS = [
    Fault("meter unplugged: connection refused", "diagnose", "lab", ("link", "Connection refused"), ("check port",), unplugged),
    Fault(
        "meter behind a black hole (firewall, no route)",
        "diagnose",
        "lab",
        ("link", "did not accept a connection"),
        ("address", "firewall"),
        black_hole,
    ),
    Fault(
        "meter silent on an open connection",
        "diagnose",
        "lab",
        ("HDLC", "no reply", "no answer, either, when asked with client 16", "framing wrapper"),
        ("look alike", "power"),
        wrong(PLAIN, {}, Behaviour(silent=True)),
    ),
    Fault(
        "the meter's only connection is taken",
        "diagnose",
        "lab",
        ("reset", "on this host is connected to it"),
        ("stop it",),
        taken,
    ),
    Fault(
        "wrong password",
        "diagnose",
        "lab",
        ("association", "authentication-failure"),
        ("password is not the meter's for client 32",),
        wrong(PLAIN, {"password": "wrong"}),
    ),
    Fault(
        "wrong encryption key",
        "diagnose",
        "lab",
        ("association", "authentication-failure"),
        ("block_cipher_key or authentication_key",),
        wrong(CIPHERED, {"block_cipher_key": "ff" * 16}),
    ),
    Fault(
        "wrong authentication key",
        "diagnose",
        "lab",
        ("association", "authentication-failure"),
        ("block_cipher_key or authentication_key",),
        wrong(CIPHERED, {"authentication_key": "ff" * 16}),
    ),
    Fault(
        "wrong client system title",
        "diagnose",
        "lab",
        ("association", "calling-AP-title-not-recognized"),
        ("client_system_title",),
        wrong(CIPHERED, {"client_system_title": "4D4D4D0000000009"}),
    ),
    Fault(
        "wrong HDLC address (server_physical)",
        "diagnose",
        "lab",
        ("HDLC", "no reply", "no answer, either"),
        ("another server_physical look alike",),
        wrong(PLAIN, {"server_physical": 77}),
    ),
    Fault(
        "wrong logical address",
        "diagnose",
        "lab",
        ("the meter answers at server_logical 1, server_physical 1234, and not at 5/1234",),
        ("write server_logical: 1",),
        wrong(PLAIN, {"server_logical": 5}),
    ),
    Fault(
        "wrong client SAP",
        "diagnose",
        "lab",
        ("answers the public client 16", "and not client 55"),
        ("check client_sap",),
        wrong(PLAIN, {"client_sap": 55}),
    ),
    Fault(
        "wrong framing",
        "diagnose",
        "lab",
        ("the meter answers with framing wrapper, and not with hdlc",),
        ("write framing: wrapper",),
        wrong(WRAPPED, {"framing": "hdlc", "server_physical": 1234}),
    ),
    Fault(
        "wrong OBIS code",
        "diagnose",
        "lab",
        ("read", "power (1-1:99.99.9)", "object-undefined"),
        ("check OBIS code",),
        wrong(PLAIN, {"overrides": {"power": "1-1:99.99.9"}}),
    ),
    Fault(
        "invocation counter too low, and the meter does not tell its own",
        "diagnose",
        "lab",
        ("association", "invocation-counter-error", "does not tell its invocation counter"),
        ("invocation_counter_start",),
        wrong(CIPHERED, COUNTER, initial_client_counter=5000),
    ),
    Fault(
        "invocation counter too low, and the meter is silent about it",
        "diagnose",
        "lab",
        ("answers the public client 16", "and not client 1", "counter in silence"),
        ("invocation counter",),
        wrong(CIPHERED, COUNTER, Behaviour(replay_answer="silent"), initial_client_counter=5000),
    ),
    Fault(
        "meter's clock an hour off",
        "diagnose",
        "lab",
        ("clock", "60 min ahead", "this host's is synchronised"),
        ("set the meter's clock",),
        wrong_clock,
    ),
    Fault(
        "line owned twice: another process has the serial port", "diagnose", "lab", ("already belongs to pid",), ("one owner",), locked_port
    ),
    Fault(
        "serial port missing",
        "diagnose",
        "lab",
        ("link", "there is no serial port /dev/ttyUSB99"),
        ("plugged in",),
        wrong(PLAIN, {"connect": "serial:///dev/ttyUSB99?baud=9600"}),
    ),
    Fault("serial port without permission", "diagnose", "lab", ("link", "this user may not open"), ("group",), forbidden_port),
    Fault(
        "the meter's name is not known",
        "diagnose",
        "lab",
        ("name", "cannot be resolved"),
        ("name service",),
        wrong(PLAIN, {"connect": "tcp://meter.invalid:4059"}),
    ),
]
