"""One area that is looked at, and the installation that is looked at."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from commands.host.processes import exists
from model.errors import Problem
from model.finding import Degree, Finding
from model.loading.load import Loaded
from model.settings.meter import MeterSettings
from model.settings.thingsboard import SINGLE
from model.status import Owned, ProcessStatus, StatusFiles, owned_sessions, session_elsewhere

START_REMEDY = "start it: systemctl start dlms-thingsboard, or python -m bytewax.run flows.main"


@dataclass
class Area:
    """What was seen in one area.

    :arg facts: what is well, or only worth knowing. :arg unseen: what could not be looked at, and why.
    """

    name: str
    facts: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def minor(self, what: str, remedy: str, subject: str | None = None) -> None:
        """Somebody should look."""
        self.findings.append(Finding(Degree.MINOR, subject or self.name, what, remedy))

    def critical(self, what: str, remedy: str, subject: str | None = None) -> None:
        """Readings do not arrive, or are about to be lost."""
        self.findings.append(Finding(Degree.CRITICAL, subject or self.name, what, remedy))

    def note(self, severity: Degree, what: str, remedy: str, subject: str | None = None) -> None:
        """As bad as the caller says."""
        self.findings.append(Finding(severity, subject or self.name, what, remedy))

    def fact(self, what: str) -> None:
        """It is well, or only worth knowing."""
        self.facts.append(what)

    def not_seen(self, what: str) -> None:
        """It could not be looked at."""
        self.unseen.append(what)


@dataclass(frozen=True)
class Site:
    """The installation.

    :arg loaded: its configuration; None where that is broken, with the `problems`.
    :arg status: what its processes wrote last.
    """

    file: Path
    state_dir: Path
    loaded: Loaded | None
    problems: tuple[Problem, ...]
    status: StatusFiles
    now: datetime

    @cached_property
    def running(self) -> tuple[ProcessStatus, ...]:
        """The processes of the flow that run."""
        return self.status.running(self.now)

    @cached_property
    def living(self) -> tuple[ProcessStatus, ...]:
        """Those that exist on this host, also where they have stopped telling about themselves."""
        here = socket.gethostname()
        return tuple(status for status in self.status.processes if status.ended is None and status.host == here and exists(status.pid))

    @property
    def keeper(self) -> str | None:
        """Address of the process with session, outbox and archive, where the flow runs and that one is on another host."""
        return session_elsewhere(self.running)

    @property
    def pids(self) -> frozenset[int]:
        """The processes of the flow on this host."""
        return frozenset(status.pid for status in self.living)

    @cached_property
    def owned(self) -> Mapping[str, list[Owned]]:
        """The sessions of the processes that run, by name."""
        return owned_sessions(self.running)

    @cached_property
    def sessions(self) -> tuple[str, ...]:
        """The sessions with ThingsBoard: those that are configured, and those that the running flow has besides or, where the
        configuration is broken, that are known of otherwise."""
        if self.loaded is not None:
            known = list(self.loaded.settings.thingsboard.session_names)
        else:
            known = sorted(owned_sessions(self.status.processes)) or [SINGLE]
        return tuple(dict.fromkeys([*known, *sorted(self.owned)]))

    def named(self, what: str, session: str) -> str:
        """`what`, and of which session where there are several."""
        return f"{what} {session}" if len(self.sessions) > 1 or session != SINGLE else what

    @cached_property
    def polled(self) -> Mapping[str, MeterSettings]:
        """The meters that are called, by id."""
        return {} if self.loaded is None else {meter.id: meter for meter in self.loaded.settings.meters if meter.is_polled}

    def recent(self, meter: MeterSettings) -> timedelta:
        """How old the latest cycle of a meter may be."""
        assert self.loaded is not None
        return timedelta(seconds=max(60.0, 3 * self.loaded.settings.interval(meter)))


def ago(moment: datetime, now: datetime) -> str:
    """Such as "12 s ago", or the time where it is long ago."""
    seconds = (now - moment).total_seconds()
    return f"{seconds:.0f} s ago" if 0 <= seconds < 7200 else f"at {moment:%Y-%m-%d %H:%M:%S} UTC"


def note_damaged_aside(area: Area, path: Path, subject: str | None = None) -> None:
    """Note each damaged file that the flow moved aside and replaced by the one at `path`, which is what the area is about."""
    aside = sorted(path.parent.glob(f"{path.name}.damaged-*")) if path.parent.is_dir() else []
    for file in [file for file in aside if not file.name.endswith(("-wal", "-shm"))]:
        area.minor(
            f"the {area.name} was damaged; what could be read went into a new one, the old one is {file.name}",
            f"check the disk (dmesg, smartctl); then delete {file}, or keep it as evidence elsewhere",
            subject,
        )
