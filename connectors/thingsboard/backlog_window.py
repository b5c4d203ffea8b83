"""How much of a backlog may be on its way: as much as the line takes within moments, so that a live value never waits long.

What was handed to the line is ahead of everything that comes later. On a fast line that is nothing; a modem needs minutes
for twenty large packets. So the window is halved when an acknowledgement took too long, and grows while they come quickly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

START = 32_768
"""Bytes on their way at first."""

LEAST, MOST = 8_192, 16_777_216
"""Bytes: the narrowest and the widest window."""

SLOW, QUICK = 1.5, 0.7
"""Seconds to the acknowledgement above which the window is halved, and below which it grows. On MQTT 3.1.1 they include 0.5 s."""

GROWTH = 1.5


class BacklogWindow:
    """Counts the bytes of backlog packets on their way. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.size = START
        self._sent: dict[Sequence[int], tuple[float, int]] = {}
        self._on_its_way = 0
        self._halved = -math.inf

    def allows(self) -> bool:
        """Whether another packet may be sent."""
        return self._on_its_way < self.size

    @property
    def packet(self) -> int:
        """The most bytes that one packet should have."""
        return max(LEAST // 2, self.size // 2)

    def sent(self, ids: Sequence[int], size: int, now: float) -> None:
        """A packet with these row ids was sent."""
        self._sent[ids] = (now, size)
        self._on_its_way += size

    def returned(self, ids: Sequence[int], now: float) -> None:
        """It was acknowledged or refused."""
        known = self._sent.pop(ids, None)
        if known is None:
            return
        at, size = known
        self._on_its_way -= size
        if now - at > SLOW and at > self._halved:  # once for all that were on their way together
            self.size, self._halved = max(LEAST, self.size // 2), now
        elif now - at < QUICK:
            self.size = min(MOST, int(self.size * GROWTH))

    def reset(self) -> None:
        """A new connection: nothing is on its way."""
        self._sent.clear()
        self._on_its_way = 0
        self._halved = -math.inf
