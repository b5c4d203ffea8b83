"""A configuration file as plain data that remembers where everything was written.

Scalars are typed by the core schema of YAML 1.2.2 (section 10.3), as editors do: `yes` and `on` are text, `012` is
twelve, `1:30` is text. What was written is kept beside the typed value, so that a field that wants text gets
00012345 and not 12345.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Union

import yaml

from model.errors import Problem

Location = tuple[Union[str, int], ...]
"""The keys and indices that lead to a value, such as ("meters", 0, "connect")."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "map", "seq")
)
_MOST_NODES = 5_000_000
_MOST_LEVELS = 50

_NULL = re.compile(r"^(~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_PREFIXED = re.compile(r"^0(o[0-7]+|x[0-9a-fA-F]+)$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_SPECIAL = re.compile(r"^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$")


class Place(NamedTuple):
    """Where something is written; lines count from 1."""

    file: str
    line: int


@dataclass
class Document:
    """The data of one file, with the place of every key, item and value.

    `as_written` holds the text of scalars whose typed value is not that text, `unreadable` where values are that a
    problem has been reported for already.
    """

    file: str
    data: Any = None
    keys: dict[Location, Place] = field(default_factory=dict)
    values: dict[Location, Place] = field(default_factory=dict)
    as_written: dict[Location, str] = field(default_factory=dict)
    unreadable: set[Location] = field(default_factory=set)

    def place(self, location: Location) -> Place:
        """Where the key, or the item of a list, is written; of the nearest thing around it that was written at all."""
        for length in range(len(location), 0, -1):
            found = self.keys.get(location[:length])
            if found is not None:
                return found
        return Place(self.file, 1)

    def get(self, location: Location) -> Any:
        """The value at `location`; None where there is none."""
        value = self.data
        for part in location:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value):
                value = value[part]
            else:
                return None
        return value

    def set(self, location: Location, value: Any) -> None:
        """Put another value at `location`, which must exist unless it is a new key of a mapping."""
        if not location:
            self.data = value
            return
        self.get(location[:-1])[location[-1]] = value

    def remove(self, location: Location) -> None:
        """Take the key at `location` out of its mapping."""
        del self.get(location[:-1])[location[-1]]

    def scalars(self, part: Location) -> Iterator[tuple[Location, Any]]:
        """Every scalar value inside `part`, with its location."""
        return _scalars(self.get(part), part)

    def problem(self, location: Location, what: str, remedy: str = "") -> Problem:
        """A mistake at `location`."""
        place = self.place(location)
        return Problem(place.file, place.line, what, remedy)

    def append(self, other: Document, location: Location) -> None:
        """Add the items of `other`, a list, to the list at `location`, which is made when it is missing."""
        if self.get(location) is None:
            self.set(location, [])
        target = self.get(location)
        shift = len(target)
        target.extend(other.data)
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            mine.update({_shifted(location, shift, inner): place for inner, place in theirs.items() if inner})
        self.as_written.update({_shifted(location, shift, inner): text for inner, text in other.as_written.items() if inner})
        self.unreadable.update(_shifted(location, shift, inner) for inner in other.unreadable if inner)


def _shifted(outer: Location, shift: int, inner: Location) -> Location:
    return (*outer, int(inner[0]) + shift, *inner[1:])


def _scalars(value: Any, location: Location) -> Iterator[tuple[Location, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _scalars(inner, (*location, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _scalars(inner, (*location, index))
    else:
        yield location, value


def typed(text: str) -> Any:
    """The value of a plain scalar by the core schema of YAML 1.2.2: null, bool, int, float or the text itself."""
    if _INT.match(text):
        return int(text) if len(text) <= 400 else text
    if _PREFIXED.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        return float(text)
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _SPECIAL.match(text):
        return float(text.replace(".", ""))
    return text


def read_text(path: Path) -> tuple[str, list[Problem]]:
    """The text of a configuration file (UTF-8), or why it cannot be had."""
    try:
        return path.read_bytes().decode("utf-8-sig"), []
    except FileNotFoundError:
        return "", [Problem(str(path), None, "the file does not exist", "check the path, and the folder it is relative to")]
    except OSError as error:
        reason = error.strerror or str(error)
        return "", [Problem(str(path), None, f"the file cannot be read: {reason}", "it must be a file this user may read")]
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return "", [Problem(str(path), line, "the file is not UTF-8 text", "save it with the encoding UTF-8")]


def read_yaml(path: Path) -> tuple[Document, list[Problem]]:
    """The document in a YAML file with its problems; its data is None where the file cannot be parsed."""
    document = Document(str(path))
    text, problems = read_text(path)
    if problems:
        return document, problems
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        return document, [_syntax_problem(document.file, error)]
    except RecursionError:
        return document, [Problem(document.file, None, "the file is nested too deeply", "remove the surplus brackets")]
    if root is None:
        return document, [Problem(document.file, 1, "the file is empty", "start from the pipeline.yaml that comes with the project")]
    reader = _NodeReader(document)
    document.data = reader.read(root, ())
    return document, reader.problems


def _syntax_problem(file: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    context = getattr(error, "context", None)
    remedy = "check the indentation, the colons and the quotes in this line and the one before"
    if "cannot start any token" in what:
        what, context = "a character that YAML does not allow here", None
        remedy = "indent with spaces, not tabs; put text that begins with @, ` or % in quotes"
    elif isinstance(error, yaml.reader.ReaderError):
        what, remedy = "a character that YAML does not allow", "remove the control character"
    elif context is not None and "quoted scalar" in context:
        mark = getattr(error, "context_mark", mark)
        what, context = "a quote that is never closed", None
        remedy = "close the quote that this line opens"
    elif "undefined alias" in what:
        remedy = "an alias (*name) needs an anchor (&name) above it"
    elif "single document" in str(context):
        remedy = "one file holds one document: remove the line ---"
    detail = what if context is None else f"{what} ({context})"
    return Problem(file, None if mark is None else mark.line + 1, f"not valid YAML: {detail}", remedy)


class _NodeReader:
    """Turns composed YAML nodes into data and notes the place of each."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self._open: list[yaml.Node] = []
        self._count = 0

    def read(self, node: yaml.Node, location: Location) -> Any:
        """The data of `node`, which stands at `location`."""
        self.document.values[location] = self._place(node)
        self.document.keys.setdefault(location, self._place(node))
        self._count += 1
        if node in self._open or len(self._open) > _MOST_LEVELS or self._count > _MOST_NODES:
            self._problem(node, "an anchor that contains itself, or too much nesting", "write the values out")
            self.document.unreadable.add(location)
            return None
        self._open.append(node)
        try:
            return self._read(node, location)
        finally:
            self._open.pop()

    def _read(self, node: yaml.Node, location: Location) -> Any:
        if node.tag not in _TAGS:
            self._problem(node, f"the tag {node.tag} is not known here", "remove it; ${VAR} and file:/path bring in values from outside")
            self.document.unreadable.add(location)
            return None
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*location, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        plain = isinstance(node, yaml.ScalarNode) and not node.style
        value = typed(node.value) if plain else node.value
        if not isinstance(value, str):
            self.document.as_written[location] = node.value
        return value

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if self._is_merge(key):
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, "a key must be a single word or text", "put the key in quotes if it begins with a bracket")
            elif key.value in pairs:
                first = self._place(pairs[key.value][0]).line
                self._problem(key, f"the key {key.value!r} is given twice, first in line {first}", "remove one of them, or merge the two")
            else:
                pairs[key.value] = (key, value)
        for name, pair in self._merged(node).items():
            pairs.setdefault(name, pair)
        self.document.keys.update({(*location, name): self._place(key) for name, (key, _) in pairs.items()})
        return {name: self.read(value, (*location, name)) for name, (_, value) in pairs.items()}

    def _merged(self, node: yaml.MappingNode, depth: int = 0) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The pairs that `<<` brings in; the first mapping named wins, as in YAML 1.1's merge key type."""
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not self._is_merge(key):
                continue
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode) or depth > _MOST_LEVELS:
                    self._problem(key, "<< takes a mapping, or a list of mappings", "write <<: *name, where &name marks a mapping")
                    continue
                for inner, content in source.value:
                    if isinstance(inner, yaml.ScalarNode) and not self._is_merge(inner):
                        found.setdefault(inner.value, (inner, content))
                for name, pair in self._merged(source, depth + 1).items():
                    found.setdefault(name, pair)
        return found

    def _is_merge(self, key: yaml.Node) -> bool:
        return isinstance(key, yaml.ScalarNode) and key.value == "<<" and not key.style

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.document.file, node.start_mark.line + 1)

    def _problem(self, node: yaml.Node, what: str, remedy: str) -> None:
        place = self._place(node)
        self.problems.append(Problem(place.file, place.line, what, remedy))
