"""How long to wait for a reply before asking again: learned per request, as TCP learns its retransmission time-out.

A meter that always answers a request within 0.7 s and is silent for 2 s has lost it; waiting the whole
`exchange_timeout` each time would cost cycle after cycle in a burst of losses. The estimate is that of RFC 6298: smoothed
reply time plus four times its smoothed deviation, doubled with each repetition; replies to repeated requests are not
learned from (Karn's rule), and an estimate that failed is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass

SHORTEST = 1.0
"""Seconds: no request is repeated earlier, RFC 6298 clause 2.4."""


@dataclass
class ReplyTimer:
    """What is known of the reply times to one request.

    :arg limit: seconds to wait while nothing is known, and at most.
    """

    limit: float
    smoothed: float | None = None
    deviation: float = 0.0

    def patience(self, attempt: int) -> float:
        """Seconds to wait for the reply to attempt 0, 1, ..."""
        if self.smoothed is None:
            return self.limit
        return min(self.limit, max(SHORTEST, self.smoothed + 4 * self.deviation) * 2.0**attempt)

    def answered(self, seconds: float) -> None:
        """Learn from a reply to a request that was sent once, RFC 6298 clause 2.3."""
        if self.smoothed is None:
            self.smoothed, self.deviation = seconds, seconds / 2
        else:
            self.deviation += (abs(self.smoothed - seconds) - self.deviation) / 4
            self.smoothed += (seconds - self.smoothed) / 8

    def failed(self) -> None:
        """Forget the estimate: no attempt was answered."""
        self.smoothed = None
