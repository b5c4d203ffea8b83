"""Node type `alert`: says once when something is wrong, why, and what to do; and once when it is over.

Rules, each with a limit that raises and a further one that clears (see `operators.alert_rules`):
`publish-rate` of all meters together, and per meter `meter-silent`, `meter-failing`, `values-rejected`, `clock-off`,
`possible-attack` and `invocation-counter`.

State: per meter the counts of the few newest windows and what is raised; it survives a restart, so nothing is raised
twice. The alerts of a meter that was taken out of pipeline.yaml are cleared at the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import bytewax.operators as op
import structlog
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from model.messages import FLEET, Alert, HealthReport, Severity
from model.node import MAIN, BuildContext, NodeType, Ports
from model.restored import restored
from model.timestamps import utc_now
from operators.alert_rules import VERSION, AlertSettings, SubjectAlerts

log = structlog.get_logger()

State = dict[str, Any] | None


class AlertLogic(StatefulBatchLogic[HealthReport, Alert, State]):
    """The alerts of one subject.

    :arg intervals: seconds between the cycles of each configured meter; None if any subject is welcome.
    """

    def __init__(
        self,
        state: State,
        settings: AlertSettings,
        intervals: Mapping[str, float] | None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._intervals = intervals
        self._clock = clock
        self._alerts = restored(state, frozenset({VERSION}), self._restored, "alert")

    def on_batch(self, values: list[HealthReport]) -> tuple[Iterable[Alert], bool]:
        """Judge each report."""
        alerts: list[Alert] = []
        for report in values:
            if self._alerts is None:
                self._alerts = self._new(report.meter)
            alerts += self._alerts.judge(report)
        return alerts, self.RETAIN

    def on_notify(self) -> tuple[Iterable[Alert], bool]:
        """Clear the alerts of a meter that is no longer configured, and forget it."""
        if self._alerts is None:
            return [], self.RETAIN
        return self._alerts.clear_all(self._clock(), "the meter was taken out of the configuration"), self.DISCARD

    def notify_at(self) -> datetime | None:
        """At once for a meter that is no longer configured; else never, reports come by themselves."""
        if self._alerts is None or self._intervals is None or self._alerts.subject == FLEET:
            return None
        return None if self._alerts.subject in self._intervals else self._clock()

    def snapshot(self) -> State:
        """A copy of the rules' state and of what is raised."""
        return None if self._alerts is None else self._alerts.state()

    def _restored(self, state: dict[str, Any]) -> SubjectAlerts:
        alerts = self._new(state["subject"])
        alerts.restore(state)
        return alerts

    def _new(self, subject: str) -> SubjectAlerts:
        return SubjectAlerts(subject, self._settings, None if self._intervals is None else self._intervals.get(subject))


@operator
def alert(
    step_id: str,
    *ups: KeyedStream[HealthReport],
    settings: AlertSettings,
    intervals: Mapping[str, float] | None = None,
) -> KeyedStream[Alert]:
    """Watch health reports and raise and clear alerts, keyed by their subject.

    :arg ups: reports keyed by meter (or FLEET).
    :arg intervals: seconds between the cycles of each configured meter.
    """
    reports = op.merge("inputs", *ups)
    alerts = op.stateful_batch("rules", reports, partial(AlertLogic, settings=settings, intervals=intervals))
    return op.inspect("log", alerts, log_alert)


def log_alert(_step_id: str, item: tuple[str, Alert]) -> None:
    """Log a raised alert at WARNING or ERROR, a cleared one at INFO."""
    what = item[1]
    context = {"kind": what.kind, "subject": what.subject, "severity": what.severity.value, "evidence": what.evidence}
    if not what.raised:
        log.info("alert cleared", **context)
    elif what.severity is Severity.CRITICAL:
        log.error("alert raised", **context, remedy=what.remedy)
    else:
        log.warning("alert raised", **context, remedy=what.remedy)


def build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    """Add the node to the flow."""
    intervals = {meter.id: context.pipeline.interval(meter) for meter in context.pipeline.meters}
    return {MAIN: alert(context.node_id, *inputs, settings=context.settings, intervals=intervals)}


NODE = NodeType(
    name="alert",
    summary="Raises and clears alerts from health reports: publish rate, silent or failing meters, rejected values, clocks, attacks.",
    settings=AlertSettings,
    accepts=(HealthReport,),
    emits={MAIN: Alert},
    example="""\
- id: alerts
  type: alert
  inputs: [health]
  settings: {publish_warning: 0.95, publish_critical: 0.5, min_cycles: 20, silent_after: 10m}
""",
    build=build,
)
