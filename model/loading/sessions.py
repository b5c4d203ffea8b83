"""What must hold between the sessions with ThingsBoard and the meters: each session is somebody else's, each meter has one session.

Works on the data of the file, so that a mistake in one entry does not hide the mistakes between the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from model.errors import Problem
from model.loading.document import Document, Location
from model.loading.listing import named

_SESSIONS: Location = ("thingsboard", "sessions")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One session as far as it can be understood; `patterns` is None where it has none."""

    location: Location
    name: str
    patterns: tuple[str, ...] | None

    def pattern(self, index: int) -> Location:
        """Where one of its patterns stands."""
        return (*self.location, "meters", index)


def check_sessions(document: Document, missing: Collection[Location], complete: bool) -> Iterator[Problem]:
    """The problems of `thingsboard.sessions`.

    :arg missing: where a value could not be found out, which was said already.
    :arg complete: whether all meters are known, so that one that does not exist can be told from one that could not be read.
    """
    entries = list(_entries(document))
    yield from _told_twice(document, entries, "name", _same_name, missing)
    yield from _told_twice(document, entries, "token", _same_token, missing)
    ids = [str(meter["id"]) for meter in _list(document.get(("meters",))) if isinstance(meter, dict) and isinstance(meter.get("id"), str)]
    yield from _contested_meters(document, entries, ids)
    if not complete or not ids or not entries:
        return
    yield from _patterns_of_nobody(document, entries, ids)
    yield from _meters_of_nobody(document, entries, ids)
    if document.get(("thingsboard", "api")) == "device":
        yield from _not_one_meter_each(document, entries, ids)


def _entries(document: Document) -> Iterator[_Entry]:
    for index, entry in enumerate(_list(document.get(_SESSIONS))):
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            patterns = entry.get("meters")
            known = patterns is None or (isinstance(patterns, list) and all(isinstance(pattern, str) for pattern in patterns))
            if known:
                yield _Entry((*_SESSIONS, index), entry["name"], None if patterns is None else tuple(patterns))


def _told_twice(
    document: Document,
    entries: Sequence[_Entry],
    key: str,
    words: Callable[[_Entry, _Entry, int], tuple[str, str]],
    missing: Collection[Location],
) -> Iterator[Problem]:
    first: dict[Any, _Entry] = {}
    for entry in entries:
        place = (*entry.location, key)
        value = document.get(place)
        if place in missing or not isinstance(value, str):
            continue
        other = first.setdefault(value, entry)
        if other is not entry:
            what, remedy = words(other, entry, document.place((*other.location, key)).line)
            yield document.problem(place, f"thingsboard: {what}", remedy)


def _same_name(_first: _Entry, second: _Entry, line: int) -> tuple[str, str]:
    what = f"the session name {second.name!r} is given twice, first in line {line}"
    return what, "give every session a name of its own: its outbox is named after it"


def _same_token(first: _Entry, second: _Entry, line: int) -> tuple[str, str]:
    what = (
        f"the sessions {first.name} (line {line}) and {second.name} have one token, so each login would end the other's session, for ever"
    )
    return what, "ThingsBoard keeps one session per device: give each session the token of a device of its own"


def _contested_meters(document: Document, entries: Sequence[_Entry], meters: Sequence[str]) -> Iterator[Problem]:
    """Meters that the patterns of two sessions fit; each session may have several patterns for one meter."""
    owners: dict[str, tuple[_Entry, int]] = {}
    for entry in entries:
        for index, pattern in enumerate(entry.patterns or ()):
            fit = [meter for meter in meters if fnmatchcase(meter, pattern)]
            both = [meter for meter in fit if owners.setdefault(meter, (entry, index))[0] is not entry]
            if not both:
                continue
            other, at = owners[both[0]]
            line = document.place(other.pattern(at)).line
            fit_both = f"{pattern!r} and a pattern of {other.name} (line {line}) both fit {named('meter', both)}"
            yield document.problem(
                entry.pattern(index),
                f"thingsboard: session {entry.name}: {fit_both}",
                "a meter is delivered by one session: let its id fit the patterns of one only",
            )


def _patterns_of_nobody(document: Document, entries: Sequence[_Entry], meters: Sequence[str]) -> Iterator[Problem]:
    for entry in entries:
        for index, pattern in enumerate(entry.patterns or ()):
            if not any(fnmatchcase(meter, pattern) for meter in meters):
                what = f"thingsboard: session {entry.name}: no meter fits {pattern!r}"
                remedy = "patterns are compared with the whole id of a meter, such as north-*; meters: [] takes no meter at all"
                yield document.problem(entry.pattern(index), what, remedy)


def _meters_of_nobody(document: Document, entries: Sequence[_Entry], meters: Sequence[str]) -> Iterator[Problem]:
    if any(entry.patterns is None for entry in entries):
        return
    alone = [meter for meter in meters if not any(fnmatchcase(meter, pattern) for entry in entries for pattern in entry.patterns or ())]
    if alone:
        what = f"thingsboard: no session is for {named('meter', alone)}"
        yield document.problem(
            _SESSIONS, what, "add a pattern that fits, or leave out meters: in one of the sessions, which then takes the rest"
        )


def _not_one_meter_each(document: Document, entries: Sequence[_Entry], meters: Sequence[str]) -> Iterator[Problem]:
    """With api: device the token says which device it is; a hash would deliver a meter under another one's name."""
    for entry in entries:
        mine = [meter for meter in meters if any(fnmatchcase(meter, pattern) for pattern in entry.patterns or ())]
        if entry.patterns is None:
            what = f"thingsboard: session {entry.name}: api device is one token for one device, but the session names no meter"
            yield document.problem(entry.location, what, "add meters: with the id of the meter that this token is the device of")
        elif len(mine) > 1:
            what = f"thingsboard: session {entry.name}: api device is one token for one device, but {len(mine)} meters fit its patterns"
            yield document.problem((*entry.location, "meters"), what, "give each meter a session of its own, or write api: gateway")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
