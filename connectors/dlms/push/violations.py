"""What was not believed, per meter, until a cycle of that meter carries it on to the health reports and the alert."""

from __future__ import annotations

import time
from collections.abc import Callable

from model.messages import Violation, ViolationCount

SPACING = 10.0
"""Seconds between two cycles of a meter that only tell of violations: a flood of forgeries is not a flood of cycles."""


class Violations:
    """Counts by meter and kind. Nothing is lost: what no cycle of its own tells goes with the meter's next one.

    :arg now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._pending: dict[str, dict[Violation, ViolationCount]] = {}
        self._told: dict[str, float] = {}

    def add(self, meter: str, violation: Violation, detail: str) -> None:
        """One more."""
        kinds = self._pending.setdefault(meter, {})
        before = kinds.get(violation)
        kinds[violation] = ViolationCount(violation, 1 if before is None else before.count + 1, detail)

    def is_due(self, meter: str) -> bool:
        """Whether a cycle of its own should tell of them now."""
        now = self._now()
        if now - self._told.get(meter, -SPACING) < SPACING:
            return False
        self._told[meter] = now
        return True

    def take(self, meter: str) -> tuple[ViolationCount, ...]:
        """Those of `meter` since the last time; each is given once."""
        return tuple(self._pending.pop(meter, {}).values())
