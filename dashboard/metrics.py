"""Everything that can be counted, as Prometheus reads it. Names follow its conventions: base units, `_total` for what only grows.

Counts of cycles, exchanges and readings are sums over the fleet's reports since the flow started (or since the archive begins),
added up as the reports come; so they are a window behind. They begin anew when the flow is started, as counters of a process do.
Errors are counted from the archive, two minutes late, when their cycles are surely written.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from connectors.archive.reader import ArchivedReport
from connectors.archive.schema import FILE_NAME as ARCHIVE_NAME
from connectors.archive.survey import ArchiveSurvey, LatestCycle
from dashboard.installation import Installation
from dashboard.refreshed import Refreshed
from model.errors import StorageError
from model.finding import Verdict, verdict_of
from model.messages import FLEET, ErrorKind
from model.status import ProcessStatus, owned_sessions
from model.timestamps import from_ms

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATE = timedelta(minutes=2)
LATENESS_OF = timedelta(minutes=15)
"""Cycles that began within this time tell how late the schedule is."""

MOST_REPORTS = 50_000

_SESSION_STATES = ("connecting", "up", "backing-off", "closed")


class FleetCounters:
    """Sums over the fleet's reports and the archive's errors since the flow's start. Counts only grow while one flow runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flow: datetime | None = None
        self._next: datetime | None = None
        self._errors_until: datetime | None = None
        self.sums: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def advance(self, survey: ArchiveSurvey, started: datetime | None, now: datetime) -> None:
        """Add what has come since the last time.

        :arg started: when the flow was started; None while none runs.
        """
        with self._lock:
            if started is not None and started != self._flow:
                self._flow, self._next, self._errors_until = started, started, started
                self.sums.clear()
                self.errors.clear()
            self._add_reports(survey.reports(FLEET, self._next or from_ms(0), now, limit=MOST_REPORTS))
            until = now - LATE
            since = self._errors_until or now - timedelta(days=1)
            if until > since:
                self.errors.update(survey.error_kinds(since, until))
                self._errors_until = until

    def _add_reports(self, reports: Sequence[ArchivedReport]) -> None:
        for archived in reports:
            report = archived.report
            self._next = report.start + timedelta(milliseconds=1)
            self.sums.update(
                ok=report.ok,
                partial=report.partial,
                failed=report.failed,
                exchanges=report.exchanges,
                associations=report.associations,
                readings=report.readings,
                rejected=report.rejected,
                published=report.published + report.published_late,
            )


class Metrics(Collector):
    """Collects at each scrape."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._counters = FleetCounters()
        self._cycles: Refreshed[Sequence[LatestCycle]] = Refreshed(self._look_at_cycles, lifetime=10.0)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """The answer to a scrape."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: what there is depends on what is found."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics, as of now."""
        running = self._installation.running()
        yield from self._process(running)
        yield from self._meters()
        yield from self._counts(running)
        yield from self._lateness()
        yield from _session(self._installation.sessions, running)
        yield from self._outbox()
        yield from _nodes(self._installation, bool(running))
        yield from self._sizes()

    def _process(self, running: Sequence[ProcessStatus]) -> Iterator[Metric]:
        yield _gauge("dlms_flow_running", "Whether the flow runs: 1 or 0.", float(bool(running)))
        yield _gauge("dlms_flow_processes", "Processes of the flow that run.", len(running))
        started = GaugeMetricFamily(
            "dlms_process_start_time_seconds", "Start time of each process of the flow, since 1970.", labels=["process"]
        )
        for process in running:
            started.add_metric([str(process.process)], process.started.timestamp())
        yield started
        verdict = verdict_of(self._installation.findings())
        health = GaugeMetricFamily("dlms_health_verdict", "The verdict of /health: 1 for the one that holds.", labels=["verdict"])
        for each in Verdict:
            health.add_metric([each.value], float(each is verdict))
        yield health
        severities = Counter(alert.severity.value for alert in self._installation.standing())
        alarms = GaugeMetricFamily("dlms_alarms_standing", "Alarms that stand, by severity.", labels=["severity"])
        for severity in ("critical", "warning"):
            alarms.add_metric([severity], severities[severity])
        yield alarms

    def _meters(self) -> Iterator[Metric]:
        fleet = self._installation.archive_glance.get().fleet
        counts = fleet.counts()
        states = GaugeMetricFamily("dlms_meters", "Meters by state of their last window.", labels=["state"])
        for state in ("green", "yellow", "red", "unknown"):
            states.add_metric([state], getattr(counts, state))
        yield states
        open_, lost = fleet.gaps()
        missing = GaugeMetricFamily(
            "dlms_profile_intervals_missing", "Load profile intervals that are missing, by what is known.", labels=["state"]
        )
        missing.add_metric(["open"], open_)
        missing.add_metric(["lost"], lost)
        yield missing

    def _counts(self, running: Sequence[ProcessStatus]) -> Iterator[Metric]:
        installation = self._installation
        report = installation.archive_glance.get().report
        try:
            with installation.archive.survey() as survey:
                started = min((process.started for process in running), default=None)
                self._counters.advance(survey, started, installation.now())
        except StorageError:
            pass  # a finding of /health; what was counted stays
        sums = self._counters.sums
        cycles = CounterMetricFamily("dlms_cycles", "Attempts to read a meter, by outcome.", labels=["outcome"])
        for outcome in ("ok", "partial", "failed"):
            cycles.add_metric([outcome], sums[outcome])
        yield cycles
        errors = CounterMetricFamily("dlms_read_errors", "Cycles and attributes that could not be read, by kind of error.", labels=["kind"])
        for kind in ErrorKind:
            errors.add_metric([kind.value], self._counters.errors[kind.value])
        yield errors
        yield CounterMetricFamily("dlms_exchanges", "Requests sent to meters.", value=sums["exchanges"])
        yield CounterMetricFamily("dlms_associations", "Associations opened with meters.", value=sums["associations"])
        yield CounterMetricFamily("dlms_readings_accepted", "Readings that passed the rules.", value=sums["readings"])
        yield CounterMetricFamily("dlms_readings_rejected", "Readings that broke a rule.", value=sums["rejected"])
        yield CounterMetricFamily("dlms_readings_published", "Readings that ThingsBoard acknowledged.", value=sums["published"])
        if report is not None:
            yield _gauge(
                "dlms_window_end_time_seconds", "End of the newest window of the health node, since 1970.", report.report.end.timestamp()
            )
            rate = report.report.publish_rate
            if rate is not None:
                yield _gauge("dlms_publish_ratio", "Cycles of the newest window that ThingsBoard acknowledged over all of them.", rate)
            times = SummaryOfWindow("dlms_read_time_seconds", "Time to read a meter in the newest window.")
            yield times.quantiles(((0.5, report.read_p50), (0.95, report.read_p95)))

    def _lateness(self) -> Iterator[Metric]:
        late = sorted(max(0, cycle.started - cycle.due) / 1000 for cycle in self._cycles.get())
        family = GaugeMetricFamily(
            "dlms_schedule_lateness_seconds", "How long after its time each meter's newest cycle began.", labels=["quantile"]
        )
        for quantile in (0.5, 0.95, 1.0):
            if late:
                family.add_metric([str(quantile)], late[min(len(late) - 1, int(quantile * len(late)))])
        yield family

    def _look_at_cycles(self) -> Sequence[LatestCycle]:
        since = (self._installation.now() - LATENESS_OF).timestamp() * 1000
        try:
            with self._installation.archive.survey() as survey:
                return [cycle for cycle in survey.latest_cycle_of_each().values() if cycle.started >= since]
        except StorageError:
            return []

    def _outbox(self) -> Iterator[Metric]:
        by = _BySession(self._installation.sessions)
        records = by.gauge("dlms_outbox_records", "Records that ThingsBoard has not acknowledged.")
        ages = by.gauge("dlms_outbox_oldest_age_seconds", "Age of the oldest record that waits; 0 where none does.")
        dead = by.gauge("dlms_outbox_dead_records", "Records that ThingsBoard refused for good.")
        acknowledged = by.gauge("dlms_last_acknowledgement_time_seconds", "When ThingsBoard last acknowledged anything, since 1970.")
        for name, outbox in self._installation.outbox.get().states.items():
            session = by.labels(name)
            age = 0.0 if outbox.oldest is None else max(0.0, (self._installation.now() - outbox.oldest).total_seconds())
            records.add_metric(session, outbox.waiting)
            ages.add_metric(session, age)
            dead.add_metric(session, outbox.dead)
            if outbox.acknowledged is not None:
                acknowledged.add_metric(session, outbox.acknowledged.timestamp())
        yield from (family for family in (records, ages, dead, acknowledged) if family.samples)

    def _sizes(self) -> Iterator[Metric]:
        archive = self._installation.configured.state_dir / ARCHIVE_NAME
        yield _gauge("dlms_archive_size_bytes", "Bytes of the archive on disk, with its WAL.", _with_wal(archive))
        by = _BySession(self._installation.sessions)
        sizes = by.gauge("dlms_outbox_size_bytes", "Bytes of the outbox on disk, with its WAL.")
        for name, path in self._installation.outboxes.items():
            sizes.add_metric(by.labels(name), _with_wal(path))
        yield sizes


class _BySession:
    """Families with a label for the session where there are several; of the only one there is no label."""

    def __init__(self, sessions: Sequence[str]) -> None:
        self._several = len(sessions) > 1

    def gauge(self, name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
        """A gauge for each session."""
        return GaugeMetricFamily(name, help_text, labels=[*self.labels("session"), *labels])

    def counter(self, name: str, help_text: str, *labels: str) -> CounterMetricFamily:
        """A counter for each session."""
        return CounterMetricFamily(name, help_text, labels=[*self.labels("session"), *labels])

    def labels(self, session: str) -> list[str]:
        """What says which session."""
        return [session] if self._several else []


class SummaryOfWindow:
    """Quantiles of one window; a gauge per quantile, because a window is no running total."""

    def __init__(self, name: str, help_text: str) -> None:
        self._family = GaugeMetricFamily(name, help_text, labels=["quantile"])

    def quantiles(self, values: Iterable[tuple[float, float | None]]) -> Metric:
        """The family with each quantile that is known."""
        for quantile, value in values:
            if value is not None:
                self._family.add_metric([str(quantile)], value)
        return self._family


def _session(sessions: Sequence[str], running: Sequence[ProcessStatus]) -> Iterator[Metric]:
    by, owned = _BySession(sessions), owned_sessions(running)
    owners = by.gauge("dlms_session_owners", "Processes that own the session to ThingsBoard; more than one is a fault.")
    state = by.gauge("dlms_session_state", "State of the session: 1 for the one that holds.", "state")
    ends = by.counter("dlms_session_ends", "Ends of the session since its process started, by cause.", "cause")
    sent = by.counter("dlms_session_messages_sent", "Messages published since its process started.")
    acknowledged = by.counter("dlms_session_messages_acknowledged", "Messages acknowledged since its process started.")
    for name in sessions:
        labels, mine = by.labels(name), owned.get(name, [])
        owners.add_metric(labels, len(mine))
        for session in [each.session for each in mine[:1]]:
            for each in _SESSION_STATES:
                state.add_metric([*labels, each], float(each == session.state))
            for cause, count in session.ends_by_cause.items():
                ends.add_metric([*labels, cause], count)
            sent.add_metric(labels, session.sent)
            acknowledged.add_metric(labels, session.acknowledged)
    yield from (owners, state, ends, sent, acknowledged)


def _nodes(installation: Installation, running: bool) -> Iterator[Metric]:
    items = CounterMetricFamily("dlms_node_items", "Items that came out of each node since the flow started.", labels=["node", "port"])
    for name, count in (installation.rates.counts() if running else {}).items():
        for port, number in count.emitted.items():
            items.add_metric([name, port], number)
    yield items


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)


def _with_wal(file: Path) -> int:
    return sum(_size(file.with_name(file.name + suffix)) for suffix in ("", "-wal"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
