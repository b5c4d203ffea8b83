"""Which records may be the reason why something failed, and what follows from it. Pure bookkeeping, no I/O.

A message that the server will never take must not block the rest for ever, and a good one must not die for the server's
troubles. So a packet that is refused is taken apart: half the records per packet, until one is alone.
- Called malformed (0x99) while alone, it dies at once.
- Otherwise (a server error, or the connection closes whenever it is sent, which is all that MQTT 3.1.1 shows) it is sent
  alone `PATIENCE` times, then stands back behind everything else, and dies only if it fails once more after other
  messages were accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PATIENCE = 3
"""How often a record fails alone before it stands back."""

WITNESSED = 2
"""At so many endings of a connection a record was on its way before it is suspected."""


@dataclass
class _Case:
    most: int
    failures: int = 0
    stands_back: bool = False
    accepted_before: int = 0


class Suspects:
    """What is known against records, by row id."""

    def __init__(self) -> None:
        self._cases: dict[int, _Case] = {}
        self._witnessed: dict[int, int] = {}
        self._unclear: set[int] = set()
        self._accepted = 0

    def accepted(self, ids: Iterable[int]) -> None:
        """The server took these records."""
        self._accepted += 1
        self.forget(ids)

    def forget(self, ids: Iterable[int]) -> None:
        """Nothing more will be heard of these records."""
        for row_id in ids:
            self._cases.pop(row_id, None)
            self._witnessed.pop(row_id, None)
            self._unclear.discard(row_id)

    def take_apart(self, ids: Sequence[int]) -> None:
        """A packet of several records was refused: at most half of them share the next one."""
        for row_id in ids:
            self._cases[row_id] = _Case(max(1, len(ids) // 2))
            self._unclear.discard(row_id)

    def failed_alone(self, row_id: int) -> bool:
        """A record failed while it was alone; returns whether it is to be given up."""
        case = self._cases.setdefault(row_id, _Case(1))
        self._unclear.discard(row_id)
        case.failures += 1
        if case.stands_back:
            return self._accepted > case.accepted_before
        if case.failures >= PATIENCE:
            case.stands_back, case.accepted_before = True, self._accepted
        return False

    def ended_with(self, ids: Iterable[int]) -> None:
        """The connection ended while these records were on their way; seen twice, they are unclear."""
        for row_id in ids:
            self._witnessed[row_id] = self._witnessed.get(row_id, 0) + 1
            if self._witnessed[row_id] >= WITNESSED:
                self._unclear.add(row_id)

    @property
    def one_at_a_time(self) -> bool:
        """Whether only one packet may be on its way, so that the next ending names the culprit."""
        return bool(self._unclear)

    def most_together(self, row_id: int) -> int | None:
        """The most records that may share a packet with this one; None for any number."""
        case = self._cases.get(row_id)
        return None if case is None else case.most

    def must_be_alone(self, row_id: int) -> bool:
        """Whether nothing else may be on its way beside this record."""
        case = self._cases.get(row_id)
        return case is not None and case.failures > 0

    def stands_back(self, row_id: int) -> bool:
        """Whether everything else goes first."""
        case = self._cases.get(row_id)
        return case is not None and case.stands_back

    def cleared(self, ids: Iterable[int]) -> None:
        """The packet with these records came back without blame."""
        for row_id in ids:
            self._unclear.discard(row_id)
