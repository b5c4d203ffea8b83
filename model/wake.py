"""When a source wants to be woken next; the same rule for all sources of the flow."""

from __future__ import annotations

import math
import time
from datetime import datetime, timezone

from model.progress import PROGRESS

WAKE_GRID = 0.1
"""Seconds: wakes fall on this grid, so that thousands of partitions share one activation of the worker."""

WAKE_LIMIT = 1.0
"""Seconds: no partition sleeps longer, else it would hold back the epochs of other workers and delay a stop."""

_SOONEST = 0.001


def next_wake(ahead: float) -> datetime:
    """The first moment of the grid that is `ahead` seconds away or more, where that is not beyond `WAKE_LIMIT`.

    To be asked on the worker's thread, each time it has woken the source: `model.progress` knows from this that it goes on.
    """
    PROGRESS.woke()
    wake = time.time() + min(max(ahead, _SOONEST), WAKE_LIMIT)
    return datetime.fromtimestamp(math.ceil(wake / WAKE_GRID) * WAKE_GRID, tz=timezone.utc)
