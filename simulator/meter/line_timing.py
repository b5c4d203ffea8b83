"""What a serial line costs in time, and a record of what it was used for."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

SPANS_KEPT = 100_000
"""Entries of `LineRecord.spans`; the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class LineTiming:
    """One half-duplex line.

    :arg baud: bits per second.
    :arg bits_per_byte: start, data, parity and stop bits.
    :arg turnaround: seconds from the last bit of a request to the first bit of its reply; meters on RS-485 take 30 ms or more.
    """

    baud: int = 9600
    bits_per_byte: float = 10
    turnaround: float = 0.030

    @property
    def byte_time(self) -> float:
        """Seconds one byte is on the line."""
        return self.bits_per_byte / self.baud


@dataclass
class LineRecord:
    """What was on the line since its start.

    :arg requests: bursts of bytes from the client.
    :arg request_bytes: bytes in them.
    :arg replies: replies of meters.
    :arg reply_bytes: bytes in them.
    :arg overlaps: requests that began while a reply was still under way, as only a client does that takes no turns.
    :arg wrong_baud: bytes that arrived at another baud rate than the line's, which no meter understands.
    :arg spans: begin and end of everything that was on the line, turnarounds included, seconds of the event loop's clock.
    """

    requests: int = 0
    request_bytes: int = 0
    replies: int = 0
    reply_bytes: int = 0
    overlaps: int = 0
    wrong_baud: int = 0
    spans: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=SPANS_KEPT))

    def busy(self) -> float:
        """Seconds in which the line carried something, or a meter took its turnaround time."""
        return sum(end - begin for begin, end in self.spans)

    def elapsed(self) -> float:
        """Seconds from the first beginning to the last end."""
        return self.spans[-1][1] - self.spans[0][0] if self.spans else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        counts: dict[str, Any] = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        return {**counts, "busy": self.busy(), "elapsed": self.elapsed()}
