"""The archive as its one writer sees it: messages in, one transaction per batch, recent readings to their series, old rows out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from connectors.archive.database import open_writer, transaction
from connectors.archive.recent import RecentReadings
from connectors.archive.retention import Retention
from connectors.archive.rows import READINGS, Row, rows_of
from connectors.archive.schema import SERIES, VERSION, migrate, version_of
from model.errors import StorageError
from model.messages import Message

log = structlog.get_logger()

_ROW_ERRORS = (UnicodeError, OverflowError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)
"""What is wrong with one row; anything else is wrong with the file or the disk."""


class ArchiveStore:
    """Writes messages to the archive. A message written twice is there once.

    :arg keep: seconds after which rows are deleted.
    :raises StorageError: the file cannot be used, or a newer version of this program has written it.
    """

    def __init__(self, path: Path, keep: float, now_ms: int) -> None:
        self._database = open_writer(path)
        try:
            self._prepare(path, now_ms)
        except BaseException:
            self._database.close()
            raise
        self._recent = RecentReadings(self._database)
        self._retention = Retention(self._database, round(keep * 1000))

    def write(self, messages: Iterable[Message]) -> None:
        """Write all messages in one transaction. A row that SQLite cannot hold is left out and logged.

        :raises sqlite3.Error: nothing was written: the disk is full, the file is locked or damaged.
        """
        by_table: dict[str, list[Row]] = {}
        for message in messages:
            for table, row in rows_of(message):
                by_table.setdefault(table, []).append(row)
        if not by_table:
            return
        readings = self._recent.by_table(by_table.pop(READINGS, ()))
        with transaction(self._database):
            for table, rows in (*by_table.items(), *readings.items()):
                self._write_rows(table, rows)

    def tidy(self, now_ms: int) -> bool:
        """One small step: move some rows, delete some; whether there may be more to do.

        :raises sqlite3.Error: the step was not done, or half of it; the next call goes on with it.
        """
        moved = self.settle(now_ms)
        self.delete_old(now_ms)
        return moved > 0 or self._retention.is_under_way

    def settle(self, now_ms: int) -> int:
        """Move the recent readings of a few meters, which have many, to their series; of how many meters.

        :raises sqlite3.Error: those of one meter stayed where they were, and so did all others that were due.
        """
        return self._recent.settle(now_ms)

    def delete_old(self, now_ms: int) -> int:
        """Delete a small slice of what is older than `keep`; how many rows.

        :raises sqlite3.Error: nothing was deleted.
        """
        return self._retention.slice(now_ms)

    def check(self) -> None:
        """Look at the head of every table, so that gross damage shows at the start.

        :raises sqlite3.Error: the file is damaged.
        """
        for series in SERIES:
            self._database.execute(f"SELECT * FROM {series.table} LIMIT 1").fetchone()  # noqa: S608 - a name of our schema

    def close(self) -> None:
        """Close the file; never raises."""
        try:
            self._database.close()
        except Exception as error:
            log.warning("archive could not be closed in order", error=str(error))

    def _prepare(self, path: Path, now_ms: int) -> None:
        try:
            found = version_of(self._database)
            if found > VERSION:
                raise StorageError(
                    f"{path}: was written by a newer version of this program (archive version {found}, known {VERSION})",
                    "install that version, or move the file away; a new one is made at the next start",
                )
            migrate(self._database, now_ms)
        except sqlite3.Error as error:
            raise StorageError(
                f"{path}: cannot be prepared: {error}",
                "check that the disk is not full and no other program holds the file; if it is damaged, move it away",
            ) from error

    def _write_rows(self, table: str, rows: Sequence[Row]) -> None:
        marks = ", ".join("?" * len(rows[0]))
        statement = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608 - table names are constants of rows.py
        try:
            self._database.executemany(statement, rows)
        except _ROW_ERRORS:
            self._write_singly(table, statement, rows)

    def _write_singly(self, table: str, statement: str, rows: Sequence[Row]) -> None:
        for row in rows:
            try:
                self._database.execute(statement, [_storable(cell) for cell in row])
            except _ROW_ERRORS as error:
                log.error("a row does not fit into the archive and is left out", table=table, meter=row[0], error=str(error))


def _storable(cell: object) -> object:
    """Text that has no UTF-8 form (half a surrogate pair from a faulty meter) with a question mark in its place."""
    return cell.encode("utf-8", "replace").decode() if isinstance(cell, str) else cell
