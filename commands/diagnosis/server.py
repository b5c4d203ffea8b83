"""From this machine to ThingsBoard's door: name, TCP, TLS, and a login only where a token was given for it.

ThingsBoard keeps one session per device: a login with the pipeline's own token would end the pipeline's session. So whether the port
speaks MQTT is asked without any token, and only where the running pipeline's session does not prove it: a server answers with a
refusal (or lets the nameless client in, which leaves at once), a web server with something else.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

from pydantic import SecretStr

from commands.diagnosis.links import BrokenLinkError, Chain, Finding
from connectors.thingsboard.connection import CONNECT_TIMEOUT, Accepted, Address, Connection, Ended, tls_context
from connectors.thingsboard.conversation import CONNACK_TIMEOUT
from connectors.thingsboard.ending import NAME_NOT_FOUND, NO_CONNACK, Ending, not_opened, said
from connectors.thingsboard.wake import Wake
from model.errors import StorageError
from model.settings.thingsboard import ThingsBoardSettings
from model.status import SessionStatus

SUBJECT = "thingsboard"
EXPIRES_SOON = timedelta(days=30)


GREETING = b"\x10\x13\x00\x04MQTT\x04\x02\x00\x0a\x00\x07"
"""CONNECT of MQTT 3.1.1 (3.1): clean session, keep-alive of 10 s, no user name, a client id of seven bytes, which follow."""

CONNACK, DISCONNECT = 0x20, b"\xe0\x00"


def look_at_server(
    chain: Chain,
    settings: ThingsBoardSettings,
    address: Address,
    logins: Mapping[str, SecretStr],
    sessions: Mapping[str, SessionStatus] = MappingProxyType({}),
) -> None:
    """All links up to the door, or to the first that is broken.

    :arg logins: the tokens to log in with, by name of the session, or empty where it is none of the pipeline's.
    :arg sessions: those of the running pipeline, where one runs, by name.
    """
    up = next((session for session in sessions.values() if session.state == "up"), None)
    with suppress(BrokenLinkError):
        with chain.link(SUBJECT, "name") as finding:
            finding.found = _resolve(address)
        with chain.link(SUBJECT, "TCP") as finding:
            finding.found = _connect(address)
        with chain.link(SUBJECT, "TLS") as finding:
            if address.tls:
                _handshake(finding, settings, address)
            else:
                finding.note("mqtt:// is not encrypted: token and readings can be read on the way", "use mqtts:// across networks")
        with chain.link(SUBJECT, "MQTT") as finding:
            if up is not None:
                finding.found = f"the running pipeline's session is up since {up.since:%Y-%m-%d %H:%M:%S} UTC"
            else:
                finding.found = _greet(settings, address)
        if not logins:
            with chain.link(SUBJECT, "MQTT login") as finding:
                finding.skip("no token was given for it (--login-token); the pipeline's own would end the pipeline's session")
    for name, login in logins.items() if chain.first_broken is None else ():
        with suppress(BrokenLinkError), chain.link(SUBJECT, f"MQTT login ({name})" if len(logins) > 1 else "MQTT login") as finding:
            finding.found = _log_in(settings, address, login)


def _resolve(address: Address) -> str:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise BrokenLinkError(f"{address.host}: {NAME_NOT_FOUND.explanation} ({error})", NAME_NOT_FOUND.remedy) from None
    return f"{address.host} is {', '.join(dict.fromkeys(str(entry[4][0]) for entry in found))}"


def _connect(address: Address) -> str:
    begun = time.monotonic()
    with closing(_open(address)) as connection:
        peer = connection.getpeername()
    return f"{peer[0]} port {peer[1]} accepts connections, {(time.monotonic() - begun) * 1000:.0f} ms"


def _open(address: Address) -> socket.socket:
    try:
        return socket.create_connection((address.host, address.port), timeout=CONNECT_TIMEOUT)
    except OSError as error:
        raise _broken(not_opened(error), f"{address}: {error}") from None


def _handshake(finding: Finding, settings: ThingsBoardSettings, address: Address) -> None:
    """Fills in version, certificate and expiry."""
    try:
        context = tls_context(settings)
    except StorageError as error:
        raise BrokenLinkError(error.what, error.remedy) from None
    with closing(_open(address)) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=address.host) as secure:
                certificate, version = secure.getpeercert() or {}, secure.version()
        except ssl.SSLCertVerificationError as error:
            raise BrokenLinkError(f"{address}: the certificate cannot be trusted: {error.verify_message}", _tls_remedy(error)) from None
        except OSError as error:
            raise _broken(not_opened(error), f"{address}: {error}") from None
    expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), timezone.utc)
    text = f"{version}; certificate of {_common_name(certificate, 'subject')}, signed by {_common_name(certificate, 'issuer')}"
    text += f", fits the name {address.host}, expires {expires:%Y-%m-%d}"
    if expires - datetime.now(timezone.utc) < EXPIRES_SOON:
        finding.note(text, "renew the server's certificate before it expires")
    else:
        finding.found = text


def _greet(settings: ThingsBoardSettings, address: Address) -> str:
    """Whether an MQTT server answers."""
    answer = b""
    try:
        with ExitStack() as stack:
            connection = stack.enter_context(closing(_open(address)))
            if address.tls:
                connection = stack.enter_context(tls_context(settings).wrap_socket(connection, server_hostname=address.host))
            connection.settimeout(CONNACK_TIMEOUT)
            connection.sendall(GREETING + secrets.token_hex(4)[:7].encode())
            answer = connection.recv(64)
            if answer[:1] == bytes([CONNACK]):
                connection.sendall(DISCONNECT)
    except TimeoutError:
        raise _broken(NO_CONNACK, f"{address}: nothing in {CONNACK_TIMEOUT:.0f} s") from None
    except OSError as error:
        if not answer:
            raise _broken(NO_CONNACK, f"{address}: {error}") from None
    if not answer:
        return f"{address} closes the connection of a client without a token, as some MQTT servers do"
    if answer[0] != CONNACK:
        what = "a web server answers" if answer.startswith((b"HTTP", b"<")) else "something else than an MQTT server answers"
        raise BrokenLinkError(f"{address}: {what}: {answer[:24]!r}", NO_CONNACK.remedy)
    return f"an MQTT server answers at {address} (asked without a token)"


def _tls_remedy(error: ssl.SSLCertVerificationError) -> str:
    remedies = {
        10: "renew the server's certificate, and check this machine's clock",
        62: "use a host in url that is a name in the certificate, or a certificate with this name",
        64: "use a host in url that is a name in the certificate, or a certificate with this address",
    }
    """By X.509 verification result, openssl-verification-options(1)."""
    return remedies.get(error.verify_code, "set ca_file to the certificate authority that signed the server's certificate")


def _common_name(certificate: dict[str, Any], which: str) -> str:
    names = [value for group in certificate.get(which, ()) for key, value in group if key in ("commonName", "organizationName")]
    return str(names[-1]) if names else "somebody without a name"


def _log_in(settings: ThingsBoardSettings, address: Address, login: SecretStr) -> str:
    separate = settings.model_copy(update={"token": login, "sessions": None, "username": None, "password": None})
    context = tls_context(settings) if address.tls else None
    connection = Connection(separate, address, f"diagnose-{secrets.token_hex(6)}", context)
    try:
        connection.open()
    except OSError as error:
        connection.close()
        raise _broken(not_opened(error), f"{address}: {error}") from None
    with closing(Wake()) as wake, closing(connection):
        deadline = time.monotonic() + CONNACK_TIMEOUT
        while time.monotonic() < deadline:
            for event in connection.poll(0.5, wake.fileno()):
                if isinstance(event, Accepted):
                    connection.disconnect()
                    return f"MQTT {settings.protocol}: the given token is accepted"
                if isinstance(event, Ended):
                    raise _broken(event.ending, said(event.code, settings.protocol) or "closed without a reason")
    raise _broken(NO_CONNACK, f"{address}: nothing in {CONNACK_TIMEOUT:.0f} s")


def _broken(ending: Ending, evidence: str) -> BrokenLinkError:
    return BrokenLinkError(f"{ending.explanation} ({evidence})", ending.remedy)
