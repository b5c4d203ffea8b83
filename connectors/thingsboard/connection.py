"""One MQTT connection: paho's client without its thread, its queue and its reconnecting.

All I/O happens in `poll`, on the thread that calls it, so no callback can die unseen in a thread of the library. It waits
with epoll: paho's own loop uses select(), which fails in a process with more than 1024 open files. A connection is used once;
what was unacknowledged when it ends is forgotten by the library and sent again by us.
"""

from __future__ import annotations

import selectors
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Union
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from connectors.thingsboard.ending import CONNECTION_LOST, KEEP_ALIVE, PROTOCOL_ERROR, Ending, connection_refused, disconnected
from model.errors import StorageError
from model.settings.thingsboard import ThingsBoardSettings

CONNECT_TIMEOUT = 5.0
"""Seconds to open the TCP connection, and again for the TLS handshake."""

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True)
class Accepted:
    """CONNACK with success. MQTT 5 servers may state limits: unacknowledged messages, bytes of a packet."""

    receive_maximum: int | None = None
    maximum_packet_size: int | None = None


@dataclass(frozen=True)
class Acknowledged:
    """PUBACK for the message `publish` gave this id; codes from 0x80 are refusals (always 0 on 3.1.1)."""

    message: int
    code: int


@dataclass(frozen=True)
class Received:
    """A message from the server."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class Ended:
    """The connection is over. `stated` says whether the server gave the reason itself, with `code` (a reason code of MQTT 5)."""

    ending: Ending
    stated: bool
    code: int | None = None


Event = Union[Accepted, Acknowledged, Received, Ended]


@dataclass(frozen=True)
class Address:
    """Where the server is."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(url: str) -> Address:
    """The address in an mqtt:// or mqtts:// url."""
    parts = urlsplit(url)
    return Address(parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme], parts.scheme == "mqtts")


def tls_context(settings: ThingsBoardSettings) -> ssl.SSLContext:
    """A context that verifies the server's certificate and name; there is no way to turn that off.

    :raises StorageError: when a certificate file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))
        if settings.client_cert is not None:
            context.load_cert_chain(settings.client_cert, settings.client_key)
        context.sslsocket_class = _TlsSocket
    except OSError as error:
        files = ", ".join(str(file) for file in (settings.ca_file, settings.client_cert, settings.client_key) if file is not None)
        raise StorageError(
            f"the certificates cannot be loaded ({files}): {error}", "give PEM files that this user can read, the key without a passphrase"
        ) from error
    return context


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; the library would leave it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class Connection:
    """One connection to the server.

    :arg settings: protocol, credentials, keep-alive.
    :arg address: the server.
    :arg client_id: of this installation.
    :arg context: for TLS; None for plain TCP.
    """

    def __init__(self, settings: ThingsBoardSettings, address: Address, client_id: str, context: ssl.SSLContext | None) -> None:
        self._five = settings.protocol == "5"
        self._address = address
        self._keep_alive = max(1, round(settings.keep_alive))
        self._events: deque[Event] = deque()
        self._ended = False
        version = MQTTProtocolVersion.MQTTv5 if self._five else MQTTProtocolVersion.MQTTv311
        client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=version, reconnect_on_failure=False)
        client.connect_timeout = CONNECT_TIMEOUT
        client.max_inflight_messages = 0  # unlimited: the window is kept here, the library must not queue
        client.username_pw_set(
            settings.username or settings.access_token.get_secret_value(),
            None if settings.password is None else settings.password.get_secret_value(),
        )
        if context is not None:
            client.tls_set_context(context)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        self._client = client
        self._selector = selectors.DefaultSelector()

    def open(self) -> None:
        """Connect and send CONNECT; waits for TCP and TLS, not for CONNACK.

        :raises OSError: when no connection can be made.
        """
        if self._five:
            self._client.connect(self._address.host, self._address.port, self._keep_alive, clean_start=True)
        else:
            self._client.connect(self._address.host, self._address.port, self._keep_alive)

    def publish(self, topic: str, payload: bytes) -> int:
        """Send a message with QoS 1; its id comes back in `Acknowledged`."""
        return self._client.publish(topic, payload, qos=1).mid

    def subscribe(self, topic_filter: str) -> None:
        """Receive what is published under this filter."""
        self._client.subscribe(topic_filter, qos=1)

    def poll(self, timeout: float, wake: int) -> list[Event]:
        """Read and write what is possible, waiting at most `timeout` seconds or until the descriptor `wake` is readable.

        Returns what happened, in order; `Ended` is the last event of a connection.
        """
        sock: Any = self._client.socket()
        if sock is not None and not self._events:
            waiting = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
            write = selectors.EVENT_WRITE if self._client.want_write() else 0
            with self._watching(sock, selectors.EVENT_READ | write), self._watching(wake, selectors.EVENT_READ):
                self._selector.select(0.0 if waiting else timeout)
            self._client.loop_read()
            if self._client.want_write():
                self._client.loop_write()
            self._client.loop_misc()
        if self._client.socket() is None and not self._ended:
            self._end(Ended(CONNECTION_LOST, False))
        events, self._events = list(self._events), deque()
        return events

    def disconnect(self) -> None:
        """Say goodbye to the server, so that it keeps no session, and close."""
        with suppress(OSError, ValueError):
            self._client.disconnect()
        self.close()

    def close(self) -> None:
        """Close the socket without a word; a second call does nothing."""
        sock: Any = self._client.socket()
        if sock is not None:
            self._client.on_disconnect = None
            with suppress(OSError):
                sock.close()
        self._selector.close()

    def _watching(self, target: Any, events: int) -> _Watch:
        return _Watch(self._selector, target, events)

    def _end(self, event: Ended) -> None:
        if not self._ended:
            self._ended = True
            self._events.append(event)

    def _on_connect(self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None) -> None:
        if reason.value >= 0x80:
            self._end(Ended(connection_refused(reason.value), True, reason.value))
            return
        self._events.append(Accepted(getattr(properties, "ReceiveMaximum", None), getattr(properties, "MaximumPacketSize", None)))

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._end(Ended(disconnected(reason.value), True, reason.value))
        else:  # a local code: the library's own name for how it noticed
            local = {"Keep alive timeout": KEEP_ALIVE, "Protocol error": PROTOCOL_ERROR if self._five else CONNECTION_LOST}
            self._end(Ended(local.get(reason.getName(), CONNECTION_LOST), False))

    def _on_publish(self, _client: Client, _data: Any, message: int, reason: ReasonCode, _properties: Properties) -> None:
        self._events.append(Acknowledged(message, reason.value))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._events.append(Received(message.topic, bytes(message.payload)))


class _Watch:
    """Registers a descriptor for the time of one wait, so that a closed one never stays behind."""

    def __init__(self, selector: selectors.BaseSelector, target: Any, events: int) -> None:
        self._selector, self._target, self._events = selector, target, events

    def __enter__(self) -> None:
        self._selector.register(self._target, self._events)

    def __exit__(self, *_: object) -> None:
        self._selector.unregister(self._target)
