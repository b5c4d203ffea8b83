"""What an operator must know about a listener, as log lines and alerts: raised once, again only with news, cleared once.

`unknown-sender`: somebody calls in whom no meter's entry fits. `push-malformed`: bytes that are no notification.
`push-overflow`: cycles were lost because
the flow did not take them. `listener-down`: nobody can call in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import structlog

from connectors.dlms.push.senders import Evidence, UnknownSenders
from connectors.dlms.push.stations import Stations
from connectors.dlms.security.protection import NotAuthentic
from model.messages import Alert, Severity
from model.timestamps import utc_now

UNKNOWN_SENDER = "unknown-sender"
MALFORMED = "push-malformed"
OVERFLOW = "push-overflow"
DOWN = "listener-down"
SEVERITIES = {
    UNKNOWN_SENDER: Severity.WARNING,
    MALFORMED: Severity.WARNING,
    OVERFLOW: Severity.CRITICAL,
    DOWN: Severity.CRITICAL,
}

QUIET = 3600.0
"""Seconds without another case after which an alert is cleared."""
REPEAT = 600.0
"""Seconds between two tellings of one trouble, unless something new is seen."""
NEW_REPEAT = 10.0
"""Seconds between two tellings where something new is seen each time: senders can be invented."""
MALFORMED_LEAST = 10
"""Cases in a row, none `QUIET` after the one before, that are worth an alert: a line that is cut into begins with half a frame."""
_REFUSED_REMEMBERED = 1000
"""Meters of which is remembered when a refused notification was last logged."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Trouble:
    count: int = 0
    last: float = 0.0
    told: float | None = None
    counted_when_told: int = 0
    raised: bool = False


class Troubles:
    """The troubles of one listener. Told from the background loop, taken by the worker.

    :arg node: the node's id, the subject of alerts that concern no meter.
    :arg raised: (kind, subject) of the alerts that were raised when the last snapshot was taken.
    """

    def __init__(
        self,
        node: str,
        raised: Iterable[tuple[str, str]] = (),
        now: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._node = node
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        self._alerts: list[Alert] = []
        self._troubles = {(kind, subject): _Trouble(last=now(), raised=True) for kind, subject in raised if kind in SEVERITIES}
        self._unknown = UnknownSenders()
        self._refused: Stations[float] = Stations(_REFUSED_REMEMBERED)

    def unknown_sender(self, evidence: Evidence) -> None:
        """A notification of somebody who is not known."""
        first = self._unknown.note(evidence, self._now())
        self._tell(UNKNOWN_SENDER, self._node, *self._unknown.describe(), new=first)

    def malformed(self, where: str, why: str) -> None:
        """Bytes that are no notification."""
        remedy = "check framing (hdlc, wrapper or mbus) and, on a serial line, baud rate and parity; log: {level: debug} shows the bytes"
        self._tell(MALFORMED, self._node, f"from {where}: {why}", remedy, least=MALFORMED_LEAST)

    def not_authentic(self, meter: str, evidence: Evidence, error: NotAuthentic) -> None:
        """Something claimed to be a notification of `meter`. Only logged: the alert comes from the violations in its cycles."""
        now = self._now()
        with self._lock:
            last = self._refused.get(meter)
            if last is not None and now - last < REPEAT:
                return
            self._refused.put(meter, now)
        log.error("a notification was not believed", meter=meter, sender=str(evidence), why=error.detail, violation=error.violation.value)

    def overflow(self, lost: int) -> None:
        """Cycles that had to be thrown away."""
        what = f"{lost} notifications were thrown away because the flow did not take them in time"
        remedy = "look for what slows the flow down (disk, CPU), or share the meters among more listeners"
        self._tell(OVERFLOW, self._node, what, remedy)

    def down(self, what: str, remedy: str) -> None:
        """The listener cannot listen."""
        self._tell(DOWN, self._node, what, remedy)

    def up(self) -> None:
        """The listener listens."""
        with self._lock:
            self._clear((DOWN, self._node), "the listener listens again")

    def take(self) -> list[Alert]:
        """The alerts since the last look; each is given once."""
        now = self._now()
        with self._lock:
            for name, trouble in list(self._troubles.items()):
                if name[0] != DOWN and now - trouble.last >= QUIET:
                    self._clear(name, f"not seen for {QUIET / 60:.0f} minutes")
                    self._troubles.pop(name, None)
                    if name[0] == UNKNOWN_SENDER:
                        self._unknown = UnknownSenders()
            alerts, self._alerts = self._alerts, []
        return alerts

    def raised(self) -> list[tuple[str, str]]:
        """(kind, subject) of what is raised now."""
        with self._lock:
            return [name for name, trouble in self._troubles.items() if trouble.raised]

    def _tell(self, kind: str, subject: str, what: str, remedy: str, new: bool = False, least: int = 1) -> None:
        now = self._now()
        with self._lock:
            trouble = self._troubles.setdefault((kind, subject), _Trouble())
            trouble.count += 1
            trouble.last = now
            if trouble.count < least:
                log.info("push not understood", kind=kind, subject=subject, evidence=what)
                return
            if trouble.told is not None and now - trouble.told < (NEW_REPEAT if new else REPEAT):
                return
            more = trouble.count - trouble.counted_when_told
            evidence = what if more <= 1 else f"{what} ({more} times)"
            trouble.told, trouble.counted_when_told, trouble.raised = now, trouble.count, True
            self._alerts.append(Alert(kind, subject, SEVERITIES[kind], True, self._clock(), evidence, remedy))
        write = log.error if SEVERITIES[kind] is Severity.CRITICAL else log.warning
        write("alert raised", kind=kind, subject=subject, evidence=evidence, remedy=remedy)

    def _clear(self, name: tuple[str, str], evidence: str) -> None:
        trouble = self._troubles.get(name)
        if trouble is None or not trouble.raised:
            return
        trouble.raised, trouble.told = False, None
        kind, subject = name
        self._alerts.append(Alert(kind, subject, SEVERITIES[kind], False, self._clock(), evidence, ""))
        log.info("alert cleared", kind=kind, subject=subject, evidence=evidence)
