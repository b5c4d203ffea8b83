"""Tells systemd how the process fares (sd_notify(3)): READY, STATUS, WATCHDOG, STOPPING. Without NOTIFY_SOCKET nothing happens.

READY comes when the flow has begun: a worker has woken a source. WATCHDOG comes only while the dataflow really goes on: the
worker that is longest without a wake woke less than half the watchdog's time ago, or somebody holds the flow on purpose. A
worker that stands still is so noticed and the process restarted, though all other threads are alive. Once the process is to
stop, systemd's own limit for stopping applies.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from model.finding import clipped
from model.progress import Progress
from model.settings.thingsboard import SINGLE
from model.status import ProcessStatus, SessionStatus
from model.stop import Stop

LOOK = 0.5
"""Seconds between two looks; less where the watchdog is shorter."""

SAY = 2.0
"""Seconds between two STATUS lines."""

LEAST = 3.0
"""Seconds: a worker is never taken for stuck sooner; healthy ones wake a source each second."""

SHOWN = 4
"""Innermost calls of a stuck worker that the log shows."""

UNKNOWN = 30.0
"""Seconds after which a flow counts as begun whose sources do not use `model.wake`; it cannot be judged."""

log = structlog.get_logger(__name__)


class Notifier:
    """Sends datagrams to systemd; never waits and never raises.

    :arg address: as in NOTIFY_SOCKET: a path, or @ and a name for an abstract socket.
    """

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def send(self, *assignments: str) -> None:
        """Send lines such as READY=1."""
        with suppress(OSError):  # systemd is busy or gone: the next one may arrive
            self._socket.sendto("\n".join(assignments).encode(), self._address)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Supervised:
    """What systemd is told at each look. Pure but for `send`; told the time in monotonic seconds.

    :arg watchdog: seconds of the watchdog; None where there is none.
    """

    def __init__(
        self, send: Callable[..., None], stop: Stop, progress: Progress, status: Callable[[], str], watchdog: float | None
    ) -> None:
        self._send, self._stop, self._progress, self._status = send, stop, progress, status
        self._half = None if watchdog is None else watchdog / 2
        self._attended_at: float | None = None
        self._ready = self._stopping = self._stuck = False
        self._pinged = self._said = float("-inf")

    def look(self, now: float) -> None:
        """Send what is due."""
        if self._stop.requested() and not self._stopping:
            self._stopping = True
            self._send("STOPPING=1", "STATUS=stopping")
        if not self._ready:
            self._ready = self._begun(now)
            if self._ready and not self._stopping:
                self._send("READY=1")
        if not self._ready:
            return
        if self._half is not None and now - self._pinged >= self._half and self._goes_on(self._half):
            self._pinged = now
            self._send("WATCHDOG=1")
        if now - self._said >= SAY and not self._stopping:
            self._said = now
            self._send(f"STATUS={self._status()}")

    def _begun(self, now: float) -> bool:
        if not self._stop.attended:
            return False
        self._attended_at = now if self._attended_at is None else self._attended_at
        return self._progress.age() is not None or now - self._attended_at >= UNKNOWN

    def _goes_on(self, half: float) -> bool:
        age = self._progress.age()
        stuck = age is not None and age > max(half, LEAST) and not self._stopping
        if stuck and not self._stuck:
            remedy = "systemd restarts the process; look at what `where` waits for: a disk, a `call` of pipeline.yaml; else report it"
            where = standing_at(self._progress.longest_without())
            log.critical("a worker stands still: no source was woken", seconds=round(age or 0.0, 1), where=where, remedy=remedy)
        self._stuck = stuck
        return not stuck


def standing_at(thread: int | None) -> str:
    """The innermost calls of a thread, the innermost first; empty where it runs no Python."""
    frame = None if thread is None else sys._current_frames().get(thread)
    if frame is None:
        return ""
    calls = reversed(traceback.extract_stack(frame)[-SHOWN:])
    return ", from ".join(f"{call.name} ({'/'.join(Path(call.filename).parts[-2:])}:{call.lineno})" for call in calls)


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """The time of systemd's watchdog for this process; None where there is none."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        seconds = int(environment["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
    return seconds if seconds > 0 else None


def summary(status: ProcessStatus) -> str:
    """One line about the process, for `systemctl status`."""
    emitted = sum(sum(node.emitted.values()) for node in status.nodes.values())
    if not status.sessions:
        return f"{emitted} items; the session is not in this process"
    if len(status.sessions) > 1:
        return f"{emitted} items; {_several(status.sessions)}"
    (session,) = status.sessions
    name = "session" if session.name == SINGLE else f"session {session.name}"
    line = f"{emitted} items; {name} {session.state} since {session.since:%Y-%m-%d %H:%M:%S} UTC"
    line += f", {session.sent} sent, {session.acknowledged} acknowledged"
    return line + (f"; last end: {session.ends[0].cause}" if session.ends else "")


def _several(sessions: Sequence[SessionStatus]) -> str:
    """How many are up, and which are not."""
    down = [
        f"{session.name} {session.state}" + (f" ({session.ends[0].cause})" if session.ends else "")
        for session in sessions
        if session.state != "up"
    ]
    line = f"{len(sessions) - len(down)} of {len(sessions)} sessions up"
    line += f", {sum(session.sent for session in sessions)} sent, {sum(session.acknowledged for session in sessions)} acknowledged"
    return line + (f"; {clipped(down)}" if down else "")


def tell_systemd(stop: Stop, progress: Progress, status: Callable[[], ProcessStatus], environment: Mapping[str, str] = os.environ) -> None:
    """Look from now on, on a thread, until the process ends."""
    address = environment.get("NOTIFY_SOCKET")
    if not address:
        return
    watchdog = watchdog_seconds(environment)
    supervised = Supervised(Notifier(address).send, stop, progress, lambda: summary(status()), watchdog)
    over = threading.Event()
    atexit.register(over.set)
    every = LOOK if watchdog is None else min(LOOK, watchdog / 4)
    threading.Thread(target=_look_on, args=(supervised, over, every), name="supervision", daemon=True).start()


def _look_on(supervised: Supervised, over: threading.Event, every: float) -> None:
    while not over.wait(every):
        try:
            supervised.look(time.monotonic())
        except Exception:  # a defect here must cost no reading
            log.exception("systemd cannot be told how the process fares")
