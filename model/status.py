"""What the running flow tells everyone else about itself: one small JSON file per process, and the journal of session ends.

Each process of the flow keeps `state_dir/status/process-N.json` up to date (N is its number in the cluster, 0 alone): written
whole or not at all, at its start, every `EVERY` seconds and at its end. Readers never hold the flow up and need no lock. A
file is not proof that the flow runs: ask `is_running`. What cannot be read is data, see `read_files`; nothing here raises for
what a file contains.

`session-ends.jsonl` beside them outlives the process: one `SessionEnd` a line, oldest first, bounded by who writes it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from model.cluster import KEEPER
from model.settings.thingsboard import SINGLE
from model.timestamps import utc_now

VERSION = 1
"""Of the files; a reader reports a file of another version as damaged instead of guessing."""

EVERY = 2.0
"""Seconds between two writings."""

STALE = 10.0
"""Seconds: what was written longer ago is of a process that runs no more, or stands still."""

KEPT_ENDS = 50
"""So many ends a process tells of in its status."""

ENDS_FILE = "session-ends.jsonl"

_LARGEST = 4_000_000
"""Bytes; no file of ours comes near it."""

_Kind = TypeVar("_Kind")

SessionState = Literal["connecting", "up", "backing-off", "closed"]


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """One end of a connection to ThingsBoard, or one attempt that failed.

    :arg cause: the name of the ending, such as "taken-over"; see `connectors/thingsboard/ending`.
    :arg code: the reason code that the server stated, 0 to 255, in the numbers of MQTT 5 also where it speaks 3.1.1; None where it
        stated none.
    :arg detail: server and what it said, for people.
    :arg lasted: seconds from CONNACK to the end; None where the server never accepted the connection.
    :arg session: its name.
    :arg times: attempts in a row that failed in this way, this one included; `until` is when the last of them did. On disk
        always 1 and None.
    """

    at: AwareDatetime
    cause: str
    code: int | None = None
    detail: str = ""
    lasted: float | None = None
    times: int = 1
    until: AwareDatetime | None = None
    session: str = SINGLE


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """One MQTT session, as the process tells that owns it.

    :arg server: scheme, host and port; no credentials.
    :arg protocol: "5" or "3.1.1".
    :arg since: when `state` began.
    :arg sent: messages published since the start of the process; `acknowledged` those with a PUBACK of success.
    :arg ends: newest first, at most `KEPT_ENDS`. :arg ends_by_cause: all since the start of the process.
    :arg name: that of the configuration; `SINGLE` where there is one session.
    """

    server: str
    client_id: str
    protocol: str
    state: SessionState
    since: AwareDatetime
    sent: int = 0
    acknowledged: int = 0
    ends: tuple[SessionEnd, ...] = ()
    ends_by_cause: Mapping[str, int] = field(default_factory=dict)
    name: str = SINGLE


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node of pipeline.yaml in one process.

    :arg type: the node type's name.
    :arg emitted: items since the start of the process, by output port ("main", "rejected"); empty for a sink.
    :arg last: when it last emitted anything; None where it has not.
    """

    type: str
    emitted: Mapping[str, int] = field(default_factory=dict)
    last: AwareDatetime | None = None


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process of the flow.

    :arg process: its number among `processes`, from 0.
    :arg pipeline: the file it runs, as it was given.
    :arg ended: when it ended in order; None while it runs, and for ever where it was killed.
    :arg progressed: when the dataflow last made progress on all its workers; None before it began.
    :arg sessions: those that this process owns.
    :arg elsewhere: the processes on other hosts, whose files are there: number -> address.
    :arg unconnected: addresses of processes that this one waits for; nothing runs before they are there.
    """

    pid: int
    host: str
    process: int
    processes: int
    started: AwareDatetime
    written: AwareDatetime
    pipeline: str
    ended: AwareDatetime | None = None
    progressed: AwareDatetime | None = None
    nodes: Mapping[str, NodeStatus] = field(default_factory=dict)
    sessions: tuple[SessionStatus, ...] = ()
    version: int = VERSION
    elsewhere: Mapping[int, str] = field(default_factory=dict)
    unconnected: tuple[str, ...] = ()

    def is_running(self, now: datetime | None = None) -> bool:
        """Whether the process runs: it has not ended, wrote within `STALE` seconds, and on this host its pid still exists."""
        age = (utc_now() if now is None else now) - self.written
        if self.ended is not None or abs(age) > timedelta(seconds=STALE):  # abs: the host's clock may have been set back
            return False
        return self.host != socket.gethostname() or _exists(self.pid)


@dataclass(frozen=True, slots=True)
class DamagedStatus:
    """A status file that cannot be used, and why."""

    file: Path
    what: str


@dataclass(frozen=True, slots=True)
class StatusFiles:
    """Everything that was found, by number of process."""

    processes: tuple[ProcessStatus, ...] = ()
    damaged: tuple[DamagedStatus, ...] = ()

    def running(self, now: datetime | None = None) -> tuple[ProcessStatus, ...]:
        """The processes of the flow that run."""
        return tuple(process for process in self.processes if process.is_running(now))


@dataclass(frozen=True, slots=True)
class Owned:
    """A session and the process that owns it."""

    process: ProcessStatus
    session: SessionStatus


def owned_sessions(processes: Sequence[ProcessStatus]) -> dict[str, list[Owned]]:
    """The owners of each session that one of these processes tells of, by its name; more than one is a fault."""
    found: dict[str, list[Owned]] = {}
    for process in processes:
        for session in process.sessions:
            found.setdefault(session.name, []).append(Owned(process, session))
    return found


def missing_processes(running: Sequence[ProcessStatus]) -> list[int]:
    """The numbers of those that are not among `running`, of as many as these say that there are on this host."""
    count = max((process.processes for process in running), default=0)
    elsewhere = {number for process in running for number in process.elsewhere}
    return sorted(set(range(count)) - {process.process for process in running} - elsewhere)


def session_elsewhere(statuses: Sequence[ProcessStatus]) -> str | None:
    """Address of the process that keeps session, outbox and archive, where it is on another host; None where it is on this one."""
    return next((process.elsewhere[KEEPER] for process in statuses if KEEPER in process.elsewhere), None)


_PROCESS: TypeAdapter[ProcessStatus] = TypeAdapter(ProcessStatus)
_END: TypeAdapter[SessionEnd] = TypeAdapter(SessionEnd)
_SESSION: TypeAdapter[SessionStatus] = TypeAdapter(SessionStatus)
_ONE_SESSION: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def status_directory(state_dir: Path) -> Path:
    """Where the files are."""
    return state_dir / "status"


def status_file(state_dir: Path, process: int) -> Path:
    """The file of one process."""
    return status_directory(state_dir) / f"process-{process}.json"


def read_files(state_dir: Path) -> StatusFiles:
    """What the processes of the flow wrote last, also those that run no more, and which files cannot be used: damaged, of another
    version, unreadable, not ours. Never raises."""
    good, damaged = [], []
    for file in _files(state_dir):
        read = _read(file)
        if isinstance(read, ProcessStatus):
            good.append(read)
        elif read is not None:
            damaged.append(read)
    return StatusFiles(tuple(sorted(good, key=lambda status: status.process)), tuple(damaged))


def encode_status(status: ProcessStatus) -> bytes:
    """The content of a status file; times are ISO 8601 in UTC."""
    return _PROCESS.dump_json(status)


def decode_status(content: bytes) -> ProcessStatus:
    """The status in a file's content.

    :raises ValueError: when it is something else, with a short reason that quotes nothing of it.
    """
    status = _validated(_PROCESS.validate_json, content)
    if not status.sessions:
        status = replace(status, sessions=_before_there_could_be_several(content))
    if status.version != VERSION:
        raise ValueError(f"it is of version {status.version}, and only {VERSION} is known")
    return status


def _before_there_could_be_several(content: bytes) -> tuple[SessionStatus, ...]:
    """The session in a file of a program that knew one only: a flow that was started before an upgrade still writes such files."""
    session = _validated(_ONE_SESSION.validate_json, content).get("session")
    return () if session is None else (_validated(_SESSION.validate_python, session),)


def encode_end(end: SessionEnd) -> bytes:
    """One line of the journal, with its line end."""
    return _END.dump_json(end) + b"\n"


def read_session_ends(state_dir: Path, most: int = 1000) -> list[SessionEnd]:
    """The ends of sessions on disk, newest first, also those of earlier runs; lines that are damaged are left out. Never raises."""
    try:
        content = _content(status_directory(state_dir) / ENDS_FILE)
    except (OSError, ValueError):
        return []
    ends: list[SessionEnd] = []
    for line in reversed(content.splitlines()):
        if len(ends) == most:
            break
        try:
            ends.append(_validated(_END.validate_json, line))
        except ValueError:
            continue  # torn by a kill or a full disk
    return ends


def _files(state_dir: Path) -> list[Path]:
    try:
        return sorted(status_directory(state_dir).glob("process-*.json"))
    except OSError:
        return []


def _read(file: Path) -> ProcessStatus | DamagedStatus | None:
    try:
        status = decode_status(_content(file))
    except FileNotFoundError:
        return None  # went away between listing and reading
    except OSError as error:
        return DamagedStatus(file, f"it cannot be read: {error.strerror or error}")
    except ValueError as error:
        return DamagedStatus(file, str(error))
    if file.name != f"process-{status.process}.json":
        return DamagedStatus(file, f"it is the status of process {status.process} under another one's name")
    return status


def _content(file: Path) -> bytes:
    """Of a regular file only: opening a pipe would wait for ever."""
    found = file.stat()
    if not file.is_file() or found.st_size > _LARGEST:
        raise ValueError("it is not a file of this program")
    return file.read_bytes()


def _validated(validate: Callable[[Any], _Kind], content: Any) -> _Kind:
    try:
        return validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None


def _exists(pid: int) -> bool:
    if pid <= 0:
        return False  # to kill(2) these are groups
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True
