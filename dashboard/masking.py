"""The text of a configuration file with every secret masked, wherever it stands: for people who look at the page.

A secret is known by the place where it stands (the settings model says so), by the name of its key anywhere else (a mapping that is
merged in, a mistake, a comment), by its value where that is known, and as the user part of a url. A variable keeps its name and
loses its default; `file:` keeps its path. A text that is not YAML is not shown at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import yaml

from flows.logs import MASK, SecretMask
from model.errors import PipelineError
from model.loading.document import Document
from model.loading.fields import secret_locations
from model.node import NodeType
from model.settings.pipeline import PipelineSettings

WITHHELD = "# This file is not valid YAML. It is not shown, because its secrets cannot be told from the rest.\n"

_SECRET_KEY = re.compile(
    r"(?i)(password|passwd|passphrase|pwd|secret|token|credential|cipher_key|authentication_key|api_?key|private_key|master_key)"
)
_IN_COMMENT = re.compile(
    r"(?i)(\b[\w-]*(?:password|passwd|passphrase|pwd|secret|token|credential|key)[\w-]*[\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|[^\s,}]+)"
)
_USER = re.compile(r"(?<=://)[^/@\s\"']*@")
_DEFAULT = re.compile(r"^\$\{([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?\}$", re.DOTALL)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_LEVELS = 60
_BREAK = re.compile("[\r\n\x85\u2028\u2029]")
"""What ends a line in YAML; where it ended a secret, no trace of which it was is left."""


def masked_configuration(text: str, node_types: Mapping[str, NodeType], secrets: frozenset[str]) -> str:
    """`text` with its secrets masked; `WITHHELD` where it is not YAML.

    :arg secrets: further values that must not be shown.
    """
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except (yaml.YAMLError, RecursionError):
        return WITHHELD
    spans = {} if root is None else {node.start_mark.index: node for node in _secret_nodes(root, node_types)}
    for start in sorted(spans, reverse=True):
        node = spans[start]
        text = text[:start] + _masked_scalar(text[start : node.end_mark.index], node) + text[node.end_mark.index :]
    text = "".join(_without_comment_secrets(line) for line in text.splitlines(keepends=True))
    text = _USER.sub(f"{MASK}@", text)
    return SecretMask(secrets.union(*(_written(node) for node in spans.values()))).text(text)


def known_secrets(document: Document, node_types: Mapping[str, NodeType]) -> frozenset[str]:
    """The secrets that stand in a document whose variables are put in; those in files stay there."""
    found = set()
    for location in _locations(document.data, node_types):
        value = document.as_written.get(location, document.get(location))
        if isinstance(value, (str, int)) and not str(value).startswith("file:"):
            found.add(str(value))
    return frozenset(found)


def _locations(data: Any, node_types: Mapping[str, NodeType]) -> Iterator[tuple[Any, ...]]:
    """Where secrets stand by the settings models."""
    yield from secret_locations(PipelineSettings, data)
    nodes = data.get("nodes") if isinstance(data, dict) else None
    for index, node in enumerate(nodes if isinstance(nodes, list) else []):
        with suppress(KeyError, TypeError, PipelineError):
            yield from secret_locations(node_types[node["type"]].settings, node["settings"], ("nodes", index, "settings"))


def _secret_nodes(root: yaml.Node, node_types: Mapping[str, NodeType]) -> Iterator[yaml.ScalarNode]:
    """Scalars that are secrets, by the name of a key above them or by the models."""
    yield from _by_name(root, secret=False, depth=0, seen=set())
    data = _data(root, 0)
    for location in _locations(data, node_types):
        node = _at(root, location)
        if isinstance(node, yaml.ScalarNode):
            yield node


def _by_name(node: yaml.Node, *, secret: bool, depth: int, seen: set[tuple[int, bool]]) -> Iterator[yaml.ScalarNode]:
    if depth > _MOST_LEVELS or (id(node), secret) in seen:
        return
    seen.add((id(node), secret))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            named = isinstance(key, yaml.ScalarNode) and _SECRET_KEY.search(key.value) is not None
            yield from _by_name(value, secret=secret or named, depth=depth + 1, seen=seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _by_name(item, secret=secret, depth=depth + 1, seen=seen)
    elif secret and isinstance(node, yaml.ScalarNode):
        yield node


def _data(node: yaml.Node, depth: int) -> Any:
    """The plain structure of a node; scalars as their text."""
    if depth > _MOST_LEVELS:
        return None
    if isinstance(node, yaml.MappingNode):
        return {key.value: _data(value, depth + 1) for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    if isinstance(node, yaml.SequenceNode):
        return [_data(item, depth + 1) for item in node.value]
    return node.value


def _at(root: yaml.Node, location: tuple[Any, ...]) -> yaml.Node | None:
    node: yaml.Node | None = root
    for part in location:
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if isinstance(key, yaml.ScalarNode) and key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            return None
    return node


def _masked_scalar(written: str, node: yaml.ScalarNode) -> str:
    """What stands in the place of a secret; it keeps its end of line, and what says where the secret comes from."""
    value = node.value.strip()
    if not value:
        return written
    variable = _DEFAULT.match(value)
    if variable is not None:
        name, operator, _ = variable.groups()
        masked = f"${{{name}:-{MASK}}}" if operator == "-" else f"${{{name}}}"
    elif value.startswith("file:"):
        masked = value
    else:
        masked = f'"{MASK}"'
    # A block scalar ends where the next key begins: line break and indentation belong to that.
    return masked + _BREAK.sub("\n", written[len(written.rstrip()) :])


def _written(node: yaml.ScalarNode) -> set[str]:
    """The secrets that a scalar spells out: itself, or the default of its variable."""
    value = node.value.strip()
    default = _DEFAULT.match(value)
    if default is not None:
        value = default.group(3) or "" if default.group(2) == "-" else ""
    return set() if value.startswith(("${", "file:")) else {value}


def _without_comment_secrets(line: str) -> str:
    """What was commented out is as secret as before."""
    place = line.find("#")
    return line if place < 0 else line[:place] + _IN_COMMENT.sub(rf"\g<1>{MASK}", line[place:])
