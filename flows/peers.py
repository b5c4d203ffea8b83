"""The connections to the other processes of a cluster over several hosts: which are there, and that a dead one is noticed.

The engine opens them and never looks whether the other side is still alive: a host that is cut off, or dies without a word,
would leave all others standing still for a quarter of an hour and longer, with nothing in the log, since no epoch ends
without it. So the kernel is told to ask, and to give a connection up after `PATIENCE` seconds without an answer; then the engine
ends, on both sides of the cut. The engine's sockets are found among the open files of this process.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import structlog

from model.cluster import Place, host_of
from model.stop import Stop

PATIENCE = 30.0
"""Seconds without an answer after which another host counts as gone; a shorter cut is ridden out."""

ASK_EVERY = 5
"""Seconds between two questions of the kernel's to a silent host."""

LOOK = 1.0
"""Seconds between two looks until all connections are there."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Connection:
    """A connected TCP socket of this process: IP address of the other side, and both ports."""

    remote: str
    remote_port: int
    local_port: int


class Peers:
    """The other processes, of which those with lower numbers are called by this one, and the others call it."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def unconnected(self) -> tuple[str, ...]:
        """The addresses of the processes that this one has no connection with (yet).

        Processes with higher numbers are told apart by their hosts only: where some of one host are missing, all of it are named.
        """
        connections = {connection for _, connection in _connections()}
        missing = []
        for number, address in enumerate(self._place.addresses[: self._place.index]):
            if not any(_leads_to(connection, address) for connection in connections):
                missing.append(self._place.addresses[number])
        later = self._place.addresses[self._place.index + 1 :]
        own_port = int(self._place.addresses[self._place.index].rpartition(":")[2])
        callers = Counter(connection.remote for connection in connections if connection.local_port == own_port)
        for host in dict.fromkeys(map(host_of, later)):
            of_host = [address for address in later if host_of(address) == host]
            if sum(callers[ip] for ip in _ips(host)) < len(of_host):
                missing += of_host
        return tuple(missing)

    def watch(self) -> int:
        """Have the kernel notice when another host no longer answers; how many connections are watched now."""
        ports = {int(address.rpartition(":")[2]) for address in self._place.addresses}
        watched = 0
        for descriptor, connection in _connections():
            if not {connection.remote_port, connection.local_port} & ports:
                continue
            with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as same:  # closing a copy closes nothing
                same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ASK_EVERY)
                same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASK_EVERY)
                same.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, int(PATIENCE / ASK_EVERY))
                same.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(PATIENCE * 1000))
                watched += 1
        return watched


def watch_peers(peers: Peers, stop: Stop, place: Place) -> None:
    """Watch the connections to other hosts from the moment they are made."""
    if place.spans_hosts:
        threading.Thread(target=_watch, args=(peers, stop), name="peers", daemon=True).start()


def _watch(peers: Peers, stop: Stop) -> None:
    never = threading.Event()
    while not stop.attended:
        never.wait(LOOK)
        peers.watch()
    log.info("all hosts of the cluster are connected", connections=peers.watch())


def _connections() -> Iterator[tuple[int, Connection]]:
    """All connected TCP sockets of this process, each once, with a descriptor."""
    seen: set[int] = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all there is to them
        descriptor = int(name)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISSOCK(found.st_mode) or found.st_ino in seen:
                continue
            with socket.socket(fileno=os.dup(descriptor)) as same:
                if same.family not in (socket.AF_INET, socket.AF_INET6) or same.type != socket.SOCK_STREAM:
                    continue
                remote, local = same.getpeername(), same.getsockname()
        except OSError:  # closed meanwhile, or not connected
            continue
        seen.add(found.st_ino)
        yield descriptor, Connection(remote[0].removeprefix("::ffff:"), remote[1], local[1])


def _leads_to(connection: Connection, address: str) -> bool:
    return connection.remote_port == int(address.rpartition(":")[2]) and connection.remote in _ips(host_of(address))


def _ips(host: str) -> frozenset[str]:
    """The addresses of a host; none where its name is not known now."""
    try:
        return frozenset(str(found[4][0]) for found in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM))
    except OSError:
        return frozenset()
