"""Faults at ThingsBoard and on the way to it, without a pipeline that runs."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

from tests.contract.certificates import Authority, Pair
from tests.contract.pipeline_process import free_port
from tests.torture.faults import PLAIN, Fault, Ground


def refused_login(ground: Ground) -> Iterator[None]:
    """The token of another server, or an old one."""
    ground.meter(PLAIN)
    ground.server().change_token("gateway", "another")
    yield


def unknown_name(ground: Ground) -> Iterator[None]:
    """A name that no name service knows."""
    ground.meter(PLAIN)
    ground.section["url"] = "mqtt://thingsboard.invalid"
    yield


def down(ground: Ground) -> Iterator[None]:
    """Nothing listens."""
    ground.meter(PLAIN)
    ground.section["url"] = f"mqtt://127.0.0.1:{free_port()}"
    yield


def stranger(ground: Ground) -> Iterator[None]:
    """Its certificate is signed by an authority that this machine does not know."""
    yield from _secure(ground, Authority(ground.folder / "ours"), Authority(ground.folder / "stranger", "stranger").file)


def another_name(ground: Ground) -> Iterator[None]:
    """The same machine under a name that is not in its certificate."""
    ours = Authority(ground.folder / "ours")
    for _ in _secure(ground, ours, ours.file):
        ground.section["url"] = str(ground.section["url"]).replace("127.0.0.1", "127.1")
        yield


def expired(ground: Ground) -> Iterator[None]:
    """Its certificate was valid until yesterday."""
    ours = Authority(ground.folder / "ours")
    yield from _secure(ground, ours, ours.file, timedelta(days=2))


def _secure(ground: Ground, authority: Authority, trusted: object, age: timedelta = timedelta(0)) -> Iterator[None]:
    ground.meter(PLAIN)
    ground.server(ssl_context=_context(authority.issue("server", age)))
    ground.section["ca_file"] = str(trusted)
    yield


def _context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Not into the tests' output."""


@contextmanager
def web_server() -> Iterator[int]:
    """A web server; its port."""
    with HTTPServer(("127.0.0.1", 0), _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def web(ground: Ground) -> Iterator[None]:
    """The port of ThingsBoard's web pages instead of that of MQTT."""
    ground.meter(PLAIN)
    with web_server() as port:
        ground.section["url"] = f"mqtt://127.0.0.1:{port}"
        yield


def _case(name: str, words: tuple[str, ...], remedy: str, play: object, *arguments: str) -> Fault:
    return Fault(name, "diagnose", "thingsboard", words, (remedy,), play, arguments)  # type: ignore[arg-type]


SERVER_FAULTS = [
    _case(
        "token refused (tried with --login)", ("MQTT login", "does not accept the token"), "copy the access token", refused_login, "--login"
    ),
    _case("server's name unknown (DNS)", ("name", "cannot be resolved"), "name service", unknown_name),
    _case("broker down", ("TCP", "nothing listens"), "check that the server runs", down),
    _case("TLS: the name is not in the certificate", ("TLS", "cannot be trusted", "mismatch"), "a name in the certificate", another_name),
    _case("TLS: the authority is unknown", ("TLS", "cannot be trusted", "issuer certificate"), "set ca_file", stranger),
    _case("TLS: the certificate has expired", ("TLS", "cannot be trusted", "expired"), "renew", expired),
    _case("MQTT port wrong: a web server is there", ("MQTT", "a web server answers"), "names the MQTT port", web),
]
