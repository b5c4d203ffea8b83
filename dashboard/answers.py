"""What the API answers: one model per shape. Times are ISO 8601 in UTC, spans are seconds, values are exact.

They document and check; `dashboard.json_answer` writes them. Fields without a value are null, never left out.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal, Union

from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, Strict, StrictBool, StrictFloat, StrictInt, StrictStr, WithJsonSchema

MeterState = Literal["green", "yellow", "red", "unknown"]
Verdict = Literal["healthy", "minor", "critical"]

ExactValue = Annotated[
    Union[StrictBool, StrictInt, Annotated[Decimal, Strict(), AllowInfNan()], StrictFloat, StrictStr],
    Field(union_mode="left_to_right"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "boolean"}]}),
]
"""A value as the meter gave it: a number with all its digits, a text (also one of digits only) or a truth value."""


PlotPoint = Annotated[
    tuple[int, Union[float, None]],
    WithJsonSchema({"type": "array", "items": {"type": ["number", "null"]}, "minItems": 2, "maxItems": 2}),
]
"""Milliseconds since 1970 UTC, and a number; null for what is not a number."""


class Answer(BaseModel):
    """Base of everything that is answered."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


class Refusal(Answer):
    """Why there is no answer."""

    detail: str


class FindingShown(Answer):
    """Something that is not as it should be, and what to do."""

    severity: Literal["minor", "critical"]
    subject: str = Field(description="What it is about: flow, session, outbox, archive, configuration, meters, or a meter's id.")
    what: str
    remedy: str


class Health(Answer):
    """The verdict and what led to it; nothing is found in a healthy pipeline."""

    verdict: Verdict
    findings: list[FindingShown]


class Ready(Answer):
    """Whether meters are being read and the session to ThingsBoard is up."""

    ready: bool
    reasons: list[str] = Field(default=[], description="Why not; empty when ready.")


class ProcessShown(Answer):
    """One process of the flow that runs."""

    process: int
    pid: int
    host: str
    written: datetime = Field(description="When it last said that it runs.")


class FlowShown(Answer):
    """Whether the flow runs, since when, and in which processes."""

    running: bool
    started: datetime | None
    processes: list[ProcessShown]


class MeterCounts(Answer):
    """How many meters are in which state."""

    total: int
    green: int
    yellow: int
    red: int
    unknown: int


class Window(Answer):
    """What happened to all meters together in the newest window of the health node."""

    start: datetime
    end: datetime
    cycles: int
    ok: int
    partial: int
    failed: int
    cycles_published: int = Field(description="Cycles of this window that ThingsBoard acknowledged.")
    published: int = Field(description="Readings of this window's cycles that ThingsBoard acknowledged.")
    rejected: int


class Rate(Answer):
    """How fast readings come in."""

    readings_per_second: float


class Owner(Answer):
    """The process that owns the session."""

    pid: int
    host: str
    process: int


class SessionEndShown(Answer):
    """One end of a connection to ThingsBoard."""

    at: datetime
    cause: str
    code: int | None = Field(description="The reason code of MQTT 5 that the server stated.")
    detail: str
    lasted: float | None = Field(description="Seconds it had been accepted.")


class SessionShown(Answer):
    """One session to ThingsBoard, as its owner tells."""

    name: str = Field(description="As pipeline.yaml names it; thingsboard where there is one session.")
    server: str
    client_id: str
    protocol: str
    state: Literal["connecting", "up", "backing-off", "closed"]
    since: datetime
    sent: int
    acknowledged: int
    ends: list[SessionEndShown] = Field(description="Newest first, at most 50, also those of earlier runs.")
    ends_by_cause: dict[str, int] = Field(description="Since the start of the process.")
    owner: Owner


class OutboxShown(Answer):
    """What waits for ThingsBoard, in one outbox or in all of them together."""

    waiting: int = Field(description="Records that are not acknowledged; an upper bound where `exact` is false.")
    exact: bool
    oldest: datetime | None = Field(description="When the oldest of them was read.")
    dead: int = Field(description="Records that ThingsBoard refused for good.")
    acknowledged: datetime | None = Field(description="When the latest acknowledgement came.")


class SessionOutbox(OutboxShown):
    """What waits in the outbox of one session."""

    session: str


class GapCounts(Answer):
    """Load profile intervals that are missing: asked for again, or lost for good."""

    open: int
    lost: int


class Overview(Answer):
    """Everything at a glance."""

    now: datetime
    verdict: Verdict
    findings: int
    flow: FlowShown
    meters: MeterCounts
    window: Window | None
    rate: Rate
    session: SessionShown | None = Field(
        description="The session that fares worst, or the only one; null where one has no owner, and before there is any."
    )
    sessions: list[SessionShown] = Field(description="All sessions that a process owns, in the order of pipeline.yaml.")
    sessions_without_owner: list[str] = Field(description="Sessions of pipeline.yaml that no process owns.")
    outbox: OutboxShown | None = Field(description="All outboxes together.")
    outboxes: list[SessionOutbox]
    gaps: GapCounts
    alarms: dict[str, int] = Field(description="Standing alarms by severity.")


class NodeShown(Answer):
    """One node of the flow, its wires, and how much comes out of it."""

    id: str
    type: str
    summary: str
    inputs: list[str] = Field(description="Ids of nodes, or id.port for a side output.")
    outputs: list[str] = Field(description="Its output ports; main and the named ones.")
    emitted: dict[str, int] = Field(description="Items since the start of the flow, by port.")
    rate: dict[str, float] = Field(description="Items per second lately, by port.")
    state: MeterState
    reason: str = Field(description="Why it is in this state.")
    last: datetime | None = Field(description="When it last emitted anything.")


class FlowGraph(Answer):
    """The flow as nodes and wires, in the order of pipeline.yaml."""

    running: bool
    nodes: list[NodeShown]


class ValueShown(Answer):
    """The newest value of one key."""

    key: str
    value: ExactValue
    unit: str | None
    ts: datetime


class MeterRow(Answer):
    """One meter at a glance."""

    id: str
    name: str = Field(description="Its device in ThingsBoard.")
    template: str | None
    connect: str | None
    removed: bool = Field(description="Whether it is only in the archive, and not in pipeline.yaml any more.")
    state: MeterState
    success: float | None = Field(description="Cycles of its last window that were ok over all of them, 0.0 to 1.0.")
    last_good: datetime | None
    read_p50: float | None = Field(description="Seconds within which half of its cycles were read.")
    read_p95: float | None
    gaps_open: int
    gaps_lost: int
    last_error: str | None
    values: list[ValueShown]


class MeterPage(Answer):
    """Some of the meters."""

    total: int
    offset: int
    meters: list[MeterRow]


class MeterWindow(Answer):
    """One window of one meter."""

    start: datetime
    end: datetime
    cycles: int
    ok: int
    partial: int
    failed: int
    published: int
    rejected: int
    read_p50: float | None
    read_p95: float | None


class ErrorShown(Answer):
    """Why an attribute, or a whole cycle where `key` is null, gave no value."""

    at: datetime
    key: str | None
    kind: str
    detail: str
    remedy: str


class RejectionShown(Answer):
    """A reading that was not delivered."""

    at: datetime
    key: str
    value: ExactValue
    unit: str | None
    rule: str
    reason: str


class GapShown(Answer):
    """Missing intervals of a load profile; `start` and `end` are the timestamps of the first and the last."""

    meter: str
    profile: str
    start: datetime
    end: datetime
    intervals: int
    state: Literal["open", "closed", "lost"]
    since: datetime
    reason: str


class ProfileDay(Answer):
    """One day, in UTC, of a load profile."""

    day: date
    expected: int
    read: int
    missing: int


class ProfileShown(Answer):
    """One load profile of a meter, day by day."""

    name: str
    obis: str
    period: float | None = Field(description="Seconds of one interval, as its values show; null where nothing was read.")
    days: list[ProfileDay]


class MeterDetail(MeterRow):
    """All about one meter."""

    tags: dict[str, str]
    interval: float | None = Field(description="Seconds from the start of one cycle to that of the next.")
    reports: list[MeterWindow] = Field(description="The last 60 windows, oldest first.")
    errors: list[ErrorShown] = Field(description="At most 100, newest first.")
    rejections: list[RejectionShown] = Field(description="At most 100, newest first.")
    gaps: list[GapShown]
    profiles: list[ProfileShown]


class Readings(Answer):
    """One curve: pairs of milliseconds since 1970 UTC and a number, null for what is not a number."""

    meter: str
    key: str
    unit: str | None
    points: list[PlotPoint]
    thinned: bool = Field(description="Whether only the least and the greatest of each stretch of time are given.")


class Alarm(Answer):
    """A fault that was raised, and its end."""

    kind: str
    subject: str
    severity: str
    raised: bool = Field(description="Whether it stands.")
    at: datetime
    cleared_at: datetime | None
    evidence: str
    remedy: str


class Alarms(Answer):
    """Alarms, newest first."""

    alarms: list[Alarm]


class LedgerRow(Answer):
    """One profile of one meter, counted in intervals. What only one meter's own page counts is null elsewhere."""

    meter: str
    profile: str
    read: int
    waiting: int | None = Field(description="Read, and not acknowledged by ThingsBoard yet.")
    delivered: int | None
    open: int
    lost: int
    oldest: datetime | None
    newest: datetime | None


class Gaps(Answer):
    """What is missing of the load profiles."""

    ledger: list[LedgerRow]
    gaps: list[GapShown]
    truncated: bool = Field(description="Whether there are more than are given; ask for one meter.")


class Configuration(Answer):
    """The configuration file as it is written, with every secret masked."""

    file: str
    text: str
