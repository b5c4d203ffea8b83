"""Node type `validate`: passes plausible readings on and rejects the others with the rule they broke and the evidence.

Rules belong to patterns of keys. `defaults` hold for every key; each pattern that fits replaces them rule by rule, in
the order of the file, and null takes a rule away.

- min, max: limits in the reading's unit.
- max_step: largest plausible change, {change: 50, per: 1s}; proportionally more over a longer gap.
- monotonic: true, or {digits: 6} / {rollover: 1000000} for a counter that starts at 0 again. A counter that continues
  from another level (the meter was exchanged or reset) is believed after `exchange_after` rising readings, and the log
  says so.
- allowed: the only values that are right.
- stale, future: how old, or how far ahead, a timestamp may be at the moment the value was read.
- frozen: longest time an unchanged value is believed, for values that always move.

Limits, steps and counters need a number: text is rejected with the rule "number". Only max_step, monotonic and frozen
look at earlier readings. Readings of one batch are judged in the order of their timestamps; one that comes late or
again does not disturb what is known, see `operators.validation.judge`. The snapshot holds the state of each meter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import bytewax.operators as op
import structlog
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from pydantic import Field, model_validator

from model.messages import Reading, Rejection
from model.node import MAIN, BuildContext, NodeType, Ports
from model.settings.node import NodeSettings
from operators.patterns import KeyPattern
from operators.validation.judge import MeterJudge, RuleBook, State
from operators.validation.rules import Rules
from operators.verdicts import Verdict, Verdicts, split_verdicts

log = structlog.get_logger(__name__)

_by_timestamp = attrgetter("ts")


class ValidateSettings(NodeSettings):
    """Settings of a `validate` node."""

    rules: dict[KeyPattern, Rules] = Field(default_factory=dict, description="Pattern of keys -> rules.")
    defaults: Rules = Field(default_factory=Rules, description="Rules for every key, unless a pattern replaces them.")

    @model_validator(mode="after")
    def _something_to_judge(self) -> ValidateSettings:
        if not self.rules and not self.defaults.model_fields_set:
            raise ValueError("there is no rule; give rules or defaults, or leave the node out")
        return self


def _log_note(reading: Reading, what: str) -> None:
    log.warning("unusual reading accepted", meter=reading.meter, key=reading.key, ts=reading.ts.isoformat(), what=what)


class _MeterLogic(StatefulBatchLogic[Reading, Verdict, State]):
    def __init__(self, judge: MeterJudge) -> None:
        self._judge = judge

    def on_batch(self, values: list[Reading]) -> tuple[Iterable[Verdict], bool]:
        values.sort(key=_by_timestamp)
        return [self._judge.judge(reading) for reading in values], StatefulBatchLogic.RETAIN

    def snapshot(self) -> State:
        return self._judge.snapshot()


@operator
def validate(step_id: str, *ups: KeyedStream[Reading], settings: ValidateSettings) -> Verdicts:
    """Judge every reading by the rules of its key."""
    book = RuleBook(settings.defaults, settings.rules)

    def build_logic(state: State | None) -> _MeterLogic:
        return _MeterLogic(MeterJudge(book, _log_note, state))

    merged = op.merge("inputs", *ups)
    judged = op.stateful_batch("judge", merged, build_logic)
    return split_verdicts("verdict", judged)


def _build(ctx: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    out = validate(ctx.node_id, *inputs, settings=ctx.settings)
    return {MAIN: out.down, "rejected": out.rejected}


NODE = NodeType(
    name="validate",
    summary="Passes plausible readings on and rejects the others, with the rule they broke and the evidence.",
    settings=ValidateSettings,
    accepts=(Reading,),
    emits={MAIN: Reading, "rejected": Rejection},
    example="""\
- id: checked
  type: validate
  inputs: [mapped]
  settings:
    defaults: {stale: 7d, future: 5m}
    rules:
      "*voltage*": {min: 180, max: 260, frozen: 6h}
      "*current*": {min: 0, max: 100}
      frequency: {min: 47, max: 53, max_step: {change: 2, per: 1s}}
      "energy_*": {monotonic: {digits: 6}, max_step: {change: 20, per: 15m}}
      relay_state: {allowed: [0, 1]}
""",
    build=_build,
)
