"""What a rule about alerts says of one health report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from model.messages import HealthReport, Severity


@dataclass(frozen=True, slots=True)
class Verdict:
    """A rule's judgement: `severity` if it is bad now; else whether it is `well` again; neither between the limits."""

    severity: Severity | None
    well: bool
    evidence: str
    remedy: str


class Rule(Protocol):
    """One kind of alert about one subject."""

    kind: str

    def judge(self, report: HealthReport) -> Verdict | None:
        """The judgement after this report; None if there is not enough to judge by."""

    def state(self) -> Any:
        """What must survive a restart, in plain types."""

    def restore(self, state: Any) -> None:
        """Take over what `state` returned."""


def span(time: timedelta) -> str:
    """A length of time in words."""
    seconds = round(time.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
