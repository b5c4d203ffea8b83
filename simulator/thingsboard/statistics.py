"""What happened to the stand-in: counters and the history of its sessions."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

SESSIONS_KEPT = 10_000
"""How many sessions the history goes back."""


@dataclass
class SessionRecord:
    """One accepted connection: times in seconds since 1970 UTC, `end` None while it lasts."""

    device: str
    client_id: str
    version: int
    opened: float
    closed: float | None = None
    end: str | None = None
    messages: int = 0


@dataclass
class Statistics:
    """Counters since the start.

    `messages` counts every PUBLISH, `accepted` those that were stored as a whole, `records` timestamps and
    `data_points` values in what was stored, `refused` messages by cause, `refused_connects` by cause,
    `withheld` acknowledgements that were kept back on purpose, `peak_unacknowledged` the most messages one client had
    under way at once, `takeovers` sessions ended by a newcomer; `sessions` the newest last; `gateways_of`
    the gateways that have spoken for each device, in the order in which they first did.
    """

    connections: int = 0
    sessions_opened: int = 0
    takeovers: int = 0
    messages: int = 0
    accepted: int = 0
    records: int = 0
    data_points: int = 0
    attributes: int = 0
    acknowledged: int = 0
    withheld: int = 0
    peak_unacknowledged: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    refused_connects: Counter[str] = field(default_factory=Counter)
    sessions: deque[SessionRecord] = field(default_factory=lambda: deque(maxlen=SESSIONS_KEPT))
    gateways_of: dict[str, list[str]] = field(default_factory=dict)
