"""Counts the missing intervals of one meter's load profiles for its health reports. Pure."""

from __future__ import annotations

from typing import Any

from model.messages import Gap, GapState
from model.timestamps import to_ms


class OpenGaps:
    """The gaps of one meter that are open, by profile and start; intervals and the time since when each is missed, in ms."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], tuple[int, int]] = {}

    def note(self, gap: Gap) -> int:
        """Take over what became of a gap; how many intervals are lost for good by it."""
        place = (gap.profile, to_ms(gap.start))
        self._open.pop(place, None)
        if gap.state is GapState.OPEN:
            self._open[place] = (gap.intervals, to_ms(gap.since))
        return gap.intervals if gap.state is GapState.LOST else 0

    @property
    def intervals(self) -> int:
        """How many intervals are missing and asked for again."""
        return sum(intervals for intervals, _ in self._open.values())

    @property
    def since(self) -> int | None:
        """Since when the oldest of them is missed, in ms."""
        return min((since for _, since in self._open.values()), default=None)

    def state(self) -> list[list[Any]]:
        """A copy, in plain types."""
        return [[*place, *gap] for place, gap in self._open.items()]

    @classmethod
    def restored(cls, state: list[list[Any]]) -> OpenGaps:
        """As `state` left it."""
        gaps = cls()
        gaps._open = {(profile, start): (intervals, since) for profile, start, intervals, since in state}
        return gaps
