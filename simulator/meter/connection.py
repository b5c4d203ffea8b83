"""One TCP connection to a virtual meter: feeds a `Station` and sends its replies as honestly as the behaviour allows."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import TYPE_CHECKING, cast

from simulator.meter.disturbance import Disturbance, junk, stale_bytes
from simulator.meter.station import HangUp, Station
from simulator.meter.transmitter import Transmitter

if TYPE_CHECKING:
    from simulator.meter.virtual_meter import VirtualMeter

_BABBLE_INTERVAL = 0.1
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class MeterConnection(asyncio.Protocol):
    """Lives as long as the TCP connection; a second client of a meter that takes one is left hanging or reset."""

    def __init__(self, meter: VirtualMeter) -> None:
        self._meter = meter
        self._station = Station(meter.device, meter.counters)
        self._disturbance = Disturbance(meter.config.framing, meter.chance)
        self._loop = asyncio.get_running_loop()
        self._babble_timer: asyncio.TimerHandle | None = None
        self._writable = True
        self._served = False
        self._last_reply = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the client, or turn it away."""
        self._transport = cast(asyncio.Transport, transport)
        self._transmitter = Transmitter(self._loop, self._transport)
        self._served = self._meter.admit(self)
        if not self._served:
            if self._meter.behaviour.connections == "one-refuse":
                self.reset()
            return
        if stale := self._meter.take_stale_reply():
            self._transmitter.send(stale_bytes(self._meter.chance, stale))
        self._babble()

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        behaviour = self._meter.behaviour
        if not self._served or behaviour.silent:
            return
        if behaviour.babble > 0:
            if self._babble_timer is None:
                self._babble()
            return
        if self._meter.is_busy():
            return
        for output in self._station.receive(data, time.time()):
            if isinstance(output, HangUp):
                self._transport.close()
                return
            self._reply(output)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the place to the next client."""
        self._transmitter.close()
        if self._babble_timer is not None:
            self._babble_timer.cancel()
            self._babble_timer = None
        self._meter.leave(self, self._last_reply if self._station.is_open else b"")

    def pause_writing(self) -> None:
        """A client that does not read is not listened to either."""
        self._writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable = True
        self._transport.resume_reading()

    def reset(self) -> None:
        """End the connection at once with RST."""
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def _reply(self, reply: bytes) -> None:
        behaviour = self._meter.behaviour
        self._last_reply = reply
        delay = behaviour.latency
        if behaviour.jitter > 0:
            delay += self._meter.chance.random() * behaviour.jitter
        for data in self._disturbance.apply(reply, behaviour):
            self._transmitter.send(data, delay, behaviour.byte_interval)
            delay = 0.0

    def _babble(self) -> None:
        """Send junk now and again, for as long as the behaviour says so."""
        self._babble_timer = None
        rate = self._meter.behaviour.babble
        if rate <= 0 or self._transport.is_closing():
            return
        if self._writable:
            self._transport.write(junk(self._meter.chance, max(1, int(rate * _BABBLE_INTERVAL))))
        self._babble_timer = self._loop.call_later(_BABBLE_INTERVAL, self._babble)
