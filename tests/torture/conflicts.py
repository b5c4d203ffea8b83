"""Ten causes that end or spoil a session, each played against a running session while readings keep coming, and what came of it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from connectors.thingsboard import ending
from connectors.thingsboard.ending import Ending
from connectors.thingsboard.payload import Kind, Record
from model.timestamps import from_ms
from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from simulator.thingsboard.limits import Limits
from simulator.thingsboard.rate_limit import RateLimits
from tests.contract.certificates import Authority
from tests.contract.mosquitto import Listener, MosquittoBroker, wait_for
from tests.contract.thingsboard_session import RunningSession, reading
from tests.torture.proxy import Proxy
from tests.torture.rival import Rival

PROTOCOLS = ("5", "3.1.1")
EVERY = 0.25
"""Seconds between two readings."""

WAITS = {"ack_timeout": 3.0, "reconnect_min": 1.0, "reconnect_max": 8.0}

DEADLINE = 120.0
"""Seconds for the alert, and again for the delivery after the cause is gone."""

_ENDINGS = [value for value in vars(ending).values() if isinstance(value, Ending)]


@dataclass(frozen=True)
class Row:
    """One line of the table; `seconds` from the beginning of the trouble (of a fight: from the second takeover) to the alert."""

    cause: str
    server: str
    protocol: str
    named: str
    seconds: float
    lost: int
    remedy: str


class Stage:
    """A server, a session with settings as in production except for `ack_timeout`, and a meter that is read all the time."""

    def __init__(self, folder: Path, protocol: str, tls: bool, token: str) -> None:
        self.folder, self.protocol, self.tls = folder, protocol, tls
        self.authority = Authority(folder / "authority")
        self.sent: list[int] = []
        self._token = token
        self._done = threading.Event()

    @contextmanager
    def playing(self) -> Iterator[Stage]:
        """Everything runs until the end of the block."""
        with ExitStack() as stack:
            self.proxy = stack.enter_context(Proxy(stack.enter_context(self.serving())))
            url = f"{'mqtts' if self.tls else 'mqtt'}://127.0.0.1:{self.proxy.port}"
            settings: dict[str, Any] = {"protocol": self.protocol, "token": self._token, **WAITS}
            if self.tls:
                settings["ca_file"] = self.authority.file
            self.running = stack.enter_context(RunningSession(self.folder, url, **settings))
            meter = threading.Thread(target=self._read, daemon=True)
            meter.start()
            stack.callback(meter.join)
            stack.callback(self._done.set)
            yield self

    def serving(self) -> AbstractContextManager[int]:
        """The server runs until the end of the block; its port."""
        raise NotImplementedError

    def stored(self) -> dict[int, Any]:
        """ts -> x of meter M1, as the server has them."""
        raise NotImplementedError

    def takeovers(self) -> list[float]:
        """When our session was taken over, seconds since 1970."""
        raise NotImplementedError

    def stop_reading(self) -> None:
        """No further readings."""
        self._done.set()

    def lost(self) -> int:
        """Readings that the server has not, or not as they were."""
        stored = self.stored()
        return sum(stored.get(ts) != ts for ts in self.sent)

    def alert(self) -> tuple[str, datetime] | None:
        """Evidence and time of the first alert."""
        for evidence, ts, raised in self.running.rows("alerts", "evidence, ts, raised"):
            if raised:
                return str(evidence), from_ms(ts)
        return None

    def _read(self) -> None:
        while not self._done.wait(EVERY):
            self.sent.append(len(self.sent) + 1)
            self.running.deliver([reading("M1", self.sent[-1], x=self.sent[-1])])


class StandInStage(Stage):
    """With the ThingsBoard stand-in."""

    @contextmanager
    def serving(self) -> Iterator[int]:
        """The stand-in with one gateway."""
        context = server_context(self.authority) if self.tls else None
        with BackgroundStandIn([Account("gateway", "gw-token", gateway=True)], ssl_context=context) as self.server:
            yield self.server.port

    def stored(self) -> dict[int, Any]:
        """What the stand-in accepted."""
        return {ts: value for (_, ts), value in self.server.points("M1").items()}

    def takeovers(self) -> list[float]:
        """As the stand-in counted them."""
        sessions = self.server.snapshot().sessions
        return [
            record.closed for record in sessions if record.end == "taken over" and record.closed and record.client_id.startswith("dlms-tb-")
        ]


class MosquittoStage(Stage):
    """With mosquitto, which knows sessions by client id only, and an independent listener."""

    @contextmanager
    def serving(self) -> Iterator[int]:
        """The broker and the listener."""
        authority = self.authority if self.tls else None
        (self.folder / "broker").mkdir()
        with MosquittoBroker(self.folder / "broker", authority) as self.broker, Listener(self.broker, authority) as self._listener:
            yield self.broker.port

    def stored(self) -> dict[int, Any]:
        """What the listener saw."""
        messages = self._listener.on_topic("v1/gateway/telemetry")
        return {record["ts"]: record["values"]["x"] for message in messages for record in message["M1"]}

    def takeovers(self) -> list[float]:
        """As the rival knows them."""
        return self.rival.moments


def server_context(authority: Authority) -> ssl.SSLContext:
    """TLS with a certificate that `authority` signed."""
    pair = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


@dataclass(frozen=True)
class Conflict:
    """One cause: how it is played, which names for it are right, and whether deliveries work before it begins."""

    cause: str
    server: str
    names: Collection[str]
    play: Callable[[Any], Iterator[None]]
    healthy_first: bool = True
    tls: bool = False
    token: str = "gw-token"


def _taken_over(stage: StandInStage) -> Iterator[None]:
    with Rival(stage.server.port, stage.protocol, (1.0, 2.0)):
        yield


def _refused_credentials(stage: StandInStage) -> Iterator[None]:
    yield
    stage.server.change_token("gateway", "new-token")


def _credentials_changed(stage: StandInStage) -> Iterator[None]:
    stage.server.change_token("gateway", "another-token")
    yield
    stage.server.change_token("gateway", "gw-token")


def _not_a_gateway(stage: StandInStage) -> Iterator[None]:
    stage.server.mark_gateway("gateway", False)
    stage.server.disconnect("gateway", "restarted", 0x8B)
    yield
    stage.server.mark_gateway("gateway", True)
    stage.server.disconnect("gateway", "restarted", 0x8B)


def _rate_limited(stage: StandInStage) -> Iterator[None]:
    stage.server.change_limits(Limits(gateway=RateLimits(telemetry_messages="2:1"), stated=False))
    yield
    stage.server.change_limits(Limits())


def _quota(stage: StandInStage) -> Iterator[None]:
    misbehaviour = stage.server.misbehaviour
    misbehaviour.ack_matching = lambda message: message.topic == "v1/gateway/telemetry"
    misbehaviour.ack_closes = True
    misbehaviour.ack_reason = 0x97
    yield
    misbehaviour.ack_reason = None


def _malformed(stage: StandInStage) -> Iterator[None]:
    stage.running.deliver([Record("M1", "m1", Kind.TELEMETRY, 1, b'{"ts":1,"values":{"x":}}', "poll", 1, 1, 1)])
    yield
    wait_for(lambda: stage.running.rows("dead_letter", "id"), "the dead letter", DEADLINE)


def _broker_restart(stage: StandInStage) -> Iterator[None]:
    stage.proxy.refuse()
    stage.server.stop_listening()
    yield
    stage.server.start_listening()
    stage.proxy.mend()


def _network(stage: Stage) -> Iterator[None]:
    stage.proxy.cut()
    yield
    stage.proxy.mend()


def _tls(stage: StandInStage) -> Iterator[None]:
    def serve(authority: Authority) -> None:
        stage.server.change_certificate(server_context(authority))
        stage.server.stop_listening()
        stage.server.start_listening()

    serve(Authority(stage.folder / "stranger", "stranger"))
    yield
    serve(stage.authority)


def _mosquitto_taken_over(stage: MosquittoStage) -> Iterator[None]:
    client_id = "dlms-tb-" + (stage.folder / "client_id").read_text().strip()
    with Rival(stage.broker.port, stage.protocol, (1.0, 2.0), client_id=client_id) as stage.rival:
        yield


def _mosquitto_refuses(stage: MosquittoStage) -> Iterator[None]:
    _restart(stage, anonymous=False)
    yield
    _restart(stage, anonymous=True)


def _mosquitto_restarts(stage: MosquittoStage) -> Iterator[None]:
    stage.proxy.refuse()
    stage.broker.stop()
    yield
    stage.broker.start()
    stage.proxy.mend()


def _mosquitto_strange(stage: MosquittoStage) -> Iterator[None]:
    _restart(stage, authority=Authority(stage.folder / "stranger", "stranger"))
    yield
    _restart(stage, authority=stage.authority)


def _restart(stage: MosquittoStage, **changes: Any) -> None:
    stage.broker.stop()
    for name, value in changes.items():
        setattr(stage.broker, name, value)
    stage.broker.start()


_CHANGED = frozenset({"credentials-changed", "refused-credentials"})
THINGSBOARD, MOSQUITTO = "ThingsBoard stand-in", "mosquitto"
CONFLICTS = [
    Conflict("taken over by another client", THINGSBOARD, {"taken-over"}, _taken_over),
    Conflict("wrong token", THINGSBOARD, {"refused-credentials"}, _refused_credentials, healthy_first=False, token="new-token"),
    Conflict("token changed on the server", THINGSBOARD, _CHANGED, _credentials_changed),
    Conflict("the device is not a gateway", THINGSBOARD, {"not-a-gateway"}, _not_a_gateway),
    Conflict("rate limit", THINGSBOARD, {"rate-limited"}, _rate_limited),
    Conflict("quota", THINGSBOARD, {"quota-exceeded"}, _quota),
    Conflict("malformed payload", THINGSBOARD, {"malformed-message"}, _malformed),
    Conflict("server restarts", THINGSBOARD, {"server-restart"}, _broker_restart),
    Conflict("network cut", THINGSBOARD, {"unreachable"}, _network),
    Conflict("certificate of a stranger", THINGSBOARD, {"certificate-untrusted"}, _tls, tls=True),
    Conflict("taken over by another client", MOSQUITTO, {"taken-over"}, _mosquitto_taken_over),
    Conflict("wrong token", MOSQUITTO, {"refused-credentials"}, _mosquitto_refuses),
    Conflict("server restarts", MOSQUITTO, {"server-restart"}, _mosquitto_restarts),
    Conflict("network cut", MOSQUITTO, {"unreachable"}, _network),
    Conflict("certificate of a stranger", MOSQUITTO, {"certificate-untrusted"}, _mosquitto_strange, tls=True),
]


def play(conflict: Conflict, protocol: str, folder: Path) -> Row:
    """Begin the trouble, wait for the alert, end the trouble, wait for the delivery, count."""
    where = f"{conflict.cause}, {conflict.server}, {protocol}"
    kind = StandInStage if conflict.server == THINGSBOARD else MosquittoStage
    with kind(folder, protocol, conflict.tls, conflict.token).playing() as stage:
        if conflict.healthy_first:
            wait_for(stage.stored, f"{where}: the first delivery", DEADLINE)
        began = time.time()
        with contextmanager(conflict.play)(stage):
            wait_for(stage.alert, f"{where}: the alert", DEADLINE)
            found = stage.alert()
            assert found is not None
            evidence, ts = found
            if "taken-over" in conflict.names:
                began = (stage.takeovers()[:2] or [began])[-1]
        stage.stop_reading()
        wait_for(stage.running.empty, f"{where}: delivery", DEADLINE)
        with suppress(AssertionError):  # then the row counts what is missing
            wait_for(lambda: not stage.lost(), f"{where}: arrival")
        cause = next(value for value in _ENDINGS if evidence.startswith(value.explanation))
        return Row(conflict.cause, conflict.server, protocol, cause.name, max(0.0, ts.timestamp() - began), stage.lost(), cause.remedy)
