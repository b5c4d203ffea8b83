"""The archive's tables and how an older archive becomes a newer one.

All times are whole milliseconds since 1970 UTC. A value is kept twice: `value` is its exact text, `type` says what it
was (int, decimal, str, bool), and `number` is the same as a float for queries (null for text). Primary keys are what makes
a message the same message, so that a repeat overwrites itself.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from connectors.archive.database import transaction

FILE_NAME = "archive.sqlite"
"""Name of the archive in `state_dir`."""

_VERSION_1 = (
    """CREATE TABLE readings (
        meter TEXT NOT NULL, key TEXT NOT NULL, ts INTEGER NOT NULL,
        value TEXT NOT NULL, type TEXT NOT NULL, number REAL, unit TEXT, origin TEXT NOT NULL, read_at INTEGER NOT NULL,
        PRIMARY KEY (meter, key, ts)) WITHOUT ROWID""",
    """CREATE TABLE cycles (
        meter TEXT NOT NULL, started INTEGER NOT NULL, due INTEGER NOT NULL, duration REAL NOT NULL, outcome TEXT NOT NULL,
        value_count INTEGER NOT NULL, error_count INTEGER NOT NULL, exchanges INTEGER NOT NULL, associated INTEGER NOT NULL,
        clock_offset REAL,
        PRIMARY KEY (meter, started)) WITHOUT ROWID""",
    """CREATE TABLE errors (
        meter TEXT NOT NULL, started INTEGER NOT NULL, place INTEGER NOT NULL,
        key TEXT, kind TEXT NOT NULL, detail TEXT NOT NULL, remedy TEXT NOT NULL,
        PRIMARY KEY (meter, started, place)) WITHOUT ROWID""",
    """CREATE TABLE rejections (
        meter TEXT NOT NULL, key TEXT NOT NULL, ts INTEGER NOT NULL, rule TEXT NOT NULL, reason TEXT NOT NULL,
        value TEXT NOT NULL, type TEXT NOT NULL, number REAL, unit TEXT, origin TEXT NOT NULL, read_at INTEGER NOT NULL,
        PRIMARY KEY (meter, key, ts, rule)) WITHOUT ROWID""",
    """CREATE TABLE receipts (
        meter TEXT NOT NULL, acknowledged INTEGER NOT NULL, oldest INTEGER NOT NULL, newest INTEGER NOT NULL,
        readings INTEGER NOT NULL, polls INTEGER NOT NULL, delay REAL NOT NULL,
        PRIMARY KEY (meter, acknowledged, oldest, newest)) WITHOUT ROWID""",
    """CREATE TABLE reports (
        meter TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
        cycles INTEGER NOT NULL, ok INTEGER NOT NULL, partial INTEGER NOT NULL, failed INTEGER NOT NULL,
        with_values INTEGER NOT NULL, readings INTEGER NOT NULL, rejected INTEGER NOT NULL, published INTEGER NOT NULL,
        cycles_published INTEGER NOT NULL, published_late INTEGER NOT NULL, exchanges INTEGER NOT NULL,
        associations INTEGER NOT NULL, read_p50 REAL, read_p95 REAL, last_good INTEGER, clock_offset REAL, last_error TEXT,
        PRIMARY KEY (meter, start, "end")) WITHOUT ROWID""",
    """CREATE TABLE alerts (
        subject TEXT NOT NULL, kind TEXT NOT NULL, ts INTEGER NOT NULL, raised INTEGER NOT NULL,
        severity TEXT NOT NULL, evidence TEXT NOT NULL, remedy TEXT NOT NULL,
        PRIMARY KEY (subject, kind, ts, raised, severity)) WITHOUT ROWID""",
)

_VERSION_2 = (
    """CREATE TABLE violations (
        meter TEXT NOT NULL, started INTEGER NOT NULL, violation TEXT NOT NULL, count INTEGER NOT NULL, detail TEXT NOT NULL,
        PRIMARY KEY (meter, started, violation)) WITHOUT ROWID""",
    "ALTER TABLE reports ADD COLUMN violations TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE reports ADD COLUMN invocation_counter INTEGER",
)
"""What was not authentic: per cycle, and in reports as JSON, a list of kind, count and detail."""

_VERSION_3 = (
    """CREATE TABLE gaps (
        meter TEXT NOT NULL, profile TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, intervals INTEGER NOT NULL,
        state TEXT NOT NULL, since INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT NOT NULL,
        open_total INTEGER NOT NULL, lost_total INTEGER NOT NULL, read_total INTEGER NOT NULL,
        PRIMARY KEY (meter, profile, start)) WITHOUT ROWID""",
    "ALTER TABLE reports ADD COLUMN gaps_open INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE reports ADD COLUMN gaps_lost INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE reports ADD COLUMN gap_since INTEGER",
    "ALTER TABLE reports ADD COLUMN gap_reason TEXT",
)
"""Missing intervals of load profiles."""

_VERSION_4 = (
    "ALTER TABLE readings RENAME TO readings_settled",
    """CREATE TABLE readings_recent (
        meter TEXT NOT NULL, key TEXT NOT NULL, ts INTEGER NOT NULL,
        value TEXT NOT NULL, type TEXT NOT NULL, number REAL, unit TEXT, origin TEXT NOT NULL, read_at INTEGER NOT NULL,
        PRIMARY KEY (meter, ts, key)) WITHOUT ROWID""",
    "CREATE VIEW readings AS SELECT * FROM readings_settled UNION ALL SELECT * FROM readings_recent",
)
"""The newest readings of a meter lie together until there are enough of them to join their series, see `recent`."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4)
"""The statements that lead from version n to n + 1, at place n. Append; never change one that was released."""

VERSION = len(MIGRATIONS)


@dataclass(frozen=True, slots=True)
class Series:
    """A table as retention sees it: rows with the same `prefix`, the head of the primary key, follow each other in time.

    With `keep_newest` the newest row of each prefix stays however old it is: it tells what holds until today.
    """

    table: str
    prefix: tuple[str, ...]
    time: str
    keep_newest: bool = False


SERIES = (
    Series("readings_settled", ("meter", "key"), "ts"),
    Series("readings_recent", ("meter",), "ts"),
    Series("cycles", ("meter",), "started"),
    Series("errors", ("meter",), "started"),
    Series("violations", ("meter",), "started"),
    Series("rejections", ("meter", "key"), "ts"),
    Series("receipts", ("meter",), "acknowledged"),
    Series("reports", ("meter",), "start"),
    Series("gaps", ("meter", "profile"), "start"),
    Series("alerts", ("subject", "kind"), "ts", keep_newest=True),
)


def version_of(database: sqlite3.Connection) -> int:
    """The archive's version; 0 for a new file.

    :raises sqlite3.Error: the file cannot be read or is no database.
    """
    known = database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'").fetchone()
    if known is None:
        return 0
    row = database.execute("SELECT max(version) FROM schema_version").fetchone()
    return int(row[0] or 0)


def migrate(database: sqlite3.Connection, now_ms: int) -> None:
    """Bring the archive to VERSION, each step in a transaction of its own, so that a kill leaves a whole version.

    :raises sqlite3.Error: a statement failed; the version before it stands.
    """
    for version in range(version_of(database) + 1, VERSION + 1):
        with transaction(database):
            database.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL)")
            for statement in MIGRATIONS[version - 1]:
                database.execute(statement)
            database.execute("INSERT INTO schema_version VALUES (?, ?)", (version, now_ms))
