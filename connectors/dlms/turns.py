"""Whose turn it is on a line: no I/O, no clock of its own.

Of those that wait, the one that had its last turn longest ago is next, so that all get equally many turns, whatever their
number. A meter that did not answer last time (it is failing) costs whole timeouts, in which others may become due: as long
as some meter of the line answers, the failing ones together get `VAIN_SHARE` of the time. When none does, or one comes
back, nobody is held back: the whole line may have been down.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

VAIN_SHARE = 0.05
"""Part of the line's time that meters which do not answer may take, while there are others that do."""

MOST_SAVED = 10.0
"""Seconds of such time that can be saved up; a burst of failures finds it there."""

MOST_OWED = 15.0
"""Seconds that can be owed: no meter is left alone longer than this over VAIN_SHARE, five minutes."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    failing: bool
    place: int


class Turns:
    """The order of turns of one line; `Hashable` members, times in seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, _Waiting] = {}
        self._last: dict[Hashable, int] = {}
        self._given = 0
        self._asked = 0
        self._healthy: set[Hashable] = set()
        self._failed: set[Hashable] = set()
        self._current: Hashable | None = None
        self._saved = 0.0
        self._saved_at: float | None = None
        self._began = 0.0

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
        self._healthy.discard(member)
        self._failed.discard(member)

    def next(self, now: float) -> Hashable | None:
        """Who has the turn now; it does not wait any more. None where nobody may begin yet."""
        self._save(now)
        held_back = self._held_back()
        able = [member for member, waiting in self._waiting.items() if not (waiting.failing and held_back)]
        if not able:
            return None
        chosen = min(able, key=lambda member: (self._last.get(member, 0), self._waiting[member].place))
        del self._waiting[chosen]
        self._given += 1
        self._last[chosen] = self._given
        self._current, self._began = chosen, now
        return chosen

    def look_again_in(self, now: float) -> float | None:
        """Seconds until one that is held back may begin; None where nobody is."""
        self._save(now)
        return -self._saved / VAIN_SHARE if self._waiting and self._held_back() else None

    def ended(self, answered: bool, now: float) -> None:
        """The turn is over, and brought something or not."""
        self._save(now)
        if answered:
            if self._current in self._failed:
                self._saved = max(self._saved, 0.0)
            self._failed.discard(self._current)
            self._healthy.add(self._current)
            return
        self._healthy.discard(self._current)
        self._failed.add(self._current)
        self._saved = max(self._saved - (now - self._began), -MOST_OWED) if self._healthy else 0.0

    def _held_back(self) -> bool:
        """Whether those that fail have to leave the line to the others."""
        return self._saved < 0.0 and bool(self._healthy)

    def _save(self, now: float) -> None:
        passed = 0.0 if self._saved_at is None else max(0.0, now - self._saved_at)
        self._saved = min(MOST_SAVED, self._saved + VAIN_SHARE * passed)
        self._saved_at = now
