"""How long to leave a meter alone after a failure."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

REFUSED_MIN = 10.0
"""Seconds: a meter that refused an association needs 10 to 15 s before the next attempt (seen in the field)."""
REFUSED_JITTER = 5.0


@dataclass
class Backoff:
    """Waits that double from `shortest` to `longest` seconds, with jitter so that a fleet does not return in step."""

    shortest: float
    longest: float
    rng: random.Random = field(default_factory=random.Random)
    failures: int = 0
    until: float = 0.0

    def failed(self, now: float) -> float:
        """Note a failure at monotonic time `now`; returns the seconds to wait, between half and all of the doubled wait."""
        wait = min(self.longest, self.shortest * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return self._wait(now, wait * self.rng.uniform(0.5, 1.0))

    def refused(self, now: float) -> float:
        """Note that the meter refused the association; waits at least `REFUSED_MIN` seconds."""
        wait = self.failed(now)
        return self._wait(now, max(wait, REFUSED_MIN + self.rng.uniform(0.0, REFUSED_JITTER)))

    def gave_up(self, now: float) -> float:
        """Note a failure that needs a person; waits `longest` seconds."""
        self.failures += 1
        return self._wait(now, self.longest)

    def succeeded(self) -> None:
        """Note that the meter answered."""
        self.failures = 0
        self.until = 0.0

    def remaining(self, now: float) -> float:
        """Seconds until the next attempt is due; 0.0 when it may start."""
        return max(0.0, self.until - now)

    def _wait(self, now: float, wait: float) -> float:
        self.until = now + wait
        return wait
