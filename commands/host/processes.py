"""The processes of this host, as /proc shows them to this user (proc(5)): names, parents, states, and who holds a secret."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

PROC = Path("/proc")
SHORTEST_SECRET = 6
"""Bytes; a shorter one is found in half of all environments by chance."""

_STATES = {
    "R": "it computes",
    "S": "it waits",
    "D": "it waits for a disk or a driver",
    "T": "it was stopped by a signal (SIGSTOP, Ctrl-Z)",
    "t": "a debugger has stopped it",
    "Z": "it has ended and its parent has not noticed",
}


class Place(str, Enum):
    """Where a process holds a secret."""

    ARGUMENTS = "arguments"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class Holders:
    """Who holds one of some secrets.

    :arg found: pid -> where.
    :arg unseen: processes whose environment this user may not read.
    """

    found: dict[int, Place]
    unseen: int


def holders_of(*secrets: str, proc: Path = PROC) -> Holders:
    """The processes whose arguments or environment contain one of `secrets`, which are compared and never shown."""
    wanted = [secret.encode() for secret in secrets if len(secret.encode()) >= SHORTEST_SECRET]
    found: dict[int, Place] = {}
    unseen = 0
    if not wanted:
        return Holders(found, unseen)
    for process in proc.glob("[0-9]*"):
        for file, place in (("cmdline", Place.ARGUMENTS), ("environ", Place.ENVIRONMENT)):
            try:
                content = (process / file).read_bytes()
            except PermissionError:
                unseen += place is Place.ENVIRONMENT
                continue
            except OSError:
                continue  # it has ended meanwhile
            if any(secret in content for secret in wanted):
                found[int(process.name)] = place
                break
    return Holders(found, unseen)


def describe(pid: int, proc: Path = PROC) -> str:
    """Such as "pid 4711 (mosquitto_pub, user 1000)"; names no arguments, which may hold secrets."""
    name, uid = name_of(pid, proc), _uid(pid, proc)
    return f"pid {pid} ({name}{'' if uid is None else f', user {uid}'})"


def name_of(pid: int, proc: Path = PROC) -> str:
    """The name of the program."""
    try:
        return (proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a program that has ended meanwhile"


def state_of(pid: int, proc: Path = PROC) -> str:
    """What the process does at the moment, as a sentence; empty where it does not exist."""
    fields = _stat(pid, proc)
    return _STATES.get(fields[0], f"its state is {fields[0]}") if fields else ""


def family_of(pid: int, proc: Path = PROC) -> set[int]:
    """The process and all its ancestors."""
    family: set[int] = set()
    while pid > 1 and pid not in family:
        family.add(pid)
        fields = _stat(pid, proc)
        pid = int(fields[1]) if len(fields) > 1 else 0
    return family


def exists(pid: int) -> bool:
    """Whether there is such a process on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return True


def _stat(pid: int, proc: Path) -> list[str]:
    """What follows the name in /proc/PID/stat: state, parent, ..."""
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _uid(pid: int, proc: Path) -> int | None:
    try:
        return (proc / str(pid)).stat().st_uid
    except OSError:
        return None
