"""Which process of a cluster this is: what several meters share must be in the hands of one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Number `index` (from 0) of `count` processes that run one dataflow."""

    index: int = 0
    count: int = 1

    def owns(self, name: str, names: Iterable[str]) -> bool:
        """Whether this process is the one for `name`, one of `names`, which are dealt out evenly.

        Every process comes to the same result, and comes to it again after each restart, as long as names and count stay.
        """
        return sorted(set(names)).index(name) % self.count == self.index

    def elsewhere(self, lines: Mapping[str, str]) -> frozenset[str]:
        """The members of lines that another process owns.

        :arg lines: member -> line.
        """
        return frozenset(member for member, line in lines.items() if not self.owns(line, lines.values()))
