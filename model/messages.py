"""What flows through the pipeline: frozen, slotted dataclasses, all times aware UTC.

Every message names its meter, because every stream is keyed by meter id. Values are exact: the raw integer of the
meter times a power of ten, never a binary float (a Decimal prints as 300.001, a float as 300.00100000000003).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Union

from model.tuples import kept_in_a_tuple

Value = Union[int, Decimal, str, bool]

FLEET = "*"
"""The `meter` of reports and alerts that speak for all meters together."""


class Outcome(str, Enum):
    """How one attempt to read one meter ended."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"


class Origin(str, Enum):
    """Where a reading came from: an instantaneous poll, the meter's load profile, or a push by the meter."""

    POLL = "poll"
    PROFILE = "profile"
    PUSH = "push"


class ErrorKind(str, Enum):
    """Why a cycle or one attribute could not be read. The first five concern the cycle, the others one attribute."""

    CONNECT = "connect"
    """The link could not be opened: refused, unreachable, name not found, in use by another client."""
    TIMEOUT = "timeout"
    """The meter did not answer within the deadline of the exchange or of the cycle."""
    REFUSED = "refused"
    """The meter answered and said no to the connection or the association (DM, AARE with a diagnostic)."""
    LINK_LOST = "link-lost"
    """The link was closed, or the meter dropped the association, in the middle of a cycle."""
    PROTOCOL = "protocol"
    """The meter answered with bytes that are not what the standard allows here."""
    ACCESS = "access"
    """The meter refused this attribute; the detail is the access result's name, IEC 62056-5-3 Data-Access-Result."""
    DECODE = "decode"
    """The attribute was answered with a type or a content that cannot be rendered."""
    NO_VALUE = "no-value"
    """The attribute was answered with null-data."""
    SECURITY = "security"
    """What arrived was not authentic, or the meter could not prove who it is. Concerns the cycle."""
    COUNTER = "counter"
    """The meter refuses our invocation counter, and reading the meter's own counter did not help. Concerns the cycle."""


class Violation(str, Enum):
    """What was wrong with bytes that claimed to come from a meter and were not believed."""

    WRONG_TAG = "wrong-tag"
    """The authentication tag does not fit: forged, damaged, or made with other keys."""
    FOREIGN_TITLE = "foreign-title"
    """Sent by a system title that is not the meter's."""
    OLD_COUNTER = "old-counter"
    """An invocation counter that was used before: recorded and sent again."""
    WEAKER_PROTECTION = "weaker-protection"
    """Protected by less than the security policy asks for, or with another suite."""
    PLAINTEXT = "plaintext"
    """Not protected at all, on an association that is."""
    MALFORMED = "malformed"
    """Protected in a way that the standard or this client does not know."""
    UNPROVEN = "unproven"
    """The answer to our challenge is wrong or missing: whoever answers does not know the secret."""


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class ViolationCount:
    """How often something that was not authentic arrived, and what was found the last time."""

    violation: Violation
    count: int
    detail: str


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class ReadError:
    """Why an attribute (`key`) or a whole cycle (`key` is None) gave no value, and what to do about it."""

    key: str | None
    kind: ErrorKind
    detail: str
    remedy: str = ""


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class RawValue:
    """One attribute as the meter gave it, before scaling.

    `value` is the raw number (apply `scaler` to get the quantity), or the rendered text of a string or date-time.
    `scaler` is the power of ten and `unit` the DLMS unit code of IEC 62056-6-2 (27 W, 30 Wh, 33 A, 35 V, 44 Hz);
    both are None for objects that have none.
    """

    key: str
    value: Value
    scaler: int | None = None
    unit: int | None = None


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class Cycle:
    """One attempt to read one meter, or one notification that a meter pushed.

    `due` is when the schedule wanted it, `started` when it began and the timestamp of its readings, `duration` seconds
    from start to the last answer, `exchanges` the requests sent (retries included; those that open the association are
    not counted here), `associated` whether this cycle had to open a new association, `clock_offset` seconds by which
    the meter's clock is ahead of ours where the cycle read a clock, `violations` what arrived and was not believed (also in
    a cycle that is ok, because the association was opened anew), `invocation_counter` the last one we used, if any.

    Of a notification (`origin` PUSH) `started` is the meter's own time where it states one, `received`, and equally
    `due`, when it arrived; a poll has no `received`.
    """

    meter: str
    due: datetime
    started: datetime
    duration: float
    outcome: Outcome
    values: tuple[RawValue, ...] = ()
    errors: tuple[ReadError, ...] = ()
    exchanges: int = 0
    associated: bool = False
    clock_offset: float | None = None
    violations: tuple[ViolationCount, ...] = ()
    invocation_counter: int | None = None
    origin: Origin = Origin.POLL
    received: datetime | None = None

    @property
    def read_at(self) -> datetime:
        """When the values left the meter, by our clock."""
        return self.started + timedelta(seconds=self.duration) if self.received is None else self.received


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one meter, ready to be judged, delivered and kept.

    `ts` belongs to the reading (start of the cycle, or end of the profile interval), so that sending it twice is
    harmless; `read_at` is when it left the meter. `unit` is a symbol such as "V" or "kWh". `tags` are facts about the
    meter that become attributes of its device.
    """

    meter: str
    key: str
    value: Value
    unit: str | None
    ts: datetime
    origin: Origin
    read_at: datetime
    tags: tuple[tuple[str, str], ...] = ()


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class Rejection:
    """A reading that will not be delivered: the rule it broke and the evidence. Counted, kept and visible."""

    reading: Reading
    rule: str
    reason: str

    @property
    def meter(self) -> str:
        """The meter the reading came from."""
        return self.reading.meter


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class Receipt:
    """What ThingsBoard acknowledged with one PUBACK for one meter.

    `readings` counts values, `poll_timestamps` are the distinct `ts` of cycles, polled or pushed, among them, `oldest` and `newest`
    span all of them, `delay` is the longest time in seconds from reading the meter to the acknowledgement.
    """

    meter: str
    readings: int
    oldest: datetime
    newest: datetime
    acknowledged: datetime
    delay: float
    poll_timestamps: tuple[datetime, ...] = ()


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class Dropped:
    """Readings of one meter that were given up before ThingsBoard had them, because the outbox could not hold them.

    `readings` counts values, `oldest` and `newest` span their `ts`, `at` is when they were dropped and `reason` why.
    `intervals` are the exact `ts` of those that came from the load profile, which the meter can be asked for again.
    """

    meter: str
    readings: int
    oldest: datetime
    newest: datetime
    at: datetime
    reason: str
    intervals: tuple[datetime, ...] = ()


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class HealthReport:
    """What happened to one meter (or to all, `meter` = FLEET) in the window [start, end).

    Cycles belong to the window in which they started, except that one which ended after the window and was not yet
    acknowledged when the report was made belongs to the next: a 4.5 s cycle every 5 s is no loss.

    `with_values` counts the cycles that gave at least one accepted reading, `cycles_published` those of them that
    ThingsBoard acknowledged until the report was made; `published` counts acknowledged readings of this window's
    cycles, `published_late` readings acknowledged during this window that belong to earlier ones. `read_times` are
    seconds per cycle that was read. Of the fleet, `last_good` is that of
    the meter longest without a good reading, `clock_offset` the largest, `last_error` that of the worst meter.
    `violations` are what arrived and was not believed, one entry per kind; `invocation_counter` is the highest we used.
    `gaps_open` are the load profile intervals that are missing and asked for again, `gap_since` when the first of them was
    missed; `gaps_lost` those that were found in this window to be lost for good, `gap_reason` why the last of them is.
    """

    meter: str
    start: datetime
    end: datetime
    cycles: int
    ok: int
    partial: int
    failed: int
    with_values: int
    readings: int
    rejected: int
    published: int
    cycles_published: int
    published_late: int
    exchanges: int
    associations: int
    read_times: tuple[float, ...]
    last_good: datetime | None
    clock_offset: float | None
    last_error: str | None
    violations: tuple[ViolationCount, ...] = ()
    invocation_counter: int | None = None
    gaps_open: int = 0
    gaps_lost: int = 0
    gap_since: datetime | None = None
    gap_reason: str | None = None

    @property
    def publish_rate(self) -> float | None:
        """Cycles acknowledged by ThingsBoard over cycles attempted, 0.0 to 1.0; None without cycles."""
        return self.cycles_published / self.cycles if self.cycles else None

    @property
    def delivery_rate(self) -> float | None:
        """Cycles acknowledged over cycles that gave readings, 0.0 to 1.0; None without such cycles."""
        return self.cycles_published / self.with_values if self.with_values else None

    def read_time(self, quantile: float) -> float | None:
        """Seconds within which `quantile` (0.0 to 1.0) of the window's cycles were read (nearest rank); None without any."""
        if not self.read_times:
            return None
        ranked = sorted(self.read_times)
        rank = math.ceil(round(quantile * len(ranked), 9))  # rounded: 0.07 * 100 is a little more than 7
        return ranked[min(max(rank, 1), len(ranked)) - 1]

    def age(self) -> float | None:
        """Seconds from the last good reading to the end of the window; None if there never was one."""
        return None if self.last_good is None else max(0.0, (self.end - self.last_good).total_seconds())


class Severity(str, Enum):
    """How urgent an alert is."""

    WARNING = "warning"
    CRITICAL = "critical"


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class Alert:
    """A fault that began (`raised`) or is over (not `raised`).

    `kind` and `subject` (a meter id, FLEET, "thingsboard", or "thingsboard-NAME" for one of several sessions) identify it: the
    clearing alert repeats both. `evidence` says what was seen, `remedy` what to do.
    """

    kind: str
    subject: str
    severity: Severity
    raised: bool
    ts: datetime
    evidence: str
    remedy: str

    @property
    def meter(self) -> str:
        """The key under which the alert flows: its subject."""
        return self.subject


class GapState(str, Enum):
    """What is known of intervals that a meter should have recorded and that were not read."""

    OPEN = "open"
    """Asked for again until the meter gives them or is known not to have them."""
    CLOSED = "closed"
    """They were read after all, or are described by other gaps now."""
    LOST = "lost"
    """The meter does not have them (any more); the reason says why."""


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class Gap:
    """Intervals of one load profile that are missing, from `start` to `end` (the timestamps of the first and the last one).

    `profile` is its name in the template, `intervals` how many there are, `since` when they were first missed, `at` when
    this was found. `open_total` and `lost_total` count the intervals of all gaps of this profile, `read_total` those read.
    Meter, profile and start identify a gap.
    """

    meter: str
    profile: str
    start: datetime
    end: datetime
    intervals: int
    state: GapState
    since: datetime
    at: datetime
    reason: str
    open_total: int
    lost_total: int
    read_total: int


Message = Union[Cycle, Reading, Rejection, Receipt, Dropped, HealthReport, Alert, Gap]
