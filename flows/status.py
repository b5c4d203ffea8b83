"""Writes what this process tells about itself: its status file and the journal of session ends, see `model.status`.

On a daemon thread of its own, so that a disk that hangs holds up nothing but the news. What the disk refuses is said once in the
log and tried again. A lock beside the file keeps a second process with the same number, which will not get far, from
writing over the first one's; the kernel frees it with the process, also where the process replaces itself.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from model.cluster import Place
from model.progress import Progress
from model.session_record import SessionRecords
from model.status import ENDS_FILE, EVERY, NodeStatus, ProcessStatus, encode_end, encode_status, status_directory, status_file
from model.stop import Stop
from model.timestamps import utc_now

LOOK = 0.2
"""Seconds between two looks whether the flow has begun."""

PATIENCE = 1.0
"""Seconds that the end of the process waits for the last writing."""

MOST_JOURNAL = 256_000
"""Bytes of the journal, above which the older half of its lines goes."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Told:
    """Where the news comes from.

    :arg pipeline: the file the process runs, as it was given.
    :arg nodes: the nodes as of now.
    :arg waits_for: the addresses of processes on other hosts that are not connected yet.
    """

    pipeline: Path
    place: Place
    nodes: Callable[[], Mapping[str, NodeStatus]]
    sessions: SessionRecords
    progress: Progress
    waits_for: Callable[[], tuple[str, ...]] = tuple
    started: datetime = field(default_factory=utc_now)

    def status(self) -> ProcessStatus:
        """As of now."""
        now, age = utc_now(), self.progress.age()
        return ProcessStatus(
            pid=os.getpid(),
            host=socket.gethostname(),
            process=self.place.index,
            processes=self.place.count,
            started=self.started,
            written=now,
            pipeline=str(self.pipeline),
            progressed=None if age is None else now - timedelta(seconds=age),
            nodes=self.nodes(),
            sessions=self.sessions.statuses(),
            elsewhere=self.place.elsewhere_by_number,
            unconnected=self.waits_for(),
        )


class StatusWriter:
    """Keeps the files in `state_dir/status` up to date; `write` and `close` never raise."""

    def __init__(self, state_dir: Path, told: Told) -> None:
        self._told = told
        self._file = status_file(state_dir, told.place.index)
        self._journal = status_directory(state_dir) / ENDS_FILE
        self._lock: int | None = None
        self._ends: dict[str, int] = {}
        self._failing = False

    def write(self, ended: bool = False) -> None:
        """Write the files anew.

        :arg ended: whether this is the last time, since the process ends.
        """
        try:
            if not self._owned():
                return
            status = self._told.status()
            _replace(self._file, encode_status(replace(status, ended=status.written) if ended else status))
            self._write_ends()
        except OSError as error:
            if not self._failing:
                remedy = "free space on the disk of state_dir, or mount it writable; readings are not concerned"
                log.warning("the status file cannot be written", file=str(self._file), reason=error.strerror or str(error), remedy=remedy)
            self._failing = True
            return
        except Exception:  # a defect here must cost no reading
            if not self._failing:
                log.exception("the status of the process cannot be told")
            self._failing = True
            return
        if self._failing:
            log.info("the status file is written again", file=str(self._file))
        self._failing = False

    def close(self) -> None:
        """Write for the last time and give the lock back."""
        self.write(ended=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _owned(self) -> bool:
        """Whether this process is the one that writes the file."""
        if self._lock is not None:
            return True
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise
        self._lock = descriptor
        return True

    def _write_ends(self) -> None:
        told = {name: record.ends_after(self._ends.get(name, 0)) for name, record in self._told.sessions.all().items()}
        ends = sorted((end for _, of_one in told.values() for end in of_one), key=lambda end: end.at)
        if not ends:
            return
        with self._journal.open("ab+") as journal:
            whole = journal.tell() == 0 or os.pread(journal.fileno(), 1, journal.tell() - 1) == b"\n"
            lines = (encode_end(replace(end, times=1, until=None)) for end in ends)
            journal.write((b"" if whole else b"\n") + b"".join(lines))
            size = journal.tell()
        self._ends = {name: number for name, (number, _) in told.items()}
        if size > MOST_JOURNAL:
            kept = self._journal.read_bytes().splitlines(keepends=True)
            _replace(self._journal, b"".join(kept[len(kept) // 2 :]))


def tell_status(state_dir: Path, told: Told, stop: Stop) -> None:
    """Write the status from the moment the flow begins until the process ends; over several hosts also while it waits for the others."""
    over = threading.Event()
    thread = threading.Thread(target=_write_on, args=(state_dir, told, stop, over), name="status", daemon=True)
    thread.start()

    def end() -> None:
        over.set()
        thread.join(PATIENCE)

    atexit.register(end)


def _write_on(state_dir: Path, told: Told, stop: Stop, over: threading.Event) -> None:
    while not stop.attended and not told.place.spans_hosts:  # before that nothing runs: the graph may only be looked at
        if over.wait(LOOK):
            return
    writer = StatusWriter(state_dir, told)
    writer.write()
    while not over.wait(EVERY):
        writer.write()
    writer.close()


def _replace(file: Path, content: bytes) -> None:
    """Whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise
