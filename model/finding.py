"""What is wrong with an installation, found by looking at it from outside: the words that `commands health` and the API share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

PUBLISH_MINOR, PUBLISH_CRITICAL = 0.95, 0.5
"""Cycles that ThingsBoard acknowledged over cycles that should have been, below which something is wrong."""


class Degree(str, Enum):
    """How bad a finding is."""

    MINOR = "minor"
    """Readings still arrive, but somebody should look."""
    CRITICAL = "critical"
    """Readings do not arrive, or are about to be lost."""


class Verdict(str, Enum):
    """What all findings together say."""

    HEALTHY = "healthy"
    MINOR = "minor"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    :arg subject: what it concerns: a meter's id, a line, "flow", "session", ...
    :arg what: the cause, with the evidence, as a sentence; both causes where two look alike.
    :arg remedy: what to do.
    """

    severity: Degree
    subject: str
    what: str
    remedy: str

    def as_json(self) -> dict[str, str]:
        """Plain values."""
        return {"severity": self.severity.value, "subject": self.subject, "what": self.what, "remedy": self.remedy}


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """The worst of them; healthy where there is none."""
    degrees = {finding.severity for finding in findings}
    if Degree.CRITICAL in degrees:
        return Verdict.CRITICAL
    return Verdict.MINOR if degrees else Verdict.HEALTHY


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Critical ones before minor ones, otherwise in the order in which they were found."""
    return sorted(findings, key=lambda finding: finding.severity is not Degree.CRITICAL)


def clipped(names: Sequence[str], most: int = 5) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
