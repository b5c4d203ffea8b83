"""Why a connection to ThingsBoard could not be opened, ended, or had a message refused: name, explanation, remedy.

MQTT 5 states the reason in CONNACK, DISCONNECT and PUBACK (the codes below; MQTT 5, 2.4). MQTT 3.1.1 states it only when it
refuses a connection; paho hands those return codes over as the reason codes of MQTT 5 (1 to 5 become 0x84, 0x85, 0x88,
0x86, 0x87). Everything else on 3.1.1 is a closed socket, and the cause has to be inferred (`rhythm`).
paho's own "rc 7" only says that the socket closed; it is never "not authorized".
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from model.messages import Severity


@dataclass(frozen=True, slots=True)
class Ending:
    """One cause.

    :arg name: short and stable, for logs, alerts and metrics.
    :arg explanation: what happened, as a sentence.
    :arg remedy: what a person can do.
    :arg severity: of the alert.
    :arg contested: another client or the server's policy is behind it, so that coming back soon makes it worse.
    :arg blames_message: what was being sent may be the cause.
    :arg at_the_door: no session came about, so that anything delivered since proves it to be over.
    """

    name: str
    explanation: str
    remedy: str
    severity: Severity = Severity.WARNING
    contested: bool = False
    blames_message: bool = False
    at_the_door: bool = False


_W, _C = Severity.WARNING, Severity.CRITICAL

TAKEN_OVER = Ending(
    "taken-over",
    "another client connected with the same device's credentials, and ThingsBoard keeps only the newest session of a device",
    "find the other client (a second pipeline, a gateway, a test tool) and stop it, or give each its own device and token",
    _C,
    contested=True,
)
REFUSED_CREDENTIALS = Ending(
    "refused-credentials",
    "the server does not accept the token",
    "copy the access token of the device in ThingsBoard (Manage credentials) to where `token` points; check that it is this server",
    _C,
    contested=True,
    at_the_door=True,
)
CREDENTIALS_CHANGED = Ending(
    "credentials-changed",
    "the server ended the session by administrative action: the device or its credentials were changed",
    "if the token was changed in ThingsBoard, put the new one where `token` points and restart",
    _C,
    contested=True,
)
NOT_A_GATEWAY = Ending(
    "not-a-gateway",
    "the session is up but the server acknowledges nothing on the gateway topics: the token's device is not a gateway",
    "tick 'Is gateway' on the device in ThingsBoard and restart, or set api: device for a single meter",
    _C,
    contested=True,
)
RATE_LIMITED = Ending(
    "rate-limited",
    "the server refuses because messages or connections come too fast for its tenant profile",
    "raise the transport rate limits in the tenant profile, read less often, or spread meters over several gateways",
    contested=True,
)
LIMIT_REACHED = Ending(
    "limit-reached",
    "the server refuses a message because a rate limit or a quota is exhausted",
    "none yet: what the next messages meet with tells which of the two it is",
)
QUOTA = Ending(
    "quota-exceeded",
    "the server takes no more messages: the number of devices, the tenant's API usage or a slow rate limit is exhausted",
    "check API usage, the device limit and the transport rate limits of the tenant profile; readings wait in the outbox",
    _C,
    contested=True,
)
UNAVAILABLE = Ending("server-unavailable", "the server is unavailable or busy", "wait; check the ThingsBoard service if it lasts")
SHUTTING_DOWN = Ending(
    "server-restart",
    "the server is being restarted or was stopped",
    "none if it comes back, the pipeline connects again by itself; if not, start the ThingsBoard service",
)
IDLE = Ending(
    "idle",
    "the server heard nothing for longer than the keep-alive",
    "check the network; shorten keep_alive if a firewall drops idle links",
)
MAXIMUM_CONNECT_TIME = Ending(
    "maximum-connect-time", "the server ends sessions after a time", "none; the pipeline connects again by itself"
)
NORMAL = Ending("closed-by-server", "the server ended the session without giving a reason", "none; the pipeline connects again by itself")
SERVER_ERROR = Ending(
    "server-error",
    "the server failed on a message or refuses it without saying why (a limit of the device API looks the same)",
    "look for the device's name in ThingsBoard's log; check the transport rate limits of the tenant profile",
    blames_message=True,
)
MALFORMED = Ending(
    "malformed-message",
    "the server cannot read a message",
    "none for the session: the message is found and moved to the dead letters; report it with its content",
    blames_message=True,
)
TOO_LARGE = Ending(
    "packet-too-large",
    "the server does not take packets of this size",
    "set outbox.batch_bytes to the server's limit (NETTY_MAX_PAYLOAD_SIZE)",
    blames_message=True,
)
PROTOCOL_UNSUPPORTED = Ending(
    "protocol-unsupported",
    "the server does not speak this version of MQTT",
    "set protocol: '3.1.1' (or '5') in the thingsboard section",
    _C,
    contested=True,
    at_the_door=True,
)
CLIENT_ID = Ending(
    "client-id-refused",
    "the server does not accept the client id",
    "set another client_id prefix",
    _C,
    contested=True,
    at_the_door=True,
)
NOT_ALLOWED = Ending(
    "not-allowed",
    "the server does not allow or know the topic",
    "check that `api` fits the server and that its access rules let this client publish",
    _C,
    contested=True,
)
MOVED = Ending("server-moved", "the server says that it has moved", "set url to the new address", _C, contested=True)

CONNECTION_LOST = Ending("connection-lost", "the connection broke without a reason", "check the network and the server if it happens again")
KEEP_ALIVE = Ending(
    "keep-alive-timeout", "the server did not answer within the keep-alive", "check the network between here and the server"
)
ACK_TIMEOUT = Ending(
    "not-acknowledged",
    "the server is connected but stopped acknowledging messages",
    "check the load of the ThingsBoard server and its queue; messages are sent again",
)
NO_CONNACK = Ending(
    "no-answer",
    "the server takes connections but does not answer as an MQTT server",
    "check that url names the MQTT port (1883, or 8883 for mqtts) and that mqtt/mqtts fits it",
)
PROTOCOL_ERROR = Ending("protocol-error", "the server sent what MQTT does not allow", "check that url names an MQTT server")
NAME_NOT_FOUND = Ending("name-not-found", "the server's name cannot be resolved", "check the host in url and this machine's name service")
TCP_REFUSED = Ending("refused", "nothing listens on the server's port", "check that the server runs and that url names its MQTT port")
UNREACHABLE = Ending("unreachable", "the server cannot be reached", "check the network, the firewall and the host in url")
TLS_UNTRUSTED = Ending(
    "certificate-untrusted",
    "the server's certificate cannot be verified",
    "set ca_file to the certificate authority that signed it; the host in url must be a name in the certificate",
    _C,
    contested=True,
    at_the_door=True,
)
TLS = Ending(
    "tls",
    "no TLS connection could be made",
    "check that the port speaks TLS (8883), and client_cert and client_key if the server asks for them",
    _C,
)
UNEXPECTED = Ending(
    "internal-error", "the session failed on an unexpected error", "report it with the log; the pipeline connects again", _C
)

CONNACK: Mapping[int, Ending] = {
    0x80: UNAVAILABLE,
    0x82: PROTOCOL_UNSUPPORTED,
    0x84: PROTOCOL_UNSUPPORTED,
    0x85: CLIENT_ID,
    0x86: REFUSED_CREDENTIALS,
    0x87: REFUSED_CREDENTIALS,
    0x88: UNAVAILABLE,
    0x89: UNAVAILABLE,
    0x8A: REFUSED_CREDENTIALS,
    0x8C: REFUSED_CREDENTIALS,
    0x95: TOO_LARGE,
    0x97: QUOTA,
    0x9C: MOVED,
    0x9D: MOVED,
    0x9F: RATE_LIMITED,
}
DISCONNECT: Mapping[int, Ending] = {
    0x00: NORMAL,
    0x80: SERVER_ERROR,
    0x81: MALFORMED,
    0x82: MALFORMED,
    0x83: SERVER_ERROR,
    0x87: REFUSED_CREDENTIALS,
    0x89: UNAVAILABLE,
    0x8B: SHUTTING_DOWN,
    0x8D: IDLE,
    0x8E: TAKEN_OVER,
    0x90: NOT_ALLOWED,
    0x93: RATE_LIMITED,
    0x95: TOO_LARGE,
    0x96: RATE_LIMITED,
    0x97: QUOTA,
    0x98: CREDENTIALS_CHANGED,
    0x99: MALFORMED,
    0x9C: MOVED,
    0x9D: MOVED,
    0x9F: RATE_LIMITED,
    0xA0: MAXIMUM_CONNECT_TIME,
}
PUBACK: Mapping[int, Ending] = {
    0x80: SERVER_ERROR,
    0x83: SERVER_ERROR,
    0x87: NOT_ALLOWED,
    0x90: NOT_ALLOWED,
    0x91: SERVER_ERROR,
    0x97: QUOTA,
    0x99: MALFORMED,
}


def connection_refused(code: int) -> Ending:
    """Why CONNACK refused; `code` is a reason code of MQTT 5."""
    return CONNACK.get(code, UNAVAILABLE)


def disconnected(code: int) -> Ending:
    """Why the server sent DISCONNECT (MQTT 5)."""
    return DISCONNECT.get(code, NORMAL)


def message_refused(code: int) -> Ending:
    """Why PUBACK refused a message (MQTT 5); codes below 0x80 are successes."""
    return PUBACK.get(code, SERVER_ERROR)


class Exhaustion:
    """Tells a rate limit from a quota: ThingsBoard says 0x97 to both, but a rate limit lets something through again soon.

    :arg fresh: seconds after which an earlier refusal has nothing to do with the next one.
    """

    def __init__(self, fresh: float = 600.0) -> None:
        self._fresh = fresh
        self._refused_at = -math.inf
        self._passed = False

    def passed(self) -> None:
        """The server took a message with readings."""
        self._passed = True

    def refused(self, sent: float, now: float) -> Ending:
        """The server refused a message that was sent at `sent` (monotonic seconds)."""
        first = now - self._refused_at > self._fresh
        if not first and sent <= self._refused_at:
            return LIMIT_REACHED  # was on its way already: says no more than the first
        ending = LIMIT_REACHED if first else RATE_LIMITED if self._passed else QUOTA
        self._refused_at, self._passed = now, False
        return ending


_RETURN_CODES = {0x84: 1, 0x85: 2, 0x88: 3, 0x86: 4, 0x87: 5}
"""Reason code, as paho hands it over -> return code in the CONNACK of MQTT 3.1.1."""


def said(code: int | None, protocol: str) -> str:
    """A reason code as the server said it; empty when it said none."""
    if code is None:
        return ""
    return f"reason code 0x{code:02x}" if protocol == "5" else f"return code {_RETURN_CODES.get(code, code)}"


def not_opened(error: OSError) -> Ending:
    """Why no connection could be made at all."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TLS_UNTRUSTED
    if isinstance(error, ssl.SSLError):
        return TLS
    if isinstance(error, socket.gaierror):
        return NAME_NOT_FOUND
    if isinstance(error, ConnectionRefusedError):
        return TCP_REFUSED
    return UNREACHABLE


_BY_NAME = {ending.name: ending for ending in list(globals().values()) if isinstance(ending, Ending)}


def ending_told(evidence: str) -> Ending | None:
    """The cause that an alert's evidence begins with; None where it is of another version."""
    return next((ending for ending in _BY_NAME.values() if evidence.startswith(f"{ending.explanation} (")), None)


def ending_named(name: str) -> Ending | None:
    """The cause of this name; None for a name of another version."""
    return _BY_NAME.get(name)
