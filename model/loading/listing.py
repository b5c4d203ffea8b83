"""How a message lists names of which there may be thousands."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 5


def named(noun: str, names: Sequence[str]) -> str:
    """`names` behind what they are: "meter a", "meters a and b", "meters a, b, c, d, e and 12 more".

    :arg noun: in the singular; an s makes its plural.
    """
    if len(names) == 1:
        return f"{noun} {names[0]}"
    shown, last = (names[:_SHOWN], f"{len(names) - _SHOWN} more") if len(names) > _SHOWN else (names[:-1], names[-1])
    return f"{noun}s {', '.join(shown)} and {last}"
