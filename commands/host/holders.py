"""Who on this host has a meter's link open: a connection to its address, or its serial port."""

from __future__ import annotations

import os
from collections.abc import Iterable

from commands.host.processes import describe
from commands.host.sockets import connections_to, owners_of
from connectors.dlms.link.port_owner import owner_of


def holder_of_connection(addresses: Iterable[str], port: int) -> str | None:
    """Such as "pid 4711 (python, user 0)"; None when nobody else is connected to one of these addresses."""
    inodes = {connection.inode for connection in connections_to(set(addresses), port)}
    owners = owners_of(inodes).pids
    others = sorted(pid for pids in owners.values() for pid in pids if pid != os.getpid())
    if others:
        return describe(others[0])
    return "a process of another user" if inodes - owners.keys() else None


def holder_of_port(device: str) -> str | None:
    """Such as "pid 4711 (minicom)"; None when nobody has the port open, as far as this user may see."""
    owner = owner_of(device)
    return owner if owner.startswith("pid") else None
