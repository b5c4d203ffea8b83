"""Listens on a TCP or UDP port or on a serial device, on the background loop; what was received waits to be taken.

Nothing is ever sent. A port that cannot be opened, or a serial adapter that is pulled out, is told and tried again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address
from typing import Any, cast

import structlog

from connectors.dlms.link.serial_port import SerialPortLink
from connectors.dlms.push.framing import FramingName
from connectors.dlms.push.listen import SerialPort, Socket
from connectors.dlms.push.receiver import Receiver, Sender
from connectors.dlms.push.stations import Stations
from connectors.dlms.push.troubles import Troubles
from model.errors import MeterError
from model.messages import Cycle

MOST_WAITING = 10_000
"""Cycles that wait to be taken; what comes beyond is thrown away, counted and told."""
RETRY = 10.0
"""Seconds until a port that could not be opened is tried again."""
TELL_COUNTS = 600.0
"""Seconds between two log lines with the counts, where they changed."""
MOST_PEERS = 256
"""UDP peers whose unfinished APDUs are kept."""
_SOCKET_REMEDY = "find the program that uses the port (ss -lntup), or write another one; ports below 1024 need privileges"

log = structlog.get_logger(__name__)


class Listener:
    """One place to listen. `run` lives on the background loop; everything else may be called from any thread.

    :arg listen: where.
    :arg framing: how senders frame.
    :arg receiver: judges what comes.
    :arg troubles: is told what goes wrong.
    :arg max_connections: TCP connections at a time; beyond, the one that was silent longest is closed.
    """

    def __init__(
        self, listen: Socket | SerialPort, framing: FramingName, receiver: Receiver, troubles: Troubles, max_connections: int
    ) -> None:
        self._listen = listen
        self._framing: FramingName = framing
        self._receiver = receiver
        self._troubles = troubles
        self._max_connections = max_connections
        self._ready: deque[Cycle] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._stopping = False
        self._told: dict[str, int] = {}
        self.is_listening = False
        self.address: tuple[str, int] | None = None
        """Where a socket is bound while it is open."""

    async def run(self) -> None:
        """Listen until `stop`."""
        self._loop = asyncio.get_running_loop()
        while not self._stopping:
            try:
                if isinstance(self._listen, SerialPort):
                    await self._serial(self._listen)
                elif self._listen.kind == "tcp":
                    await self._tcp(self._listen)
                else:
                    await self._udp(self._listen)
            except MeterError as error:
                await self._down(error.what, error.remedy)
            except OSError as error:
                await self._down(str(error), _SOCKET_REMEDY)
            finally:
                self.is_listening, self.address = False, None

    def take(self) -> list[Cycle]:
        """The cycles that have come, oldest first; each is given once."""
        cycles = []
        while self._ready:
            cycles.append(self._ready.popleft())
        return cycles

    def stop(self) -> None:
        """Close everything and end `run`."""
        self._stopping = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)

    def receive(self, sender: Sender, data: bytes, datagram: bool = False) -> None:
        """Judge bytes that came, and keep the cycles."""
        log.debug("pushed", sender=sender.address, bytes=data.hex())
        try:
            cycles = self._receiver.receive(sender, data, datagram)
        except Exception as error:  # whatever strangers send must not end the listener; a defect of ours, told as one
            log.exception("a defect of the push receiver; these bytes are lost", sender=sender.address)
            self._troubles.malformed(sender.address, f"a defect of the receiver: {type(error).__name__}")
            return
        for cycle in cycles:
            if len(self._ready) < MOST_WAITING:
                self._ready.append(cycle)
            else:
                self._receiver.counts.lost += 1
                self._troubles.overflow(self._receiver.counts.lost)

    async def _tcp(self, listen: Socket) -> None:
        connections: OrderedDict[_TcpSender, None] = OrderedDict()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _TcpSender(self, connections, self._framing, self._max_connections), listen.host, listen.port
        )
        try:
            await self._open(server.sockets[0].getsockname())
        finally:
            server.close()
            for connection in list(connections):
                connection.abort()
            await server.wait_closed()

    async def _udp(self, listen: Socket) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _UdpSenders(self, self._framing), (listen.host, listen.port))
        try:
            await self._open(transport.get_extra_info("sockname"))
        finally:
            transport.close()

    async def _serial(self, listen: SerialPort) -> None:
        port = SerialPortLink.open(listen.device, listen.parameters)
        tasks = {asyncio.ensure_future(self._open(None)), asyncio.ensure_future(self._read(port, Sender(listen.device, self._framing)))}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await port.close()

    async def _read(self, port: SerialPortLink, sender: Sender) -> None:
        while True:
            self.receive(sender, await port.read())

    async def _open(self, bound: Any) -> None:
        """Listening: wait until the stop, and say now and then what was counted."""
        self.address = None if bound is None else (bound[0], bound[1])
        self.is_listening = True
        self._troubles.up()
        log.info("listening for pushed notifications", listen=self._place(), framing=self._framing)
        while not self._stopping:
            await self._wait(TELL_COUNTS)
            counts = self._receiver.counted()
            if counts != self._told:
                self._told = counts
                log.info("pushed notifications so far", listen=self._place(), **counts)

    async def _down(self, reason: str, remedy: str) -> None:
        self.is_listening = False
        self._troubles.down(f"{self._place()} cannot be listened on: {reason}", f"{remedy}; it is tried again")
        await self._wait(RETRY)

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except asyncio.TimeoutError:
            return

    def _place(self) -> str:
        if isinstance(self._listen, SerialPort):
            return self._listen.device
        return f"{self._listen.kind}://{self._listen.host}:{self._listen.port}"


class _TcpSender(asyncio.Protocol):
    """One connection that somebody opened to us."""

    def __init__(self, listener: Listener, connections: OrderedDict[_TcpSender, None], framing: FramingName, max_connections: int) -> None:
        self._listener = listener
        self._connections = connections
        self._framing: FramingName = framing
        self._max = max_connections
        self._transport: asyncio.Transport | None = None
        self._sender: Sender | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it; the number of connections is limited."""
        self._transport = cast(asyncio.Transport, transport)
        self._sender = Sender(plain_address(transport.get_extra_info("peername")[0]), self._framing)
        self._connections[self] = None
        if len(self._connections) > self._max:
            idlest = next(iter(self._connections))
            log.info("too many connections of senders, the one that was silent longest is closed", most=self._max)
            del self._connections[idlest]
            idlest.abort()

    def data_received(self, data: bytes) -> None:
        """Judge it."""
        if self in self._connections:
            self._connections.move_to_end(self)
        if self._sender is not None:
            self._listener.receive(self._sender, data)
            if self._sender.is_hopeless:
                log.info("a connection that carries nothing but junk is closed", sender=self._sender.address)
                self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._connections.pop(self, None)

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()


class _UdpSenders(asyncio.DatagramProtocol):
    """Everybody who sends datagrams to us."""

    def __init__(self, listener: Listener, framing: FramingName) -> None:
        self._listener = listener
        self._framing: FramingName = framing
        self._peers: Stations[Sender] = Stations(MOST_PEERS)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Judge it."""
        name = f"{addr[0]} {addr[1]}"
        sender = self._peers.get(name) or Sender(plain_address(addr[0]), self._framing)
        self._peers.put(name, sender)
        self._listener.receive(sender, data, datagram=True)

    def error_received(self, exc: Exception) -> None:
        """Nothing was sent, so nothing can have been refused."""


def plain_address(host: str) -> str:
    """An IP address as `push_address` writes it: IPv4 as such also where it came in through an IPv6 socket."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
