"""Tells what becomes of one profile's gaps: opened, closed, lost, each once. Pure but for the log.

What was open before a restart is told once more: whoever counts gaps may have lost them (a deleted archive, windows of another
length), and the same gap twice is one gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from connectors.dlms.profile.ledger import Ledger, LostGap, OpenGap
from model.messages import Gap, GapState

STALLED_PERIODS, STALLED = 4, timedelta(hours=6)
"""A meter that answers, but has recorded nothing for so many capture periods and so long, has stopped; a wrong clock is less."""

log = structlog.get_logger(__name__)


class GapNews:
    """What was told of the gaps of one profile.

    :arg meter: the meter's id.
    :arg profile: the profile's name.
    :arg ledger: where the gaps are; those in it are known already.
    """

    def __init__(self, meter: str, profile: str, ledger: Ledger, now: datetime) -> None:
        self._meter = meter
        self._profile = profile
        self._ledger = ledger
        self._log = log.bind(meter=meter, profile=profile)
        self._told = {gap.start: self._gap(gap, GapState.OPEN, _reason(gap), now) for gap in ledger.gaps}
        if ledger.stalled is not None:
            self._told[ledger.stalled.start] = self._gap(ledger.stalled, GapState.OPEN, _STALLED_REASON, now)
        self._retold = not self._told

    def changes(self, lost: Sequence[LostGap], now: datetime, caught_up: bool) -> list[Gap]:
        """What became of gaps since it was told last.

        :arg lost: the gaps that are lost from now on.
        :arg caught_up: whether the meter has given all that it recorded until now.
        """
        current = {gap.start: self._gap(gap, GapState.OPEN, _reason(gap), now) for gap in self._ledger.gaps}
        stalled = self._stalled(now, caught_up)
        if stalled is not None:
            current[stalled.start] = stalled
        gone = {gap.start for gap in lost}
        changes = [
            self._gap(OpenGap(told.start, told.end, 0, told.since), GapState.CLOSED, "read after all", now)
            for start, told in self._told.items()
            if start not in current and start not in gone
        ]
        changes += [self._gap(OpenGap(gap.start, gap.end, 0, gap.since), GapState.LOST, gap.reason, now) for gap in lost]
        for start, gap in current.items():
            told = self._told.get(start)
            if told is None or not self._retold or (told.end, told.reason) != (gap.end, gap.reason):
                changes.append(gap)
        self._told, self._retold = current, True
        self._log_gaps([gap for gap in changes if gap.state is GapState.OPEN], "intervals missing, they will be asked for again")
        self._log_gaps([gap for gap in changes if gap.state is GapState.LOST], "intervals lost for good")
        return changes

    def _stalled(self, now: datetime, caught_up: bool) -> Gap | None:
        """What the meter should have recorded since the bookmark, where it has recorded nothing for long; it is asked each round."""
        ledger = self._ledger
        last, period, before = ledger.last, ledger.period, ledger.stalled
        if not caught_up:
            return None if before is None else self._gap(before, GapState.OPEN, _STALLED_REASON, now)
        ledger.stalled = None
        if last is None or not period or now - last < max(STALLED_PERIODS * period, STALLED):
            return None
        since = now if before is None else before.since
        ledger.stalled = OpenGap(last + period, last + period * ((now - last) // period), 0, since)
        gap = self._gap(ledger.stalled, GapState.OPEN, _STALLED_REASON, now)
        return replace(gap, open_total=gap.open_total + gap.intervals)

    def _log_gaps(self, gaps: Sequence[Gap], what: str) -> None:
        if gaps:
            self._log.warning(
                what,
                gaps=len(gaps),
                intervals=sum(gap.intervals for gap in gaps),
                first=gaps[0].start.isoformat(),
                last=gaps[-1].end.isoformat(),
                reason=gaps[-1].reason,
            )

    def _gap(self, gap: OpenGap, state: GapState, reason: str, at: datetime) -> Gap:
        ledger = self._ledger
        return Gap(
            meter=self._meter,
            profile=self._profile,
            start=gap.start,
            end=gap.end,
            intervals=max(1, ledger.expected(gap.start, gap.end)),
            state=state,
            since=gap.since,
            at=at,
            reason=reason,
            open_total=ledger.missing,
            lost_total=ledger.lost,
            read_total=ledger.read,
        )


def _reason(gap: OpenGap) -> str:
    if gap.dropped:
        return "read, but given up by the outbox before they were delivered"
    return f"the meter answered without these rows, asked for {gap.answers} time{'s' if gap.answers != 1 else ''}"


_STALLED_REASON = "the meter has recorded nothing since; it is asked each time"
