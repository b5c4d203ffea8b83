"""The archive's queries.

Tables are keyed by meter first. To reach all meters or series without a scan, the recursive queries hop from one to the
next: each step is a seek in the primary key.
"""
# ruff: noqa: S608 - the statements are put together from constants of this file only; values are always bound

from __future__ import annotations

_READING_COLUMNS = "meter, key, ts, value, type, unit, origin, read_at"
REPORT_COUNTS = (
    "cycles",
    "ok",
    "partial",
    "failed",
    "with_values",
    "readings",
    "rejected",
    "published",
    "cycles_published",
    "published_late",
    "exchanges",
    "associations",
)
_REPORT_COLUMNS = f'meter, start, "end", {", ".join(REPORT_COUNTS)}, read_p50, read_p95, last_good, clock_offset, last_error'
_REPORT_COLUMNS += ", violations, invocation_counter, gaps_open, gaps_lost, gap_since, gap_reason"
_ALERT_COLUMNS = "kind, subject, severity, raised, ts, evidence, remedy"


def _each_meter(table: str) -> str:
    return (
        f"each_meter(m) AS (SELECT min(meter) FROM {table} UNION ALL"
        f" SELECT (SELECT min(meter) FROM {table} WHERE meter > m) FROM each_meter WHERE m IS NOT NULL)"
    )


def _each_key(table: str) -> str:
    return (
        f"each_key(k) AS (SELECT min(key) FROM {table} WHERE meter = :meter UNION ALL"
        f" SELECT (SELECT min(key) FROM {table} WHERE meter = :meter AND key > k) FROM each_key WHERE k IS NOT NULL)"
    )


def _each_series(table: str) -> str:
    return (
        f"{_each_meter(table)}, each_series(m, k) AS ("
        f"SELECT m, (SELECT min(key) FROM {table} WHERE meter = m) FROM each_meter WHERE m IS NOT NULL UNION ALL"
        f" SELECT m, (SELECT min(key) FROM {table} WHERE meter = m AND key > k) FROM each_series WHERE k IS NOT NULL)"
    )


METERS = (
    f"WITH RECURSIVE {_each_meter('readings')}, "
    f"{_each_meter('cycles').replace('each_meter', 'each_polled')}"
    " SELECT m FROM each_meter WHERE m IS NOT NULL UNION SELECT m FROM each_polled WHERE m IS NOT NULL"
)
READINGS = (
    f"WITH RECURSIVE {_each_key('readings')} SELECT {_READING_COLUMNS} FROM each_key JOIN readings ON meter = :meter AND key = k"
    " WHERE ts >= :start AND ts < :end ORDER BY ts, key LIMIT :limit"
)
READINGS_OF_KEY = (
    f"SELECT {_READING_COLUMNS} FROM readings WHERE meter = :meter AND key = :key AND ts >= :start AND ts < :end ORDER BY ts LIMIT :limit"
)
LATEST = (
    f"WITH RECURSIVE {_each_series('readings')} SELECT {_READING_COLUMNS} FROM each_series JOIN readings ON meter = m AND key = k"
    " AND ts = (SELECT max(ts) FROM readings WHERE meter = m AND key = k) ORDER BY meter, key"
)
LATEST_OF_METER = (
    f"WITH RECURSIVE {_each_key('readings')} SELECT {_READING_COLUMNS} FROM each_key JOIN readings ON meter = :meter AND key = k"
    " AND ts = (SELECT max(ts) FROM readings WHERE meter = :meter AND key = k) ORDER BY key"
)
CYCLES = (
    "SELECT meter, started, due, duration, outcome, value_count, exchanges, associated, clock_offset FROM cycles"
    " WHERE meter = ? AND started >= ? AND started < ? ORDER BY started LIMIT ?"
)
LATEST_CYCLES = (
    f"WITH RECURSIVE {_each_meter('cycles')} SELECT meter, started, due, duration, outcome, value_count, exchanges, associated,"
    " clock_offset FROM each_meter JOIN cycles ON meter = m AND started = (SELECT max(started) FROM cycles WHERE meter = m) ORDER BY meter"
)
ERRORS = "SELECT started, key, kind, detail, remedy FROM errors WHERE meter = ? AND started >= ? AND started < ? ORDER BY started, place"
VIOLATIONS = (
    "SELECT started, violation, count, detail FROM violations WHERE meter = ? AND started >= ? AND started < ? ORDER BY started, violation"
)
REJECTIONS = (
    f"WITH RECURSIVE {_each_key('rejections')} SELECT {_READING_COLUMNS}, rule, reason FROM each_key"
    " JOIN rejections ON meter = :meter AND key = k WHERE ts >= :start AND ts < :end ORDER BY ts, key, rule LIMIT :limit"
)
REPORTS = f"SELECT {_REPORT_COLUMNS} FROM reports WHERE meter = ? AND start >= ? AND start < ? ORDER BY start LIMIT ?"
LATEST_REPORT = f"SELECT {_REPORT_COLUMNS} FROM reports WHERE meter = ? ORDER BY start DESC LIMIT 1"
FIRST_REPORT = 'SELECT "end" FROM reports WHERE meter = ? ORDER BY start LIMIT 1'
ALERTS = f"SELECT {_ALERT_COLUMNS} FROM alerts WHERE ts >= ? AND ts < ? ORDER BY ts LIMIT ?"
STANDING_ALERTS = (
    f"SELECT {_ALERT_COLUMNS} FROM alerts AS a WHERE raised = 1 AND ts ="
    " (SELECT max(ts) FROM alerts WHERE subject = a.subject AND kind = a.kind) ORDER BY ts"
)
GAPS = (
    'SELECT meter, profile, start, "end", intervals, state, since, at, reason, open_total, lost_total, read_total FROM gaps'
    " WHERE state <> 'closed' AND (:meter IS NULL OR meter = :meter) ORDER BY meter, profile, start"
)
LATEST_REPORTS = (
    f"WITH RECURSIVE {_each_meter('reports')}"
    ' SELECT meter, start, "end", cycles, ok, partial, failed, last_good, read_p50, read_p95, last_error, gaps_open'
    ' FROM each_meter JOIN reports ON meter = m AND start = (SELECT max(start) FROM reports WHERE meter = m) ORDER BY meter, "end"'
)
NEWEST_REPORTS = f"SELECT {_REPORT_COLUMNS} FROM reports WHERE meter = ? ORDER BY start DESC LIMIT ?"
GAP_TOTALS = (
    "SELECT meter, sum(CASE state WHEN 'open' THEN intervals ELSE 0 END), sum(CASE state WHEN 'lost' THEN intervals ELSE 0 END)"
    " FROM gaps GROUP BY meter"
)
GAP_LEDGER = (
    "SELECT meter, profile, read_total, open_total, lost_total, max(at) FROM gaps"
    " WHERE (:meter IS NULL OR meter = :meter) GROUP BY meter, profile LIMIT :limit"
)
NEWEST_ERRORS = "SELECT started, key, kind, detail, remedy FROM errors WHERE meter = ? ORDER BY started DESC, place LIMIT ?"
ERROR_KINDS = (
    f"WITH RECURSIVE {_each_meter('errors')} SELECT kind, count(*) FROM each_meter JOIN errors ON meter = m"
    " WHERE started >= :start AND started < :end GROUP BY kind"
)
KEYS = f"WITH RECURSIVE {_each_key('readings')} SELECT k FROM each_key WHERE k IS NOT NULL"
REJECTED_KEYS = f"WITH RECURSIVE {_each_key('rejections')} SELECT k FROM each_key WHERE k IS NOT NULL"
NEWEST_REJECTIONS = f"SELECT {_READING_COLUMNS}, rule, reason FROM rejections WHERE meter = ? AND key = ? ORDER BY ts DESC, rule LIMIT ?"
NEWEST_ALERTS = (
    f"SELECT {_ALERT_COLUMNS}, (SELECT min(ts) FROM alerts AS c WHERE c.subject = a.subject AND c.kind = a.kind AND c.ts >= a.ts"
    " AND c.raised = 0) FROM alerts AS a WHERE raised = 1 ORDER BY ts DESC LIMIT ?"
)
ORIGINS = "SELECT ts, origin FROM readings WHERE meter = ? AND key = ? ORDER BY ts DESC LIMIT ?"
INTERVALS_PER_DAY = (
    "SELECT ts / 86400000, count(*), min(ts), max(ts) FROM readings WHERE meter = ? AND key = ? AND ts >= ? AND origin = 'profile'"
    " GROUP BY ts / 86400000"
)
INTERVALS = "SELECT count(*), min(ts), max(ts) FROM readings WHERE meter = ? AND key = ? AND origin = 'profile'"
POINTS = "SELECT ts, number, unit FROM readings WHERE meter = ? AND key = ? AND ts >= ? AND ts < ? ORDER BY ts LIMIT ?"
_OF_SPAN = "FROM readings WHERE meter = :meter AND key = :key AND ts >= :start AND ts < :end"
EXTREMES = (
    f"SELECT (ts - :start) / :width, ts, min(number) {_OF_SPAN} AND number IS NOT NULL GROUP BY 1"
    f" UNION ALL SELECT (ts - :start) / :width, ts, max(number) {_OF_SPAN} AND number IS NOT NULL GROUP BY 1"
)
SPAN = f"SELECT (SELECT min(ts) {_OF_SPAN}), (SELECT max(ts) {_OF_SPAN})"
NEWEST_OF_PROFILE = "SELECT ts FROM readings WHERE meter = ? AND key = ? AND origin = 'profile' ORDER BY ts DESC LIMIT 1"
INTERVALS_READ = (
    "SELECT ts, max(read_at) FROM readings WHERE meter = ? AND key IN (SELECT value FROM json_each(?)) AND ts >= ?"
    " AND origin = 'profile' GROUP BY ts"
)
CYCLE_TOTALS = (
    f"WITH RECURSIVE {_each_meter('cycles')} SELECT outcome, count(*) FROM each_meter JOIN cycles ON meter = m"
    " WHERE started >= :start AND started < :end GROUP BY outcome"
)
READING_TOTAL = (
    f"WITH RECURSIVE {_each_series('readings')} SELECT count(*) FROM each_series JOIN readings ON meter = m AND key = k"
    " WHERE ts >= :start AND ts < :end"
)
REJECTION_TOTAL = (
    f"WITH RECURSIVE {_each_series('rejections')} SELECT count(*) FROM each_series JOIN rejections ON meter = m AND key = k"
    " WHERE ts >= :start AND ts < :end"
)
ACKNOWLEDGED_TOTAL = (
    f"WITH RECURSIVE {_each_meter('receipts')} SELECT sum(readings) FROM each_meter JOIN receipts ON meter = m"
    " WHERE acknowledged >= :start AND acknowledged < :end"
)
