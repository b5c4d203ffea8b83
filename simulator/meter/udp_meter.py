"""A virtual meter that speaks the wrapper over UDP (IEC 62056-47): every datagram is one message."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from simulator.meter.disturbance import Disturbance
from simulator.meter.station import HangUp, Station
from simulator.meter.virtual_meter import Address, VirtualMeter

_MOST_CLIENTS = 100


class UdpMeter(VirtualMeter):
    """One meter on a UDP port; lost, doubled and late replies are those of its behaviour."""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Address:
        """Listen; port 0 takes a free one.

        :raises OSError: when the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Endpoint(self), local_addr=(host, port))
        bound, number = self._transport.get_extra_info("sockname")[:2]
        self.address = Address(bound, number, "udp")
        return self.address

    async def stop(self) -> None:
        """Stop listening."""
        self._transport.close()
        await asyncio.sleep(0)


class _Endpoint(asyncio.DatagramProtocol):
    """A station per client address: UDP has no connections, the association lives with the address."""

    def __init__(self, meter: UdpMeter) -> None:
        self._meter = meter
        self._stations: dict[object, Station] = {}
        self._disturbance = Disturbance("wrapper", meter.chance)
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if self._meter.behaviour.silent or self._meter.is_busy():
            return
        if address not in self._stations and len(self._stations) >= _MOST_CLIENTS:
            self._stations.pop(next(iter(self._stations)))
        station = self._stations.setdefault(address, Station(self._meter.device, self._meter.counters))
        for output in station.receive(data, time.time()):
            if not isinstance(output, HangUp):
                for reply in self._disturbance.apply(output, self._meter.behaviour):
                    self._loop.call_later(self._meter.behaviour.latency, self._send, reply, address)

    def _send(self, data: bytes, address: tuple[str, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, address)
