"""What is known about one meter and GET-with-list: whether it takes lists, and which attributes spoil them.

Meters offer with-list in their conformance and then refuse it, do not answer it, fail every item, or fail every item
after one that they do not have. So an error in a list counts only when a single request confirms it, and a meter whose
lists never worked is read one by one from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from connectors.dlms.events import Attribute, AttributeResult

UNANSWERED = 2
"""Lists without an answer, none of them ever answered, after which a meter counts as one that does not take them."""

log = structlog.get_logger(__name__)


@dataclass
class ListCycle:
    """What one cycle has seen of lists; forgotten at its end."""

    single: bool = False
    failed: set[Attribute] = field(default_factory=set)


class WithList:
    """Decides what goes into the next request and which of its results are believed.

    :arg meter: the meter's id, for the log.
    :arg most: attributes per list at most; 1 for a meter that shall not be asked for lists.
    """

    def __init__(self, meter: str, most: int) -> None:
        self._most = most
        self._usable = most > 1
        self._proven = False
        self._unanswered = 0
        self._second_chance = True
        self._left_out: set[Attribute] = set()
        self._log = log.bind(meter=meter)

    def choose(
        self, missing: Sequence[Attribute], cycle: ListCycle, fits: Callable[[Sequence[Attribute], int], int]
    ) -> Sequence[Attribute]:
        """The attributes of the next request; `fits` says how many, from the front, one request holds.

        What is asked alone keeps its place: a scaler is asked before values that may turn out to need no request.
        """
        if cycle.single or not self._usable:
            return missing[:1]
        listable = [a for a in missing if a not in self._left_out and a not in cycle.failed]
        if len(listable) < 2 or missing[0] is not listable[0]:
            return missing[:1]
        return listable[: fits(listable, self._most)]

    def believed(self, results: Sequence[AttributeResult], cycle: ListCycle) -> Sequence[AttributeResult]:
        """The results that count; attributes without one are asked again, alone."""
        good = [result for result in results if result.error is None]
        if len(results) == 1:
            self._asked_alone(results[0])
            return results
        if good:
            self._proven, self._unanswered = True, 0
        elif not self._proven:
            self.refused(cycle, "it answered every item with an error")
        cycle.failed.update(result.attribute for result in results if result.error is not None)
        return good

    def refused(self, cycle: ListCycle, why: str) -> None:
        """A whole list was refused: one by one in this cycle, for good where a list never worked."""
        cycle.single = True
        if self._usable and not self._proven:
            self._usable = False
            self._log.info("this meter does not take GET-with-list, reading one by one", reason=why)

    def unanswered(self, cycle: ListCycle) -> None:
        """A list was not answered, which a disturbance may do once but not `UNANSWERED` times in a row."""
        cycle.single = True
        self._unanswered += 1
        if self._unanswered >= UNANSWERED:
            self.refused(cycle, "no reply to it")

    def _asked_alone(self, result: AttributeResult) -> None:
        """Lists leave out what failed alone until it succeeds alone: one attribute that a meter lacks may spoil a list.

        Lists that failed before the culprit was known get one more chance without it.
        """
        if result.error is None:
            self._left_out.discard(result.attribute)
        elif result.attribute not in self._left_out:
            self._left_out.add(result.attribute)
            if not self._usable and self._second_chance and self._most > 1:
                self._usable, self._second_chance = True, False
                self._log.info("GET-with-list is tried once more, without the attribute that fails alone too")
