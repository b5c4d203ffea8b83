"""All profiles of one meter, which take turns: one request each time that the meter has nothing better to do."""

from __future__ import annotations

from typing import Any

from connectors.dlms.profile.reader import ProfileReader, Progress
from connectors.dlms.session import Session


class Backfill:
    """The readers of a meter's profiles, by name."""

    def __init__(self, readers: dict[str, ProfileReader]) -> None:
        self._readers = readers
        self._order = list(readers)

    def wait(self) -> float:
        """Seconds until one of them has something to ask for; infinite where there are none."""
        return min((reader.wait() for reader in self._readers.values()), default=float("inf"))

    async def step(self, session: Session) -> Progress | None:
        """One request of the one that has waited longest of those that have something to ask for.

        :raises MeterError: as `Session.get`.
        """
        for name in self._order:
            if self._readers[name].wait() <= 0:
                self._order.remove(name)
                self._order.append(name)
                return await self._readers[name].step(session)
        return None

    def forget(self) -> None:
        """Another meter may have taken the place of this one."""
        for reader in self._readers.values():
            reader.forget()

    def state(self) -> dict[str, Any]:
        """The snapshots of all ledgers as they are now; later ones come with each `Progress`."""
        return {name: reader.ledger.snapshot() for name, reader in self._readers.items()}


def no_profiles() -> Backfill:
    """That of a meter without any."""
    return Backfill({})
