"""Ten causes that end or spoil a session, each played against a running session while readings keep coming, and what came of it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from connectors.thingsboard import ending
from connectors.thingsboard.ending import Ending
from connectors.thingsboard.payload import Kind, Record
from model.timestamps import from_ms
from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from simulator.thingsboard.limits import Limits
from simulator.thingsboard.rate_limit import RateLimits
from tests.contract.certificates import Authority
from tests.contract.mosquitto import wait_for
from tests.contract.thingsboard_session import RunningSession, reading
from tests.torture.proxy import Proxy
from tests.torture.rival import Rival

PROTOCOLS = ("5", "3.1.1")
EVERY = 0.25
"""Seconds between two readings."""

DEADLINE = 120.0
"""Seconds for the alert, and again for the delivery after the cause is gone."""

_ENDINGS = [value for value in vars(ending).values() if isinstance(value, Ending)]


@dataclass(frozen=True)
class Row:
    """One line of the table; `seconds` from the beginning of the trouble (of a fight: from the second takeover) to the alert."""

    cause: str
    protocol: str
    named: str
    seconds: float
    lost: int
    remedy: str


class Stage:
    """A stand-in, a session with settings as in production except for `ack_timeout`, and a meter that is read all the time."""

    def __init__(self, folder: Path, protocol: str, tls: bool, token: str) -> None:
        self.folder, self.protocol = folder, protocol
        self.authority = Authority(folder / "authority")
        context = server_context(self.authority) if tls else None
        accounts = [Account("gateway", "gw-token", gateway=True)]
        self.server = BackgroundStandIn(accounts, ssl_context=context)
        self._tls, self._token = tls, token
        self.sent: list[int] = []
        self._done = threading.Event()

    @contextmanager
    def playing(self) -> Iterator[Stage]:
        """Everything runs until the end of the block."""
        with ExitStack() as stack:
            stack.enter_context(self.server)
            self.proxy = stack.enter_context(Proxy(self.server.port))
            url = f"{'mqtts' if self._tls else 'mqtt'}://127.0.0.1:{self.proxy.port}"
            settings = {"protocol": self.protocol, "token": self._token, "ack_timeout": 3.0, "reconnect_min": 1.0, "reconnect_max": 8.0}
            if self._tls:
                settings["ca_file"] = self.authority.file
            self.running = stack.enter_context(RunningSession(self.folder, url, **settings))
            meter = threading.Thread(target=self._read, daemon=True)
            meter.start()
            stack.callback(meter.join)
            stack.callback(self._done.set)
            yield self

    def stop_reading(self) -> None:
        """No further readings."""
        self._done.set()

    def _read(self) -> None:
        while not self._done.wait(EVERY):
            self.sent.append(len(self.sent) + 1)
            self.running.deliver([reading("M1", self.sent[-1], x=self.sent[-1])])

    def delivered(self) -> bool:
        """Whether the server has something."""
        return bool(self.server.points("M1"))

    def lost(self) -> int:
        """Readings that the server has not, or not as they were."""
        points = self.server.points("M1")
        return sum(points.get(("x", ts)) != ts for ts in self.sent)

    def alert(self) -> tuple[str, datetime] | None:
        """Evidence and time of the first alert."""
        for evidence, ts, raised in self.running.rows("alerts", "evidence, ts, raised"):
            if raised:
                return str(evidence), from_ms(ts)
        return None


def server_context(authority: Authority) -> ssl.SSLContext:
    """TLS with a certificate that `authority` signed."""
    pair = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


Play = Callable[[Stage], "Iterator[None]"]


@dataclass(frozen=True)
class Conflict:
    """One cause: how it is played, which names for it are right, and whether deliveries work before it begins."""

    cause: str
    names: frozenset[str]
    play: Callable[[Stage], Iterator[None]]
    healthy_first: bool = True
    tls: bool = False
    token: str = "gw-token"


def _taken_over(stage: Stage) -> Iterator[None]:
    with Rival(stage.server.port, stage.protocol, (1.0, 2.0)):
        yield


def _refused_credentials(stage: Stage) -> Iterator[None]:
    yield
    stage.server.change_token("gateway", "new-token")


def _credentials_changed(stage: Stage) -> Iterator[None]:
    stage.server.change_token("gateway", "another-token")
    yield
    stage.server.change_token("gateway", "gw-token")


def _not_a_gateway(stage: Stage) -> Iterator[None]:
    stage.server.mark_gateway("gateway", False)
    stage.server.disconnect("gateway", "restarted", 0x8B)
    yield
    stage.server.mark_gateway("gateway", True)
    stage.server.disconnect("gateway", "restarted", 0x8B)


def _rate_limited(stage: Stage) -> Iterator[None]:
    stage.server.change_limits(Limits(gateway=RateLimits(telemetry_messages="2:1"), stated=False))
    yield
    stage.server.change_limits(Limits())


def _quota(stage: Stage) -> Iterator[None]:
    misbehaviour = stage.server.misbehaviour
    misbehaviour.ack_matching = lambda message: message.topic == "v1/gateway/telemetry"
    misbehaviour.ack_closes = True
    misbehaviour.ack_reason = 0x97
    yield
    misbehaviour.ack_reason = None


def _malformed(stage: Stage) -> Iterator[None]:
    stage.running.deliver([Record("M1", "m1", Kind.TELEMETRY, 1, b'{"ts":1,"values":{"x":}}', "poll", 1, 1, 1)])
    yield
    wait_for(lambda: stage.running.rows("dead_letter", "id"), "the dead letter", DEADLINE)


def _broker_restart(stage: Stage) -> Iterator[None]:
    stage.server.stop_listening()
    stage.proxy.refuse()
    yield
    stage.server.start_listening()
    stage.proxy.mend()


def _network(stage: Stage) -> Iterator[None]:
    stage.proxy.cut()
    yield
    stage.proxy.mend()


def _tls(stage: Stage) -> Iterator[None]:
    def serve(authority: Authority) -> None:
        stage.server.change_certificate(server_context(authority))
        stage.server.stop_listening()
        stage.server.start_listening()

    serve(Authority(stage.folder / "stranger", "stranger"))
    yield
    serve(stage.authority)


CONFLICTS = [
    Conflict("taken over by another client", frozenset({"taken-over"}), _taken_over),
    Conflict("wrong token", frozenset({"refused-credentials"}), _refused_credentials, healthy_first=False, token="new-token"),
    Conflict("token changed on the server", frozenset({"credentials-changed", "refused-credentials"}), _credentials_changed),
    Conflict("the device is not a gateway", frozenset({"not-a-gateway"}), _not_a_gateway),
    Conflict("rate limit", frozenset({"rate-limited"}), _rate_limited),
    Conflict("quota", frozenset({"quota-exceeded"}), _quota),
    Conflict("malformed payload", frozenset({"malformed-message"}), _malformed),
    Conflict("server restarts", frozenset({"server-restart"}), _broker_restart),
    Conflict("network cut", frozenset({"unreachable"}), _network),
    Conflict("certificate of a stranger", frozenset({"certificate-untrusted"}), _tls, tls=True),
]


def play(conflict: Conflict, protocol: str, folder: Path) -> Row:
    """Begin the trouble, wait for the alert, end the trouble, wait for the delivery, count."""
    with Stage(folder, protocol, conflict.tls, conflict.token).playing() as stage:
        if conflict.healthy_first:
            wait_for(stage.delivered, f"{conflict.cause}, {protocol}: the first delivery", DEADLINE)
        began = time.time()
        trouble = contextmanager(conflict.play)(stage)
        with trouble:
            wait_for(stage.alert, f"{conflict.cause}, {protocol}: the alert", DEADLINE)
            found = stage.alert()
            assert found is not None
            evidence, ts = found
            takeovers = [
                record.closed for record in stage.server.snapshot().sessions if record.end == "taken over" and _ours(record.client_id)
            ]
        stage.stop_reading()
        wait_for(stage.running.empty, f"{conflict.cause}, {protocol}: delivery", DEADLINE)
        if len(takeovers) > 1 and takeovers[1] is not None:
            began = takeovers[1]
        cause = next(value for value in _ENDINGS if evidence.startswith(value.explanation))
        return Row(conflict.cause, protocol, cause.name, max(0.0, ts.timestamp() - began), stage.lost(), cause.remedy)


def _ours(client_id: str) -> bool:
    return client_id.startswith("dlms-tb-")
