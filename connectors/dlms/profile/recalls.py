"""Load profile intervals that were given up before they were delivered, kept in a file beside the other state.

Whoever gives readings up is behind the meters in the flow, and nothing flows back; so the source looks here before each
round. An entry stays for `KEPT` seconds, in which each run of the pipeline asks for it once: asking twice is harmless,
forgetting is not.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import structlog

from model.timestamps import from_ms, to_ms

RECALLS = "recalls.sqlite"
"""Name of the file in `state_dir`."""

KEPT = 86400.0
"""Seconds."""

BUSY_TIMEOUT = 1.0
"""Seconds to wait for another process that writes."""

_SCHEMA = "CREATE TABLE IF NOT EXISTS recalls (meter TEXT, ts INTEGER, noted REAL, PRIMARY KEY (meter, ts)) WITHOUT ROWID"

log = structlog.get_logger(__name__)


class Recalls:
    """The file; any number of processes may read and write it.

    A file that cannot be read costs no reading: what it says is then asked for when it can be read again.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def note(self, meter: str, times: Iterable[datetime]) -> None:
        """Keep that the intervals of `meter` at `times` have to be asked for again.

        :raises sqlite3.Error: when that is not possible.
        """
        now = time.time()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._file, timeout=BUSY_TIMEOUT)) as database, database:
            database.execute(_SCHEMA)
            database.execute("DELETE FROM recalls WHERE noted < ?", (now - KEPT,))
            database.executemany("INSERT OR REPLACE INTO recalls VALUES (?, ?, ?)", [(meter, to_ms(moment), now) for moment in times])

    def of(self, meter: str, after: float) -> list[tuple[datetime, float]]:
        """The intervals of `meter` that were noted later than `after` (Unix seconds), and when; none where the file cannot be read."""
        if not self._file.exists():
            return []
        try:
            with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=BUSY_TIMEOUT)) as database:
                rows = database.execute("SELECT ts, noted FROM recalls WHERE meter = ? AND noted > ?", (meter, after)).fetchall()
        except sqlite3.Error as error:
            log.warning("recalled intervals cannot be read", file=str(self._file), cause=str(error))
            return []
        return [(from_ms(ts), noted) for ts, noted in rows]

    def asker(self, meter: str) -> Callable[[], Iterable[datetime]]:
        """Gives the intervals of `meter` to ask for again, each once, as they come."""
        seen = 0.0

        def ask() -> Iterable[datetime]:
            nonlocal seen
            noted = self.of(meter, seen)
            seen = max((when for _, when in noted), default=seen)
            return [moment for moment, _ in noted]

        return ask
