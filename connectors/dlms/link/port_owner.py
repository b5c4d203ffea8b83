"""Who has a serial port open: for the message to the second one who wants it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def owner_of(device: str, proc: Path = Path("/proc")) -> str:
    """Who holds the port, such as "pid 4711 (minicom)"; "another program" where this host does not say."""
    try:
        status = Path(device).stat()
    except OSError:
        return "another program"
    for pid in (*_lock_holders(status, proc), *_with_open_file(status, proc)):
        if pid == os.getpid():
            return "this process itself"
        return f"pid {pid} ({_name(pid, proc)})"
    return "another program"


def _lock_holders(status: os.stat_result, proc: Path) -> Iterator[int]:
    """Processes of any user with a lock on the file, from lines such as `1: FLOCK ADVISORY WRITE 4711 00:05:92 0 EOF`."""
    try:
        lines = (proc / "locks").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for fields in map(str.split, lines):
        if len(fields) >= 6 and fields[5] == wanted and fields[4].isdigit() and int(fields[4]) > 0:
            yield int(fields[4])


def _with_open_file(status: os.stat_result, proc: Path) -> Iterator[int]:
    """Processes that have the file open, as far as this user may look."""
    for process in proc.glob("[0-9]*"):
        try:
            opened = [descriptor.stat() for descriptor in (process / "fd").iterdir()]
        except OSError:
            continue
        if any((file.st_dev, file.st_ino) == (status.st_dev, status.st_ino) for file in opened):
            yield int(process.name)


def _name(pid: int, proc: Path) -> str:
    try:
        return (proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a program that has ended meanwhile"
