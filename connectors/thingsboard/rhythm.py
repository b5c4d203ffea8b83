"""Infers why connections end that the server closes without a word: on MQTT 3.1.1 always, on 5 behind servers that state nothing.

Two clients with one token evict each other: accepted, then closed within seconds, again and again, whatever is being sent. A
rate limit closes right behind an acknowledgement, a message that cannot be read closes instead of one. Where a closed
connection was busy, these look the same. Then the next connection only listens for `LISTEN` seconds: if it is closed
meanwhile, another client did it; if not, what is sent afterwards did.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from connectors.thingsboard.ending import CONNECTION_LOST, MALFORMED, QUOTA, RATE_LIMITED, TAKEN_OVER, Ending

SHORT = 30.0
"""Seconds: a connection that was closed sooner was closed for a reason."""

AT_ONCE = 0.05
"""Seconds: a connection closed so soon after an acknowledgement may have been closed because of it (ThingsBoard on a rate limit)."""

LISTEN = 7.0
"""Seconds that a listening connection sends nothing: longer than clients that fight for a session stay away (1 to 6 s seen)."""

KEPT = 3
"""So many closures are remembered; all of them right behind an acknowledgement are a rate limit, however far apart."""

BELIEVED = 2
"""So many busy closures in a row, after listening, it takes to believe that a fight has turned into something else."""

SOON = 2.0
"""Seconds: longest wait before a connection that only listens, so that a fight is named within 10 s."""


@dataclass(frozen=True, slots=True)
class Closure:
    """How an accepted connection ended that the peer closed without a reason.

    :arg lifetime: seconds from CONNACK to the end.
    :arg after_ack: seconds from the last acknowledgement of a message to the end; None without any.
    :arg acknowledged: messages with readings that were acknowledged.
    :arg on_the_way: messages that were not acknowledged yet.
    :arg listened: whether it only listened at first.
    :arg suspicious: whether the one message that was on the way had been singled out before.
    """

    lifetime: float
    after_ack: float | None = None
    acknowledged: int = 0
    on_the_way: int = 0
    listened: bool = False
    suspicious: bool = False

    @property
    def behind_ack(self) -> bool:
        """Whether an acknowledgement may be the reason."""
        return self.after_ack is not None and self.after_ack <= AT_ONCE

    @property
    def idle(self) -> bool:
        """Whether nothing that was sent can be the reason."""
        return self.on_the_way == 0 and not self.behind_ack


class Rhythm:
    """The latest closures in a row.

    :arg needed: so many closures in a row are a fight over the session; the first of them may have ended a connection of any age.
    """

    def __init__(self, needed: int = 2) -> None:
        self._needed = needed
        self._row: deque[Closure] = deque(maxlen=KEPT)
        self._cause = CONNECTION_LOST
        self._busy = 0
        self.proven = False
        """Whether a connection that had listened in peace was closed over what it sent then: what follows is about messages."""

    def broken(self) -> None:
        """Something else happened: an ending with a reason, or an attempt that failed."""
        self._row.clear()
        self._cause, self._busy, self.proven = CONNECTION_LOST, 0, False

    def closed(self, closure: Closure) -> Ending:
        """The likely cause of the latest closure."""
        self._row.append(closure)
        self._busy = 0 if closure.idle else self._busy + 1
        fight = self._cause is TAKEN_OVER and self._busy < BELIEVED
        self.proven = not closure.idle and (self.proven or (closure.listened and not fight))
        self._cause = self._judged(closure)
        return self._cause

    @property
    def listening(self) -> bool:
        """Whether the next connection should only listen at first."""
        return len(self._row) > 1 and self._row[-1].lifetime < SHORT and not self.proven

    def _judged(self, latest: Closure) -> Ending:
        if len(self._row) == KEPT and all(closure.behind_ack for closure in self._row) and not latest.listened:
            return RATE_LIMITED
        if len(self._row) < self._needed or latest.lifetime >= SHORT:
            return MALFORMED if latest.suspicious else CONNECTION_LOST
        if latest.idle:
            return TAKEN_OVER
        if self._cause is TAKEN_OVER and self._busy < BELIEVED:
            return TAKEN_OVER  # a fight that goes on while something happens to be sent
        if not self.proven:
            return CONNECTION_LOST
        if latest.suspicious:
            return MALFORMED
        if latest.behind_ack:
            return QUOTA if latest.acknowledged <= 1 else RATE_LIMITED
        return CONNECTION_LOST
