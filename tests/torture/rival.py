"""The other client with our token: a plain loop around paho that connects again whenever it is thrown out."""

from __future__ import annotations

import random
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

STOP_DEADLINE = 10.0


class Rival:
    """Fights for the session from `with` to its end.

    :arg pause: it stays away for so many seconds, at random between the two, each time it is thrown out.
    """

    def __init__(self, port: int, protocol: str, pause: tuple[float, float], token: str = "gw-token", client_id: str = "rival") -> None:
        self.moments: list[float] = []
        """When it connected, seconds since 1970."""
        self._port, self._token, self._client_id = port, token, client_id
        self._version = MQTTProtocolVersion.MQTTv5 if protocol == "5" else MQTTProtocolVersion.MQTTv311
        self._pause = pause
        self._random = random.Random(5)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rival", daemon=True)

    def __enter__(self) -> Rival:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the session to the other one; a second call does nothing."""
        self._stop.set()
        self._thread.join(STOP_DEADLINE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=self._version, reconnect_on_failure=False)
            client.username_pw_set(self._token)
            try:
                client.connect("127.0.0.1", self._port)
                self.moments.append(time.time())
                client.publish("v1/devices/me/telemetry", '{"rival":1}', qos=1)
                while client.loop(0.05) == mqtt.MQTT_ERR_SUCCESS and not self._stop.is_set():
                    pass
                client.disconnect()
            except OSError:
                pass  # nobody listens at the moment
            self._stop.wait(self._random.uniform(*self._pause))
