"""Alerts about load profile intervals: missing for long, or lost for good."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from model.messages import HealthReport, Severity
from model.timestamps import from_ms, to_ms
from operators.alert_verdict import Verdict, span

GAP_OPEN = "gap-open"
GAP_PERMANENT = "gap-permanent"


class GapOpen:
    """Intervals have been missing for long, though the meter is asked for them again and again.

    :arg after: seconds until that is worth an alert.
    """

    kind = GAP_OPEN

    def __init__(self, after: float) -> None:
        self._after = timedelta(seconds=after)

    def judge(self, report: HealthReport) -> Verdict:
        """Judge by the oldest of the missing intervals; well again when none is missing."""
        if report.gap_since is None:
            return Verdict(None, True, "no interval is missing", "")
        age = report.end - report.gap_since
        evidence = f"{report.gaps_open} load profile intervals missing, the first noticed {span(age)} ago"
        return Verdict(Severity.WARNING if age >= self._after else None, False, evidence, _OPEN_REMEDY)

    def state(self) -> Any:
        """Nothing: the newest report is all it needs."""
        return None

    def restore(self, state: Any) -> None:
        """Nothing to take over."""


class GapPermanent:
    """Intervals are lost: the meter does not have them.

    :arg clear_after: seconds without another loss after which the alert is over; the loss stays in the archive.
    """

    kind = GAP_PERMANENT

    def __init__(self, clear_after: float) -> None:
        self._clear = timedelta(seconds=clear_after)
        self._last: datetime | None = None

    def judge(self, report: HealthReport) -> Verdict:
        """Judge this window; well again after a time without another loss."""
        if report.gaps_lost:
            self._last = report.end
            evidence = f"{report.gaps_lost} load profile intervals lost for good" + (f": {report.gap_reason}" if report.gap_reason else "")
            return Verdict(Severity.WARNING, False, evidence, _LOST_REMEDY)
        quiet = self._last is None or report.end - self._last >= self._clear
        return Verdict(None, quiet, f"no further loss for {span(self._clear)}", "")

    def state(self) -> Any:
        """When the last window with a loss ended, in ms."""
        return None if self._last is None else to_ms(self._last)

    def restore(self, state: Any) -> None:
        """Take over that time."""
        self._last = None if state is None else from_ms(state)


_OPEN_REMEDY = "look at the gaps with `python -m commands gaps`; check that the meter can be reached and that its profile can be read"
_LOST_REMEDY = (
    "see `python -m commands gaps` for when and why. The meter was without power, its clock was set, or its memory is shorter than "
    "the outage: read it more often, or let the meter capture fewer columns"
)
