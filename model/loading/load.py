"""Reads a configuration file and everything it refers to, and finds every mistake at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import BaseModel, ValidationError

from model.errors import ConfigurationError, PipelineError, Problem
from model.loading.document import Document, Location, read_yaml
from model.loading.fields import empty_keys, path_locations, secret_locations, secrets_in
from model.loading.fleet import check_fleet
from model.loading.links import configured_twice, quarrels_on_lines, separate_links
from model.loading.meters_file import read_meters_file
from model.loading.protection import shared_keys, unauthenticated
from model.loading.push_nodes import LISTENS, heard_by_nobody, listening_twice, recognised_alike, recognising_nobody
from model.loading.reading_nodes import read_by_nobody, read_twice, reading_nodes, reading_nothing
from model.loading.secret_files import read_secret_files, resolve_paths
from model.loading.sessions import check_sessions
from model.loading.substitution import substitute
from model.loading.translation import validate
from model.loading.wires import Vertex, Wire, check_wires, read_graph, topological_order, unseen_rejections
from model.node import NodeType
from model.settings.meter import MeterSettings
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings

_METERS: Location = ("meters",)
_METERS_FILE: Location = ("meters_file",)


@dataclass(frozen=True, slots=True)
class LoadedNode:
    """One node, ready to be built: its settings are an instance of its type's model, `line` is where it begins."""

    id: str
    line: int
    type: NodeType
    inputs: tuple[Wire, ...]
    settings: NodeSettings


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration without mistakes.

    :arg nodes: in topological order: a node follows those it takes input from.
    :arg secrets: every password and token in the clear, so that the log can mask them; never to be shown.
    :arg warnings: what is allowed but probably not meant.
    """

    file: Path
    settings: PipelineSettings
    nodes: tuple[LoadedNode, ...]
    secrets: frozenset[str]
    warnings: tuple[Problem, ...]

    def __repr__(self) -> str:
        return f"Loaded({str(self.file)!r}, {len(self.settings.meters)} meters, {len(self.nodes)} nodes)"


def _accept(_meter: MeterSettings) -> None:
    """Any meter will do."""


def load(
    path: Path,
    node_types: Mapping[str, NodeType],
    environment: Mapping[str, str] = os.environ,
    check_meter: Callable[[MeterSettings], None] = _accept,
) -> Loaded:
    """What `path`, such as pipeline.yaml, says.

    :arg node_types: by name; a lookup that raises PipelineError is a problem of the node that asked for the type.
    :arg check_meter: raises ValueError for a meter whose `connect` cannot be used here.
    :raises ConfigurationError: with all problems: what is wrong, in which file and line, and what to do.
    """
    document, problems = read_yaml(path)
    if document.data is None:
        raise ConfigurationError(problems)
    if not isinstance(document.data, dict):
        raise ConfigurationError([*problems, Problem(document.file, 1, "the file must be a mapping", "begin with thingsboard:")])
    loading = _Loading(document, node_types, environment, check_meter)
    loading.problems += problems
    return loading.run()


class _Loading:
    """The steps of one load, and the problems found so far."""

    def __init__(
        self,
        document: Document,
        node_types: Mapping[str, NodeType],
        environment: Mapping[str, str],
        check_meter: Callable[[MeterSettings], None],
    ) -> None:
        self.document = document
        self.node_types = node_types
        self.environment = environment
        self.check_meter = check_meter
        self.problems: list[Problem] = []
        self.missing: set[Location] = set()
        self.hidden: set[Location] = set()
        self.all_meters_known = True

    def run(self) -> Loaded:
        """The configuration, after all steps."""
        self._substitute([()])
        self._add_meters_file()
        self._bring_in_files()
        settings = cast("PipelineSettings | None", self._validated(PipelineSettings, ()))
        vertices, problems = read_graph(self.document, self.node_types)
        self.problems += problems
        nodes = {vertex.id: self._node_settings(vertex) for vertex in vertices}
        self.problems += check_fleet(self.document)
        meters = self._meters(settings)
        self.problems += check_sessions(self.document, self.missing, self.all_meters_known)
        self._check_links(meters)
        self.problems += check_wires(self.document, vertices, self.node_types)
        polled = [meter.id for meter in meters.values() if meter.is_polled]
        readers = reading_nodes(vertices, nodes, polled)
        listeners = reading_nodes(vertices, nodes, (meter.id for meter in meters.values()), LISTENS)
        self.problems += read_twice(self.document, readers)
        self.problems += listening_twice(self.document, listeners, nodes)
        self.problems += recognised_alike(self.document, listeners, meters)
        if meters and self.all_meters_known:
            self.problems += reading_nothing(self.document, readers)
            self.problems += recognising_nobody(self.document, listeners, meters)
        if self.problems or settings is None:
            raise ConfigurationError(_in_order(self.problems, self.document.file))
        return Loaded(
            file=Path(self.document.file),
            settings=settings,
            nodes=_ordered(self.document, vertices, nodes),
            secrets=frozenset(secret for value in (settings, *nodes.values()) for secret in secrets_in(value) if secret),
            warnings=tuple(
                _in_order(
                    [
                        *unseen_rejections(self.document, vertices),
                        *read_by_nobody(self.document, vertices, readers, settings.meters),
                        *heard_by_nobody(self.document, listeners, meters),
                        *separate_links(self.document, meters),
                        *unauthenticated(self.document, meters),
                        *shared_keys(self.document, meters),
                    ],
                    self.document.file,
                )
            ),
        )

    def _substitute(self, parts: Iterable[Location]) -> None:
        self.missing |= self.document.unreadable
        for part in parts:
            problems, missing = substitute(self.document, part, self.environment)
            self.problems += problems
            self.missing |= missing

    def _add_meters_file(self) -> None:
        """Append the meters of `meters_file`, so that all meters stand in one list."""
        name, meters = self.document.get(_METERS_FILE), self.document.get(_METERS)
        if not isinstance(name, str) or _METERS_FILE in self.missing or not isinstance(meters, (list, type(None))):
            return
        path = Path(self.document.file).parent / name
        more, problems = read_meters_file(path)
        if problems and problems[0].line is None:
            remedy = "the path is relative to the folder of this file"
            problems = [self.document.problem(_METERS_FILE, f"meters_file {path}: {problem.what}", remedy) for problem in problems]
        self.problems += problems
        self.all_meters_known = not problems
        start = len(meters or [])
        self.document.append(more, _METERS)
        self._substitute((*_METERS, start + index) for index in range(len(more.data)))

    def _bring_in_files(self) -> None:
        """Read the secret files, make every path relative to the file that names it, leave out keys without a value."""
        self.document.data.setdefault("state_dir", str(PipelineSettings.model_fields["state_dir"].default))
        models: list[tuple[type[BaseModel], Location]] = [(PipelineSettings, ()), *self._settings_models()]
        for model, location in models:
            data = self.document.get(location)
            secrets = set(secret_locations(model, data, location))
            self.hidden |= secrets
            problems, missing = read_secret_files(self.document, secrets - self.missing)
            self.problems += problems
            self.missing |= missing
            resolve_paths(self.document, set(path_locations(model, data, location)) - self.missing)
            for empty in set(empty_keys(model, data, location)) - self.missing:
                self.document.remove(empty)

    def _settings_models(self) -> Iterator[tuple[type[BaseModel], Location]]:
        """The model of every node's settings, and where they stand."""
        nodes = self.document.get(("nodes",))
        for index, node in enumerate(nodes if isinstance(nodes, list) else []):
            with suppress(KeyError, TypeError, PipelineError):
                yield self.node_types[node["type"]].settings, ("nodes", index, "settings")

    def _meters(self, settings: PipelineSettings | None) -> dict[int, MeterSettings]:
        """The meters that are right by themselves, by their place in the list, also when something else is wrong."""
        if settings is not None:
            return dict(enumerate(settings.meters))
        entries = self.document.get(_METERS)
        meters = {}
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            try:
                meters[index] = MeterSettings.model_validate(entry)
            except ValidationError:
                self.all_meters_known = False
        return meters

    def _check_links(self, meters: Mapping[int, MeterSettings]) -> None:
        """Ask `check_meter` about every meter, and compare their links."""
        self.problems += configured_twice(self.document, meters)
        self.problems += quarrels_on_lines(self.document, meters)
        for index, meter in meters.items():
            try:
                self.check_meter(meter)
            except ValueError as error:
                what, _, remedy = str(error).partition("; ")
                self.problems.append(self.document.problem((*_METERS, index, "connect"), f"meter {meter.id}: {what}", remedy))

    def _validated(self, model: type[BaseModel], location: Location) -> BaseModel | None:
        instance, problems = validate(model, self.document, location, self.missing, self.hidden)
        self.problems += problems
        return instance

    def _node_settings(self, vertex: Vertex) -> NodeSettings | None:
        """The settings of one node; None where they, or its type, are wrong."""
        location = (*vertex.location, "settings")
        node = self.document.get(vertex.location)
        node.setdefault("settings", {})
        if vertex.type is None or not isinstance(node["settings"], dict):
            return None
        return cast("NodeSettings | None", self._validated(vertex.type.settings, location))


def _ordered(document: Document, vertices: list[Vertex], settings: Mapping[str, NodeSettings | None]) -> tuple[LoadedNode, ...]:
    by_id = {vertex.id: vertex for vertex in vertices}
    nodes = []
    for name in topological_order({vertex.id: [wire.source for _, wire in vertex.wires] for vertex in vertices}):
        vertex, node_settings = by_id[name], settings[name]
        if vertex.type is not None and node_settings is not None:
            line = document.place(vertex.location).line
            nodes.append(LoadedNode(name, line, vertex.type, tuple(wire for _, wire in vertex.wires), node_settings))
    return tuple(nodes)


def _in_order(problems: Iterable[Problem], main: str) -> list[Problem]:
    """By file, the main one first, and line; each problem once."""
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.file != main, problem.file, problem.line or 0))
