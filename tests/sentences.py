"""The sentences that the flow and the API may say, found in the source: string constants and f-strings with more than one word.

A sentence is kept in the form of a template: what an f-string fills in is a hole. Docstrings, log messages, SQL and what `NOT_SHOWN`
names are left out.
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
    "model/loading",
    "model/obis.py",
    "model/settings",
    "model/status.py",
    "model/units.py",
    "operators",
)
"""Files and folders whose sentences reach the page: alarms, findings, errors of meters, rejections, gaps, refusals of the API."""

_START = "stops the start; nothing runs that could show it"
_DEFECT = "a defect of the caller"
_LOG = "in the log only"
_COMMAND = "an answer of a command"
_MARK = "the mark of a file"

NOT_SHOWN = {
    "connectors/disk.py": "signs by which SQLite's errors are told apart",
    "connectors/dlms/apdu/describe.py": "frames in the debug log and in `probe --trace`",
    "connectors/dlms/apdu/gurux_seam.py:{} has no {}: this version of gurux-dlms cannot be used": _START,
    "connectors/dlms/apdu/requests.py": _DEFECT,
    "connectors/dlms/conversation.py:meter {} needs the keys and counters of its security settings": _DEFECT,
    "connectors/dlms/conversation.py:{} attributes in one request; 1 to 255 are possible": _DEFECT,
    "connectors/dlms/conversation.py:nothing to send again while {}": _DEFECT,
    "connectors/dlms/conversation.py:cannot {} while {}": _DEFECT,
    "connectors/dlms/conversation.py:{} while {}": _LOG,
    "connectors/dlms/framing.py:{} to {} {}": _LOG,
    "connectors/dlms/hdlc/frame.py:a frame of {} bytes; the length field holds at most {}": _DEFECT,
    "connectors/dlms/hdlc/frame.py:address {} does not fit into {} bytes": _DEFECT,
    "connectors/dlms/known_meters.py:dlms-in meters, version 1": _MARK,
    "connectors/dlms/link/rfc2217.py:{} to command {}": "what a converter answered, in numbers",
    "connectors/dlms/profile/gap_news.py:intervals lost for good": _LOG,
    "connectors/dlms/profile/gap_news.py:intervals missing, they will be asked for again": _LOG,
    "connectors/dlms/push/authenticity.py:dlms-push-in counters, version 1": _MARK,
    "connectors/dlms/push/authenticity.py:free space on the disk of state_dir and make it writable; until then a restart may believe"
    " a recorded notification once more": _LOG,
    "connectors/dlms/push/troubles.py:alert raised": _LOG,
    "connectors/dlms/security/protection.py:needs an APDU, a policy, a system title of 8 bytes and a counter of 32 bits": _DEFECT,
    "connectors/dlms/security/protection.py:suite {} has keys of {} bytes": _DEFECT,
    "connectors/dlms/states.py": "names of transitions, for the debug log",
    "connectors/thingsboard/ownership.py": _START,
    "connectors/thingsboard/left_behind.py:{} does not tell by its name which session it is of": _COMMAND,
    "connectors/thingsboard/left_behind.py:let the copy keep its name, one of {}": _COMMAND,
    "connectors/thingsboard/sink.py:something of {} came to the session {}, which it does not belong to: the processes of the cluster have"
    " different sessions or meters in their pipeline.yaml, or different recovery stores": _LOG,
    "connectors/thingsboard/sink.py:give all of them the same pipeline.yaml and start all of them anew; if that does not help, begin with"
    " an empty recovery store: python -m commands recovery --set-aside": _LOG,
    "model/settings/thingsboard.py:several sessions have no token in common": _DEFECT,
    "connectors/thingsboard/sink.py:set state_dir to a directory this user can write to": _START,
    "connectors/thingsboard/sink.py:state_dir {} cannot be made: {}": _START,
    "connectors/thingsboard/trouble.py:thingsboard connected": _LOG,
    **{
        f"dashboard/access.py:{text}": "the form that needs no scripts, in both languages"
        for text in ("Sign in", "Access token", "That is not the token.", "Iniciar sesión", "Token de acceso", "Ese no es el token.")
    },
    "dashboard/configuration.py:the environment variable": "signs by which mistakes are told apart",
    "dashboard/configuration.py:the secret file": "signs by which mistakes are told apart",
    **{
        f"model/loading/document.py:{text}": "signs by which YAML's errors are told apart"
        for text in ("cannot start any token", "quoted scalar", "undefined alias", "single document")
    },
    "model/loading/reading_nodes.py:node {}: {} {} already read by {}": "the catalogue has it with `is` and with `are`",
    "model/loading/reading_nodes.py:{} {} read by no {} node": "the catalogue has it with `is` and with `are`",
    **{
        f"model/units.py:{name}": "names of dimensions, which may be the keys of readings as well"
        for name in ("apparent power", "reactive power", "apparent energy", "reactive energy", "volume flow")
    },
    "model/obis.py:a logical name has 6 bytes, not {}": _DEFECT,
    "operators/debug.py": _LOG,
    "operators/health.py": "the line of a window in the log",
}
"""File, or file:sentence -> why nobody reads it on the page."""

HOLE = "{}"
_FORMAT = re.compile(r"(?<!\$)\{[a-z]\w*\}")
"""What `str.format` fills in."""

_LOGGING = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_SILENT = frozenset(
    {"AccessError", "FastAPI", "Thread", "Query", "NodeType", "execute", "executemany", "executescript", "compile", "TypeVar", "Option"}
)
_COLUMNS = re.compile(r'\W*(\w+|\{\})(, ("?\w+"?|\{\}|count\(.*))+\W*|(INDEX|TABLE) \w+|count\(\*\).*')
_MARKUP = re.compile(r"<!doctype|:root|default-src|realm=")
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
    return [each for each in everything() if each.file not in NOT_SHOWN and f"{each.file}:{each.form}" not in NOT_SHOWN]


def everything() -> list[Said]:
    """The same with what is not shown."""
    return [each for place in SPEAKING for file in _files(ROOT / place) for each in _in_file(file)]


def _files(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _in_file(file: Path) -> Iterator[Said]:
    finder = _Finder()
    finder.visit(ast.parse(file.read_text()))
    name = file.relative_to(ROOT).as_posix()
    for line, form in finder.found:
        if _WORDS.search(form) and not (_SQL.search(form) or _MARKUP.search(form) or _COLUMNS.fullmatch(form)):
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
        if name == "Field":  # what a setting is for is the remedy of a mistake in it
            for keyword in node.keywords:
                if keyword.arg == "description":
                    self.visit(keyword.value)
        elif name not in _SILENT and not (isinstance(function, ast.Attribute) and name in _LOGGING):
            self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            if not (isinstance(key, ast.Constant) and key.value == "description"):  # for OpenAPI
                self.visit(value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.found.append((node.lineno, _FORMAT.sub(HOLE, node.value)))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pieces = [str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values]
        self.found.append((node.lineno, "".join(pieces)))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)
