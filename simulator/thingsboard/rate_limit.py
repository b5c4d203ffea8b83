"""ThingsBoard's transport rate limits: what a tenant profile may say, and the buckets that enforce it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

EXAMPLE = "200:1,6000:60,14000:3600"
"""A limit as a hosted ThingsBoard sets it: 200 in a second, 6,000 in a minute, 14,000 in an hour."""


@dataclass(frozen=True)
class RateLimits:
    """Limits of one kind of sender, each "capacity:seconds[,capacity:seconds...]", None for unlimited.

    Messages that carry telemetry or attribute values count against the last two, all others against `messages`.
    """

    messages: str | None = None
    telemetry_messages: str | None = None
    telemetry_data_points: str | None = None

    def __post_init__(self) -> None:
        for text in (self.messages, self.telemetry_messages, self.telemetry_data_points):
            parse_limit(text)

    def as_json(self) -> dict[str, str | None]:
        """As getSessionLimits answers it (SessionLimits.SessionRateLimits)."""
        return {
            "messages": self.messages,
            "telemetryMessages": self.telemetry_messages,
            "telemetryDataPoints": self.telemetry_data_points,
        }


def parse_limit(text: str | None) -> list[tuple[int, int]]:
    """The (capacity, seconds) pairs of a limit.

    :raises ValueError: when it is not written as "capacity:seconds[,capacity:seconds...]".
    """
    pairs = []
    for part in text.split(",") if text else ():
        capacity, _, seconds = part.partition(":")
        if not (capacity.isdecimal() and seconds.isdecimal() and int(capacity) > 0 and int(seconds) > 0):
            raise ValueError(f"{part!r} is not a rate limit; write capacity:seconds such as 200:1")
        pairs.append((int(capacity), int(seconds)))
    return pairs


UNLIMITED = RateLimits()


class Bucket:
    """Tokens that come back evenly over time (Bucket4j, greedy refill); all of a limit's pairs must have enough."""

    def __init__(self, limit: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._pairs = parse_limit(limit)
        self._tokens = [float(capacity) for capacity, _ in self._pairs]
        self._clock = clock
        self._filled = clock()

    def take(self, count: int = 1) -> bool:
        """Take `count` tokens, or none when there are not enough."""
        now = self._clock()
        for index, (capacity, seconds) in enumerate(self._pairs):
            self._tokens[index] = min(capacity, self._tokens[index] + (now - self._filled) * capacity / seconds)
        self._filled = now
        if any(tokens < count for tokens in self._tokens):
            return False
        self._tokens = [tokens - count for tokens in self._tokens]
        return True


class Limiter:
    """The three buckets of one sender."""

    def __init__(self, limits: RateLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._messages = Bucket(limits.messages, clock)
        self._telemetry_messages = Bucket(limits.telemetry_messages, clock)
        self._data_points = Bucket(limits.telemetry_data_points, clock)

    def allow(self, data_points: int) -> bool:
        """Count one message with so many data points; False when it exceeds a limit."""
        if data_points > 0:
            return self._telemetry_messages.take() and self._data_points.take(data_points)
        return self._messages.take()
