"""Says each cause of trouble once, with its remedy: one log line, one raised alert, one cleared when it is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from connectors.thingsboard.ending import Ending
from model.messages import Alert

ALERT_KIND = "session"
ALERT_SUBJECT = "thingsboard"

REPEATED = 3

log = structlog.get_logger()


class Trouble:
    """What is wrong with the session at the moment, if anything.

    A contested cause is an alert at once. Any other one (a restart, a lost connection) only when it has happened `REPEATED`
    times before anything was delivered.

    :arg tell: where alerts go.
    :arg quiet: seconds without trouble after which a contested cause counts as over; other causes are over as soon as
        something is delivered.
    :arg now: wall clock, aware UTC.
    :arg clock: monotonic seconds.
    """

    def __init__(self, tell: Callable[[Alert], None], quiet: float, now: Callable[[], datetime], clock: Callable[[], float]) -> None:
        self._tell = tell
        self._quiet = quiet
        self._now = now
        self._clock = clock
        self._latest = 0.0
        self._cause: Ending | None = None
        self._times = 0
        self._alert: Alert | None = None
        self._alerted = ""

    def happened(self, ending: Ending, evidence: str) -> None:
        """The connection ended, could not be made, or a message was refused."""
        self._latest = self._clock()
        if ending.name == (self._cause.name if self._cause is not None else None):
            self._times += 1
            log.debug("thingsboard session: the same trouble again", cause=ending.name, times=self._times, evidence=evidence)
        else:
            self._cause, self._times = ending, 1
            log.warning(f"thingsboard session: {ending.explanation}", cause=ending.name, evidence=evidence, remedy=ending.remedy)
        if (ending.contested or self._times >= REPEATED) and self._alerted != ending.name:
            self._raise(ending, evidence)

    def connected(self, protocol: str, waiting: int) -> None:
        """The server accepted a connection; worth a line only when there was no trouble before."""
        say = log.info if self._cause is None else log.debug
        say("thingsboard connected", protocol=protocol, waiting=waiting)

    def delivered(self) -> None:
        """Messages were acknowledged; the trouble may be over."""
        if self._cause is None or (self._cause.contested and self._clock() - self._latest < self._quiet):
            return
        log.info("thingsboard session: the trouble is over", cause=self._cause.name, times=self._times)
        self._cause = None
        if self._alert is not None:
            alert, self._alert, self._alerted = self._alert, None, ""
            self._tell(Alert(alert.kind, alert.subject, alert.severity, False, self._now(), "messages are acknowledged again", ""))

    def _raise(self, ending: Ending, evidence: str) -> None:
        text = f"{ending.explanation} ({evidence})"
        self._alert = Alert(ALERT_KIND, ALERT_SUBJECT, ending.severity, True, self._now(), text, ending.remedy)
        self._alerted = ending.name
        self._tell(self._alert)
