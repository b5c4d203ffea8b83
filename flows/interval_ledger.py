"""What became of each load profile's intervals, from the meter to ThingsBoard: read, delivered, on the way, missing, lost.

Nothing is guessed: an interval is read when the archive has it. It is delivered when it has left the outbox, which a record does in
three ways only: acknowledged (delivered), refused for good, or given up for lack of room or age; the last two leave a trace that is
looked up here. The archive and the outbox are two files written one after the other, so what was read within the last seconds may be
counted as delivered a moment too early.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from connectors.archive.reader import ArchiveReader
from connectors.dlms.profile.capture import possible_keys
from connectors.dlms.profile.recalls import RECALLS, Recalls
from connectors.thingsboard.outbox_state import Undelivered, undelivered_intervals
from connectors.thingsboard.session_names import outboxes_on_disk
from model.messages import Gap, GapState
from model.settings.meter import MeterSettings
from model.settings.pipeline import PipelineSettings
from model.timestamps import from_ms, to_ms


@dataclass(frozen=True, slots=True)
class IntervalAccount:
    """The intervals of one load profile of one meter since a moment; those of open and lost gaps are counted whole.

    :arg expected: all that the meter should have given: read, open and lost.
    :arg waiting: read, in the outbox, not acknowledged yet.
    :arg refused: read, and refused for good by ThingsBoard.
    :arg given_up: read, dropped by the outbox, and not read again yet.
    :arg oldest: of those read; None where there are none.
    """

    meter: str
    profile: str
    read: int
    waiting: int
    refused: int
    given_up: int
    open: int
    lost: int
    oldest: datetime | None
    newest: datetime | None

    @property
    def expected(self) -> int:
        """Read, open and lost."""
        return self.read + self.open + self.lost

    @property
    def delivered(self) -> int:
        """Read and acknowledged."""
        return self.read - self.waiting - self.refused - self.given_up

    @property
    def settled(self) -> bool:
        """Whether all that was expected is delivered."""
        return self.delivered == self.expected


def interval_accounts(
    pipeline: PipelineSettings, archive: ArchiveReader, gaps: list[Gap], since: datetime, meter: str | None = None
) -> Iterator[IntervalAccount]:
    """One account for each load profile of each meter of the configuration, or of `meter`; by meter and profile.

    :raises StorageError: when the archive or an outbox cannot be read; an outbox that is not there is empty.
    """
    undelivered = _undelivered(pipeline.state_dir, meter)
    recalls = Recalls(pipeline.state_dir / RECALLS)
    missing: dict[tuple[str, str], list[Gap]] = {}
    for gap in gaps:
        missing.setdefault((gap.meter, gap.profile), []).append(gap)
    for each in sorted(pipeline.meters, key=lambda settings: settings.id):
        if meter is None or each.id == meter:
            yield from _accounts(pipeline, archive, each, undelivered.get(each.id, Undelivered()), recalls, missing, since)


def _undelivered(state_dir: Path, meter: str | None) -> dict[str, Undelivered]:
    """By meter, what all outboxes hold: a meter may have moved to another session, or its session may be configured no more."""
    found: dict[str, Undelivered] = {}
    for path in outboxes_on_disk(state_dir).values():
        for name, held in undelivered_intervals(path, meter).items():
            known = found.setdefault(name, Undelivered())
            known.waiting.update(held.waiting)
            known.refused.update(held.refused)
    return found


def _accounts(
    pipeline: PipelineSettings,
    archive: ArchiveReader,
    meter: MeterSettings,
    undelivered: Undelivered,
    recalls: Recalls,
    missing: dict[tuple[str, str], list[Gap]],
    since: datetime,
) -> Iterator[IntervalAccount]:
    profiles = pipeline.profiles(meter)
    if not profiles:
        return
    given_up = {to_ms(moment): noted * 1000 for moment, noted in recalls.of(meter.id, 0.0)}
    for name, profile in sorted(profiles.items()):
        read = archive.intervals_read(meter.id, possible_keys(profile, pipeline.reads(meter)), since)
        gaps = [gap for gap in missing.get((meter.id, name), []) if gap.end >= since]
        again = {ts for ts, noted in given_up.items() if ts in read and read[ts] < noted}
        yield IntervalAccount(
            meter=meter.id,
            profile=name,
            read=len(read),
            waiting=len(undelivered.waiting & read.keys()),
            refused=len(undelivered.refused & read.keys() - undelivered.waiting),
            given_up=len(again - undelivered.waiting - undelivered.refused),
            open=sum(gap.intervals for gap in gaps if gap.state is GapState.OPEN),
            lost=sum(gap.intervals for gap in gaps if gap.state is GapState.LOST),
            oldest=from_ms(min(read)) if read else None,
            newest=from_ms(max(read)) if read else None,
        )
