"""What is done with a damaged archive: it is kept under another name, and what can be read of it goes into a new one."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.archive.database import open_reader, open_writer, transaction
from connectors.archive.schema import migrate
from connectors.disk import COMPANIONS, put_aside
from model.errors import StorageError

PATIENCE = 20.0
"""Seconds that reading the damaged file may take, since the flow waits for it; what is left then stays in the moved file."""

_PAGE = 1_000


@dataclass(frozen=True)
class Salvaged:
    """Where the damaged file is now, how many rows were copied, and the tables of which something is missing."""

    aside: Path
    rows: int
    incomplete: tuple[str, ...]


def replace_damaged(path: Path, now_ms: int, clock: Callable[[], float] = time.monotonic) -> Salvaged:
    """Put a new archive with what can be read in the place of a damaged one. Nobody in this process may have it open.

    :raises StorageError: the new one cannot be made; :raises sqlite3.Error: it cannot be written. The damaged one is still there.
    """
    draft = path.with_name(f"{path.name}.new")
    for file in (draft, *(draft.with_name(draft.name + suffix) for suffix in COMPANIONS)):
        file.unlink(missing_ok=True)  # of an attempt that was cut short
    target = open_writer(draft)
    try:
        migrate(target, now_ms)
        rows, incomplete = _copy(path, target, clock() + PATIENCE, clock)
    finally:
        target.close()
    aside = put_aside(path, "damaged")
    draft.replace(path)
    return Salvaged(aside, rows, incomplete)


def _copy(path: Path, target: sqlite3.Connection, deadline: float, clock: Callable[[], float]) -> tuple[int, tuple[str, ...]]:
    tables = [name for (name,) in target.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'schema_version'")]
    try:
        source = open_reader(path)
    except StorageError:
        return 0, tuple(tables)
    rows = 0
    incomplete = []
    try:
        for table in tables:
            copied, whole = _copy_table(source, target, table, lambda: clock() >= deadline)
            rows += copied
            incomplete += [] if whole else [table]
    finally:
        source.close()
    return rows, tuple(incomplete)


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str, late: Callable[[], bool]) -> tuple[int, bool]:
    """Rows from both ends up to the damage; how many, and whether that was all of them."""
    before = _count(target, table)
    try:
        known = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
        described = [row for row in target.execute(f"PRAGMA table_info({table})") if row[1] in known]
    except sqlite3.Error:
        return 0, False
    columns = ", ".join(f'"{row[1]}"' for row in described)
    keys = [f'"{row[1]}"' for row in sorted(described, key=lambda row: row[5]) if row[5]]
    insert = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({', '.join('?' * len(described))})"  # noqa: S608 - names of our schema
    whole = False
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{key} {direction}" for key in keys)
        whole = True
        for page in _pages(source, f"SELECT {columns} FROM {table} ORDER BY {order}"):  # noqa: S608 - names of our schema
            if page is None or late():
                whole = False
                break
            with transaction(target):
                changed = target.total_changes
                target.executemany(insert, page)
            if direction == "DESC" and target.total_changes == changed:
                break  # met what came from the other end
        if whole:
            break
    return _count(target, table) - before, whole


def _pages(source: sqlite3.Connection, query: str) -> Iterator[list[Sequence[Any]] | None]:
    """Pages of rows; None at last where reading failed."""
    try:
        cursor = source.execute(query)
    except sqlite3.Error:
        yield None
        return
    page: list[Sequence[Any]] = []
    while True:
        try:
            row = cursor.fetchone()
        except sqlite3.Error:
            yield page
            yield None
            return
        if row is not None:
            page.append(row)
        if row is None or len(page) >= _PAGE:
            yield page
            page = []
        if row is None:
            return


def _count(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - names of our schema
