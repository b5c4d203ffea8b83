"""Stretches of the outbox that are read page by page: what is read now, and what waited from before."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from connectors.thingsboard.outbox import Outbox, Pending

Read = Callable[[int, int, int], list[Pending]]
Order = Literal["oldest-first", "newest-first"]


class Upwards:
    """Row ids behind `after`, oldest first, up to `upto` or without an end.

    :arg read: reads a page as `Outbox.pending` does.
    """

    def __init__(self, outbox: Outbox, after: int, upto: int | None = None, read: Read | None = None) -> None:
        self._outbox = outbox
        self._read = outbox.pending if read is None else read
        self._after = after
        self._upto = upto

    def exhausted(self) -> bool:
        """Whether there is nothing more to read at the moment."""
        return self._after >= self._end()

    def left(self) -> int:
        """The most records that may still be read."""
        return max(0, self._end() - self._after)

    def page(self, most: int) -> list[Pending]:
        """The next records."""
        end = self._end()
        page = self._read(self._after, most, end)
        self._after = page[-1].id if page else max(self._after, end)
        return page

    def again(self, lowest: int, highest: int) -> None:
        """Read what lies between these row ids once more."""
        self._after = min(self._after, max(lowest - 1, 0))

    def extend(self, upto: int) -> None:
        """Read on to here."""
        self._upto = upto

    def _end(self) -> int:
        return self._outbox.newest if self._upto is None else self._upto


class Downwards:
    """Row ids up to `upto`, newest first."""

    def __init__(self, outbox: Outbox, upto: int) -> None:
        self._outbox = outbox
        self._before = upto + 1

    def exhausted(self) -> bool:
        """Whether there is nothing more to read."""
        return self._before <= 1

    def left(self) -> int:
        """The most records that may still be read."""
        return self._before - 1

    def page(self, most: int) -> list[Pending]:
        """The next records."""
        page = self._outbox.pending_before(self._before, most)
        self._before = page[-1].id if page else 1
        return page

    def again(self, lowest: int, highest: int) -> None:
        """Read what lies between these row ids once more."""
        self._before = max(self._before, highest + 1)

    def extend(self, upto: int) -> None:
        """Begin here once more: it is newer than all the rest."""
        self._before = max(self._before, upto + 1)


class Skipped:
    """The span of row ids that were passed over and must be read again."""

    def __init__(self) -> None:
        self.lowest: float = math.inf
        self.highest = 0

    def add(self, row_id: int) -> None:
        """Widen the span."""
        self.lowest, self.highest = min(self.lowest, row_id), max(self.highest, row_id)

    def __bool__(self) -> bool:
        return self.highest > 0
