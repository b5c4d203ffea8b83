"""What the server allows: the answer to getSessionLimits, and token buckets that keep to it.

What a session sends as itself counts against `rateLimits`; what a gateway sends for its devices counts, for all of
them together, against `gatewayRateLimits`. Telemetry and attributes count one message and one data point per value; everything
else is a plain message (ThingsBoard: `SessionLimits`, `DefaultTransportRateLimitService`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import orjson

REQUEST_TOPIC = "v1/devices/me/rpc/request/1"
RESPONSE_FILTER = "v1/devices/me/rpc/response/+"
RESPONSE_TOPIC = "v1/devices/me/rpc/response/1"
REQUEST = b'{"method":"getSessionLimits","params":{}}'

ANSWER_TIMEOUT = 1.0
"""Seconds to wait for the answer before the defaults are used; plain brokers and old servers never answer."""

DEFAULT_PAYLOAD = 65_536
"""Bytes of an MQTT packet that ThingsBoard takes unless configured otherwise (NETTY_MAX_PAYLOAD_SIZE)."""

MARGIN = 0.9
"""Share of a rate limit that is used: messages sent evenly may arrive bunched."""

_PAIR = re.compile(r"^\s*(\d+)\s*:\s*(\d+)\s*$")
Lane = Literal["own", "devices"]
"""On whose account a message is sent: the session itself, or the gateway's devices."""

_ROUNDING = 1e-6

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Rates:
    """Limits of one sender, each as (capacity, seconds) pairs that must all hold; empty for unlimited."""

    messages: Pairs = ()
    telemetry_messages: Pairs = ()
    telemetry_points: Pairs = ()


@dataclass(frozen=True)
class Limits:
    """What a session may do.

    :arg max_payload: bytes of one packet; None where it did not say.
    :arg max_inflight: messages the server queues for the session; None where it did not say.
    :arg own: of what the session sends as itself.
    :arg devices: of what a gateway sends for its devices, together.
    """

    max_payload: int | None = None
    max_inflight: int | None = None
    own: Rates = Rates()
    devices: Rates = Rates()


def parse_limits(payload: bytes) -> Limits | None:
    """The answer to getSessionLimits, or None when this is none. A part that cannot be understood does not limit."""
    try:
        answer = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(answer, dict) or "maxPayloadSize" not in answer:
        return None
    return Limits(
        _positive(answer.get("maxPayloadSize")),
        _positive(answer.get("maxInflightMessages")),
        _rates(answer.get("rateLimits")),
        _rates(answer.get("gatewayRateLimits")),
    )


def parse_pairs(text: Any) -> Pairs:
    """Pairs from "200:1,6000:60" (200 in a second and 6000 in a minute)."""
    if not isinstance(text, str):
        return ()
    matches = (_PAIR.match(part) for part in text.split(","))
    pairs = ((int(match[1]), int(match[2])) for match in matches if match)
    return tuple((capacity, seconds) for capacity, seconds in pairs if capacity > 0 and seconds > 0)


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _rates(value: Any) -> Rates:
    if not isinstance(value, dict):
        return Rates()
    return Rates(
        parse_pairs(value.get("messages")),
        parse_pairs(value.get("telemetryMessages")),
        parse_pairs(value.get("telemetryDataPoints")),
    )


class Bucket:
    """Tokens that come back evenly (as Bucket4j refills greedily); every pair of a limit must have enough.

    :arg pairs: the limit.
    :arg clock: monotonic seconds.
    """

    def __init__(self, pairs: Pairs, clock: Callable[[], float]) -> None:
        self._rates = [(max(1.0, capacity * MARGIN), seconds) for capacity, seconds in pairs]
        self._tokens = [capacity for capacity, _ in self._rates]
        self._clock = clock
        self._filled = clock()

    @property
    def capacity(self) -> int | None:
        """The most that can be taken at once; None for no limit."""
        return int(min(capacity for capacity, _ in self._rates)) if self._rates else None

    def wait(self, count: int = 1, spare: float = 0.0) -> float:
        """Seconds until `count` can be taken so that `spare` (a share of the capacity) is left; 0.0 when they can be taken now.

        More than the capacity counts as the capacity.
        """
        self._fill()
        waits = (
            (min(count + spare * capacity, capacity) - tokens) * seconds / capacity
            for (capacity, seconds), tokens in zip(self._rates, self._tokens, strict=True)
        )
        longest = max(waits, default=0.0)
        return longest if longest > _ROUNDING else 0.0

    def take(self, count: int = 1) -> None:
        """Take `count` tokens; ask `wait` first."""
        self._fill()
        self._tokens = [tokens - min(count, capacity) for (capacity, _), tokens in zip(self._rates, self._tokens, strict=True)]

    def _fill(self) -> None:
        now = self._clock()
        passed, self._filled = max(0.0, now - self._filled), now
        self._tokens = [
            min(capacity, tokens + passed * capacity / seconds)
            for (capacity, seconds), tokens in zip(self._rates, self._tokens, strict=True)
        ]


class Sender:
    """The three buckets of one sender."""

    def __init__(self, rates: Rates, clock: Callable[[], float]) -> None:
        self._messages = Bucket(rates.messages, clock)
        self._telemetry = Bucket(rates.telemetry_messages, clock)
        self._points = Bucket(rates.telemetry_points, clock)

    @property
    def most_points(self) -> int | None:
        """The most values one message may have; None for no limit."""
        return self._points.capacity

    def wait(self, points: int, spare: float = 0.0) -> float:
        """Seconds until a message with so many values (0 for a plain one) may be sent with a share of the limits left."""
        if points == 0:
            return self._messages.wait(spare=spare)
        return max(self._telemetry.wait(spare=spare), self._points.wait(points, spare))

    def take(self, points: int) -> None:
        """Count a message."""
        if points == 0:
            self._messages.take()
        else:
            self._telemetry.take()
            self._points.take(points)


class Pacer:
    """Keeps all messages of a session within the server's rate limits.

    Lives longer than a connection: the server's buckets do not fill up because a client reconnects.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rates: dict[Lane, Rates] = {"own": Rates(), "devices": Rates()}
        self._senders: dict[Lane, Sender] = {lane: Sender(rates, clock) for lane, rates in self._rates.items()}

    def obey(self, limits: Limits) -> None:
        """Use these limits from now on; unchanged ones keep what is already used up."""
        stated: dict[Lane, Rates] = {"own": limits.own, "devices": limits.devices}
        for lane, rates in stated.items():
            if rates != self._rates[lane]:
                self._rates[lane] = rates
                self._senders[lane] = Sender(rates, self._clock)

    def sender(self, lane: Lane) -> Sender:
        """The buckets of a lane."""
        return self._senders[lane]
