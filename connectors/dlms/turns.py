"""Whose turn it is on a line: no I/O, no clock of its own.

Of those that wait, the one that had its last turn longest ago is next, so that all get equally many turns, whatever their
number. A meter that did not answer last time (it is failing) costs whole timeouts while others wait: together the failing
ones get `VAIN_SHARE` of the line's time, and whatever time nobody else wants.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

VAIN_SHARE = 0.05
"""Part of the line's time that meters which do not answer may take from those that do."""

MOST_SAVED = 10.0
"""Seconds of such time that can be saved up; a burst of failures finds it there."""

MOST_OWED = 30.0
"""Seconds that can be owed: after an outage of the whole line no meter is left alone longer than this over VAIN_SHARE."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    failing: bool
    place: int


class Turns:
    """The order of turns of one line; `Hashable` members, times in seconds of any monotonic clock."""

    def __init__(self, now: float = 0.0) -> None:
        self._waiting: dict[Hashable, _Waiting] = {}
        self._last: dict[Hashable, int] = {}
        self._given = 0
        self._asked = 0
        self._saved = 0.0
        self._saved_at = now
        self._began = now

    @property
    def healthy_wait(self) -> bool:
        """Whether somebody waits who answered last time, or was never asked."""
        return any(not waiting.failing for waiting in self._waiting.values())

    def wait(self, member: Hashable, failing: bool) -> None:
        """`member` wants a turn. Giving up and coming again does not cost its place."""
        self._asked += 1
        self._waiting[member] = _Waiting(failing, self._asked)

    def give_up(self, member: Hashable) -> None:
        """`member` does not want a turn any more."""
        self._waiting.pop(member, None)

    def forget(self, member: Hashable) -> None:
        """`member` will not come again."""
        self.give_up(member)
        self._last.pop(member, None)

    def next(self, now: float) -> Hashable | None:
        """Who has the turn now; it does not wait any more. None where nobody may begin yet."""
        self._save(now)
        vain = self._saved >= 0.0 or not self.healthy_wait
        able = [member for member, waiting in self._waiting.items() if vain or not waiting.failing]
        if not able:
            return None
        chosen = min(able, key=lambda member: (self._last.get(member, 0), self._waiting[member].place))
        del self._waiting[chosen]
        self._given += 1
        self._last[chosen] = self._given
        self._began = now
        return chosen

    def ended(self, answered: bool, now: float) -> None:
        """The turn is over. One that brought nothing is paid for where somebody waited meanwhile who does answer."""
        self._save(now)
        if not answered and self.healthy_wait:
            self._saved = max(self._saved - (now - self._began), -MOST_OWED)

    def _save(self, now: float) -> None:
        self._saved = min(MOST_SAVED, self._saved + VAIN_SHARE * max(0.0, now - self._saved_at))
        self._saved_at = now
