"""What MQTT sessions tell about themselves while they run: written by their connector, read by whoever reports on the process.

Kept in memory only and safe to use from any thread; nobody waits for anybody's disk.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import replace
from datetime import datetime, timedelta

from model.settings.thingsboard import SINGLE
from model.status import KEPT_ENDS, SessionEnd, SessionState, SessionStatus
from model.timestamps import utc_now

SAME = timedelta(minutes=10)
"""Attempts that fail in the same way within this time of the first are one entry, so that an outage does not push out all else."""


class SessionRecord:
    """State, counts and ends of one session; without `begin` this process does not own it."""

    def __init__(self, name: str = SINGLE) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._status: SessionStatus | None = None
        self._sent = 0
        self._acknowledged = 0
        self._ends: deque[SessionEnd] = deque(maxlen=KEPT_ENDS)
        self._by_cause: Counter[str] = Counter()
        self._listed = 0

    def begin(self, server: str, client_id: str, protocol: str) -> None:
        """This process owns the session now.

        :arg server: scheme, host and port; no credentials.
        """
        with self._lock:
            self._status = SessionStatus(server, client_id, protocol, "connecting", utc_now(), name=self._name)

    def enter(self, state: SessionState) -> None:
        """The session is in this state now; `since` stays where it already was."""
        with self._lock:
            if self._status is not None and self._status.state != state:
                self._status = replace(self._status, state=state, since=utc_now())

    def sent(self) -> None:
        """A message was published."""
        self._sent += 1  # only the session's own thread counts

    def acknowledged(self) -> None:
        """A message was acknowledged with a success code."""
        self._acknowledged += 1

    def ended(self, cause: str, code: int | None, detail: str, lasted: float | None, at: datetime | None = None) -> None:
        """A connection ended, or could not be made (`lasted` None); for the arguments see `SessionEnd`."""
        end = SessionEnd(at or utc_now(), cause, code, detail, None if lasted is None else round(lasted, 3), session=self._name)
        with self._lock:
            self._by_cause[cause] += 1
            newest = self._ends[-1] if self._ends else None
            if newest is not None and _same(newest, end):
                self._ends[-1] = replace(newest, times=newest.times + 1, until=end.at)
            else:
                self._ends.append(end)
                self._listed += 1

    def status(self) -> SessionStatus | None:
        """As of now; None where this process does not own the session."""
        with self._lock:
            if self._status is None:
                return None
            return replace(
                self._status,
                sent=self._sent,
                acknowledged=self._acknowledged,
                ends=tuple(reversed(self._ends)),
                ends_by_cause=dict(self._by_cause),
            )

    def ends_after(self, number: int) -> tuple[int, tuple[SessionEnd, ...]]:
        """Entries behind the first `number` of all since the start, oldest first, as far as they are kept; and how many there are now."""
        with self._lock:
            new = min(max(0, self._listed - number), len(self._ends))
            return self._listed, tuple(self._ends)[len(self._ends) - new :]


class SessionRecords:
    """The records of all sessions, each made when it is first asked for. Any thread may use them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, SessionRecord] = {}

    def of(self, session: str) -> SessionRecord:
        """The record of one session."""
        with self._lock:
            return self._records.setdefault(session, SessionRecord(session))

    def all(self) -> dict[str, SessionRecord]:
        """By name of the session, those that somebody has asked for."""
        with self._lock:
            return dict(self._records)

    def statuses(self) -> tuple[SessionStatus, ...]:
        """The sessions that this process owns, as of now, by name."""
        found = (record.status() for _, record in sorted(self.all().items()))
        return tuple(status for status in found if status is not None)


def _same(earlier: SessionEnd, later: SessionEnd) -> bool:
    both_failed = earlier.lasted is None and later.lasted is None
    return both_failed and (earlier.cause, earlier.code) == (later.cause, later.code) and timedelta(0) <= later.at - earlier.at <= SAME
