"""Node type `filter`: report by exception. Passes a reading on only when it says something new.

A reading passes when it is the first of its key, when it differs from the last one passed by more than the deadband,
or when the last one passed is at least `at_least_every` old. A deadband of 0, the default, passes every change and
nothing else; text and booleans pass on every change. Keys that no pattern fits pass always. Where several patterns
fit, the first one in the file holds.

The others leave on the port "suppressed"; they are correct and may be wired to an archive. A reading older than the
last one passed (load profile, recovery) always passes: what it would have been compared with is not known any more,
and ThingsBoard stores a repeat once. The snapshot holds the last value passed per meter and key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from typing import Any, Union

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from pydantic import Field, field_validator

from model.messages import Reading, Value
from model.node import MAIN, BuildContext, NodeType, Ports
from model.restored import restored
from model.settings.base import Duration, Settings
from model.settings.node import NodeSettings
from operators.patterns import KeyPattern, matches

STATE_VERSION = 1

State = dict[str, Any]

_by_timestamp = attrgetter("ts")


class ExceptionRule(Settings):
    """When a reading is worth reporting."""

    deadband: Union[Decimal, str] = Field(
        default=Decimal(0),
        union_mode="left_to_right",
        description="Change that is not worth reporting: a number in the reading's unit, or 2% of the last value passed.",
    )
    at_least_every: Duration | None = Field(
        default=None, description="Pass the first reading after this long in any case; without it an unchanged value is never repeated."
    )

    @field_validator("deadband")
    @classmethod
    def _not_negative(cls, deadband: Decimal | str) -> Decimal | str:
        number = _percentage(deadband) if isinstance(deadband, str) else deadband
        if number is None or not number.is_finite() or number < 0:
            raise ValueError(f"{str(deadband)!r} is not a deadband; write a number such as 0.5, or a percentage such as 2%")
        return deadband

    def threshold(self, last: Decimal) -> Decimal:
        """The largest change from `last` that is not reported."""
        if isinstance(self.deadband, Decimal):
            return self.deadband
        return abs(last) * (_percentage(self.deadband) or Decimal(0)) / 100


def _percentage(text: str) -> Decimal | None:
    number, sign, rest = text.strip().partition("%")
    try:
        return Decimal(number.strip()) if sign and not rest else None
    except InvalidOperation:
        return None


class FilterSettings(NodeSettings):
    """Settings of a `filter` node."""

    rules: dict[KeyPattern, ExceptionRule] = Field(min_length=1, description="Pattern of keys -> when to report.")


class ExceptionRules:
    """The rules of one node, found once per key and shared by the filters of all meters."""

    def __init__(self, rules: Mapping[str, ExceptionRule]) -> None:
        self._rules = rules
        self._by_key: dict[str, ExceptionRule | None] = {}

    def __getitem__(self, key: str) -> ExceptionRule | None:
        if key not in self._by_key:
            self._by_key[key] = next((rule for pattern, rule in self._rules.items() if matches(pattern, key)), None)
        return self._by_key[key]


@dataclass(frozen=True, slots=True)
class _Suppressed:
    """A reading that says nothing new."""

    reading: Reading


class MeterFilter:
    """Decides for the readings of one meter which are worth reporting.

    :arg rules: when a key is worth reporting.
    :arg state: what `snapshot` returned; one of another version is not used.
    """

    def __init__(self, rules: ExceptionRules, state: State | None = None) -> None:
        self._rules = rules
        self._passed = restored(state, frozenset({STATE_VERSION}), _passed_before, "filter") or {}

    def passes(self, reading: Reading) -> bool:
        """Whether `reading` is worth reporting; it is then what later ones are compared with."""
        rule = self._rules[reading.key]
        if rule is None:
            return True
        last = self._passed.get(reading.key)
        if last is not None:
            value, ts = last
            if reading.ts <= ts:
                return True
            due = rule.at_least_every is not None and reading.ts - ts >= timedelta(seconds=rule.at_least_every)
            if not due and not _differs(reading.value, value, rule):
                return False
        self._passed[reading.key] = (reading.value, reading.ts)
        return True

    def snapshot(self) -> State:
        """The state as plain values, independent of what happens to this filter afterwards."""
        return {"version": STATE_VERSION, "passed": dict(self._passed)}


def _passed_before(state: State) -> dict[str, tuple[Value, datetime]]:
    return {str(key): (value, ts) for key, (value, ts) in state["passed"].items()}


def _differs(now: Value, last: Value, rule: ExceptionRule) -> bool:
    if isinstance(now, (str, bool)) or isinstance(last, (str, bool)):
        return type(now) is not type(last) or now != last
    if not (Decimal(now).is_finite() and Decimal(last).is_finite()):
        return True
    return abs(Decimal(now) - Decimal(last)) > rule.threshold(Decimal(last))


class _MeterLogic(StatefulBatchLogic[Reading, Union[Reading, _Suppressed], State]):
    def __init__(self, meter_filter: MeterFilter) -> None:
        self._filter = meter_filter

    def on_batch(self, values: list[Reading]) -> tuple[Iterable[Reading | _Suppressed], bool]:
        values.sort(key=_by_timestamp)
        passes = self._filter.passes
        return [reading if passes(reading) else _Suppressed(reading) for reading in values], StatefulBatchLogic.RETAIN

    def snapshot(self) -> State:
        return self._filter.snapshot()


def _passed(item: tuple[str, Reading | _Suppressed]) -> bool:
    return isinstance(item[1], Reading)


def _unwrapped(batch: list[tuple[str, Any]]) -> Iterable[tuple[str, Reading]]:
    return [(meter, suppressed.reading) for meter, suppressed in batch]


@dataclass(frozen=True)
class Filtered:
    """The streams that leave a `filter` node."""

    down: KeyedStream[Reading]
    suppressed: KeyedStream[Reading]


@operator
def report_by_exception(step_id: str, *ups: KeyedStream[Reading], settings: FilterSettings) -> Filtered:
    """Pass on what says something new."""
    rules = ExceptionRules(settings.rules)

    def build_logic(state: State | None) -> _MeterLogic:
        return _MeterLogic(MeterFilter(rules, state))

    merged = op.merge("inputs", *ups)
    decided = op.stateful_batch("decide", merged, build_logic)
    split = op.branch("split", decided, _passed)
    suppressed = op.flat_map_batch("unwrap", split.falses, _unwrapped)
    return Filtered(down=split.trues, suppressed=suppressed)  # type: ignore[arg-type]


def _build(ctx: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    out = report_by_exception(ctx.node_id, *inputs, settings=ctx.settings)
    return {MAIN: out.down, "suppressed": out.suppressed}


NODE = NodeType(
    name="filter",
    summary="Report by exception: passes readings that changed by more than a deadband, and others every so often.",
    settings=FilterSettings,
    accepts=(Reading,),
    emits={MAIN: Reading, "suppressed": Reading},
    example="""\
- id: changes
  type: filter
  inputs: [checked]
  settings:
    rules:
      "*voltage*": {deadband: 0.5, at_least_every: 15m}
      "power_*": {deadband: 2%, at_least_every: 5m}
      relay_state: {}
""",
    build=_build,
)
