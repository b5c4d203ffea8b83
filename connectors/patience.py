"""A time limit for questions to SQLite: for every connector whose file may have grown beyond what can be looked through in a moment."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

_STEPS = 20_000
"""Instructions of SQLite's virtual machine between two looks at the clock; about a millisecond."""


@contextmanager
def give_up_after(database: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Queries inside that take longer in all are interrupted.

    :raises sqlite3.OperationalError: one of which `gave_up` says so.
    """
    end = time.monotonic() + seconds
    database.set_progress_handler(lambda: int(time.monotonic() > end), _STEPS)
    try:
        yield
    finally:
        database.set_progress_handler(None, 0)


def gave_up(error: sqlite3.OperationalError) -> bool:
    """Whether a question ended with this because its time was over."""
    return "interrupted" in str(error)
