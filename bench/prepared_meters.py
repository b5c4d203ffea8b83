"""A load generator: thousands of meters that answer from prepared bytes after a set latency, in a process of their own.

Meter n is at `address(n)`, one of the many addresses of the loopback interface; all have one port. `python -m
bench.prepared_meters --latency 0.2` prints its ports, serves until SIGTERM and then prints what it did as one line of JSON; the
CPU per reply in there says whether it could have been the bottleneck. A black hole accepts connections and never answers; at
the second port nothing is ever accepted. With `--told` it takes troubles from its standard input, one line of JSON each:
{"silent": 30} and {"corrupted": 20}, percent of meters and of replies, until told otherwise, and {"cut": true}, once.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from bench.prepared_links import Prepared
from bench.prepared_replies import Conversation, Profile, Replies

FIRST_NETWORK = 64
"""Meters have addresses from 127.64.0.0 on, where nothing else listens."""

_READ = select.EPOLLIN | select.EPOLLRDHUP
_ON_LOOPBACK = b"lo\0"
_MOST_ADDRESSES = 1 << 21


def address(number: int) -> str:
    """The IP address of meter `number`."""
    assert number < _MOST_ADDRESSES
    return f"127.{FIRST_NETWORK + (number >> 16)}.{number >> 8 & 0xFF}.{number & 0xFF}"


def is_silent(number: int, percent: int) -> bool:
    """Whether meter `number` is a black hole, when `percent` of all are; they are spread evenly."""
    return number * 37 % 100 < percent


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    conversation: Conversation
    received: bytearray
    meter: int = 0


class Server:
    """Accepts and answers; everything on one thread, nobody waits for anybody.

    :arg latency: seconds between a request and its reply.
    :arg silent: percentage of meters that never answer.
    """

    def __init__(self, prepared: Prepared, latency: float, silent: int) -> None:
        self._prepared = prepared
        self._latency = latency
        self._silent = silent
        self._corrupted = 0
        self._chance = random.Random(5)
        self._listener = _listen(4096)
        self._never, self._fillers = _never_accepting()
        self.ports = self._listener.getsockname()[1], self._never.getsockname()[1]
        self._connections: dict[int, _Connection] = {}
        self._due: deque[tuple[float, _Connection, bytes]] = deque()
        self._poll = select.epoll()
        self._poll.register(self._listener.fileno(), select.EPOLLIN)
        self._over = False
        self._told: int | None = None
        self.accepted = self.replies = self.most = 0

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._over:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else 0.5
            for descriptor, _ in self._poll.poll(wait):
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor == self._told:
                    self._hear()
                elif descriptor in self._connections:  # else closed a moment ago
                    self._read(self._connections[descriptor])
            if self._due:
                self._send_due()

    def stop(self) -> None:
        """End `run`."""
        self._over = True

    def listen_to(self, descriptor: int) -> None:
        """Take troubles from there, a whole line at a time."""
        self._told = descriptor
        self._poll.register(descriptor, select.EPOLLIN)

    def _hear(self) -> None:
        assert self._told is not None
        lines = os.read(self._told, 65_536).splitlines()
        if not lines:
            self._poll.unregister(self._told)
        for line in lines:
            trouble = json.loads(line)
            self._silent = trouble.get("silent", self._silent)
            self._corrupted = trouble.get("corrupted", self._corrupted)
            if trouble.get("cut"):
                for connection in list(self._connections.values()):
                    self._close(connection)

    def _accept(self) -> None:
        for _ in range(256):
            try:
                connected, _ = self._listener.accept()
            except BlockingIOError:
                return
            connected.setblocking(False)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            meter = _number(connected.getsockname()[0])
            self._connections[connected.fileno()] = _Connection(connected, Conversation(), bytearray(), meter)
            self._poll.register(connected.fileno(), _READ)
            self.accepted += 1
            self.most = max(self.most, len(self._connections))

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self._close(connection)
        elif not (self._silent and is_silent(connection.meter, self._silent)):
            reply = None if connection.received else self._prepared.known(data)
            if reply is None:
                connection.received += data
                reply = self._prepared.answer(connection.received, connection.conversation)
            if reply:
                self._reply(connection, reply)

    def _reply(self, connection: _Connection, reply: bytes) -> None:
        if self._corrupted and self._chance.randrange(100) < self._corrupted:
            place = self._chance.randrange(len(reply))
            reply = reply[:place] + bytes((reply[place] ^ 0x10,)) + reply[place + 1 :]
        if self._latency:
            self._due.append((time.monotonic() + self._latency, connection, reply))
        else:
            self._send(connection, reply)

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, connection, reply = self._due.popleft()
            self._send(connection, reply)

    def _send(self, connection: _Connection, reply: bytes) -> None:
        try:
            sent = connection.socket.send(reply)
        except OSError:  # the client is gone
            return
        assert sent == len(reply), "a reply is shorter than the socket's buffer, and there is one at a time"
        self.replies += 1

    def _close(self, connection: _Connection) -> None:
        descriptor = connection.socket.fileno()
        del self._connections[descriptor]
        self._poll.unregister(descriptor)
        connection.socket.close()


def _number(ip: str) -> int:
    _, high, middle, low = map(int, ip.split("."))
    return (high - FIRST_NETWORK) << 16 | middle << 8 | low


def _listen(backlog: int) -> socket.socket:
    """One socket for all addresses of the loopback interface, and of no other one."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _ON_LOOPBACK)
    listener.bind(("0.0.0.0", 0))
    listener.listen(backlog)
    listener.setblocking(False)
    return listener


def _never_accepting() -> tuple[socket.socket, list[socket.socket]]:
    """A port whose queue is full: the system answers no further SYN."""
    listener = _listen(0)
    fillers = []
    for _ in range(3):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex((address(0), listener.getsockname()[1]))
        fillers.append(filler)
    return listener, fillers


class PreparedMeters:
    """A running load generator, as seen by the benchmark that started it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.port, self.never_port = map(int, process.stdout.readline().split())
        self.statistics: dict[str, Any] = {}
        """What it did; known when it has ended."""

    def tell(self, **trouble: object) -> None:
        """Bring a trouble about, where it was started with `told`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(trouble) + "\n")
        self.process.stdin.flush()

    def connect(self, number: int) -> str:
        """`connect` of meter `number`."""
        return f"tcp://{address(number)}:{self.port}"

    def stop(self) -> None:
        """End it and take its statistics."""
        assert self.process.stdout is not None
        self.process.terminate()
        self.statistics = json.loads(self.process.stdout.readline())
        self.process.wait()


@contextmanager
def prepared_meters(**options: object) -> Iterator[PreparedMeters]:
    """A load generator with the options of `main`."""
    told = bool(options.pop("told", False))
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()] + ["--told"] * told
    command = [sys.executable, "-m", "bench.prepared_meters", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE if told else None, stdout=subprocess.PIPE, text=True) as process:
        meters = PreparedMeters(process)
        try:
            yield meters
        finally:
            if process.poll() is None:
                meters.stop()


def main(
    framing: Annotated[str, typer.Option(help="hdlc or wrapper; plain or ciphered is as the client asks.")] = "hdlc",
    latency: Annotated[float, typer.Option(min=0, help="Seconds from request to reply.")] = 0.0,
    silent: Annotated[int, typer.Option(min=0, max=100, help="Percentage of meters that accept and never answer.")] = 0,
    rows: Annotated[int, typer.Option(min=0, help="Rows of the profile 1-0:99.1.0.")] = 0,
    columns: Annotated[int, typer.Option(min=1, max=21, help="Columns of the profile, its clock being one.")] = 5,
    pdu: Annotated[int, typer.Option(min=128, max=65_000, help="Longest APDU, bytes.")] = 1_024,
    told: Annotated[bool, typer.Option("--told", help="Take troubles from the standard input, as lines of JSON.")] = False,
) -> None:
    """Serve until SIGTERM."""
    server = Server(Prepared(Replies(Profile(rows, columns, int(time.time())), pdu), framing), latency, silent)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the benchmark ends it
    if told:
        server.listen_to(sys.stdin.fileno())
    print(*server.ports, flush=True)
    begun, before = time.monotonic(), time.process_time()
    server.run()
    cpu, wall = time.process_time() - before, time.monotonic() - begun
    report = {
        "replies": server.replies,
        "accepted": server.accepted,
        "most_connections": server.most,
        "cpu_us_per_reply": round(cpu / max(1, server.replies) * 1e6, 1),
        "share_of_a_core": round(cpu / wall, 3),
    }
    print(json.dumps(report), flush=True)
    os._exit(0)  # thousands of sockets are closed faster by the system


if __name__ == "__main__":
    typer.run(main)
