"""Says what is wrong with the outbox: one log line and one raised alert when it begins, one cleared when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timezone

import structlog

from connectors.thingsboard.outbox_rows import Losses
from model.messages import Alert, Severity
from model.settings.thingsboard import SINGLE
from model.timestamps import from_ms

FULL, DISK, FILE = "outbox-full", "outbox-disk", "outbox-file"
"""Kinds of alerts: the outbox is full, the disk under it refuses, the file was damaged or deleted."""

QUIET = 60.0
"""Seconds without a further loss, with room again, after which the outbox no longer counts as full."""

REMEMBERED = 600.0
"""Seconds for which a file that had to be replaced stays an alert; it works again at once, but somebody should look."""

REPEAT = 600.0
"""Seconds between two log lines about a loss that goes on."""

SETTLED = 1.0
"""Seconds without a refusal after which a success counts: on a disk that is nearly full, small things still fit."""

MOST_NAMED = 5
"""Meters named in an alert; the others are counted."""

ROOM_AGAIN = 0.9
"""Share of the bounds below which a full outbox has room again."""

_MORE_ROOM = "bring the connection to ThingsBoard back, or raise thingsboard.outbox.max_size and max_readings if the disk has room"

log = structlog.get_logger()


class OutboxTrouble:
    """What is wrong with the outbox at the moment.

    :arg tell: where alerts go; must not raise.
    :arg clock: wall clock, seconds since 1970.
    :arg subject: of the alerts, see `session_names.subject_of`.
    """

    def __init__(self, tell: Callable[[Alert], None], clock: Callable[[], float], subject: str = SINGLE) -> None:
        self._tell = tell
        self._subject = subject
        self._clock = clock
        self._standing: dict[str, float] = {}
        self._lost = Episode()
        self._last_loss = 0.0
        self._said = 0.0
        self._blocked = False
        self._refused = 0.0

    def resume(self, kinds: Iterable[str]) -> None:
        """These alerts stood when the process ended before; they are cleared when they are over."""
        for kind in kinds:
            self._standing.setdefault(kind, self._clock())

    def dropped(self, losses: Losses) -> None:
        """Records were dropped."""
        if not losses.load.records:
            return
        now = self._clock()
        self._lost.add(losses)
        self._last_loss = now
        evidence = f"{losses.reason}: {self._lost}"
        if self._raise(FULL, Severity.CRITICAL, evidence, _MORE_ROOM):
            self._said = now
        elif abs(now - self._said) >= REPEAT:
            self._said = now
            log.error("readings are still being dropped", evidence=evidence, remedy=_MORE_ROOM)

    def blocked(self, evidence: str) -> None:
        """The outbox is full and its policy is to block."""
        self._blocked = True
        self._raise(FULL, Severity.CRITICAL, evidence, _MORE_ROOM)

    def unblocked(self) -> None:
        """What had to wait is in the outbox."""
        self._blocked = False

    def disk(self, evidence: str, remedy: str) -> None:
        """The file cannot be written or read."""
        self._refused = self._clock()
        self._raise(DISK, Severity.CRITICAL, evidence, remedy)

    def disk_is_back(self, evidence: str) -> None:
        """The file is written again; counts when it was not refused for a moment."""
        if DISK in self._standing and abs(self._clock() - self._refused) >= SETTLED:
            self._clear(DISK, evidence)

    def file_replaced(self, evidence: str, remedy: str) -> None:
        """The file was damaged or deleted; there is a new one."""
        self._clear(FILE, "it happened again")
        self._raise(FILE, Severity.CRITICAL, evidence, remedy)

    def look(self, fill: float) -> None:
        """Clear what is over; `fill` is how full the outbox is."""
        now = self._clock()
        if FULL in self._standing and not self._blocked and fill < ROOM_AGAIN and abs(now - self._last_loss) >= QUIET:
            self._clear(FULL, f"the outbox has room again; {self._lost} in all")
            self._lost = Episode()
        if FILE in self._standing and abs(now - self._standing[FILE]) >= REMEMBERED:
            self._clear(FILE, "the new outbox file works")

    def _raise(self, kind: str, severity: Severity, evidence: str, remedy: str) -> bool:
        if kind in self._standing:
            return False
        self._standing[kind] = self._clock()
        log.error(f"{kind}: {evidence}", remedy=remedy)
        self._tell(Alert(kind, self._subject, severity, True, self._now(), evidence, remedy))
        return True

    def _clear(self, kind: str, evidence: str) -> None:
        if self._standing.pop(kind, None) is None:
            return
        log.info(f"{kind} is over: {evidence}")
        self._tell(Alert(kind, self._subject, Severity.CRITICAL, False, self._now(), evidence, ""))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), timezone.utc)


class Episode:
    """Everything that was dropped since the trouble began; prints as evidence."""

    def __init__(self) -> None:
        self.records = 0
        self.readings = 0
        self.meters: set[str] = set()
        self._oldest: int | None = None
        self._newest: int | None = None

    def add(self, losses: Losses) -> None:
        """Count further losses."""
        self.records += losses.load.records
        self.readings += losses.load.readings
        for loss in losses.meters.values():
            self.meters.add(loss.meter)
            self._oldest = loss.oldest if self._oldest is None else min(self._oldest, loss.oldest)
            self._newest = loss.newest if self._newest is None else max(self._newest, loss.newest)

    def __str__(self) -> str:
        if not self.records:
            return "nothing dropped since the last start"
        if self._oldest is None or self._newest is None:
            return f"{self.readings} readings dropped"
        names = sorted(self.meters)
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        span = f"{from_ms(self._oldest).isoformat(timespec='seconds')} to {from_ms(self._newest).isoformat(timespec='seconds')}"
        return f"{self.readings} readings dropped, from {span}, of {', '.join(names[:MOST_NAMED])}{more}"
