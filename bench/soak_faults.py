"""Faults that come and go by schedule, one after another, for as long as a soak lasts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from bench.prepared_meters import PreparedMeters
from connectors.thingsboard.client_id import client_id
from tests.contract.mosquitto import MosquittoBroker
from tests.torture.rival import Rival
from tests.torture.servant import Servant

SILENT, CORRUPTED = 33, 20
"""Percent of the prepared meters, and of their replies."""

_NOISE = {"junk": 0.2, "half": 0.05, "wrong_check": 0.05, "lost": 0.05, "duplicated": 0.05, "late": 0.05}
_QUIET = dict.fromkeys(_NOISE, 0.0)


@dataclass(frozen=True)
class Fault:
    """One fault: how it comes about, and how it ends."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]


_NEVER = (float("inf"), Fault("", lambda: None, lambda: None), False)


def faults(prepared: PreparedMeters, virtual: Servant, count: int, broker: MosquittoBroker, state: Path) -> list[Fault]:
    """All of them.

    :arg count: virtual meters; a third of them are concerned each time.
    :arg state: state_dir of the pipeline, whose session is taken over by a client of the same name, as by one with the same token.
    """
    some = range(0, count, 3)

    def tell(**what: object) -> None:
        for number in some:
            virtual.tell(meter=number, **what)

    rivals: list[Rival] = []

    def take_over() -> None:
        rivals.append(Rival(broker.port, "5", (0.5, 2.0), client_id=client_id(state)))
        rivals[0].__enter__()

    def give_back() -> None:
        while rivals:
            rivals.pop().stop()

    def nothing() -> None:
        """It is over by itself."""

    def silence() -> None:
        prepared.tell(silent=SILENT)
        tell(behaviour={"silent": True})

    def speak() -> None:
        prepared.tell(silent=0)
        tell(behaviour={"silent": False})

    return [
        Fault("meters silent", silence, speak),
        Fault("connections cut", lambda: prepared.tell(cut=True), nothing),
        Fault("replies corrupted", lambda: prepared.tell(corrupted=CORRUPTED), lambda: prepared.tell(corrupted=0)),
        Fault("broker stopped", broker.stop, broker.start),
        Fault("meters rebooted", lambda: tell(reboot=3.0), nothing),
        Fault("meters noisy", lambda: tell(behaviour=_NOISE), lambda: tell(behaviour=_QUIET)),
        Fault("session taken over", take_over, give_back),
    ]


class Schedule:
    """One fault each `every` seconds, which lasts a third of that; call `keep` often."""

    def __init__(self, all_of_them: Sequence[Fault], every: float) -> None:
        self._every = every
        self._steps = self._plan(all_of_them, time.monotonic() + every / 2)
        self._next = next(self._steps, _NEVER)
        self._standing: Fault | None = None
        self.happened: Counter[str] = Counter()

    def keep(self) -> None:
        """Begin and end what is due."""
        while time.monotonic() >= self._next[0]:
            _, fault, begins = self._next
            if begins:
                self._standing = fault
                self.happened[fault.name] += 1
                fault.begin()
            else:
                self.end()
            self._next = next(self._steps, _NEVER)

    def end(self) -> None:
        """End the fault that stands."""
        if self._standing is not None:
            self._standing.end()
            self._standing = None

    def _plan(self, all_of_them: Sequence[Fault], begin: float) -> Iterator[tuple[float, Fault, bool]]:
        for fault in cycle(all_of_them):
            yield begin, fault, True
            yield begin + self._every / 3, fault, False
            begin += self._every
