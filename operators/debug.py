"""Node type `debug`: a tap that logs the messages of any port, without secrets and not too many.

Wire it beside the other nodes (`inputs: [mapped, checked.rejected]`); it passes nothing on. Each worker logs at most
`max_per_second` messages; how many were left out is logged with the next one that is shown, and at the end. Values
whose key or tag looks like a secret are masked, and so are the tokens and passwords of pipeline.yaml wherever they
occur in a text. It has no state.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import bytewax.operators as op
import structlog
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from pydantic import Field

from model.loading.fields import secrets_in
from model.messages import Alert, Cycle, Dropped, Gap, HealthReport, Message, RawValue, ReadError, Reading, Receipt, Rejection
from model.node import BuildContext, NodeType, Ports
from model.settings.node import NodeSettings
from operators.patterns import KeyPattern, matches_any

MASK = "***"
SHORTEST_SECRET = 4
"""Secrets of fewer characters are masked only where they are the whole text; "1" occurs in everything."""

MOST_ITEMS = 20
"""Items of a list that are logged."""

log = structlog.get_logger(__name__)


class DebugSettings(NodeSettings):
    """Settings of a `debug` node; all are optional."""

    level: Literal["debug", "info"] = Field(default="info", description="Level at which messages are logged.")
    max_per_second: int = Field(default=10, ge=1, le=10_000, description="Most messages logged per second and worker.")
    meters: list[KeyPattern] = Field(default_factory=list, description="Patterns of the meters to show; all where left out.")
    redact: list[KeyPattern] = Field(
        default_factory=lambda: ["*password*", "*secret*", "*token*", "*credential*", "*_key"],
        description="Patterns, in lower case, of the keys and tags whose values are masked.",
    )


class Redaction:
    """Turns messages into what may be logged.

    :arg patterns: of keys and tags, in lower case, whose values are masked.
    :arg secrets: texts that are masked wherever they occur.
    """

    def __init__(self, patterns: Sequence[str], secrets: Iterable[str]) -> None:
        self._patterns = tuple(patterns)
        self._secrets = frozenset(secret for secret in secrets if secret)
        within = sorted((secret for secret in self._secrets if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)
        self._within = re.compile("|".join(re.escape(secret) for secret in within)) if within else None

    def fields(self, message: Message | RawValue | ReadError) -> dict[str, Any]:
        """The fields of `message` as plain values, secrets masked and long lists cut."""
        fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
        if isinstance(message, (RawValue, Reading)) and self._names_secret(message.key):
            fields["value"] = MASK
        if isinstance(message, Rejection) and self._names_secret(message.reading.key):
            fields["reason"] = MASK
        if isinstance(message, Reading):
            fields["tags"] = {name: MASK if self._names_secret(name) else self._text(text) for name, text in message.tags}
        return {name: self._plain(value) for name, value in fields.items()}

    def _names_secret(self, name: str) -> bool:
        return matches_any(self._patterns, name.lower())

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, Decimal):
            return format(value, "f")
        if isinstance(value, (Reading, RawValue, ReadError)):
            return self.fields(value)
        if isinstance(value, tuple):
            shown = [self._plain(item) for item in value[:MOST_ITEMS]]
            return shown if len(value) <= MOST_ITEMS else [*shown, f"and {len(value) - MOST_ITEMS} more"]
        return value

    def _text(self, text: str) -> str:
        if text in self._secrets:
            return MASK
        return text if self._within is None else self._within.sub(MASK, text)


class RateLimit:
    """Admits so many per second of the clock and counts the others.

    :arg max_per_second: admitted in each second.
    :arg clock: seconds that only rise.
    """

    def __init__(self, max_per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max = max_per_second
        self._clock = clock
        self._second: int | None = None
        self._admitted = 0
        self._left_out = 0

    def admits(self) -> bool:
        """Whether one more may pass now."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._admitted = second, 0
        if self._admitted >= self._max:
            self._left_out += 1
            return False
        self._admitted += 1
        return True

    def take_left_out(self) -> int:
        """How many were not admitted since this was last asked."""
        count, self._left_out = self._left_out, 0
        return count


class _LogPartition(StatelessSinkPartition[tuple[str, Message]]):
    def __init__(self, node_id: str, settings: DebugSettings, redaction: Redaction) -> None:
        bound = log.bind(node=node_id)
        self._log = bound.debug if settings.level == "debug" else bound.info
        self._meters = settings.meters
        self._shown: dict[str, bool] = {}
        self._redaction = redaction
        self._limit = RateLimit(settings.max_per_second)

    def write_batch(self, items: list[tuple[str, Message]]) -> None:
        for meter, message in items:
            if self._shows(meter) and self._limit.admits():
                self._report_left_out()
                self._log("message tapped", type=type(message).__name__, **self._redaction.fields(message))

    def close(self) -> None:
        self._report_left_out()

    def _shows(self, meter: str) -> bool:
        if not self._meters:
            return True
        shown = self._shown.get(meter)
        if shown is None:
            shown = self._shown[meter] = matches_any(self._meters, meter)
        return shown

    def _report_left_out(self) -> None:
        count = self._limit.take_left_out()
        if count:
            self._log("messages left out by the tap", count=count)


class LogSink(DynamicSink[tuple[str, Message]]):
    """Logs messages, each worker those that reach it. Best effort: no state, and what is read again is logged again."""

    def __init__(self, node_id: str, settings: DebugSettings, redaction: Redaction) -> None:
        self._node_id = node_id
        self._settings = settings
        self._redaction = redaction

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _LogPartition:
        """The tap of one worker."""
        return _LogPartition(self._node_id, self._settings, self._redaction)


@operator
def debug(step_id: str, *ups: KeyedStream[Any], sink: LogSink) -> None:
    """Log every message, as far as the sink's rate allows."""
    op.output("log", op.merge("inputs", *ups), sink)


def _build(ctx: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    redaction = Redaction(ctx.settings.redact, secrets_in(ctx.pipeline))
    debug(ctx.node_id, *inputs, sink=LogSink(ctx.node_id, ctx.settings, redaction))
    return {}


NODE = NodeType(
    name="debug",
    summary="A tap: logs the messages of any port, secrets masked, at most so many per second; passes nothing on.",
    settings=DebugSettings,
    accepts=(Cycle, Reading, Rejection, Receipt, Dropped, HealthReport, Alert, Gap),
    emits={},
    example="""\
- id: tap
  type: debug
  inputs: [mapped, checked.rejected]
  settings:
    max_per_second: 5
    meters: ["lab-*"]
""",
    build=_build,
)
