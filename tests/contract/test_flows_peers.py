"""The connections of a cluster over several hosts, between two addresses of this one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from flows.peers import PATIENCE, Peers
from model.cluster import Place


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listening(sockets: ExitStack, host: str) -> tuple[socket.socket, str]:
    server = sockets.enter_context(socket.create_server((host, 0)))
    return server, f"{host}:{server.getsockname()[1]}"


def test_a_process_knows_whom_it_waits_for(sockets: ExitStack) -> None:
    lower, first = listening(sockets, "127.0.0.1")
    own, second = listening(sockets, "127.0.0.2")
    addresses = (first, second, "127.0.0.3:1", "127.0.0.3:2")
    peers = Peers(Place(1, 4, addresses))
    assert peers.unconnected() == (first, "127.0.0.3:1", "127.0.0.3:2")
    sockets.enter_context(socket.create_connection(lower.getsockname(), source_address=("127.0.0.2", 0)))
    assert peers.unconnected() == ("127.0.0.3:1", "127.0.0.3:2")
    for missing in (2, 0):
        sockets.enter_context(socket.create_connection(own.getsockname(), source_address=("127.0.0.3", 0)))
        sockets.enter_context(own.accept()[0])
        assert len(peers.unconnected()) == missing


def test_a_host_whose_name_is_not_known_is_waited_for() -> None:
    addresses = ("nowhere.invalid:1", "127.0.0.1:2")
    assert Peers(Place(1, 2, addresses)).unconnected() == addresses[:1]


def test_the_kernel_is_told_to_notice_a_dead_host_and_only_of_the_cluster(sockets: ExitStack) -> None:
    server, first = listening(sockets, "127.0.0.1")
    stranger, _ = listening(sockets, "127.0.0.1")
    ours = sockets.enter_context(socket.create_connection(server.getsockname()))
    theirs = sockets.enter_context(socket.create_connection(stranger.getsockname()))
    assert Peers(Place(1, 2, (first, "127.0.0.2:1"))).watch() == 1
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == PATIENCE * 1000
    assert theirs.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
