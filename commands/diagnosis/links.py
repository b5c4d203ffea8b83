"""One link of the chain, and what became of looking at it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Verdict(str, Enum):
    """How a link is."""

    GOOD = "good"
    BROKEN = "broken"
    NOTED = "noted"
    """Nothing is broken, but a person should know."""
    SKIPPED = "skipped"
    """Not looked at, and why is said."""


@dataclass(frozen=True, slots=True)
class Link:
    """What was found.

    :arg subject: a meter's id, "thingsboard", "pipeline" or "settings".
    :arg name: of the link, such as "TLS".
    :arg found: what was seen, as a sentence.
    :arg remedy: what to do about it; empty where nothing is to be done.
    :arg seconds: how long the look took.
    """

    subject: str
    name: str
    verdict: Verdict
    found: str
    remedy: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "subject": self.subject,
            "link": self.name,
            "verdict": self.verdict.value,
            "found": self.found,
            "remedy": self.remedy,
            "seconds": round(self.seconds, 3),
        }


class BrokenLinkError(Exception):
    """Raised while a link is looked at: it is broken, and what lies behind it cannot be reached."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found, self.remedy = found, remedy


@dataclass
class Finding:
    """What a look says when nothing is broken; the caller fills it in."""

    found: str = ""
    verdict: Verdict = Verdict.GOOD
    remedy: str = ""

    def note(self, found: str, remedy: str = "") -> None:
        """Something a person should know."""
        self.found, self.verdict, self.remedy = found, Verdict.NOTED, remedy

    def skip(self, why: str) -> None:
        """Not looked at."""
        self.found, self.verdict = why, Verdict.SKIPPED


@dataclass
class Chain:
    """All links, in the order in which a reading passes them.

    :arg looking: told what is looked at now.
    :arg seen: told each finished link.
    """

    looking: Callable[[str], None]
    seen: Callable[[Link], None]
    links: list[Link] = field(default_factory=list)

    @contextmanager
    def link(self, subject: str, name: str) -> Iterator[Finding]:
        """Look at one link; the block fills in the finding or raises `BrokenLinkError`, which is noted and raised on."""
        self.looking(f"{subject}: {name}")
        begun = time.monotonic()
        finding = Finding()
        try:
            yield finding
        except BrokenLinkError as broken:
            self._add(Link(subject, name, Verdict.BROKEN, broken.found, broken.remedy, time.monotonic() - begun))
            raise
        self._add(Link(subject, name, finding.verdict, finding.found, finding.remedy, time.monotonic() - begun))

    def broken(self, subject: str, name: str, found: str, remedy: str) -> None:
        """Note a broken link behind which the others can still be looked at."""
        self._add(Link(subject, name, Verdict.BROKEN, found, remedy))

    @property
    def first_broken(self) -> Link | None:
        """The first link that is broken; None when all are whole."""
        return next((link for link in self.links if link.verdict is Verdict.BROKEN), None)

    def _add(self, link: Link) -> None:
        self.links.append(link)
        self.seen(link)
