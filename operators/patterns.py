"""Patterns on keys: * stands for any text, ? for one character, everything else for itself.

Keys are few and repeat for ever, so what a key matches is worked out once and remembered by those who use this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Annotated

from pydantic import Field

KeyPattern = Annotated[str, Field(min_length=1, max_length=200)]

_WILDCARD = re.compile(r"([*?])")
_AS_REGEX = {"*": "(.*)", "?": "(.)"}


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    pieces = (_AS_REGEX.get(piece) or re.escape(piece) for piece in _WILDCARD.split(pattern))
    return re.compile("".join(pieces), re.DOTALL)


def wildcards(pattern: str) -> int:
    """How many * and ? are in `pattern`."""
    return len(_WILDCARD.findall(pattern))


def matches(pattern: str, key: str) -> bool:
    """Whether the whole of `key` fits `pattern`, upper and lower case being different."""
    return _compiled(pattern).fullmatch(key) is not None


def matches_any(patterns: Iterable[str], key: str) -> bool:
    """Whether `key` fits at least one of `patterns`."""
    return any(matches(pattern, key) for pattern in patterns)


def rename(renames: Mapping[str, str], key: str) -> str:
    """`key` as the first pattern that fits renames it: each wildcard of the new name takes the text that the wildcard
    at the same place of the pattern stood for, so {"voltage_l*": "l*_voltage"} makes l1_voltage of voltage_l1."""
    for pattern, target in renames.items():
        match = _compiled(pattern).fullmatch(key)
        if match is not None:
            literals = _WILDCARD.split(target)[::2]
            return "".join(chain.from_iterable(zip_longest(literals, match.groups()[: len(literals) - 1], fillvalue="")))
    return key
