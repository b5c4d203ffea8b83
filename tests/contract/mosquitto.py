"""A real MQTT broker for tests: Debian's mosquitto, on a free port of the loopback interface, and someone who listens to it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import SecretStr

from connectors.thingsboard.connection import tls_context
from model.settings.thingsboard import ThingsBoardSettings
from tests.contract.certificates import Authority
from tests.ports import free_port

PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or "mosquitto"
DEADLINE = 15.0


def wait_for(condition: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Return as soon as `condition` holds; fail when it does not within `deadline` seconds."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {deadline} s"
        time.sleep(0.01)


class MosquittoBroker:
    """Runs mosquitto; sessions and queued messages survive `stop` and `start`, the port stays the same.

    :arg folder: for its configuration and its database.
    :arg authority: serve TLS with a certificate that it signs; plain TCP where None.

    `authority` and `anonymous` (whether clients without an account are let in) may be changed; they count from the next `start`.
    """

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        self._folder = folder
        self.authority = authority
        self.anonymous = True
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """mqtt://127.0.0.1:port, or mqtts:// with TLS."""
        return f"{'mqtts' if self.authority else 'mqtt'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it listens."""
        for _ in range(5):
            port = self.port or free_port()
            self._process = subprocess.Popen(
                [PROGRAM, "-c", str(self._configuration(port))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            if self._listens(port):
                self.port = port
                return
            self.stop()
        raise AssertionError("mosquitto does not start")

    def stop(self) -> None:
        """End it as a service manager does (SIGTERM); a second call does nothing."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE)
            self._process = None

    def __enter__(self) -> MosquittoBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _configuration(self, port: int) -> Path:
        lines = [
            f"listener {port} 127.0.0.1",
            f"allow_anonymous {str(self.anonymous).lower()}",
            "max_queued_messages 0",
            "max_inflight_messages 0",
        ]
        lines += ["persistence true", f"persistence_location {self._folder}/", "user root"]
        if self.authority is not None:
            pair = self.authority.issue("broker")
            lines += [f"cafile {self.authority.file}", f"certfile {pair.certificate}", f"keyfile {pair.key}"]
        file = self._folder / "mosquitto.conf"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file

    def _listens(self, port: int) -> bool:
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end and self._process is not None and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            except OSError:
                time.sleep(0.02)
            else:
                return True
        return False


class Listener:
    """An independent client that writes down everything that is published; it misses nothing while the broker is away."""

    def __init__(self, broker: MosquittoBroker, authority: Authority | None = None) -> None:
        self.messages: list[tuple[str, Any]] = []
        self._subscribed = False
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="listener", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = lambda _client, _data, message: self.messages.append((message.topic, json.loads(message.payload)))
        self._client.reconnect_delay_set(1, 1)
        if authority is not None:
            # Its context closes the socket of a handshake that fails, which the library's own does not.
            self._client.tls_set_context(tls_context(ThingsBoardSettings(url=broker.url, token=SecretStr("none"), ca_file=authority.file)))
        forever = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        forever.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", broker.port, clean_start=False, properties=forever)

    def __enter__(self) -> Listener:
        self._client.loop_start()
        wait_for(lambda: self._subscribed, "the subscription")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def on_topic(self, topic: str) -> list[Any]:
        """The payloads published to a topic so far, decoded."""
        return [payload for found, payload in list(self.messages) if found == topic]

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed = True
