"""A server of the page whose API answers as a test wants it, under the same content security policy as the real one."""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime, timedelta, timezone
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

STATIC = Path(__file__).parents[2] / "dashboard" / "static"
STREAM_EVERY = 0.3
"""Seconds between two overviews of a stream."""

EVIL = "<img src=x onerror=window.hurt=1>"
"""What a page must show and not run; also the id of a meter."""


def at(seconds_ago: float = 0) -> str:
    """A time as the API writes it."""
    return (datetime.now(timezone.utc) - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Canned:
    """The page's own files and an API that answers what a test wants. Change `answers` (path -> JSON, or a status) at any time.

    `lost`: connections are closed without an answer, except for the page's own files.
    """

    def __init__(self, meters: int = 120) -> None:
        self.meters = [meter(number) for number in range(meters)]
        self.lost = False
        self.streaming = True
        self.asked: list[str] = []
        self.static = STATIC
        self.answers: dict[str, Any] = {
            "/health": {"verdict": "minor", "findings": [finding(number) for number in range(5)]},
            "/flow": {"running": True, "nodes": nodes()},
            "/alarms": {"alarms": alarms()},
            "/config": {"file": "pipeline.yaml", "text": f"meters:\n  - id: m-1   # {EVIL}\n    password: ********\n"},
        }
        self.overview = overview(meters)
        self._server = _Server(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="canned answers", args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Canned:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.lost = True  # ends the streams
        self._server.shutdown()
        self._server.server_close()

    def told(self) -> dict[str, Any]:
        """The overview of now."""
        return {**self.overview, "now": at()}

    def answer(self, path: str, query: dict[str, str]) -> Any:
        """JSON, or a status."""
        if path in self.answers:
            return self.answers[path]
        if path == "/overview":
            return self.told()
        if path == "/meters":
            return self._page_of_meters(query)
        if path == "/readings":
            now = datetime.now(timezone.utc).timestamp()
            points = [[int((now - 60 * n) * 1000), 230.0 + n % 5] for n in range(50, 0, -1)]
            return {"meter": query["meter"], "key": query["key"], "unit": "V", "points": points, "thinned": False}
        found = [row for row in self.meters if row["id"] == unquote(path.removeprefix("/meters/"))]
        return detail(found[0]) if found else 404

    def _page_of_meters(self, query: dict[str, str]) -> dict[str, Any]:
        wanted = [row for row in self.meters if query.get("search", "") in row["id"] and query.get("state", row["state"]) == row["state"]]
        key = {"gaps": "gaps_open", "read_time": "read_p50"}.get(query["sort"].lstrip("-"), query["sort"].lstrip("-"))
        wanted.sort(key=lambda row: (row[key] is None, row[key] or 0) if key != "id" else row["id"], reverse=query["sort"].startswith("-"))
        offset, limit = int(query["offset"]), int(query["limit"])
        return {"total": len(wanted), "offset": offset, "meters": wanted[offset : offset + limit]}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is none of a test's affair."""


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, canned: Canned, *arguments: Any) -> None:
        self._canned = canned
        super().__init__(*arguments)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/" or url.path.startswith("/static/"):
            self._file(self._canned.static / (url.path.removeprefix("/static/") if url.path != "/" else "index.html"))
        elif self._canned.lost or (url.path == "/events" and not self._canned.streaming):
            self.close_connection = True
        elif url.path == "/events":
            self._stream()
        else:
            self._canned.asked.append(self.path)
            answer = self._canned.answer(url.path, {name: values[0] for name, values in parse_qs(url.query).items()})
            status, content = (answer, {"detail": EVIL}) if isinstance(answer, int) else (200, answer)
            self._send(status, "application/json", json.dumps(content).encode())

    def _file(self, file: Path) -> None:
        if not file.is_file():
            self._send(404, "text/plain", b"")
            return
        self._send(200, self.guess_type(file), file.read_bytes())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; object-src 'none'")
        self.end_headers()
        self.wfile.write(content)

    def _stream(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        while not self._canned.lost and self._canned.streaming:
            self.wfile.write(f"event: overview\ndata: {json.dumps(self._canned.told())}\n\n".encode())
            time.sleep(STREAM_EVERY)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the tests' output is for failures."""


def overview(meters: int) -> dict[str, Any]:
    ends = [
        {"at": at(60), "cause": "taken-over", "code": 142, "detail": EVIL, "lasted": 1.9},
        {"at": at(600), "cause": "said-by-a-newer-flow", "code": None, "detail": "", "lasted": None},
    ]
    session = {
        "server": "mqtt://tb.example.org:1883",
        "client_id": "dlms-tb-1",
        "protocol": "5",
        "state": "up",
        "since": at(60),
        "sent": 12345,
        "acknowledged": 12344,
        "ends": ends,
        "ends_by_cause": {"taken-over": 3},
        "owner": {"pid": 4711, "host": "rack-1", "process": 0},
    }
    counts = {"cycles": 1234, "ok": 1200, "partial": 21, "failed": 13, "cycles_published": 1199, "published": 8602, "rejected": 3}
    return {
        "now": at(),
        "verdict": "healthy",
        "findings": 5,
        "flow": {"running": True, "started": at(9000), "processes": [{"process": 0, "pid": 4711, "host": "rack-1", "written": at()}]},
        "meters": {"total": meters, "green": meters - 3, "yellow": 1, "red": 1, "unknown": 1},
        "window": {"start": at(15), "end": at(5), **counts},
        "rate": {"readings_per_second": 1234.5},
        "session": session,
        "outbox": {"waiting": 42, "exact": True, "oldest": at(4), "dead": 2, "acknowledged": at(1)},
        "gaps": {"open": 12, "lost": 3},
        "alarms": {"critical": 1, "warning": 1},
    }


def finding(number: int) -> dict[str, str]:
    return {"severity": "minor", "subject": f"m-{number}", "what": EVIL, "remedy": "look at it"}


def node(id_: str, type_: str, inputs: list[str], outputs: list[str], state: str = "green") -> dict[str, Any]:
    emitted = {port: 1000 * (index + 1) for index, port in enumerate(outputs)}
    rate = {port: 12.5 if port == "main" else 0.0 for port in outputs}
    return {
        "id": id_,
        "type": type_,
        "summary": EVIL,
        "inputs": inputs,
        "outputs": outputs,
        "emitted": emitted,
        "rate": rate,
        "state": state,
        "reason": EVIL,
        "last": at(1),
    }


def nodes() -> list[dict[str, Any]]:
    return [
        node("meters", "dlms-in", [], ["main", "gaps"], "yellow"),
        node("receipts", "receipts-in", [], ["main", "rejected", "dropped", "alerts"]),
        node("mapped", "map", ["meters"], ["main", "rejected"]),
        node("checked", "validate", ["mapped"], ["main", "rejected"]),
        node("health", "health", ["meters", "meters.gaps", "checked", "checked.rejected", "receipts"], ["main"]),
        node("alerts", "alert", ["health"], ["main"], "red"),
        node("thingsboard", "thingsboard-out", ["checked", "health", "alerts", "receipts.alerts"], []),
        node("archive", "archive-out", ["meters", "checked", "checked.rejected", "receipts", "health", "alerts"], []),
        node("own", "a-type-of-another-package", ["checked"], [], "unknown"),
    ]


def meter(number: int) -> dict[str, Any]:
    state = {1: "yellow", 2: "red", 3: "unknown"}.get(number, "green")
    name = EVIL if number == 1 else f"m-{number:05d}"
    values = [("voltage", 230.1 + number, "V"), ("energy", 18234.561, "kWh"), ("serial", "00012345", None), ("relay", True, None)]
    return {
        "id": name,
        "name": name,
        "template": "three-phase",
        "connect": "tcp://192.0.2.1:3333",
        "removed": number == 4,
        "state": state,
        "success": None if state == "unknown" else 1.0,
        "last_good": at(number),
        "read_p50": 0.4 + number / 1000,
        "read_p95": 1.9,
        "gaps_open": 4 if state == "yellow" else 0,
        "gaps_lost": 0,
        "last_error": EVIL if number in (1, 2) else None,
        "values": [{"key": key, "value": value, "unit": unit, "ts": at(3)} for key, value, unit in values],
    }


def detail(row: dict[str, Any]) -> dict[str, Any]:
    window = {"cycles": 12, "ok": 10, "partial": 1, "failed": 1, "published": 80, "rejected": 1, "read_p50": 0.4, "read_p95": None}
    days = [{"day": f"2026-11-{day:02d}", "expected": 96, "read": read, "missing": 96 - read} for day, read in ((1, 96), (2, 60), (3, 0))]
    gap = {"meter": row["id"], "profile": "load", "intervals": 36, "since": at(60), "reason": EVIL}
    return {
        **row,
        "tags": {"street": EVIL},
        "interval": 5.0,
        "reports": [{**window, "start": at(10 * (n + 1)), "end": at(10 * n)} for n in range(60, 0, -1)],
        "errors": [{"at": at(n), "key": None, "kind": "timeout", "detail": EVIL, "remedy": EVIL} for n in range(14)],
        "rejections": [{"at": at(), "key": "voltage", "value": 312.4, "unit": "V", "rule": "max", "reason": EVIL}],
        "gaps": [{**gap, "start": at(90000), "end": at(80000), "state": state} for state in ("open", "lost", "closed")],
        "profiles": [{"name": "load", "obis": "1-0:99.1.0", "period": 900.0, "days": days}],
    }


def alarms() -> list[dict[str, Any]]:
    alarm = {"severity": "critical", "raised": True, "at": at(60), "cleared_at": None, "evidence": EVIL, "remedy": EVIL}
    return [
        {**alarm, "kind": "session", "subject": "thingsboard"},
        {**alarm, "kind": "meter-silent", "subject": EVIL, "severity": "warning"},
        {**alarm, "kind": "of-a-newer-flow", "subject": "*", "raised": False, "cleared_at": at(1)},
    ]
