"""What is known about one meter and GET-with-list: whether it takes lists, and which attributes spoil them.

Meters offer with-list in their conformance and then refuse it, do not answer it, fail every item, or fail every item
after one that they do not have. So an error in a list counts only when a single request confirms it, and a meter whose
lists never worked is read one by one from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from connectors.dlms.events import Attribute, AttributeResult


@dataclass
class ListCycle:
    """What one cycle has seen of lists; forgotten at its end."""

    single: bool = False
    failed: set[Attribute] = field(default_factory=set)


class WithList:
    """Decides what goes into the next request and which of its results are believed.

    :arg most: attributes per list at most; 1 for a meter that shall not be asked for lists.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._usable = most > 1
        self._proven = False
        self._second_chance = True
        self._left_out: set[Attribute] = set()

    @property
    def usable(self) -> bool:
        """Whether lists are asked for at all."""
        return self._usable

    def choose(
        self, missing: Sequence[Attribute], cycle: ListCycle, fits: Callable[[Sequence[Attribute], int], int]
    ) -> Sequence[Attribute]:
        """The attributes of the next request; `fits` says how many, from the front, one request holds.

        What is asked alone keeps its place: a scaler is asked before values that may turn out to need no request.
        """
        listable = [a for a in missing if a not in self._left_out and a not in cycle.failed]
        if cycle.single or not self._usable or len(listable) < 2 or missing[0] is not listable[0]:
            return missing[:1]
        return listable[: fits(listable, self._most)]

    def believed(self, results: Sequence[AttributeResult], cycle: ListCycle) -> Sequence[AttributeResult]:
        """The results that count; attributes without one are asked again, alone."""
        good = [result for result in results if result.error is None]
        if len(results) == 1:
            if not good:
                self._leave_out(results[0].attribute)
            return results
        if good:
            self._proven = True
        elif not self._proven:
            self.failed(cycle)
        cycle.failed.update(result.attribute for result in results if result.error is not None)
        return good

    def failed(self, cycle: ListCycle) -> None:
        """A whole list was refused or not answered: one by one in this cycle, for good where a list never worked."""
        cycle.single = True
        self._usable = self._usable and self._proven

    def _leave_out(self, attribute: Attribute) -> None:
        """One attribute that the meter does not have may have spoilt the lists: they get one more chance without it."""
        if attribute in self._left_out:
            return
        self._left_out.add(attribute)
        if not self._usable and self._second_chance and self._most > 1:
            self._usable, self._second_chance = True, False
