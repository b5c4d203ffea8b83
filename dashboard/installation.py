"""One installation as the API sees it: its configuration, its archive, its outbox and what its processes say of themselves.

Everything is read, nothing is written, and everything may be missing: a pipeline that has never run, an archive that is being
replaced, a configuration with a mistake. What cannot be read becomes a finding, never an error of the API.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from connectors.archive.reader import ArchivedReport
from connectors.archive.schema import FILE_NAME as ARCHIVE_NAME
from connectors.archive.survey import ArchiveSurvey, RaisedAlert
from connectors.thingsboard.forgotten import Forgotten, forgotten_outboxes
from connectors.thingsboard.outbox_state import OutboxState, look_into
from connectors.thingsboard.session_names import outbox_files
from dashboard.archive_pool import ArchivePool
from dashboard.configuration import ConfigurationWatch, Configured
from dashboard.fleet import Fleet, fleet_without_archive, look_at_fleet
from dashboard.node_rates import NodeRates
from dashboard.refreshed import Refreshed
from dashboard.verdict import Facts, judge
from model.errors import StorageError
from model.finding import Finding
from model.messages import FLEET, Alert
from model.node import NodeType
from model.settings.meter import MeterSettings
from model.settings.thingsboard import SINGLE
from model.status import ProcessStatus, StatusFiles, owned_sessions, read_files
from model.timestamps import to_ms, utc_now

OUTBOX_PATIENCE = 0.1
"""Seconds that counting the outboxes may take, all together."""

ALARMS = 500
"""Alarms that are kept at hand."""

THINGSBOARD_OUT = "thingsboard-out"

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class ArchiveGlance:
    """What the archive says about all meters; `trouble` is why it says nothing."""

    fleet: Fleet
    report: ArchivedReport | None
    alarms: Sequence[RaisedAlert]
    standing: Sequence[Alert]
    trouble: StorageError | None = None


@dataclass(frozen=True, slots=True)
class OutboxGlance:
    """What the outboxes say.

    :arg states: by session; those that do not exist yet, or cannot be read, are left out.
    :arg troubles: why one cannot be read, by session.
    :arg left: those of sessions that are configured no more, with records that nobody delivers.
    """

    states: Mapping[str, OutboxState]
    troubles: Mapping[str, StorageError]
    left: Sequence[Forgotten] = ()


class Installation:
    """Looks at one installation for as many readers as there are; what takes long is looked at once for all of them.

    :arg file: pipeline.yaml. :arg clock: the host's time.
    """

    def __init__(
        self, file: Path, node_types: Mapping[str, NodeType], check_meter: Callable[[MeterSettings], None], clock: Clock = utc_now
    ) -> None:
        self._clock = clock
        self._watch = ConfigurationWatch(file, node_types, check_meter)
        self._pool_lock = threading.Lock()
        self._pool_of: tuple[Path, ArchivePool] | None = None
        self.rates = NodeRates()
        self.archive_glance: Refreshed[ArchiveGlance] = Refreshed(self._look_at_archive, lifetime=2.0)
        self.status: Refreshed[StatusFiles] = Refreshed(self._look_at_status, lifetime=1.0)
        self.outbox: Refreshed[OutboxGlance] = Refreshed(self._look_at_outbox, lifetime=1.0)

    @property
    def configured(self) -> Configured:
        """What pipeline.yaml says now."""
        return self._watch.current()

    @property
    def archive(self) -> ArchivePool:
        """Connections to the archive in the state_dir that pipeline.yaml names now."""
        path = self.configured.state_dir / ARCHIVE_NAME
        with self._pool_lock:
            if self._pool_of is None or self._pool_of[0] != path:
                if self._pool_of is not None:
                    self._pool_of[1].close()
                self._pool_of = (path, ArchivePool(path))
            return self._pool_of[1]

    @property
    def sessions(self) -> tuple[str, ...]:
        """The sessions with ThingsBoard: the configured ones, and those that the running flow has besides."""
        configured = self.configured.sessions or tuple(sorted(owned_sessions(self.status.get().processes))) or (SINGLE,)
        return tuple(dict.fromkeys([*configured, *sorted(owned_sessions(self.running()))]))

    @property
    def delivers(self) -> bool:
        """Whether the pipeline delivers to ThingsBoard at all."""
        nodes = self.configured.nodes
        return not nodes or any(node.type == THINGSBOARD_OUT for node in nodes)

    @property
    def outboxes(self) -> Mapping[str, Path]:
        """The outbox of each session, whether it exists or not."""
        return outbox_files(self.configured.state_dir, self.sessions)

    def now(self) -> datetime:
        """The host's time."""
        return self._clock()

    def running(self) -> tuple[ProcessStatus, ...]:
        """The processes of the flow that run."""
        return self.status.get().running(self.now())

    def facts(self) -> Facts:
        """What the verdict is made of."""
        configured, archive, outbox = self.configured, self.archive_glance.get(), self.outbox.get()
        gaps_open, gaps_lost = archive.fleet.gaps()
        troubles = [] if archive.trouble is None else [("archive", archive.trouble)]
        sessions = self.sessions
        troubles += [("outbox" if len(sessions) == 1 else f"outbox {name}", trouble) for name, trouble in outbox.troubles.items()]
        return Facts(
            now=self.now(),
            status=self.status.get(),
            delivers=self.delivers,
            problems=configured.problems,
            fleet=None if archive.report is None else archive.report.report,
            unreachable=archive.fleet.unreachable(),
            meters=len(configured.meters) or len(archive.fleet.meters),
            gaps_open=gaps_open,
            gaps_lost=gaps_lost,
            sessions=sessions,
            outboxes=outbox.states,
            left=outbox.left,
            standing=self.standing(),
            unusable=[(subject, trouble.what, trouble.remedy) for subject, trouble in troubles],
        )

    def findings(self) -> list[Finding]:
        """What is wrong."""
        return judge(self.facts())

    def standing(self) -> list[Alert]:
        """Alarms that stand, newest first: those in the archive, and the sessions' own where they did not get there."""
        found = list(self.archive_glance.get().standing)
        for outbox in self.outbox.get().states.values():
            alert = outbox.alert
            if alert is not None and alert.raised and not any((a.kind, a.subject) == (alert.kind, alert.subject) for a in found):
                found.append(alert)
        return sorted(found, key=lambda alert: alert.ts, reverse=True)

    def close(self) -> None:
        """Close what is open."""
        with self._pool_lock:
            if self._pool_of is not None:
                self._pool_of[1].close()

    def _look_at_archive(self) -> ArchiveGlance:
        configured = self.configured
        try:
            with self.archive.survey() as survey:
                return self._glance(survey, configured)
        except StorageError as error:
            return ArchiveGlance(fleet_without_archive(configured), None, (), (), error)

    def _glance(self, survey: ArchiveSurvey, configured: Configured) -> ArchiveGlance:
        return ArchiveGlance(
            fleet=look_at_fleet(survey, configured, to_ms(self.now())),
            report=survey.latest_report(FLEET),
            alarms=survey.newest_alerts(ALARMS),
            standing=survey.standing_alerts(),
        )

    def _look_at_status(self) -> StatusFiles:
        found = read_files(self.configured.state_dir)
        self.rates.observe(found.running(self.now()))
        return found

    def _look_at_outbox(self) -> OutboxGlance:
        states, troubles, outboxes = {}, {}, self.outboxes
        patience = OUTBOX_PATIENCE / len(outboxes)
        for session, path in outboxes.items():
            with suppress(OSError):
                if not path.exists():
                    continue
            try:
                states[session] = look_into(path, patience)
            except StorageError as error:
                troubles[session] = error
        configured = self.configured
        left = tuple(forgotten_outboxes(configured.state_dir, tuple(outboxes), patience)) if configured.sessions else ()
        return OutboxGlance(states, troubles, left)
