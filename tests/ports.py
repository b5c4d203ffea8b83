"""Ports for servers of tests that must be known before they are open, or stay theirs while they are down."""

from __future__ import annotations

import random
import socket

FIRST, LAST = 10_000, 30_000
"""Below what Linux takes for outgoing connections and for servers that ask for any port (32768 to 60999)."""

_held: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens at, and that no other caller of this, in any process, is given while this one lives."""
    choose = random.SystemRandom()
    while True:
        port = choose.randrange(FIRST, LAST)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0dlms-thingsboard-test-port-{port}")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
        else:
            _held.append(claim)
            return port
