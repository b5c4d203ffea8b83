"""Several virtual meters on one half-duplex serial line, with the time every byte takes.

All meters hear everything; at most the one whose address is asked answers. The line is the bottleneck as in reality: a
request of n bytes reaches the meters n byte times after it began, the reply begins a turnaround later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.disturbance import Disturbance
from simulator.meter.line_timing import LineRecord, LineTiming
from simulator.meter.sign_on import SignOn, SignOnConfig
from simulator.meter.station import HangUp, Station
from simulator.meter.transmitter import Transmitter
from simulator.meter.virtual_meter import VirtualMeter


class Wire(Protocol):
    """Where the line's bytes come out, and what its client has set it to."""

    def write(self, data: bytes) -> None:
        """Deliver bytes to the client."""

    @property
    def baud(self) -> int | None:
        """The baud rate the client has set; None where it cannot set one."""


class SharedLine:
    """The meters and the time on the line; a port (see `pty_port`, `tcp_port`) brings the bytes.

    :arg meters: configuration and behaviour of each; HDLC, with addresses of their own.
    :arg timing: of the line; of what follows the handshake where there is one.
    :arg sign_on: the handshake that the port wants before HDLC, for a line with one meter.
    :raises ValueError: when two meters have one address, or one does not speak HDLC.
    """

    def __init__(
        self, meters: Sequence[tuple[MeterConfig, Behaviour]], timing: LineTiming | None = None, sign_on: SignOnConfig | None = None
    ) -> None:
        addresses = [(config.server_logical, config.server_physical) for config, _ in meters]
        if len(set(addresses)) < len(addresses):
            raise ValueError("two meters on one line have one address; give each a server_physical of its own")
        if any(config.framing != "hdlc" for config, _ in meters):
            raise ValueError("the meters of a line are told apart by their HDLC addresses; write framing hdlc")
        self._meters = {config.id: VirtualMeter(config, behaviour) for config, behaviour in meters}
        self._stations = [(meter, Station(meter.device, meter.counters)) for meter in self._meters.values()]
        self._disturbances = {id_: Disturbance("hdlc", meter.chance) for id_, meter in self._meters.items()}
        self._timing = timing or LineTiming()
        self.sign_on = SignOn(sign_on) if sign_on is not None else None
        self.record = LineRecord()
        self._free_at = 0.0

    @property
    def meters(self) -> Mapping[str, VirtualMeter]:
        """The meters by id; they are not started, their line is."""
        return self._meters

    def attach(self, wire: Wire) -> None:
        """Give the line its client's end."""
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._transmitter = Transmitter(self._loop, wire)

    def detach(self) -> None:
        """Nothing is sent any more."""
        self._transmitter.close()

    def receive(self, data: bytes) -> None:
        """Bytes of the client, as it hands them to its port: they take their time on the line."""
        now, timing = self._loop.time(), self._now_timing()
        if self._wire.baud not in (None, timing.baud):
            self.record.wrong_baud += len(data)
            return
        self.record.overlaps += now < self._free_at
        begin = max(now, self._free_at)
        end = begin + len(data) * timing.byte_time
        self.record.requests += 1
        self.record.request_bytes += len(data)
        self._occupy(begin, end)
        self._loop.call_at(end, self._heard, data)

    def _heard(self, data: bytes) -> None:
        if self.sign_on is not None and not self.sign_on.done:
            timing = self._now_timing()  # the confirmation still goes out at the old baud rate
            reply = self.sign_on.receive(data)
            if reply:
                self._send(reply, timing, 0.0)
            return
        for meter, station in self._stations:
            if not meter.behaviour.silent:
                self._ask(meter, station, data)

    def _ask(self, meter: VirtualMeter, station: Station, data: bytes) -> None:
        behaviour = meter.behaviour
        was_open = station.is_open
        for output in station.receive(data, time.time()):
            if not isinstance(output, HangUp):
                delay = behaviour.latency + (meter.chance.random() * behaviour.jitter if behaviour.jitter > 0 else 0.0)
                for part in self._disturbances[meter.config.id].apply(output, behaviour):
                    self._send(part, self._now_timing(), delay)
        if was_open and not station.is_open and self.sign_on is not None:
            self.sign_on.restart()

    def _send(self, reply: bytes, timing: LineTiming, delay: float) -> None:
        begin = max(self._loop.time(), self._free_at)
        self.record.replies += 1
        self.record.reply_bytes += len(reply)
        wait = timing.turnaround + delay
        self._occupy(begin, begin + wait + len(reply) * timing.byte_time)
        self._transmitter.send(reply, wait + timing.byte_time, timing.byte_time)

    def _occupy(self, begin: float, end: float) -> None:
        self._free_at = end
        self.record.spans.append((begin, end))

    def _now_timing(self) -> LineTiming:
        if self.sign_on is None:
            return self._timing
        return LineTiming(self.sign_on.baud, 10, self._timing.turnaround)
