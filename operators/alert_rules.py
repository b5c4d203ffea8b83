"""Decides from health reports which faults began and which are over. Pure: no clock, no I/O.

Each rule judges one report and says how bad it is, or that it is well again, or neither: between the limit that raises
and the limit that clears nothing changes, so that a value at the limit does not flap. An alert is raised once, raised again
only when it becomes worse, and cleared once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import Field, model_validator

from model.finding import PUBLISH_CRITICAL, PUBLISH_MINOR
from model.messages import FLEET, Alert, ErrorKind, HealthReport, Severity
from model.percent import percent_text
from model.settings.base import Duration
from model.settings.node import NodeSettings
from model.timestamps import from_ms, to_ms
from operators.alert_gaps import GapOpen, GapPermanent
from operators.alert_security import InvocationCounterSpent, PossibleAttack
from operators.alert_verdict import Rule, Verdict, span

VERSION = 1
"""Of the state; another version is not read."""

PUBLISH_RATE = "publish-rate"
METER_SILENT = "meter-silent"
METER_FAILING = "meter-failing"
VALUES_REJECTED = "values-rejected"
CLOCK_OFF = "clock-off"

_REMEDY_BY_ERROR = {
    ErrorKind.CONNECT: "check the link's address and port, power and network of the converter, and that no other program is connected",
    ErrorKind.TIMEOUT: "check wiring, baud rate and the server address; a slow meter needs a longer exchange_timeout",
    ErrorKind.REFUSED: "check client SAP, authentication and password, and that no other client holds the meter's association",
    ErrorKind.LINK_LOST: "check the link; if the meter ends idle associations early, lower inactivity_timeout",
    ErrorKind.PROTOCOL: "check framing (hdlc or wrapper) and baud rate, and that nobody else talks on the line",
    ErrorKind.ACCESS: "the client may not read this object: use another client SAP, or take the key out of the template",
    ErrorKind.DECODE: "check class and attribute of the key in the template",
    ErrorKind.NO_VALUE: "the meter has no value for this object: take the key out of the template",
    ErrorKind.SECURITY: "see the alert possible-attack: check keys, suite and policy, then who else is on the line",
    ErrorKind.COUNTER: "see the alert invocation-counter: another client may use the same client SAP and keys, or the keys are wrong",
}
_REMEDY_UNKNOWN = "look at the meter's cycles in the log at level debug"


class AlertSettings(NodeSettings):
    """When to raise and when to clear."""

    publish_warning: float = Field(
        default=PUBLISH_MINOR, gt=0, le=1, description="Raise below this share of published cycles, all meters together."
    )
    publish_critical: float = Field(default=PUBLISH_CRITICAL, ge=0, le=1, description="Critical below this share.")
    publish_clear: float = Field(default=0.98, gt=0, le=1, description="Clear at or above this share.")
    min_cycles: int = Field(default=20, ge=1, le=100_000, description="Judge the publish rate over windows with at least so many cycles.")
    silent_after: Duration = Field(
        default=600.0, description="A meter without a good reading for this long is silent (at least three of its intervals)."
    )
    failing_share: float = Field(default=0.5, gt=0, le=1, description="A meter with at least this share of failed cycles is failing.")
    failing_cycles: int = Field(default=10, ge=1, le=10_000, description="Judge failed cycles over windows with at least so many cycles.")
    rejected_share: float = Field(default=0.05, gt=0, le=1, description="Raise at this share of rejected values of a meter.")
    rejected_values: int = Field(
        default=50, ge=1, le=10_000, description="Judge rejected values over windows with at least so many values."
    )
    rejected_count: int | None = Field(
        default=None, ge=1, description="Raise at so many rejected values in one window, whatever the share."
    )
    attack_clear: Duration = Field(
        default=3600.0, description="Clear a possible attack when nothing unauthentic has arrived from the meter for this long."
    )
    counter_limit: int = Field(
        default=2_000_000_000, ge=1, lt=2**32, description="Raise when an invocation counter reaches this; 4,294,967,295 is the last one."
    )
    gap_open_after: Duration = Field(default=3600.0, description="Raise when load profile intervals have been missing for this long.")
    gap_clear: Duration = Field(default=86400.0, description="Clear a permanent gap when no further interval was lost for this long.")
    clock_limit: Duration = Field(default=60.0, description="Largest tolerated difference between the meter's clock and ours.")

    @model_validator(mode="after")
    def _ordered(self) -> AlertSettings:
        if not self.publish_critical <= self.publish_warning <= self.publish_clear:
            raise ValueError("the publish limits must rise: publish_critical <= publish_warning <= publish_clear")
        return self


class RecentWindows:
    """Counts of the newest windows that together reach `enough` in their first column."""

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self.rows: list[tuple[int, ...]] = []

    def add(self, *row: int) -> tuple[int, ...] | None:
        """Add a window; the column sums once there is enough. A window with 0 in the first column says nothing."""
        if row[0] == 0:
            return None
        self.rows.append(row)
        while sum(older[0] for older in self.rows[1:]) >= self._enough:
            del self.rows[0]
        sums = tuple(sum(column) for column in zip(*self.rows, strict=True))
        return sums if sums[0] >= self._enough else None


class PublishRate:
    """Too few of the fleet's cycles are acknowledged by ThingsBoard; says whether they are lost before or after reading."""

    kind = PUBLISH_RATE

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self._recent = RecentWindows(settings.min_cycles)

    def judge(self, report: HealthReport) -> Verdict | None:
        """Judge the newest windows that have enough cycles."""
        sums = self._recent.add(report.cycles, report.failed, report.with_values, report.cycles_published)
        if sums is None:
            return None
        cycles, failed, with_values, published = sums
        rate = published / cycles
        severity = None
        if rate < self._settings.publish_warning:
            severity = Severity.CRITICAL if rate < self._settings.publish_critical else Severity.WARNING
        losses = {
            "failed at the meters": failed,
            "without an accepted value": max(0, cycles - failed - with_values),
            "read but not acknowledged by ThingsBoard": with_values - published,
        }
        parts = ", ".join(f"{count} {where}" for where, count in losses.items() if count)
        evidence = f"{published} of {cycles} cycles published ({percent_text(published, cycles)})" + (f": {parts}" if parts else "")
        return Verdict(severity, rate >= self._settings.publish_clear, evidence, _publish_remedy(losses))

    def state(self) -> Any:
        """The newest windows."""
        return list(self._recent.rows)

    def restore(self, state: Any) -> None:
        """Take over the newest windows."""
        self._recent.rows = list(state)


_PUBLISH_REMEDIES = (
    "failed at the meters: look at the alerts and the last errors of the meters, and at the link they share",
    "without an accepted value: look at the rejections (validate) and at the cycles' errors; the template may not fit the meter",
    "read but not acknowledged: is another program using the same token? see the session alerts of thingsboard; check that the"
    " server is reachable and does not limit the rate. Nothing is lost meanwhile: readings wait in the outbox",
)


def _publish_remedy(losses: dict[str, int]) -> str:
    """The remedies of the causes that make up at least a quarter of the loss, largest first."""
    total = sum(losses.values())
    ranked = sorted(zip(losses.values(), _PUBLISH_REMEDIES, strict=True), reverse=True)
    return "; ".join(remedy for count, remedy in ranked if count and 4 * count >= total)


class MeterSilent:
    """No good reading from a meter for long. Only time in which reports came counts: our own pause is not the meter's."""

    kind = METER_SILENT

    def __init__(self, settings: AlertSettings, interval: float | None) -> None:
        self._limit = timedelta(seconds=max(settings.silent_after, 3 * (interval or 0.0)))
        self._watched_since: datetime | None = None
        self._watched_until: datetime | None = None

    def judge(self, report: HealthReport) -> Verdict:
        """Judge by the time since the last good reading, or since we watch."""
        if self._watched_since is None or self._watched_until is None or not self._watched_since <= report.start <= self._watched_until:
            self._watched_since = report.start
        self._watched_until = report.end
        since = self._watched_since if report.last_good is None else max(report.last_good, self._watched_since)
        silent = report.end - since >= self._limit
        heard = report.last_good is not None and report.last_good >= report.start
        last = "never" if report.last_good is None else f"{report.last_good:%Y-%m-%d %H:%M:%S} UTC"
        evidence = f"last good reading: {last}" if heard else f"no good reading for {span(report.end - since)} (last: {last})"
        if report.last_error is not None and not heard:
            evidence += f"; last error: {report.last_error}"
        return Verdict(Severity.CRITICAL if silent else None, heard, evidence, _error_remedy(report.last_error))

    def state(self) -> Any:
        """Since when and until when reports came, in ms."""
        return [None if moment is None else to_ms(moment) for moment in (self._watched_since, self._watched_until)]

    def restore(self, state: Any) -> None:
        """Take over the watched time."""
        self._watched_since, self._watched_until = (None if ms is None else from_ms(ms) for ms in state)


class MeterFailing:
    """A large share of a meter's cycles fails."""

    kind = METER_FAILING

    def __init__(self, settings: AlertSettings) -> None:
        self._share = settings.failing_share
        self._recent = RecentWindows(settings.failing_cycles)
        self._last_error: str | None = None

    def judge(self, report: HealthReport) -> Verdict | None:
        """Judge the newest windows that have enough cycles; well again below half the limit."""
        self._last_error = report.last_error or self._last_error
        sums = self._recent.add(report.cycles, report.failed)
        if sums is None:
            return None
        cycles, failed = sums
        evidence = f"{failed} of {cycles} cycles failed"
        if failed and self._last_error is not None:
            evidence += f"; last error: {self._last_error}"
        bad = failed / cycles >= self._share
        return Verdict(Severity.WARNING if bad else None, failed / cycles < self._share / 2, evidence, _error_remedy(self._last_error))

    def state(self) -> Any:
        """The newest windows and the last error."""
        return [list(self._recent.rows), self._last_error]

    def restore(self, state: Any) -> None:
        """Take over the newest windows and the last error."""
        self._recent.rows, self._last_error = list(state[0]), state[1]


class ValuesRejected:
    """Many values of a meter break the rules of validate."""

    kind = VALUES_REJECTED

    def __init__(self, settings: AlertSettings) -> None:
        self._share = settings.rejected_share
        self._count = settings.rejected_count
        self._recent = RecentWindows(settings.rejected_values)

    def judge(self, report: HealthReport) -> Verdict | None:
        """Judge this window by count, or the newest windows that have enough values by share; well again below half of both."""
        sums = self._recent.add(report.readings + report.rejected, report.rejected)
        remedy = "look at rule and evidence of the rejections; correct the limits of validate, or scale and unit in the template"
        if self._count is not None and report.rejected >= self._count:
            return Verdict(Severity.WARNING, False, f"{report.rejected} values rejected in one window", remedy)
        if sums is None:
            return None
        values, rejected = sums
        well = rejected / values < self._share / 2 and (self._count is None or 2 * report.rejected < self._count)
        evidence = f"{rejected} of {values} values rejected"
        return Verdict(Severity.WARNING if rejected / values >= self._share else None, well, evidence, remedy)

    def state(self) -> Any:
        """The newest windows."""
        return list(self._recent.rows)

    def restore(self, state: Any) -> None:
        """Take over the newest windows."""
        self._recent.rows = list(state)


class ClockOff:
    """A meter's clock differs too much from ours: its load profile and tariffs are off by as much."""

    kind = CLOCK_OFF

    def __init__(self, settings: AlertSettings) -> None:
        self._limit = settings.clock_limit

    def judge(self, report: HealthReport) -> Verdict | None:
        """Judge the newest difference; well again below half the limit."""
        offset = report.clock_offset
        if offset is None:
            return None
        direction = "ahead" if offset > 0 else "behind"
        evidence = f"the meter's clock is {span(timedelta(seconds=abs(offset)))} {direction}"
        remedy = "check this host's time service, then set the meter's clock; a whole hour points to daylight saving or a wrong deviation"
        return Verdict(Severity.WARNING if abs(offset) > self._limit else None, abs(offset) < self._limit / 2, evidence, remedy)

    def state(self) -> Any:
        """Nothing: the newest difference is all it needs."""
        return None

    def restore(self, state: Any) -> None:
        """Nothing to take over."""


class SubjectAlerts:
    """The rules of one subject, a meter or the fleet, and which of its alerts are raised."""

    def __init__(self, subject: str, settings: AlertSettings, interval: float | None = None) -> None:
        self.subject = subject
        self.raised: dict[str, Severity] = {}
        self._rules: list[Rule] = [PublishRate(settings)]
        if subject != FLEET:
            self._rules = [MeterSilent(settings, interval), MeterFailing(settings), ValuesRejected(settings), ClockOff(settings)]
            self._rules += [PossibleAttack(settings.attack_clear), InvocationCounterSpent(settings.counter_limit)]
            self._rules += [GapOpen(settings.gap_open_after), GapPermanent(settings.gap_clear)]

    def judge(self, report: HealthReport) -> list[Alert]:
        """The alerts that this report raises or clears."""
        alerts = []
        for rule in self._rules:
            verdict = rule.judge(report)
            alert = None if verdict is None else self._change(rule.kind, verdict, report.end)
            if alert is not None:
                alerts.append(alert)
        return alerts

    def clear_all(self, ts: datetime, evidence: str) -> list[Alert]:
        """Clear whatever is raised, because nothing will be reported about the subject any more."""
        raised, self.raised = self.raised, {}
        return [Alert(kind, self.subject, severity, False, ts, evidence, "") for kind, severity in raised.items()]

    def state(self) -> dict[str, Any]:
        """A copy of everything, in plain types."""
        return {
            "version": VERSION,
            "subject": self.subject,
            "raised": {kind: severity.value for kind, severity in self.raised.items()},
            "rules": {rule.kind: rule.state() for rule in self._rules},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` (of this VERSION) returned; a rule it does not know starts anew."""
        self.raised = {kind: Severity(severity) for kind, severity in state["raised"].items()}
        for rule in self._rules:
            if rule.kind in state["rules"]:
                rule.restore(state["rules"][rule.kind])

    def _change(self, kind: str, verdict: Verdict, ts: datetime) -> Alert | None:
        before = self.raised.get(kind)
        if verdict.severity is not None and before not in (verdict.severity, Severity.CRITICAL):
            self.raised[kind] = verdict.severity
            return Alert(kind, self.subject, verdict.severity, True, ts, verdict.evidence, verdict.remedy)
        if before is not None and verdict.severity is None and verdict.well:
            del self.raised[kind]
            return Alert(kind, self.subject, before, False, ts, verdict.evidence, "")
        return None


def _error_remedy(last_error: str | None) -> str:
    """What to do about an error text that begins with the name of its kind, as HealthReport.last_error does."""
    name = "" if last_error is None else last_error.partition(":")[0]
    return next((remedy for kind, remedy in _REMEDY_BY_ERROR.items() if kind.value == name), _REMEDY_UNKNOWN)
