"""One owner per MQTT session and per outbox on this host: locks that the kernel frees when their process ends.

A ThingsBoard device allows one session; a second process with the same token would evict the first for ever. A crash leaves
nothing to clean up. Files with advisory locks (`flock`) say who the owner is; an abstract Unix socket (unix(7)) holds where files
do not: with a private /tmp, without /run/lock, after a cleaner of /tmp took the file away, between users that cannot read each
other's files, and between containers that share the host's network. A second host, or a container with a network of its own, is
out of reach: there the session itself tells (`trouble`).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

import structlog

from connectors.thingsboard.session_names import outbox_lock
from model.errors import OwnershipError, StorageError
from model.settings.thingsboard import SINGLE

ASKERS = 1024
"""So many processes can ask who holds a claim before the answer is "unknown"; the claim holds all the same."""

_PEER_CREDENTIALS = struct.Struct("3i")
"""pid, uid and gid, socket(7) SO_PEERCRED."""

log = structlog.get_logger()


def host_directories() -> tuple[Path, ...]:
    """Directories that all processes of this host share. Two, because either may be private or missing (PrivateTmp, no /run/lock)."""
    shared = (Path("/run/lock"), Path(tempfile.gettempdir()))
    return tuple(dict.fromkeys(directory for directory in shared if directory.is_dir() and os.access(directory, os.W_OK)))


def session_holder(server: str, credentials: Sequence[str]) -> dict[str, str] | None:
    """Who on this host holds the session: pid, and started, state_dir and command where known; None when nobody does.

    Asking takes nothing away from anybody. Arguments as those of `Ownership`.
    """
    name = _name(server, credentials)
    pid = _claimant(name)
    if pid is None:
        return None
    found = {"pid": pid}
    for directory in host_directories():
        with suppress(OSError):
            descriptor = os.open(directory / _file_name(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                said = _read(descriptor)
            finally:
                os.close(descriptor)
            if pid in (said.get("pid"), "unknown"):
                return said
    return found


def is_another_pipeline(holder: Mapping[str, str], state_dir: Path) -> bool:
    """Whether who holds a session, as `session_holder` says it, is known to be another pipeline than the one with this state_dir."""
    own = str(state_dir.resolve())
    return holder.get("state_dir", own) != own


class Claim:
    """A name that the kernel gives to one process of this host at a time, held until `release` or the end of the process.

    :arg name: an abstract socket's.
    :arg owned: see `Lock`. :arg remedy: see `Lock`.
    :raises OwnershipError: when another process has it; names its pid.
    """

    def __init__(self, name: str, owned: str, remedy: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(_address(name))
            self._socket.listen(ASKERS)
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                return  # no abstract sockets here: the files alone must do
            pid = _claimant(name) or "unknown"
            raise OwnershipError(f"{owned} already belongs to another process: pid {pid}", remedy.format(pid=pid)) from None

    def release(self) -> None:
        """Give it back; a second call does nothing."""
        self._socket.close()


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
    """What a sink holds: the outbox (a lock in state_dir), and the session (host-wide, locks and a claim).

    :arg server: host and port the session goes to.
    :arg credentials: what identifies the device there, user name and token; only a hash of them reaches the disk.
    :arg directories: where host-wide locks live, instead of those of this host and the claim.
    :arg session: whose outbox it is.
    """

    def __init__(
        self, server: str, credentials: Sequence[str], state_dir: Path, directories: Sequence[Path] | None = None, session: str = SINGLE
    ) -> None:
        holder = {"state_dir": str(state_dir.resolve()), "command": _command(credentials)}
        name = _name(server, credentials)
        token = "this token" if session == SINGLE else f"the token of {session}"
        owned = f"the ThingsBoard session at {server} with {token}"
        outbox = f"the outbox in {state_dir}" if session == SINGLE else f"the outbox of the session {session} in {state_dir}"
        remedy = "stop it (kill {pid}), or give this pipeline a device and token of its own: ThingsBoard allows one session per device"
        outbox_remedy = "stop it (kill {pid}), or give this pipeline a state_dir of its own"
        self._held: list[Lock | Claim] = []
        try:
            self._held.append(Lock(outbox_lock(state_dir, session), outbox, outbox_remedy, holder))
            for directory in host_directories() if directories is None else directories:
                try:
                    self._held.append(Lock(directory / _file_name(name), owned, remedy, holder))
                except StorageError as error:
                    if directories is not None or not isinstance(error.__cause__, PermissionError):
                        raise
                    log.debug("a lock of another user cannot be read; the claim decides", reason=error.what)
            if directories is None:
                self._held.append(Claim(name, owned, remedy))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give everything back; a second call does nothing."""
        for held in reversed(self._held):
            held.release()

    def __enter__(self) -> Ownership:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def _name(server: str, credentials: Sequence[str]) -> str:
    return hashlib.sha256("\n".join((server.lower(), *credentials)).encode()).hexdigest()[:24]


def _file_name(name: str) -> str:
    return f"dlms-thingsboard-{name}.lock"


def _address(name: str) -> str:
    return f"\0dlms-thingsboard-{name}"


def _claimant(name: str) -> str | None:
    """The pid of who has a claim, "unknown" where the kernel does not tell; None when nobody has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(_address(name))
        except BlockingIOError:
            return "unknown"
        except OSError:
            return None
        pid, _, _ = _PEER_CREDENTIALS.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size))
        return str(pid) if pid else "unknown"  # 0: it lives in another pid namespace


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        try:
            descriptor = os.open(path, flags, 0o644)
            with suppress(PermissionError):
                os.fchmod(descriptor, 0o644)  # whatever the umask: other users must be able to see who holds it
            return descriptor
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
