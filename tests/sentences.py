"""The sentences that the flow and the API may say, found in the source: string constants and f-strings with more than one word.

A sentence is kept in the form of a template: what an f-string fills in is a hole. Docstrings, log messages, SQL, descriptions of
settings and what `NOT_SHOWN` names are left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

SPEAKING = (
    "connectors/archive",
    "connectors/disk.py",
    "connectors/dlms",
    "connectors/thingsboard",
    "dashboard/access.py",
    "dashboard/app.py",
    "dashboard/archive_pool.py",
    "dashboard/configuration.py",
    "dashboard/installation.py",
    "dashboard/meter_views.py",
    "dashboard/overview.py",
    "dashboard/verdict.py",
    "model/finding.py",
    "model/status.py",
    "model/units.py",
    "operators",
)
"""Files and folders whose sentences reach the page: alarms, findings, errors of meters, rejections, gaps, refusals of the API."""

NOT_SHOWN = {
    "connectors/dlms/apdu/describe.py": "frames in the debug log and in `probe --trace`",
    "connectors/dlms/apdu/gurux_seam.py:{} has no {}: this version of gurux-dlms cannot be used": "stops the start",
    "connectors/dlms/apdu/requests.py": "a defect of the caller",
    "connectors/dlms/conversation.py:meter {} needs the keys and counters of its security settings": "a defect of the caller",
    "connectors/dlms/conversation.py:{} attributes in one request; 1 to 255 are possible": "a defect of the caller",
    "connectors/dlms/conversation.py:nothing to send again while {}": "a defect of the caller",
    "connectors/dlms/conversation.py:cannot {} while {}": "a defect of the caller",
    "connectors/dlms/conversation.py:{} while {}": "for the debug log",
    "connectors/dlms/push/listen.py": "a mistake in pipeline.yaml",
    "connectors/dlms/states.py": "names of transitions, for the debug log",
    "connectors/thingsboard/ownership.py": "stops the start",
    "dashboard/access.py:listening on {} shows meters and their readings to everybody who can reach it, and no token is set": "at the start",
    "operators/callables.py": "a mistake in pipeline.yaml",
    "operators/debug.py": "in the log only",
    "operators/health.py": "the line of a window in the log",
    "operators/validation/rules.py": "a mistake in pipeline.yaml",
}
"""File, or file:sentence -> why nobody reads it on the page."""

HOLE = "{}"
_LOGGING = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_SILENT = frozenset({"Field", "NodeType", "execute", "executemany", "executescript", "compile", "TypeVar", "Option"})
_WORDS = re.compile(r"[A-Za-z]{2,}\W* \W*[a-z]{2,}|[a-z]{2,} \{\}|\{\}[,;]? [a-z]{2,}")
_SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|PRAGMA|WHERE|FROM|TEXT NOT NULL)\b")


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence of the source, or a part that is put into one; `form` has {} for each hole."""

    file: str
    line: int
    form: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.form}"


def said() -> list[Said]:
    """All that may be said on the page."""
    found = [each for place in SPEAKING for file in _files(ROOT / place) for each in _in_file(file)]
    return [each for each in found if each.file not in NOT_SHOWN and f"{each.file}:{each.form}" not in NOT_SHOWN]


def _files(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _in_file(file: Path) -> Iterator[Said]:
    finder = _Finder()
    finder.visit(ast.parse(file.read_text()))
    name = file.relative_to(ROOT).as_posix()
    for line, form in finder.found:
        if _WORDS.search(form) and not _SQL.search(form):
            yield Said(name, line, form)


class _Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[tuple[int, str]] = []

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """Annotations say nothing."""

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
        if name not in _SILENT and not (isinstance(function, ast.Attribute) and name in _LOGGING):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.found.append((node.lineno, node.value))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pieces = [str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values]
        self.found.append((node.lineno, "".join(pieces)))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)
