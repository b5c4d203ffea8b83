"""What someone probably meant: the nearest known word to one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 12


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, also when only upper and lower case differ; None when nothing is near."""
    words = sorted(known)
    folded = {candidate.casefold(): candidate for candidate in reversed(words)}
    matches = difflib.get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def suggest(word: str, known: Iterable[str], noun: str) -> str:
    """The remedy for an unknown word: "did you mean ...?", else the known words, shortened when there are many.

    :arg noun: what the words are, in the plural, such as "keys".
    """
    words = sorted(known)
    match = nearest(word, words)
    if match is not None:
        return f"did you mean {match}?"
    if not words:
        return f"there are no {noun} here"
    listed = ", ".join(words[:_LISTED]) + (", ..." if len(words) > _LISTED else "")
    return f"known {noun}: {listed}"
