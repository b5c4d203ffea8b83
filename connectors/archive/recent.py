"""Where the newest readings of a meter lie: together, until there are enough of them to join their series.

A series (meter, key) is read in the order of time, so its rows lie next to each other in `readings_settled`. Written there one by
one, each reading of each cycle would change a page of its own, and of an archive that is larger than memory the disk would write
a hundred times what is kept. So the values of a cycle first go next to each other into `readings_recent`, one page for all keys,
and two thousand rows of a meter later to their series, one page for many rows.

A row is in one of the two only: what is not newer than the newest settled row of its meter goes to the settled ones at once, where
a repeat overwrites itself. So all settled rows of a meter are older than all its recent ones.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from connectors.archive import queries
from connectors.archive.database import transaction
from connectors.archive.rows import Row

SETTLED, RECENT = "readings_settled", "readings_recent"
ENOUGH = 2_000
"""Recent rows of a meter that are worth the way to their series."""

METERS_AT_ONCE = 4
"""Meters whose rows are moved in one go, a few milliseconds each."""

_DUE = "FROM readings_recent WHERE meter = :meter AND ts <= :until"
_MOVE = f"INSERT OR REPLACE INTO readings_settled SELECT * {_DUE} ORDER BY key, ts"


@dataclass(slots=True)
class _Place:
    """Of one meter: ts of its newest settled row in ms, and how many recent rows it has, repeats counted again."""

    until: int | float
    recent: int


class RecentReadings:
    """Says which table takes a row, and moves rows from one to the other."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._places: dict[str, _Place] = {}
        self._due: dict[str, None] = {}

    def by_table(self, rows: Iterable[Row]) -> dict[str, list[Row]]:
        """Rows of readings by the table that takes them.

        :raises sqlite3.Error: what is there already cannot be read.
        """
        found: dict[str, list[Row]] = {}
        for row in rows:
            meter, ts = str(row[0]), row[2]
            place = self._places.get(meter) or self._look(meter)
            if isinstance(ts, int) and ts > place.until:
                found.setdefault(RECENT, []).append(row)
                place.recent += 1
                if place.recent >= ENOUGH:
                    self._due[meter] = None
            else:
                found.setdefault(SETTLED, []).append(row)
        return found

    def settle(self, now_ms: int) -> int:
        """Move the rows of a few meters that have enough of them, a transaction each; of how many meters.

        What a wrong clock dated later than now stays until then: it would send all that comes after it to the settled rows.

        :raises sqlite3.Error: those of one meter were not moved; they and the others are at the next call.
        """
        meters = list(self._due)[:METERS_AT_ONCE]
        for meter in meters:
            self._move(meter, now_ms)
            del self._due[meter]
        return len(meters)

    def _move(self, meter: str, now_ms: int) -> None:
        place, which = self._places[meter], {"meter": _storable(meter), "until": now_ms}
        with transaction(self._database):
            (newest,) = self._database.execute(f"SELECT max(ts) {_DUE}", which).fetchone()
            self._database.execute(_MOVE, which)
            self._database.execute(f"DELETE {_DUE}", which)
        place.recent = 0
        if newest is not None:
            place.until = max(place.until, newest)

    def _look(self, meter: str) -> _Place:
        which = {"meter": _storable(meter)}
        (until,) = self._database.execute(queries.NEWEST_SETTLED, which).fetchone()
        (recent,) = self._database.execute("SELECT count(*) FROM readings_recent WHERE meter = :meter", which).fetchone()
        place = self._places[meter] = _Place(float("-inf") if until is None else until, recent)
        return place


def _storable(meter: str) -> str:
    """As `store` writes a name that has no UTF-8 form."""
    return meter.encode("utf-8", "replace").decode()
