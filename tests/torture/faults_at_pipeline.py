"""Faults of a pipeline that runs, or of one that should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from connectors.archive.schema import FILE_NAME as ARCHIVE
from connectors.thingsboard.outbox_schema import FILE_NAME as OUTBOX
from simulator.meter.behaviour import Behaviour
from simulator.thingsboard.limits import Limits
from simulator.thingsboard.rate_limit import RateLimits
from tests.contract.mosquitto import MosquittoBroker, wait_for
from tests.contract.pipeline_process import NODES, ROOT, TOKEN, PipelineProcess
from tests.torture.faults import PLAIN, Fault, Ground
from tests.torture.faults_at_meters import NOBODY

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
SLOW = 150.0

_RIVAL = """
import os, sys, time
from tests.torture.rival import Rival
with Rival(int(sys.argv[1]), "5", (0.5, 1.0), token=os.environ["TB_TOKEN"]):
    print("fights", flush=True)
    time.sleep(600)
"""


def healthy(ground: Ground) -> PipelineProcess:
    """A meter, a stand-in, a pipeline; nothing wrong."""
    ground.meter(PLAIN)
    ground.server()
    return ground.start_healthy()


def unplugged(ground: Ground) -> Iterator[None]:
    """The meter loses its supply while it is read."""
    healthy(ground)
    ground.meters.stop("lab")
    yield


def silenced(ground: Ground) -> Iterator[None]:
    """The meter is connected and answers no more."""
    healthy(ground)
    ground.meters.behaviour("lab").silent = True
    yield


def half_read(ground: Ground) -> Iterator[None]:
    """One value that the meter does not have."""
    ground.meter(PLAIN)["overrides"] = {"power": "1-1:99.99.9"}
    ground.server()
    ground.start()
    yield


def refused(ground: Ground) -> Iterator[None]:
    """The token of another server."""
    ground.meter(PLAIN)
    ground.server().change_token("gateway", "another-token")
    ground.start()
    yield


def shared(ground: Ground) -> Iterator[None]:
    """Another program of this host uses the token."""
    ground.meter(PLAIN)
    server = ground.server()
    ground.start_healthy()
    with _rival(server.port):
        yield


@contextmanager
def _rival(port: int) -> Iterator[None]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TB_TOKEN": TOKEN}
    with subprocess.Popen([sys.executable, "-c", _RIVAL, str(port)], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "fights"
        try:
            yield
        finally:
            process.kill()


def far_away(ground: Ground) -> Iterator[None]:
    """Another host's program used the token: the server says so, and nothing of it is seen here."""
    ground.meter(PLAIN)
    server = ground.server()
    ground.start_healthy()
    server.disconnect("gateway", "taken over", 0x8E)
    yield


def not_a_gateway(ground: Ground) -> Iterator[None]:
    """The box is not ticked."""
    ground.meter(PLAIN)
    ground.server().mark_gateway("gateway", False)
    ground.section["ack_timeout"] = 1.5
    ground.start()
    yield


def rate_limited(ground: Ground) -> Iterator[None]:
    """The tenant profile allows two messages a second."""
    ground.meter(PLAIN)
    ground.configuration["templates"]["five"]["interval"] = 0.2
    ground.server(limits=Limits(gateway=RateLimits(telemetry_messages="2:1"), stated=False))
    ground.start()
    yield


def broker_gone(ground: Ground) -> Iterator[None]:
    """mosquitto is stopped under a running pipeline."""
    ground.meter(PLAIN)
    (ground.folder / "broker").mkdir()
    broker = ground.stack.enter_context(MosquittoBroker(ground.folder / "broker"))
    ground.section["url"] = broker.url
    ground.start_healthy()
    broker.stop()
    yield


def killed(ground: Ground) -> Iterator[None]:
    """kill -9."""
    healthy(ground).kill()
    yield


def stopped(ground: Ground) -> Iterator[None]:
    """SIGTERM, and nobody starts it again."""
    healthy(ground).stop()
    yield


def stuck(ground: Ground) -> Iterator[None]:
    """SIGSTOP."""
    running = healthy(ground)
    running.processes[0].send_signal(signal.SIGSTOP)
    yield


def never_started(ground: Ground) -> Iterator[None]:
    """Before the first start."""
    ground.meter(PLAIN)
    yield


def broken_file(ground: Ground) -> Iterator[None]:
    """An edit that cannot be read, and nothing runs."""
    ground.meter(PLAIN)
    ground.file = ground.write().with_name("broken.yaml")
    ground.file.write_text((ground.folder / "pipeline.yaml").read_text().replace("nodes:", "nodez:"))
    yield


def broken_edit(ground: Ground) -> Iterator[None]:
    """The same while the pipeline runs: it goes on."""
    healthy(ground)
    ground.file = ground.folder / "broken.yaml"
    ground.file.write_text((ground.folder / "pipeline.yaml").read_text().replace("nodes:", "nodez:"))
    yield


def second_pipeline(ground: Ground) -> Iterator[None]:
    """A second one with the same token and a state_dir of its own, which is refused at its start; asked about the second one."""
    healthy(ground)
    ground.write()
    ground.configuration = {**ground.configuration, "state_dir": "second-state"}
    ground.file = ground.folder / "second.yaml"
    ground.file.write_text(yaml.safe_dump(ground.configuration, sort_keys=False))
    yield


def disk_full(ground: Ground) -> Iterator[None]:
    """state_dir is on a disk of its own, and something else fills it."""
    ground.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(ground.state)], check=True)
    ground.stack.callback(subprocess.run, ["umount", "-l", str(ground.state)], check=True)
    ground.meter(PLAIN)
    ground.server()
    ground.start()
    wait_for(lambda: (ground.state / OUTBOX).exists(), "the outbox", SLOW)
    with (ground.state / "somebody.else").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    yield


def forbidden(ground: Ground) -> Iterator[None]:
    """state_dir belongs to another user; looked at by one without rights, before the first start."""
    ground.meter(PLAIN)
    ground.state.mkdir(mode=0o755)
    ground.write().chmod(0o666)
    ground.invoke("health")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def damaged_archive(ground: Ground) -> Iterator[None]:
    """Pages in the middle are overwritten while nothing runs."""
    _after_a_run(ground, ARCHIVE)
    yield


def damaged_outbox(ground: Ground) -> Iterator[None]:
    """The outbox is overwritten while nothing runs."""
    _after_a_run(ground, OUTBOX)
    yield


def _after_a_run(ground: Ground, name: str) -> None:
    running = healthy(ground)
    wait_for(lambda: len(running.archived()) > 50, "some history", SLOW)
    assert running.stop() == [0]
    file = ground.state / name
    size = file.stat().st_size
    content = bytearray(file.read_bytes())
    start = 0 if name == OUTBOX else 4096
    content[start:size] = b"\xa5" * (size - start)
    file.write_bytes(content)
    for companion in ("-wal", "-shm"):
        file.with_name(name + companion).unlink(missing_ok=True)


def replaced_outbox(ground: Ground) -> Iterator[None]:
    """The same, and the pipeline has started since: it has put the damaged one aside."""
    _after_a_run(ground, OUTBOX)
    ground.start()
    yield


def lost_gap(ground: Ground) -> Iterator[None]:
    """The meter had no supply for five minutes of every two hours, so it has no rows of them."""
    behaviour = Behaviour(power_fail_period=7200.0, power_fail_length=300.0)
    ground.meter(PLAIN, behaviour, capture_period=15, profile_entries=4000)
    ground.server()
    profile = {"obis": "1-0:99.1.0", "keys": {"1-0:1.8.0": "counter"}, "horizon": "6h", "chunk": "60m"}
    ground.configuration["templates"]["five"]["profiles"] = {"load": profile}
    ground.configuration["nodes"] = [
        {**node, "inputs": [*node["inputs"], "meters.gaps"]} if node["id"] in ("health", "archive") else node for node in NODES
    ]
    ground.start()
    yield


def not_synchronised(ground: Ground) -> Iterator[None]:
    """The host's time service is off."""
    healthy(ground)
    ground.say_clock("no")
    yield


def wrong_host_clock(ground: Ground) -> Iterator[None]:
    """All meters are an hour ahead: from here that is the same as a host that is an hour behind."""
    clock = {"overrides": {"clock": {"class": 8, "obis": "0-0:1.0.0"}}}
    for name in ("north", "south"):
        ground.meter(PLAIN, Behaviour(clock_offset=3600.0), name).update(clock)
    ground.server()
    ground.say_clock("no")
    ground.start()
    yield


def one_clock_off(ground: Ground) -> Iterator[None]:
    """One of three meters is an hour off, the host's clock is kept."""
    clock = {"overrides": {"clock": {"class": 8, "obis": "0-0:1.0.0"}}}
    for name, offset in (("north", 0.0), ("south", -3600.0), ("west", 0.0)):
        ground.meter(PLAIN, Behaviour(clock_offset=offset), name).update(clock)
    ground.server()
    ground.start()
    yield


def fell_silent(ground: Ground) -> Iterator[None]:
    """Asked about with diagnose: the meter's line is the pipeline's, whose own cycle tells."""
    healthy(ground)
    ground.meters.behaviour("lab").silent = True
    yield


def _health(
    name: str,
    subject: str,
    words: tuple[str, ...],
    remedy: str,
    play: Callable[[Ground], Iterator[None]],
    *,
    long: bool = True,
    patience: float = SLOW,
    beside: str = "",
) -> Fault:
    return Fault(name, "health", subject, words, (remedy,), play, long=long, patience=patience, beside=beside)


_FROM_PIPELINE = ("the running pipeline (pid", "cannot read it", "no reply")
_HELD = Fault("the same, asked for with diagnose", "diagnose", "lab", _FROM_PIPELINE, ("check",), fell_silent, long=True, patience=SLOW)
PIPELINE_FAULTS = [
    _health("meter unplugged while it is read", "lab", ("Connection refused", "Tried just now"), "check port", unplugged, long=False),
    _health("meter falls silent while it is read", "lab", ("gives no values", "no reply"), "check", silenced),
    _HELD,
    _health("a value that the meter does not have", "lab", ("not whole", "power", "object-undefined"), "check OBIS code", half_read),
    _health("token refused", "session", ("does not accept the token",), "copy the access token", refused),
    _health("token shared with a program on this host", "session", ("another client connected",), "find the other", shared, long=False),
    _health("token shared with a program elsewhere", "session", ("another client connected", "0x8e"), "find the other", far_away),
    _health("the token's device is not a gateway", "session", ("not a gateway",), "Is gateway", not_a_gateway),
    _health("rate limit", "session", ("too fast",), "rate limits", rate_limited),
    _health("broker goes down", "session", ("nothing listens on the server's port",), "check that the server runs", broker_gone),
    _health("flow killed", "flow", ("is gone without a word",), "start it", killed, long=False),
    _health("flow ended in order and not started again", "flow", ("ended in order",), "start it", stopped),
    _health("flow stuck", "flow", ("is stuck", "SIGSTOP"), "kill -CONT", stuck),
    _health("never started", "flow", ("never told of itself",), "start it", never_started, long=False),
    _health("pipeline.yaml broken", "configuration", ("cannot start", "nodez"), "check", broken_file, long=False),
    _health("pipeline.yaml broken while the flow runs", "configuration", ("the flow goes on", "nodez"), "check", broken_edit),
    _health("second pipeline with the same token", "session owner", ("belongs to another pipeline",), "stop it", second_pipeline),
    _health("disk full", "disk", ("the disk is full",), "free space", disk_full),
    _health("state_dir not writable", "disk", ("cannot be written by this user",), "chown", forbidden, long=False, patience=0),
    _health("archive damaged", "archive", ("cannot be read", "malformed"), "restart the flow", damaged_archive, beside="flow"),
    _health("outbox damaged", "outbox", ("cannot be read",), "moves a damaged one aside", damaged_outbox, beside="flow"),
    _health("outbox damaged, and started again", "outbox", ("damaged",), "check the disk", replaced_outbox),
    _health("load profile intervals lost", "gaps", ("lost for good", "without these rows"), "gaps tells which", lost_gap),
    _health("host's clock not synchronised", "clock", ("is not synchronised",), "time service", not_synchronised),
    _health("host's clock an hour off", "clock", ("it is this host's clock that is off",), "time service", wrong_host_clock),
    _health("one meter's clock off among several", "south", ("60 min behind", "is synchronised"), "set the meter's clock", one_clock_off),
]
