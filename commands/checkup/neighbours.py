"""Other processes of this host that may use the same token or talk to the same server; compared, never shown."""

from __future__ import annotations

import os
import socket

from commands.checkup.area import Area, Site
from commands.configuration import counted
from commands.host.processes import Place, describe, family_of, holders_of
from commands.host.sockets import connections_to, owners_of
from connectors.thingsboard.connection import Address, parse_address
from model.finding import clipped
from model.settings.thingsboard import EMBEDDED

_TOKEN_REMEDY = "stop it if it logs in to ThingsBoard, or give it a device and token of its own"


def look_at_neighbours(area: Area, site: Site) -> None:
    """Sockets to the server's address and port, and the token in arguments and environments."""
    if site.loaded is None:
        return
    settings = site.loaded.settings.thingsboard
    if settings.url == EMBEDDED:
        area.fact("the server is the built-in stand-in: nobody else knows its port")
        return
    ours = site.pids | family_of(os.getpid()) | {pid for status in site.living for pid in family_of(status.pid)}
    connected = _connected(area, parse_address(settings.url), ours)
    alone = [settings.of_session(name) for name in settings.session_names]
    holders = holders_of(*(session.access_token.get_secret_value() for session in alone))
    token = "the pipeline's token" if len(alone) == 1 else "a token of the pipeline"
    strangers = {pid: place for pid, place in holders.found.items() if pid not in ours and site.pids.isdisjoint(family_of(pid))}
    for pid in sorted(connected):
        if pid in holders.found:
            what = f"{describe(pid)} holds {token} and is connected to the server: with it, each ends the other's session"
            area.critical(what, f"stop it (kill {pid}), or give it a device and token of its own")
        else:
            what = f"{describe(pid)} is connected to the server as well; whether with the same token cannot be seen from here"
            area.minor(what, "look which token it uses; with the same one, each ends the other's session")
    for pid in sorted(strangers.keys() - connected):
        if strangers[pid] is Place.ARGUMENTS:
            area.minor(f"{describe(pid)} holds {token} in its arguments, where every user can read it", _TOKEN_REMEDY)
    quiet = [describe(pid) for pid in sorted(strangers.keys() - connected) if strangers[pid] is Place.ENVIRONMENT]
    if quiet:
        area.fact(f"these have the token in their environment and are not connected: {clipped(quiet)}")
    if holders.unseen:
        area.not_seen(f"the environment of {counted(holders.unseen, 'process', 'processes')} of other users; root sees them")
    if not area.findings:
        area.fact("no other process is connected to the server")


def _connected(area: Area, address: Address, ours: frozenset[int] | set[int]) -> set[int]:
    """The other processes that are connected to the server."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError:
        area.not_seen(f"who is connected to {address}: its name cannot be resolved")
        return set()
    inodes = {connection.inode for connection in connections_to({str(entry[4][0]) for entry in found}, address.port)}
    owners = owners_of(inodes)
    strange = {pid for pids in owners.pids.values() for pid in pids if ours.isdisjoint(pids)}
    nameless = len(inodes - owners.pids.keys())
    if nameless:
        what = f"who has {counted(nameless, 'further connection')} to {address}"
        area.not_seen(f"{what}: processes of other users or containers; root sees more")
    return strange
