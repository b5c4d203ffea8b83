"""The archive's queries.

Tables are keyed by meter first. To reach all meters or series without a scan, the recursive queries hop from one to the
next: each step is a seek in the primary key. Readings are in two tables, see `recent`; each question asks both with the same
conditions, since a condition on the view `readings` would not always find its way into them.
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


def _each_meter(table: str, name: str = "each_meter") -> str:
    return (
        f"{name}(m) AS (SELECT min(meter) FROM {table} UNION ALL"
        f" SELECT (SELECT min(meter) FROM {table} WHERE meter > m) FROM {name} WHERE m IS NOT NULL)"
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


def _readings(columns: str, where: str) -> str:
    """Those columns of both tables of readings, one after the other."""
    return f"SELECT {columns} FROM readings_settled WHERE {where} UNION ALL SELECT {columns} FROM readings_recent WHERE {where}"


METERS = (
    f"WITH RECURSIVE {_each_meter('readings_settled')}, "
    f"{_each_meter('readings_recent', 'each_recent')}, "
    f"{_each_meter('cycles', 'each_polled')}"
    " SELECT m FROM each_meter WHERE m IS NOT NULL UNION SELECT m FROM each_recent WHERE m IS NOT NULL"
    " UNION SELECT m FROM each_polled WHERE m IS NOT NULL"
)
READINGS = (
    f"WITH RECURSIVE {_each_key('readings_settled')} SELECT {_READING_COLUMNS} FROM each_key"
    " JOIN readings_settled ON meter = :meter AND key = k WHERE ts >= :start AND ts < :end"
    f" UNION ALL SELECT {_READING_COLUMNS} FROM readings_recent WHERE meter = :meter AND ts >= :start AND ts < :end"
    " ORDER BY ts, key LIMIT :limit"
)
READINGS_OF_KEY = f"{_readings(_READING_COLUMNS, 'meter = :meter AND key = :key AND ts >= :start AND ts < :end')} ORDER BY ts LIMIT :limit"
LATEST_OF_METER = (
    f"WITH RECURSIVE {_each_key('readings_settled')} SELECT {_READING_COLUMNS.replace('ts', 'max(ts)')} FROM ("
    f"SELECT {_READING_COLUMNS} FROM each_key JOIN readings_settled ON meter = :meter AND key = k"
    " AND ts = (SELECT max(ts) FROM readings_settled WHERE meter = :meter AND key = k)"
    f" UNION ALL SELECT {_READING_COLUMNS} FROM readings_recent WHERE meter = :meter) GROUP BY key ORDER BY key"
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
KEYS = (
    f"WITH RECURSIVE {_each_key('readings_settled')} SELECT k FROM each_key WHERE k IS NOT NULL"
    " UNION SELECT key FROM readings_recent WHERE meter = :meter ORDER BY 1"
)
REJECTED_KEYS = f"WITH RECURSIVE {_each_key('rejections')} SELECT k FROM each_key WHERE k IS NOT NULL"
NEWEST_REJECTIONS = f"SELECT {_READING_COLUMNS}, rule, reason FROM rejections WHERE meter = ? AND key = ? ORDER BY ts DESC, rule LIMIT ?"
NEWEST_ALERTS = (
    f"SELECT {_ALERT_COLUMNS}, (SELECT min(ts) FROM alerts AS c WHERE c.subject = a.subject AND c.kind = a.kind AND c.ts >= a.ts"
    " AND c.raised = 0) FROM alerts AS a WHERE raised = 1 ORDER BY ts DESC LIMIT ?"
)
_OF_SERIES = "meter = :meter AND key = :key"
_OF_SPAN = f"{_OF_SERIES} AND ts >= :start AND ts < :end"
_OF_PROFILE = f"{_OF_SERIES} AND origin = 'profile'"
ORIGINS = f"{_readings('ts, origin', _OF_SERIES)} ORDER BY ts DESC LIMIT :limit"
INTERVALS_PER_DAY = (
    f"SELECT ts / 86400000, count(*), min(ts), max(ts) FROM ({_readings('ts', f'{_OF_PROFILE} AND ts >= :start')}) GROUP BY ts / 86400000"
)
INTERVALS = f"SELECT count(*), min(ts), max(ts) FROM ({_readings('ts', _OF_PROFILE)})"
POINTS = f"{_readings('ts, number, unit', _OF_SPAN)} ORDER BY ts LIMIT :limit"
_NUMBERS = _readings("ts, number", f"{_OF_SPAN} AND number IS NOT NULL")
EXTREMES = (
    f"SELECT (ts - :start) / :width, ts, min(number) FROM ({_NUMBERS}) GROUP BY 1"
    f" UNION ALL SELECT (ts - :start) / :width, ts, max(number) FROM ({_NUMBERS}) GROUP BY 1"
)
_FIRSTS, _LASTS = _readings("min(ts) AS ts", _OF_SPAN), _readings("max(ts) AS ts", _OF_SPAN)
SPAN = f"SELECT (SELECT min(ts) FROM ({_FIRSTS})), (SELECT max(ts) FROM ({_LASTS}))"
NEWEST_OF_PROFILE = f"{_readings('ts', _OF_PROFILE)} ORDER BY ts DESC LIMIT 1"
INTERVALS_READ = (
    "SELECT ts, max(read_at) FROM ("
    + _readings("ts, read_at", "meter = :meter AND key IN (SELECT value FROM json_each(:keys)) AND ts >= :start AND origin = 'profile'")
    + ") GROUP BY ts"
)
CYCLE_TOTALS = (
    f"WITH RECURSIVE {_each_meter('cycles')} SELECT outcome, count(*) FROM each_meter JOIN cycles ON meter = m"
    " WHERE started >= :start AND started < :end GROUP BY outcome"
)
READING_TOTAL = (
    f"WITH RECURSIVE {_each_series('readings_settled')}, {_each_meter('readings_recent', 'each_recent')} SELECT"
    " (SELECT count(*) FROM each_series JOIN readings_settled ON meter = m AND key = k WHERE ts >= :start AND ts < :end)"
    " + (SELECT count(*) FROM each_recent JOIN readings_recent ON meter = m WHERE ts >= :start AND ts < :end)"
)
REJECTION_TOTAL = (
    f"WITH RECURSIVE {_each_series('rejections')} SELECT count(*) FROM each_series JOIN rejections ON meter = m AND key = k"
    " WHERE ts >= :start AND ts < :end"
)
ACKNOWLEDGED_TOTAL = (
    f"WITH RECURSIVE {_each_meter('receipts')} SELECT sum(readings) FROM each_meter JOIN receipts ON meter = m"
    " WHERE acknowledged >= :start AND acknowledged < :end"
)
NEWEST_SETTLED = (
    f"WITH RECURSIVE {_each_key('readings_settled')}"
    " SELECT max((SELECT max(ts) FROM readings_settled WHERE meter = :meter AND key = k)) FROM each_key WHERE k IS NOT NULL"
)
