"""A virtual meter as seen from one connection, without I/O: received bytes in, replies out.

A shared line will feed the same bytes to several stations, of which at most one answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

from simulator.meter.application import Application, is_get
from simulator.meter.config import MeterConfig
from simulator.meter.counters import Counters
from simulator.meter.gateway import Gateway
from simulator.meter.hdlc_link import HdlcLink
from simulator.meter.link import Connected, Disconnected, Link, LinkEvent, Reply, Request
from simulator.meter.logical_device import LogicalDevice
from simulator.meter.wrapper_link import WrapperLink


@dataclass(frozen=True, slots=True)
class HangUp:
    """The connection is to be closed now."""


Output = Union[bytes, HangUp]


class Station:
    """The data link and the application layer of one connection."""

    def __init__(self, device: LogicalDevice, counters: Counters) -> None:
        self._device = device
        self._counters = counters
        self._link = _build_link(device.config)
        self._application = Application(device, counters)
        config = device.config
        self._gateway = None if config.gateway_address is None else Gateway(config.gateway_network, config.gateway_address)
        self._heard = 0.0
        self._gets = 0
        self._open = False

    @property
    def is_open(self) -> bool:
        """Whether the client opened a link or an association and has not ended it in order."""
        return self._open

    def receive(self, data: bytes, now: float) -> Iterator[Output]:
        """What the meter answers to bytes that arrive at `now` (Unix seconds), one item per reply."""
        if self._open and now - self._heard > self._device.config.inactivity_timeout:
            self._drop()
        if isinstance(self._link, HdlcLink):
            self._link.refuses_connections = self._device.behaviour.refuse_link
            self._link.ua_parameters = self._device.behaviour.ua_parameters
        for event in self._link.receive(data):
            self._heard = now
            yield from self._handle(event, now)

    def _handle(self, event: LinkEvent, now: float) -> Iterator[Output]:
        if isinstance(event, Request):
            yield from self._answer(event, now)
        elif isinstance(event, Reply):
            self._counters.requests[event.service] += 1
            yield event.data
        elif isinstance(event, Connected):
            self._application.drop()
            self._counters.links += 1
            self._open = True
        elif isinstance(event, Disconnected):
            self._application.drop()
            self._counters.disconnects += 1
            self._open = False

    def _answer(self, request: Request, now: float) -> Iterator[Output]:
        behaviour = self._device.behaviour
        apdu = request.apdu if self._gateway is None else self._gateway.unwrap(request.apdu)
        if apdu is None:
            return
        if is_get(apdu):
            self._gets += 1
            if behaviour.drop_every and self._gets % behaviour.drop_every == 0:
                self._drop()
                return
            if behaviour.hang_up_every and self._gets % behaviour.hang_up_every == 0:
                yield HangUp()
                return
        answer = self._application.answer(request.client, apdu, now)
        self._open = self._application.has_association or self._device.config.framing == "hdlc"
        if answer is not None:
            yield self._link.respond(answer if self._gateway is None else self._gateway.wrap(answer))

    def _drop(self) -> None:
        self._counters.dropped += 1
        self._application.drop()
        self._link.drop()
        self._open = False


def _build_link(config: MeterConfig) -> Link:
    if config.framing == "wrapper":
        return WrapperLink(config.server_logical, config.clients)
    address = (config.server_logical, config.server_physical)
    return HdlcLink(address, config.server_address_size, config.clients, config.hdlc_information_size, config.hdlc_window)
