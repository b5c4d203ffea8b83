"""The TCP connections of this host, and which process has them, from /proc/net/tcp and /proc/PID/fd (proc(5))."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class Connection:
    """An established connection of this network namespace; addresses as text, IPv4 also where the socket is an IPv6 one."""

    remote: str
    port: int
    inode: int


@dataclass(frozen=True, slots=True)
class Owners:
    """Who has which socket.

    :arg pids: inode of the socket -> the processes that have it open.
    :arg unseen: processes whose open files this user may not see.
    """

    pids: dict[int, tuple[int, ...]]
    unseen: int


def connections(proc: Path = PROC) -> list[Connection]:
    """All established TCP connections; empty where this host does not tell."""
    return [connection for name in ("tcp", "tcp6") for connection in _table(proc / "net" / name)]


def connections_to(addresses: Collection[str], port: int, proc: Path = PROC) -> list[Connection]:
    """Those to one of these IP addresses and this port."""
    wanted = {_plain(address) for address in addresses}
    return [connection for connection in connections(proc) if connection.port == port and connection.remote in wanted]


def owners_of(inodes: Iterable[int], proc: Path = PROC) -> Owners:
    """The processes that have these sockets open, as far as this user may look."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, tuple[int, ...]] = {}
    unseen = 0
    for process in proc.glob("[0-9]*"):
        try:
            targets = {str(descriptor.readlink()) for descriptor in _descriptors(process)}
        except PermissionError:
            unseen += 1
            continue
        for target in targets & wanted.keys():
            inode = wanted[target]
            found[inode] = (*found.get(inode, ()), int(process.name))
    return Owners(found, unseen)


def _descriptors(process: Path) -> Iterator[Path]:
    try:
        entries = list((process / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return
    for entry in entries:
        if entry.is_symlink():  # closed meanwhile otherwise
            yield entry


def _table(file: Path) -> Iterator[Connection]:
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()[1:]
    except OSError:
        return
    for fields in map(str.split, lines):
        if len(fields) < 10 or fields[3] != _ESTABLISHED:
            continue
        address, _, port = fields[2].partition(":")
        yield Connection(_address(address), int(port, 16), int(fields[9]))


def _address(digits: str) -> str:
    """From hexadecimal digits, in words of four bytes, each in this machine's order (little-endian wherever Linux runs meters)."""
    words = [bytes.fromhex(digits[place : place + 8])[::-1] for place in range(0, len(digits), 8)]
    return _plain(str(ipaddress.ip_address(b"".join(words))))


def _plain(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
