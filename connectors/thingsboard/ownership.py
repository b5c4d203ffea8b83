"""One owner per MQTT session and per outbox on this host: file locks that the kernel frees when their process ends.

A ThingsBoard device allows one session; a second process with the same token would evict the first for ever. The locks are
advisory (`flock`), so a crash leaves nothing to clean up. A second host is out of their reach: there the server says 0x8E.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from model.errors import OwnershipError, StorageError


def host_directories() -> tuple[Path, ...]:
    """Directories that all processes of this host share. Two, because either may be private or missing (PrivateTmp, no /run/lock)."""
    shared = (Path("/run/lock"), Path(tempfile.gettempdir()))
    return tuple(dict.fromkeys(directory for directory in shared if directory.is_dir() and os.access(directory, os.W_OK)))


class Lock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    :arg path: the file; its content says who holds the lock.
    :arg owned: what the lock stands for, for the message to the second one.
    :arg remedy: what the second one should do; {pid} is the first one's.
    :arg holder: what is written into the file besides pid and time; never a secret.
    :raises OwnershipError: when another process holds it; names its pid.
    :raises StorageError: when the file can be neither created nor opened.
    """

    def __init__(self, path: Path, owned: str, remedy: str, holder: dict[str, str]) -> None:
        self._descriptor = _open(path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            first = _read(self._descriptor)
            os.close(self._descriptor)
            pid = first.get("pid", "unknown")
            what = f"{owned} already belongs to another process: pid {pid}"
            for key in ("started", "state_dir", "command"):
                what += f", {key} {first[key]}" if key in first else ""
            raise OwnershipError(what, remedy.format(pid=pid)) from None
        _write(self._descriptor, holder)

    def release(self) -> None:
        """Give it back; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Ownership:
    """The locks a sink holds: on the session (host-wide) and on the outbox (in state_dir).

    :arg server: host and port the session goes to.
    :arg credentials: what identifies the device there, user name and token; only a hash of them reaches the disk.
    :arg directories: where host-wide locks live.
    """

    def __init__(self, server: str, credentials: Sequence[str], state_dir: Path, directories: Sequence[Path] | None = None) -> None:
        holder = {"state_dir": str(state_dir.resolve()), "command": _command(credentials)}
        name = hashlib.sha256("\n".join((server.lower(), *credentials)).encode()).hexdigest()[:24]
        wanted = [
            (
                state_dir / "outbox.lock",
                f"the outbox in {state_dir}",
                "stop it (kill {pid}), or give this pipeline a state_dir of its own",
            ),
            *(
                (
                    directory / f"dlms-thingsboard-{name}.lock",
                    f"the ThingsBoard session at {server} with this token",
                    "stop it (kill {pid}), or give this pipeline a device and token of its own: ThingsBoard allows one session per device",
                )
                for directory in (host_directories() if directories is None else directories)
            ),
        ]
        self._locks: list[Lock] = []
        try:
            for path, owned, remedy in wanted:
                self._locks.append(Lock(path, owned, remedy, holder))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give everything back; a second call does nothing."""
        for lock in reversed(self._locks):
            lock.release()

    def __enter__(self) -> Ownership:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            return os.open(path, flags, 0o644)
        except PermissionError:
            # Another user's file in a sticky directory (fs.protected_regular): a lock needs no right to write.
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise StorageError(
            f"the lock {path} cannot be opened: {error.strerror or error}", "make its directory one this user can write to"
        ) from error


def _read(descriptor: int) -> dict[str, str]:
    try:
        content = json.loads(os.pread(descriptor, 65_536, 0))
    except (OSError, ValueError):
        return {}
    return {key: str(value) for key, value in content.items()} if isinstance(content, dict) else {}


def _write(descriptor: int, holder: dict[str, str]) -> None:
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    content = json.dumps({"pid": os.getpid(), "started": started, **holder}).encode()
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
    except OSError:
        return  # another user's file: the lock is held all the same, only its content is stale


def _command(credentials: Sequence[str]) -> str:
    command = " ".join(sys.argv)
    for secret in filter(None, credentials):
        command = command.replace(secret, "***")
    return command
