"""Deletes what is older than the archive is to keep, in slices so small that nothing waits for them."""

from __future__ import annotations

import sqlite3
from typing import Any

from connectors.archive.database import transaction
from connectors.archive.schema import SERIES, Series

ROUND_EVERY_MS = 3_600_000
"""Between two rounds at most; where less than ten hours are kept, a tenth of that, so that never much more is there than was asked for."""

_SERIES_PER_SLICE = 50
_ROWS_PER_SLICE = 1000


class _SeriesSql:
    """The statements that walk one table from prefix to prefix of its primary key; each is a seek, not a scan."""

    def __init__(self, series: Series) -> None:
        columns = ", ".join(series.prefix)
        marks = ", ".join("?" * len(series.prefix))
        same = " AND ".join(f"{column} = ?" for column in series.prefix)
        table, time = series.table, series.time
        # table and column names are constants of schema.py
        self.first = f"SELECT {columns} FROM {table} ORDER BY {columns} LIMIT 1"  # noqa: S608
        self.next = f"SELECT {columns} FROM {table} WHERE ({columns}) > ({marks}) ORDER BY {columns} LIMIT 1"  # noqa: S608
        self.newest = f"SELECT max({time}) FROM {table} WHERE {same}"  # noqa: S608
        self.cut = f"SELECT {time} FROM {table} WHERE {same} AND {time} < ? ORDER BY {time} LIMIT 1 OFFSET {_ROWS_PER_SLICE}"  # noqa: S608
        self.delete = f"DELETE FROM {table} WHERE {same} AND {time} < ?"  # noqa: S608


class Retention:
    """Walks through all series, at least once an hour, a slice at a time. Freed pages are used again; the file does not shrink."""

    def __init__(self, database: sqlite3.Connection, keep_ms: int) -> None:
        self._database = database
        self._keep_ms = keep_ms
        self._round_every_ms = min(ROUND_EVERY_MS, keep_ms // 10)
        self._sql = [_SeriesSql(series) for series in SERIES]
        self._table: int | None = None
        self._prefix: tuple[Any, ...] | None = None
        self._next_round = 0

    @property
    def is_under_way(self) -> bool:
        """Whether a round has begun and is not over."""
        return self._table is not None

    def slice(self, now_ms: int) -> int:
        """Delete at most about a thousand rows of some series; how many were deleted.

        :raises sqlite3.Error: nothing of this slice was deleted; the walk goes on with the next call.
        """
        if self._table is None:
            if now_ms < self._next_round:
                return 0
            self._table, self._prefix = 0, None
        with transaction(self._database):
            deleted = self._walk(now_ms - self._keep_ms)
        if self._table is None:
            self._next_round = now_ms + self._round_every_ms
        return deleted

    def _walk(self, cutoff: int) -> int:
        deleted = 0
        for _ in range(_SERIES_PER_SLICE):
            if self._table is None or deleted >= _ROWS_PER_SLICE:
                break
            prefix = self._next_prefix(self._sql[self._table])
            if prefix is None:
                self._table = self._table + 1 if self._table + 1 < len(SERIES) else None
                self._prefix = None
                continue
            count, finished = self._delete(self._table, prefix, cutoff)
            deleted += count
            if not finished:
                break
            self._prefix = prefix
        return deleted

    def _next_prefix(self, sql: _SeriesSql) -> tuple[Any, ...] | None:
        if self._prefix is None:
            return self._row(sql.first, ())
        return self._row(sql.next, self._prefix)

    def _delete(self, table: int, prefix: tuple[Any, ...], cutoff: int) -> tuple[int, bool]:
        """Delete the oldest rows of one series before `cutoff`; how many, and whether none are left."""
        sql = self._sql[table]
        if SERIES[table].keep_newest:
            newest = self._row(sql.newest, prefix)
            cutoff = cutoff if newest is None else min(cutoff, newest[0])
        cut = self._row(sql.cut, (*prefix, cutoff))
        until = cutoff if cut is None else cut[0] + 1  # rows of one time go together
        return self._database.execute(sql.delete, (*prefix, until)).rowcount, cut is None

    def _row(self, sql: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._database.execute(sql, values).fetchone()
        return row
