"""Node types by name: those of this project, and those of other packages through an entry point.

Another package offers a node type by an entry point of the group `dlms_thingsboard.nodes` whose name is the node
type's name and whose object is a `model.node.NodeType`. A package is imported only when pipeline.yaml uses one of its
types, so that a broken package hurts nobody who does not need it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points

from model.errors import PipelineError
from model.node import ENTRY_POINT_GROUP, NodeType

OWN_NODE_TYPES: Mapping[str, str] = {
    "dlms-in": "connectors.dlms.source",
    "dlms-push-in": "connectors.dlms.push.source",
    "profile-recall": "connectors.dlms.profile.recall",
    "map": "operators.map",
    "validate": "operators.validate",
    "filter": "operators.filter",
    "debug": "operators.debug",
    "health": "operators.health",
    "alert": "operators.alert",
    "thingsboard-out": "connectors.thingsboard.sink",
    "receipts-in": "connectors.thingsboard.receipts",
    "archive-out": "connectors.archive.sink",
    "console-out": "connectors.console.table",
}
"""Name -> module; each module describes its node type in `NODE`."""


class NodeTypeError(PipelineError):
    """A node type has a name but cannot be used; the message names the package that offers it."""


class NodeTypes(Mapping[str, NodeType]):
    """Node types by name, each imported when it is first asked for.

    A lookup raises KeyError for a name that nobody offers, and NodeTypeError where the offer is broken or two packages
    offer one name.

    :arg own: name -> dotted path of a module with `NODE`.
    :arg offered: the entry points of other packages.
    """

    def __init__(self, own: Mapping[str, str], offered: Iterable[EntryPoint]) -> None:
        self._own = own
        self._offered: dict[str, list[EntryPoint]] = {}
        for entry in offered:
            self._offered.setdefault(entry.name, []).append(entry)
        self._loaded: dict[str, NodeType] = {}

    def __getitem__(self, name: str) -> NodeType:
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._own, **self._offered})

    def __len__(self) -> int:
        return len({**self._own, **self._offered})

    def usable(self) -> dict[str, NodeType]:
        """All node types that can be used; those that are broken are left out."""
        found = {}
        for name in self:
            try:
                found[name] = self[name]
            except NodeTypeError:
                continue
        return found

    def _load(self, name: str) -> NodeType:
        offers = self._offered.get(name, [])
        owners = (["this project"] if name in self._own else []) + [_package(entry) for entry in offers]
        if not owners:
            raise KeyError(name)
        if len(owners) > 1:
            remedy = f"uninstall one of these packages, or ask its authors for another name: {', '.join(map(_package, offers))}"
            raise NodeTypeError(f"the node type {name!r} is offered more than once, by {' and by '.join(owners)}", remedy)
        try:
            node_type = importlib.import_module(self._own[name]).NODE if name in self._own else offers[0].load()
        except Exception as error:  # another package's code may fail in any way while it is imported
            what = f"the node type {name!r} of {owners[0]} cannot be loaded: {type(error).__name__}: {error}"
            whose = "install this project again" if name in self._own else "repair or uninstall that package"
            raise NodeTypeError(what, f"{whose}; `pip check` may tell what it lacks") from error
        if not isinstance(node_type, NodeType) or node_type.name != name:
            actual = f"one named {node_type.name!r}" if isinstance(node_type, NodeType) else f"a {type(node_type).__name__}"
            what = f"the node type {name!r} of {owners[0]} cannot be used: its entry point gives {actual}"
            raise NodeTypeError(what, "the entry point's name must be the name of the model.node.NodeType it points to")
        return node_type


def installed_node_types() -> NodeTypes:
    """The node types of this project and of every installed package."""
    return NodeTypes(OWN_NODE_TYPES, entry_points(group=ENTRY_POINT_GROUP))


def _package(entry: EntryPoint) -> str:
    return f"the package {entry.dist.name}" if entry.dist is not None else f"the module {entry.value}"
