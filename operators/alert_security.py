"""Rules about what is not authentic, and about the invocation counters that keep it so. Pure: no clock, no I/O."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from model.messages import ErrorKind, HealthReport, Severity
from model.timestamps import from_ms, to_ms
from operators.alert_verdict import Verdict, span

POSSIBLE_ATTACK = "possible-attack"
INVOCATION_COUNTER = "invocation-counter"


class PossibleAttack:
    """Something that was not authentic arrived in a meter's name. One is enough: honest meters send none.

    :arg clear_after: seconds without another one after which it is over.
    """

    kind = POSSIBLE_ATTACK

    def __init__(self, clear_after: float) -> None:
        self._clear = timedelta(seconds=clear_after)
        self._last: datetime | None = None

    def judge(self, report: HealthReport) -> Verdict:
        """Judge this window; well again after a time without violations."""
        total = sum(found.count for found in report.violations)
        if total:
            self._last = report.end
            kinds = ", ".join(f"{found.count} {found.violation.value}" for found in report.violations)
            evidence = f"{total} messages in the meter's name not believed ({kinds}); last: {report.violations[-1].detail}"
            return Verdict(Severity.CRITICAL, False, evidence, _ATTACK_REMEDY)
        quiet = self._last is None or report.end - self._last >= self._clear
        return Verdict(None, quiet, f"nothing unauthentic for {span(self._clear)}", "")

    def state(self) -> Any:
        """When the last window with violations ended, in ms."""
        return None if self._last is None else to_ms(self._last)

    def restore(self, state: Any) -> None:
        """Take over that time."""
        self._last = None if state is None else from_ms(state)


_ATTACK_REMEDY = (
    "none of it became a value. If it began with a change of configuration, check keys, security_suite, security_policy and"
    " server_system_title. An old counter with each association: a meter that restarts its counter needs server_counter_restarts."
    " Now and then an old counter behind a converter: it delivers old bytes. Else someone on the way changes or repeats messages:"
    " find out who has access to the line and the network, and change the keys"
)


class InvocationCounterSpent:
    """Our invocation counter towards a meter is refused, or comes near its end: then the key must be changed.

    :arg limit: the counter from which on it is near.
    """

    kind = INVOCATION_COUNTER

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def judge(self, report: HealthReport) -> Verdict | None:
        """Judge the highest counter of this window, and what the last error says."""
        refused = report.last_error is not None and report.last_error.startswith(f"{ErrorKind.COUNTER.value}:")
        if refused and not report.ok:
            return Verdict(Severity.CRITICAL, False, str(report.last_error), _COUNTER_REMEDY)
        counter = report.invocation_counter
        if counter is None:
            return None
        evidence = f"our invocation counter towards the meter is {counter}"
        spent = counter >= self._limit
        return Verdict(Severity.WARNING if spent else None, not spent and report.ok > 0, evidence, _SPENT_REMEDY)

    def state(self) -> Any:
        """Nothing: the newest report is all it needs."""
        return None

    def restore(self, state: Any) -> None:
        """Nothing to take over."""


_SPENT_REMEDY = "give the meter a new block_cipher_key, there and here, before the counter ends at 4,294,967,295"
_COUNTER_REMEDY = (
    "look for another client with the same client SAP and keys, and check the keys; the pipeline tries again only at its longest interval"
)
