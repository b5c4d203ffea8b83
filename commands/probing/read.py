"""Reads one meter once, with the parts that the pipeline uses, and keeps for each value how it came about.

The invocation counters are those of the pipeline, in its state_dir: no number is used twice, whoever reads the meter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from connectors.dlms.access import OwnConnection
from connectors.dlms.events import Attribute, AttributeResult
from connectors.dlms.invocation_counters import FILE_NAME as COUNTERS
from connectors.dlms.invocation_counters import InvocationCounters
from connectors.dlms.plan import PlannedRead, plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.profile.access import BufferAccess, BufferBusy, BufferRefused
from connectors.dlms.profile.capture import Naming, Shape, name_columns
from connectors.dlms.profile.intervals import interval_cycles
from connectors.dlms.profile.selection import Range
from connectors.dlms.profile.survey import Survey, Unreadable
from connectors.dlms.session import Session
from model.errors import MeterError
from model.loading.load import Loaded
from model.messages import Cycle, RawValue, ReadError, Reading, Rejection
from model.settings.meter import MeterSettings
from model.settings.profile import ProfileSettings
from model.timestamps import utc_now
from operators.map import CycleMapper, MapSettings

ROWS = 3
"""Capture periods of a load profile that are asked for."""

LOG_SPAN = timedelta(days=7)
"""How far back a profile without a capture period is asked for."""

MOST_SURVEY_STEPS = 300
"""Exchanges to find out what a profile captures; one per column at most, and then its scaler."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the exchange took that brought an attribute, in seconds, and how many attributes it brought."""

    seconds: float
    shared_by: int


class TimedSession(Session):
    """A session that remembers how long each exchange took."""

    def __init__(
        self, meter: MeterSettings, resolve: Callable[[str, str], str], counters: InvocationCounters, access: OwnConnection
    ) -> None:
        super().__init__(meter, resolve, counters, access)
        self.timings: dict[Attribute, Timing] = {}
        self.association_seconds = 0.0

    async def associate(self) -> None:
        """As `Session.associate`."""
        begun = time.monotonic()
        try:
            await super().associate()
        finally:
            self.association_seconds += time.monotonic() - begun

    async def get(self, attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...]:
        """As `Session.get`."""
        begun = time.monotonic()
        try:
            return await super().get(attributes)
        finally:
            timing = Timing(time.monotonic() - begun, len(attributes))
            self.timings.update((attribute, timing) for attribute in attributes)


@dataclass(frozen=True, slots=True)
class ProbedValue:
    """One key of the template.

    :arg raw: as the meter gave it; None where it gave nothing.
    :arg published: what the map node makes of it; None where it would be left out or rejected.
    :arg problem: why there is no value, or why it would be rejected; empty where all is well.
    """

    read: PlannedRead
    obis: str
    raw: RawValue | None
    published: Reading | None
    problem: str
    remedy: str
    timing: Timing | None


@dataclass(frozen=True, slots=True)
class ProbedProfile:
    """One load profile or event log: what it captures and its newest row, or why it cannot be read.

    :arg span: how far back rows were asked for, in seconds.
    """

    name: str
    settings: ProfileSettings
    shape: Shape | None = None
    naming: Naming | None = None
    newest: Cycle | None = None
    rows: int = 0
    span: float = 0.0
    seconds: float = 0.0
    problem: str = ""
    remedy: str = ""


@dataclass
class Probed:
    """Everything about one meter."""

    meter: MeterSettings
    cycle: Cycle | None = None
    values: list[ProbedValue] = field(default_factory=list)
    profiles: list[ProbedProfile] = field(default_factory=list)
    associated_in: float = 0.0
    with_list: bool = False

    @property
    def fault(self) -> ReadError | None:
        """Why the meter gave nothing at all."""
        errors = self.cycle.errors if self.cycle is not None else ()
        return next((error for error in errors if error.key is None), None)

    @property
    def is_whole(self) -> bool:
        """Whether everything that the template asks for was read."""
        return self.fault is None and not any(value.problem for value in self.values) and not any(p.problem for p in self.profiles)


def probe_meter(loaded: Loaded, meter: MeterSettings, resolve: Callable[[str, str], str], doing: Callable[[str], None]) -> Probed:
    """Read `meter` once; what goes wrong is in the result, never raised.

    :arg resolve: see `Session`.
    :arg doing: told what is done now.
    """
    return asyncio.run(_probe(loaded, meter, resolve, doing))


async def _probe(loaded: Loaded, meter: MeterSettings, resolve: Callable[[str, str], str], doing: Callable[[str], None]) -> Probed:
    settings = loaded.settings
    access = OwnConnection(meter)
    session = TimedSession(meter, resolve, InvocationCounters(settings.state_dir / COUNTERS), access)
    probed = Probed(meter)
    try:
        doing(f"{meter.id}: values")
        plan = plan_reads(settings.reads(meter))
        poll = MeterPoll(meter, plan, settings.interval(meter), session, access)
        probed.cycle = cycle = await poll.cycle(utc_now())
        probed.associated_in, probed.with_list = session.association_seconds, session.with_list
        probed.values = _values(loaded, meter, cycle, plan.reads, session)
        if probed.fault is None:
            for name, profile in settings.profiles(meter).items():
                doing(f"{meter.id}: {name}")
                probed.profiles.append(await _profile(loaded, meter, name, profile, session))
    finally:
        await session.close()
    return probed


def _values(loaded: Loaded, meter: MeterSettings, cycle: Cycle, reads: Sequence[PlannedRead], session: TimedSession) -> list[ProbedValue]:
    raws = {raw.key: raw for raw in cycle.values}
    errors = {error.key: error for error in cycle.errors}
    settings = loaded.settings.reads(meter)
    found = []
    for read in reads:
        raw, error = raws.get(read.key), errors.get(read.key)
        published, problem, remedy = (None, "", "") if raw is None else _published(loaded, meter, cycle, raw)
        if error is not None:
            problem, remedy = error.detail, error.remedy
        timing = session.timings.get(read.attribute)
        found.append(ProbedValue(read, settings[read.key].obis, raw, published, problem, remedy, timing))
    return found


def _published(loaded: Loaded, meter: MeterSettings, cycle: Cycle, raw: RawValue) -> tuple[Reading | None, str, str]:
    """What the first map node of the pipeline makes of one raw value."""
    chosen = next((node.settings for node in loaded.nodes if isinstance(node.settings, MapSettings)), MapSettings())
    alone = Cycle(meter.id, cycle.due, cycle.started, cycle.duration, cycle.outcome, (raw,))
    verdicts = CycleMapper(chosen.model_copy(update={"constants": {}}), loaded.settings)(alone)
    for verdict in verdicts:
        if isinstance(verdict, Rejection):
            return None, f"would be rejected: {verdict.reason}", "correct unit or scale in the template, or the map node's settings"
    return next((verdict for verdict in verdicts if isinstance(verdict, Reading)), None), "", ""


async def _profile(loaded: Loaded, meter: MeterSettings, name: str, settings: ProfileSettings, session: TimedSession) -> ProbedProfile:
    begun = time.monotonic()
    remedy = "check the profile's OBIS code, and that this client may read it and its attributes 2 to 8"
    try:
        if not session.usable():
            await session.associate()
        shape = await _surveyed(settings, meter, session)
        naming = name_columns(shape.columns, settings, loaded.settings.reads(meter))
        now = utc_now()
        span = ROWS * shape.period if shape.period else LOG_SPAN
        fetched = await BufferAccess(meter.id, settings, utc_now).fetch(session, shape, Range(now - span, now), None)
        cycles = list(interval_cycles(meter.id, fetched.rows, shape, naming, settings, now, ()))
    except (Unreadable, BufferRefused, BufferBusy) as refusal:
        return ProbedProfile(name, settings, seconds=time.monotonic() - begun, problem=str(refusal), remedy=remedy)
    except MeterError as fault:
        await session.abandon()
        return ProbedProfile(name, settings, seconds=time.monotonic() - begun, problem=fault.what, remedy=fault.remedy)
    newest = max(cycles, key=_moment, default=None)
    return ProbedProfile(name, settings, shape, naming, newest, len(fetched.rows), span.total_seconds(), time.monotonic() - begun)


async def _surveyed(settings: ProfileSettings, meter: MeterSettings, session: Session) -> Shape:
    survey = Survey(settings, meter.with_list_max if meter.with_list else 1)
    for _ in range(MOST_SURVEY_STEPS):
        shape = await survey.step(session)
        if shape is not None:
            return shape
    raise BufferBusy("the meter never says all of what the profile captures")


def _moment(cycle: Cycle) -> datetime:
    return cycle.started
