"""From a meter to readings that may be sent: name, link, data link, association, one read, mapping, validation.

Many meters accept one connection at a time, and a line takes one conversation. So a meter that the running pipeline reads well, or
whose line it holds, is left alone: then the pipeline's own latest cycle says what is wrong. Where a connection is refused while a
pipeline runs, the finding says who may hold it.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from commands.diagnosis.causes import BEFORE_ASSOCIATION, asked_otherwise, remedy_of
from commands.diagnosis.links import BrokenLinkError, Chain
from commands.host.clock import clock_state
from commands.host.holders import holder_of_connection, holder_of_port
from connectors.archive.reader import ArchivedCycle, ArchiveReader
from connectors.archive.schema import FILE_NAME
from connectors.dlms.access import OwnConnection
from connectors.dlms.host_names import lookup
from connectors.dlms.invocation_counters import FILE_NAME as COUNTERS
from connectors.dlms.invocation_counters import InvocationCounters
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.session import Session
from model.errors import MeterError, PipelineError, StorageError
from model.loading.load import Loaded, LoadedNode
from model.messages import Cycle, ErrorKind, Outcome, ReadError, Reading, Rejection
from model.node import MAIN
from model.settings.meter import MeterSettings
from model.timestamps import utc_now
from operators.alert_rules import AlertSettings
from operators.alert_verdict import span
from operators.map import CycleMapper, MapSettings
from operators.validate import ValidateSettings
from operators.validation.judge import MeterJudge, RuleBook

RECENT_INTERVALS = 3
RECENT_AT_LEAST = timedelta(seconds=60)
"""A cycle counts as recent within so many intervals, and within this time in any case."""

HISTORY = timedelta(days=1)
"""How far back the archive is asked."""

CLOCK_LIMIT = 60.0
"""Seconds, where no alert node says otherwise."""

SHOWN = 6
"""Values, errors or rejections that a finding lists."""


@dataclass(frozen=True)
class MeterLook:
    """How to look at meters.

    :arg loaded: the configuration.
    :arg resolve: see `connectors.dlms.session.Session`.
    :arg holder: pid of the pipeline that runs on this host with this configuration's session; None when none does.
    :arg force: connect also to a meter that the pipeline reads well.
    """

    loaded: Loaded
    resolve: Callable[[str, str], str]
    holder: str | None
    force: bool

    def look_at(self, chain: Chain, meter: MeterSettings) -> None:
        """All links of one meter, or up to the first that is broken."""
        with suppress(BrokenLinkError):
            asyncio.run(self._look_at(chain, meter))

    async def _look_at(self, chain: Chain, meter: MeterSettings) -> None:
        if not await self._look_at_pipeline(chain, meter):
            return
        cycle = await self._read(chain, meter)
        self._look_at_clock(chain, meter, cycle)
        readings = self._map(chain, meter, cycle)
        self._validate(chain, meter, readings)

    async def _look_at_pipeline(self, chain: Chain, meter: MeterSettings) -> bool:
        """What the running pipeline knows of the meter; whether the meter may be spoken to from here as well."""
        recent = self._recent_cycles(meter)
        latest = recent[-1] if recent else None
        why_not = None if self.holder is None or self.force else await self._why_not(meter, latest)
        with chain.link(meter.id, "pipeline") as finding:
            if self.holder is None:
                finding.skip("no pipeline runs on this host with this session, so none holds the meter's connection")
            elif latest is None:
                finding.note(f"the running pipeline (pid {self.holder}) has no recent cycle of this meter in the archive")
            elif latest.outcome is Outcome.OK:
                finding.found = f"the running pipeline (pid {self.holder}) reads it well: {_cycle_text(latest)}"
            else:
                error = min(latest.errors, key=lambda error: error.key is not None, default=None)
                told = _some([self._error_text(meter, error) for error in latest.errors]) or "no reason is noted"
                what = f"the running pipeline (pid {self.holder}) cannot read it: {told}"
                if latest.value_count:
                    what = f"the running pipeline (pid {self.holder}) reads it in part: {_cycle_text(latest)}; without value: {told}"
                remedy = (error.remedy if error else "") or "look for its id in the pipeline's log"
                if why_not is not None and not latest.value_count:
                    raise BrokenLinkError(what, remedy)
                finding.note(what, remedy)
        if why_not is not None:
            with chain.link(meter.id, "connection") as finding:
                finding.skip(why_not)
        return why_not is None

    async def _why_not(self, meter: MeterSettings, latest: ArchivedCycle | None) -> str | None:
        """Why the meter is left alone while a pipeline runs; None where it may be spoken to."""
        if meter.is_ciphered:
            return _CIPHERED
        if latest is not None and latest.value_count:
            return _ONE_AT_A_TIME
        holder = await _holder_of_link(meter)
        return None if holder is None else f"not opened: {meter.address.line} is in use by {holder}; --force opens it all the same"

    def _look_at_clock(self, chain: Chain, meter: MeterSettings, cycle: Cycle) -> None:
        if cycle.clock_offset is None:
            return
        with chain.link(meter.id, "clock") as finding:
            alerts = [node.settings for node in self.loaded.nodes if isinstance(node.settings, AlertSettings)]
            offset, limit = cycle.clock_offset, min((setting.clock_limit for setting in alerts), default=CLOCK_LIMIT)
            if abs(offset) <= limit:
                finding.found = f"agrees with this host's within {abs(offset):.1f} s"
                return
            off = f"{span(timedelta(seconds=abs(offset)))} {'ahead' if offset > 0 else 'behind'}"
            host = clock_state()
            if host.synchronised:
                finding.note(f"the meter's clock is {off}; this host's is synchronised ({host.said_by})", _METER_CLOCK_REMEDY)
            else:
                what = f"the meter's clock is {off} of this host's, which is not known to be synchronised: either may be off"
                finding.note(what, f"check this host's time service (timedatectl); {_METER_CLOCK_REMEDY}")

    async def _read(self, chain: Chain, meter: MeterSettings) -> Cycle:
        with chain.link(meter.id, "name") as finding:
            finding.found = await self._resolved(meter)
        access = OwnConnection(meter)
        session = Session(meter, self.resolve, InvocationCounters(self.loaded.settings.state_dir / COUNTERS), access)
        try:
            await self._associate(chain, meter, session)
            with chain.link(meter.id, "read") as finding:
                reads = self.loaded.settings.reads(meter)
                poll = MeterPoll(meter, plan_reads(reads), self.loaded.settings.interval(meter), session, access)
                cycle = await poll.cycle(utc_now())
                errors = [self._error_text(meter, error) for error in cycle.errors]
                if cycle.outcome is Outcome.FAILED:
                    raise BrokenLinkError(f"no value could be read: {_some(errors)}", cycle.errors[0].remedy if cycle.errors else "")
                text = f"{len(cycle.values)} of {len(reads)} values in {cycle.duration:.2f} s and {cycle.exchanges} exchanges"
                if errors:
                    finding.note(f"{text}; without value: {_some(errors)}", cycle.errors[0].remedy)
                else:
                    finding.found = text
            return cycle
        finally:
            await session.close()

    async def _resolved(self, meter: MeterSettings) -> str:
        parts = urlsplit(meter.connect)
        host = parts.hostname
        if parts.scheme in ("sim", "serial") or host is None:
            return f"{meter.connect} needs no name service"
        try:
            addresses = await asyncio.wait_for(lookup(host), meter.connect_timeout)
        except (OSError, asyncio.TimeoutError) as error:
            raise BrokenLinkError(f"the name {host} cannot be resolved: {error}", "check connect and this machine's name service") from None
        return f"{host} is {', '.join(addresses)}"

    async def _associate(self, chain: Chain, meter: MeterSettings, session: Session) -> None:
        """Link, data link and association are opened in one go; where it stopped tells which of them is broken."""
        fault: MeterError | None = None
        chain.looking(f"{meter.id}: association")
        neighbour = await _holder_of_link(meter)
        try:
            await session.associate()
        except MeterError as error:
            fault = error
        except PipelineError as error:
            fault = MeterError(ErrorKind.CONNECT, error.what, error.remedy)
        if fault is not None and self.holder is None and neighbour is None:
            chain.looking(f"{meter.id}: what else it may answer to")
            fault = await asked_otherwise(fault, session, meter, self.resolve)
        associating = session.failed_in not in (None, *BEFORE_ASSOCIATION)
        with chain.link(meter.id, "link") as finding:
            if fault is not None and neighbour is not None and _RESET in fault.what and not associating:
                # Whether the reset comes while connecting or with the first request is chance.
                what = f"{meter.connect}: it accepts connections and resets them; {neighbour} on this host is connected to it"
                raise BrokenLinkError(what, "stop it, many meters accept one connection at a time")
            if fault is not None and fault.kind is ErrorKind.CONNECT:
                raise self._broken(fault, meter, neighbour)
            finding.found = f"{meter.connect} is open"
        if meter.framing == "hdlc":
            with chain.link(meter.id, "HDLC") as finding:
                if fault is not None and session.failed_in in BEFORE_ASSOCIATION:
                    raise self._broken(fault, meter, neighbour)
                finding.found = f"the data link is up: server {meter.server_logical}/{meter.server_physical}, client {meter.client_sap}"
        with chain.link(meter.id, "association") as finding:
            if fault is not None:
                raise self._broken(fault, meter, neighbour)
            finding.found = f"accepted, authentication {meter.authentication}, GET-with-list {'yes' if session.with_list else 'no'}"

    def _broken(self, fault: MeterError, meter: MeterSettings, neighbour: str | None) -> BrokenLinkError:
        remedy = remedy_of(fault, meter)
        if neighbour is not None and "already belongs to" not in fault.what:
            what = f"{meter.connect}: {fault.what}; {neighbour} on this host is connected to it"
            return BrokenLinkError(what, f"stop it, many meters accept one connection at a time; else {remedy}")
        if self.holder is not None:
            remedy = f"{remedy}; the running pipeline (pid {self.holder}) may hold the only connection that this meter allows"
        return BrokenLinkError(f"{meter.connect}: {fault.what}", remedy.removeprefix("; "))

    def _error_text(self, meter: MeterSettings, error: ReadError) -> str:
        if error.key is None:
            return error.detail
        read = self.loaded.settings.reads(meter).get(error.key)
        return f"{error.key}{'' if read is None else f' ({read.obis})'}: {error.detail}"

    def _recent_cycles(self, meter: MeterSettings) -> list[ArchivedCycle]:
        now = utc_now()
        recent = max(RECENT_AT_LEAST, timedelta(seconds=RECENT_INTERVALS * self.loaded.settings.interval(meter)))
        return self._cycles(meter, now - recent, now)

    def _cycles(self, meter: MeterSettings, start: datetime, end: datetime) -> list[ArchivedCycle]:
        with suppress(StorageError), ArchiveReader(archive_file(self.loaded)) as archive:
            return archive.cycles(meter.id, start, end)
        return []

    def _map(self, chain: Chain, meter: MeterSettings, cycle: Cycle) -> list[Reading]:
        mappers = [node.settings for node in self._behind(self._reader(meter)) if isinstance(node.settings, MapSettings)]
        readings: list[Reading] = []
        with chain.link(meter.id, "mapping") as finding:
            verdicts = [verdict for settings in mappers for verdict in CycleMapper(settings, self.loaded.settings)(cycle)]
            rejected = [f"{verdict.reading.key}: {verdict.reason}" for verdict in verdicts if isinstance(verdict, Rejection)]
            readings = [verdict for verdict in verdicts if isinstance(verdict, Reading)]
            if not mappers:
                finding.skip("no map node takes this meter's cycles")
            elif not readings:
                raise BrokenLinkError(f"nothing is left to send: {_some(rejected) or 'keep and drop leave every key out'}", _MAP_REMEDY)
            elif rejected:
                finding.note(f"{len(rejected)} of {len(verdicts)} values are rejected: {_some(rejected)}", _MAP_REMEDY)
            else:
                finding.found = _some([_text(reading) for reading in readings])
        return readings

    def _validate(self, chain: Chain, meter: MeterSettings, readings: Sequence[Reading]) -> None:
        validators = [node.settings for node in self._behind(self._reader(meter)) if isinstance(node.settings, ValidateSettings)]
        with chain.link(meter.id, "validation") as finding:
            if not validators or not readings:
                finding.skip("no validate node takes this meter's readings" if not validators else "there is no reading")
                return
            rejected = []
            for settings in validators:
                judge = MeterJudge(RuleBook(settings.defaults, settings.rules), lambda _reading, _what: None)
                verdicts = [judge.judge(reading) for reading in readings]
                rejected += [f"{verdict.reading.key}: {verdict.reason}" for verdict in verdicts if isinstance(verdict, Rejection)]
            if len(rejected) >= len(readings):
                raise BrokenLinkError(f"every reading is rejected: {_some(rejected)}", _RULE_REMEDY)
            if rejected:
                finding.note(f"{len(rejected)} of {len(readings)} readings are rejected: {_some(rejected)}", _RULE_REMEDY)
            else:
                finding.found = f"{len(readings)} readings are plausible (rules along time need more than one)"

    def _reader(self, meter: MeterSettings) -> set[str]:
        """The nodes that read this meter."""
        patterns = {node.id: getattr(node.settings, "meters", ()) for node in self.loaded.nodes if node.type.name == "dlms-in"}
        return {node for node, wanted in patterns.items() if any(fnmatchcase(meter.id, pattern) for pattern in wanted)}

    def _behind(self, sources: set[str]) -> list[LoadedNode]:
        """The nodes that get something from the main output of `sources`, directly or through others, in order."""
        reached, found = set(sources), []
        for node in self.loaded.nodes:
            if any(wire.source in reached and wire.port == MAIN for wire in node.inputs):
                reached.add(node.id)
                found.append(node)
        return found


async def _holder_of_link(meter: MeterSettings) -> str | None:
    """Who on this host has the meter's link or line open."""
    address = meter.address
    if address.is_serial_port:
        return holder_of_port(address.device)
    if address.scheme not in ("tcp", "rfc2217"):
        return None
    try:
        return holder_of_connection(await asyncio.wait_for(lookup(address.host), meter.connect_timeout), address.port)
    except (OSError, asyncio.TimeoutError):
        return None  # the link "name" says so


_RESET = os.strerror(errno.ECONNRESET)
_METER_CLOCK_REMEDY = "set the meter's clock; a whole hour points to daylight saving or to a deviation of the wrong sign"
_ONE_AT_A_TIME = "not opened a second time, many meters accept one connection at a time; --force opens it all the same"
_CIPHERED = "not opened: the meter would refuse the running pipeline's lower invocation counters afterwards; --force opens it all the same"
_MAP_REMEDY = "correct unit or scale in the template, or the map node's settings"
_RULE_REMEDY = "look at the value; if it is right, widen the validate node's rule"


def archive_file(loaded: Loaded) -> Path:
    """Where the pipeline keeps its history."""
    return loaded.settings.state_dir / FILE_NAME


def _cycle_text(cycle: ArchivedCycle) -> str:
    age = (utc_now() - cycle.started).total_seconds()
    return f"{cycle.value_count} values {age:.0f} s ago in {cycle.duration:.2f} s ({cycle.outcome.value})"


def _text(reading: Reading) -> str:
    value = str(reading.value) if isinstance(reading.value, (str, bool)) else format(reading.value, "f")
    return f"{reading.key} {value} {reading.unit or ''}".strip()


def _some(texts: Sequence[str]) -> str:
    more = f", and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
