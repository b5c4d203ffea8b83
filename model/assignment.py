"""Which session with ThingsBoard a meter belongs to: the one whose patterns fit its id, else one of those without patterns.

Among the latter the highest random weight decides (rendezvous hashing, Thaler and Ravishankar 1998), so that a session that is
added takes its share of each other's meters and moves no meter between the others, and one that is removed gives its meters away and
moves no other. The weight is a hash of both names: the same in every process, on every host, after every restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b

from model.settings.thingsboard import SINGLE, SessionSettings, ThingsBoardSettings


class Assignment:
    """The sessions and their meters; cheap to ask again.

    :arg settings: the `thingsboard` section.
    """

    def __init__(self, settings: ThingsBoardSettings) -> None:
        sessions: Sequence[SessionSettings] | None = settings.sessions
        self.sessions = settings.session_names
        self._named = [(session.name, session.meters) for session in sessions or () if session.meters]
        self._sharing = [SINGLE] if sessions is None else [session.name for session in sessions if session.meters is None]
        takers = [session.name for session in sessions or () if session.meters != []]
        self.first = takers[0] if takers else self.sessions[0]
        """The session of everything that is not a meter: reports on all of them, alerts about sessions."""
        self._known: dict[str, str | None] = {}

    def of(self, meter: str) -> str | None:
        """The session of a meter; None where no pattern fits it and every session has patterns, which is a mistake."""
        if meter not in self._known:
            self._known[meter] = self._find(meter)
        return self._known[meter]

    def meters(self, meters: Iterable[str]) -> dict[str, list[str]]:
        """The meters of each session, in the order of both; those that belong to none are left out."""
        found: dict[str, list[str]] = {session: [] for session in self.sessions}
        for meter in meters:
            session = self.of(meter)
            if session is not None:
                found[session].append(meter)
        return found

    def _find(self, meter: str) -> str | None:
        for session, patterns in self._named:
            if any(fnmatchcase(meter, pattern) for pattern in patterns or ()):
                return session
        return max(self._sharing, key=lambda session: weight(session, meter), default=None)


def weight(session: str, meter: str) -> bytes:
    """How strongly a meter is drawn to a session."""
    return blake2b(f"{session}\0{meter}".encode(), digest_size=8).digest()
