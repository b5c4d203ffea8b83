"""What a subscriber sees arrive, against what the meters answered: the archive's readings, and the memory of virtual meters."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import orjson
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.torture.truth import CAPTURED, Place, Truth

LAG = 20.0
"""Seconds after which a reading is surely in the archive."""


class Arrivals:
    """Subscribes, and asks the archive now and then what was read since.

    The broker keeps what the subscriber misses while it is stopped. What arrived is forgotten after `remembered` seconds, so that
    a day takes no more memory than an hour.

    :arg truth: of the virtual meters among the devices, whose load profiles must arrive whole.
    :arg remembered: longer than the archive keeps and than a reading may be on its way.
    """

    def __init__(self, port: int, archive: Path, truth: Truth, remembered: float) -> None:
        self._archive, self._truth, self._remembered = archive, truth, remembered
        self._lock = threading.Lock()
        self._arrived: set[Place] = set()
        self._intervals: set[Place] = set()
        self._first: dict[str, int] = {}
        self._on_the_way: set[Place] = set()
        self._asked = time.time() - LAG
        self.readings = 0
        """In the archive so far, by when they were read."""
        self.cycles: Counter[str] = Counter()
        """By outcome."""
        self.values_of_cycles = self.polled = 0
        """Values that the cycles had, and the readings that were archived of them."""
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="soak-arrivals", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("v1/gateway/telemetry", qos=1)
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        forever = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        forever.SessionExpiryInterval = 86_400
        self._client.connect("127.0.0.1", port, clean_start=False, properties=forever)
        self._client.loop_start()

    def close(self) -> None:
        """Subscribe no longer."""
        self._client.disconnect()
        self._client.loop_stop()

    def ask(self) -> None:
        """Take from the archive what was read until a moment ago, and see what of it has arrived."""
        begin, end = self._asked, time.time() - LAG
        span = (int(begin * 1000), int(end * 1000))
        with closing(sqlite3.connect(f"file:{self._archive}?mode=ro", uri=True, timeout=10.0)) as database:
            rows = database.execute("SELECT meter, key, ts, origin FROM readings WHERE read_at >= ? AND read_at < ?", span).fetchall()
            query = "SELECT outcome, count(*), sum(value_count) FROM cycles WHERE started >= ? AND started < ? GROUP BY outcome"
            cycles = database.execute(query, span).fetchall()
            query = "SELECT count(*) FROM readings WHERE origin = 'poll' AND ts >= ? AND ts < ?"
            (polled,) = database.execute(query, span).fetchone()
        self._asked = end
        self.readings += len(rows)
        self.cycles.update({outcome: count for outcome, count, _ in cycles})
        self.values_of_cycles += sum(values for _, _, values in cycles)
        self.polled += polled
        forgotten = int((end - self._remembered) * 1000)
        with self._lock:
            self._on_the_way |= {row[:3] for row in rows}
            self._on_the_way -= self._arrived
            self._arrived = {place for place in self._arrived if place[2] >= forgotten}

    def missing(self) -> set[Place]:
        """Archived readings that have not arrived."""
        with self._lock:
            self._on_the_way -= self._arrived
            return set(self._on_the_way)

    def intervals(self, until: float) -> tuple[int, set[Place]]:
        """How many values the load profiles hold, of each meter from the first that arrived to `until`; and those that have not arrived."""
        with self._lock:
            owed = set(self._truth.owed(self._first, int(until * 1000))) if self._first else set()
            return len(owed), owed - self._intervals

    def known(self) -> int:
        """Meters of which an interval has arrived."""
        with self._lock:
            return len(self._first)

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            for device, records in orjson.loads(message.payload).items():
                for record in records:
                    for key in record["values"]:
                        place = (device, key, record["ts"])
                        self._arrived.add(place)
                        if key in CAPTURED:
                            self._intervals.add(place)
                            self._first[device] = min(record["ts"], self._first.get(device, record["ts"]))
