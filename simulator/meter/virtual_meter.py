"""A virtual DLMS meter that listens on a TCP port."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import datetime
from typing import Any, NamedTuple

from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.connection import MeterConnection
from simulator.meter.counters import Counters
from simulator.meter.load_curve import fraction
from simulator.meter.logical_device import LogicalDevice

_BUSY_PHASE_CHANNEL = 98


class Address(NamedTuple):
    """Where a meter listens."""

    host: str
    port: int
    scheme: str = "tcp"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class VirtualMeter:
    """One meter: `start` it on a running loop, connect to its `address`, change its `behaviour` at any time.

    :raises ValueError: when the configuration names a profile that is not known.
    """

    def __init__(self, config: MeterConfig, behaviour: Behaviour | None = None) -> None:
        self.config = config
        self.device = LogicalDevice(config, behaviour or Behaviour())
        self.counters = Counters(config.exchanges_kept)
        self.chance = random.Random(config.chance_seed)
        self.address: Address | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[MeterConnection] = set()
        self._turned_away: set[MeterConnection] = set()
        self._blocked_until = 0.0
        self._stale_reply = b""
        self._started = time.monotonic()
        self._ended_burst = -1

    @property
    def behaviour(self) -> Behaviour:
        """What the meter does wrong; may be changed or replaced at any time."""
        return self.device.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self.device.behaviour = behaviour

    @property
    def has_clients(self) -> bool:
        """Whether a TCP connection is open, served or hanging."""
        return bool(self._connections or self._turned_away)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Address:
        """Listen; port 0 takes a free one.

        :raises OSError: when the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: MeterConnection(self), host, port)
        self.address = Address(*self._server.sockets[0].getsockname()[:2])
        self._started = time.monotonic()
        return self.address

    async def stop(self) -> None:
        """Stop listening and reset all connections, as a meter does that loses its supply."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in (*self._connections, *self._turned_away):
            connection.reset()
        while self.has_clients:
            await asyncio.sleep(0)
        await server.wait_closed()

    def truth(self, obis: str | bytes, attribute: int = 2, at: datetime | float | None = None) -> Any:
        """What the meter holds at a time: raw integers, bytes, text and lists, as a perfect client would decode them.

        :arg at: Unix seconds (such as the time of an `Exchange`) or an aware time; now where it is None.
        :raises AccessError: when there is no such object or attribute.
        """
        return self.device.truth(obis, attribute, at)

    def is_busy(self) -> bool:
        """Whether a busy burst is on."""
        burst = self._burst()
        return burst is not None and burst != self._ended_burst

    def admit(self, connection: MeterConnection) -> bool:
        """Count a new connection; False when only one client is taken and there is one."""
        if self.behaviour.only_one_connection and (self._connections or time.monotonic() < self._blocked_until):
            self.counters.rejected += 1
            self._turned_away.add(connection)
            return False
        self.counters.connections += 1
        self._connections.add(connection)
        burst = self._burst()
        if burst is not None and self.behaviour.busy_until_reconnect:
            self._ended_burst = burst
        return True

    def leave(self, connection: MeterConnection, unfinished: bytes) -> None:
        """Note that a connection is over; `unfinished` is its last reply when the client did not end it in order."""
        self._turned_away.discard(connection)
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        if unfinished:
            self._stale_reply = unfinished
            if self.behaviour.keeps_dead_association:
                self._blocked_until = time.monotonic() + self.config.inactivity_timeout

    def take_stale_reply(self) -> bytes:
        """The last reply of a connection that was not ended in order, once, where the behaviour delivers such."""
        stale, self._stale_reply = self._stale_reply, b""
        return stale if self.behaviour.stale else b""

    def _burst(self) -> int | None:
        """The number of the busy burst that the schedule has now, None between bursts."""
        behaviour = self.behaviour
        period, length = behaviour.busy_period, behaviour.busy_length
        if period <= 0 or length <= 0:
            return None
        elapsed = time.monotonic() - self._started
        if length >= period:
            return int(elapsed // period)
        number, into = divmod(elapsed + fraction(self.config.chance_seed, _BUSY_PHASE_CHANNEL) * period / 2, period)
        return int(number) if number >= 1 and into < length else None
