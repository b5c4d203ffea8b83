"""State that the recovery store kept: whoever wrote it may have been another version of this program, older or newer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

log = structlog.get_logger(__name__)


def restored(
    state: Any, versions: frozenset[int], restore: Callable[[dict[str, Any]], T], owner: str, subject: str | None = None
) -> T | None:
    """What `restore` makes of `state`; None where there is none, or where another version wrote it, which is logged.

    A state that claims a known version and does not fit is taken for another version's too: without one the owner begins anew,
    with an exception the whole flow would end at every start.

    :arg versions: those that `restore` understands.
    :arg owner: whose state it is, for the log; `subject`: of which meter.
    """
    if state is None:
        return None
    found = state.get("version") if isinstance(state, dict) else None
    if found in versions:
        try:
            return restore(state)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            found = f"{found}, changed"
    log.warning(
        f"{owner} begins anew: the recovery store has its state as another version of this program wrote it",
        meter=subject,
        version=found,
        understood=sorted(versions),
    )
    return None
