"""Says each cause of trouble once, with its remedy: one log line, one raised alert, one cleared when it is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from connectors.thingsboard.ending import CONNECTION_LOST, Ending, ending_told
from model.messages import Alert
from model.settings.thingsboard import SINGLE

ALERT_KIND = "session"

REPEATED = 3
"""So many failures before anything is delivered are an alert, whatever their causes."""

SHOWN = 5
"""Moments that the evidence lists."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Incident:
    """One ending, failed attempt or refused message.

    :arg where: the server, the topic or the meter concerned.
    :arg said: what the server said, such as "reason code 0x8e"; empty when it said nothing.
    :arg lifetime: seconds that the connection had lasted; None where none ended.
    :arg at_once: whether it is worth an alert by itself.
    """

    where: str
    said: str = ""
    lifetime: float | None = None
    at_once: bool = False


class Trouble:
    """What is wrong with the session at the moment, if anything.

    A contested cause is an alert at once. Any other one (a restart, a lost connection) only when something has gone wrong
    `REPEATED` times before anything was delivered.

    :arg tell: where alerts go.
    :arg quiet: seconds without trouble after which a cause that was an alert at once counts as over; other causes, and those that
        let no session come about, are over as soon as something is delivered.
    :arg now: wall clock, aware UTC.
    :arg clock: monotonic seconds.
    :arg who: this client, for the evidence: who else is in the fight can then be told apart.
    :arg standing: an alert that an earlier run raised and did not live to clear.
    :arg subject: of its alerts, see `session_names.subject_of`.
    """

    def __init__(
        self,
        tell: Callable[[Alert], None],
        quiet: float,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        who: str = "",
        standing: Alert | None = None,
        subject: str = SINGLE,
    ) -> None:
        self._tell = tell
        self._quiet = quiet
        self._now = now
        self._clock = clock
        self._who = who
        self._subject = subject
        self._latest = clock() if standing is not None else 0.0
        self._cause: Ending | None = None
        self._lasting = standing is not None and not _over_when_delivered(ending_told(standing.evidence))
        self._times = 0
        self._failures = 0
        self._moments: deque[tuple[datetime, Incident]] = deque(maxlen=SHOWN)
        self._since: datetime | None = None
        self._alert = standing
        self._alerted = ""

    def happened(self, ending: Ending, incident: Incident) -> None:
        """The connection ended, could not be made, or a message was refused."""
        self._latest = self._clock()
        again = self._cause is not None and ending.name == self._cause.name
        self._count(ending, incident, again)
        evidence = self._evidence(incident)
        if again:
            log.debug("thingsboard session: the same trouble again", cause=ending.name, times=self._times, evidence=evidence)
        else:
            log.warning(f"thingsboard session: {ending.explanation}", cause=ending.name, evidence=evidence, remedy=ending.remedy)
        if self._worth_an_alert(ending, incident):
            self._raise(ending, evidence)

    def connected(self, protocol: str, waiting: int) -> None:
        """The server accepted a connection; worth a line only when there was no trouble before."""
        say = log.info if self._cause is None else log.debug
        say("thingsboard connected", protocol=protocol, waiting=waiting)

    def delivered(self) -> None:
        """Messages were acknowledged; the trouble may be over."""
        self._failures = 0
        if self._cause is None and self._alert is None:
            return
        if self._lasting and self._clock() - self._latest < self._quiet:
            return
        log.info("thingsboard session: the trouble is over", cause=None if self._cause is None else self._cause.name, times=self._times)
        evidence = "messages are acknowledged again" + (f"; it had happened {_times(self._times)}" if self._times else "")
        self._cause, self._lasting, self._times = None, False, 0
        if self._alert is not None:
            alert, self._alert, self._alerted = self._alert, None, ""
            self._tell(Alert(alert.kind, alert.subject, alert.severity, False, self._now(), evidence, ""))

    def _count(self, ending: Ending, incident: Incident, again: bool) -> None:
        now = self._now()
        # What was a lost connection at first is part of the evidence for what it turned out to be.
        if not again and self._cause is not CONNECTION_LOST:
            self._times, self._since = 0, None
            self._moments.clear()
        self._cause = ending
        shut_out = ending.at_the_door and incident.lifetime is None
        self._lasting = self._lasting or incident.at_once or (ending.contested and not shut_out)
        self._times += 1
        self._failures += not ending.contested
        self._since = self._since or now
        self._moments.append((now, incident))

    def _worth_an_alert(self, ending: Ending, incident: Incident) -> bool:
        if self._alerted == ending.name:
            return False
        # While a fight is on, other causes come and go with it.
        repeated = self._times >= REPEATED if self._alerted else self._failures >= REPEATED
        return ending.contested or incident.at_once or repeated

    def _evidence(self, incident: Incident) -> str:
        parts = []
        if self._times > 1 and self._since is not None:
            span = (self._moments[-1][0] - self._since).total_seconds()
            parts.append(f"{_times(self._times)} in {span:.0f} s: {', '.join(_moment(*moment) for moment in self._moments)}")
        else:
            parts.append(f"at {_moment(*self._moments[-1])}")
        parts += [incident.said or "closed without a reason"] if incident.lifetime is not None or incident.said else []
        parts.append(incident.where)
        parts += [f"this is {self._who}"] if self._who else []
        return "; ".join(parts)

    def _raise(self, ending: Ending, evidence: str) -> None:
        text = f"{ending.explanation} ({evidence})"
        self._alert = Alert(ALERT_KIND, self._subject, ending.severity, True, self._now(), text, ending.remedy)
        self._alerted = ending.name
        self._tell(self._alert)


def _over_when_delivered(ending: Ending | None) -> bool:
    return ending is not None and ending.at_the_door


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _moment(ts: datetime, incident: Incident) -> str:
    lasted = "" if incident.lifetime is None else f" after {incident.lifetime:.1f} s"
    return f"{ts:%H:%M:%S} UTC{lasted}"
