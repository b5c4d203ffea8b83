"""What pipeline.yaml says, as far as the page needs it: also from a file with mistakes, and without its secrets.

The dashboard is told nothing secret: it may run as a user that can read neither the secret files nor the environment of the
flow. So it takes the plain data of the file, field by field, and leaves out what it cannot understand. The full check runs
beside it only to name mistakes; a secret that is missing here is none, because the flow may well have it.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from dashboard.masking import known_secrets, masked_configuration
from model.errors import ConfigurationError, PipelineError, Problem
from model.loading.document import Document, read_text, read_yaml
from model.loading.load import Loaded, load
from model.loading.meters_file import read_meters_file
from model.loading.substitution import substitute
from model.loading.wires import parse_wire
from model.messages import Reading
from model.node import MAIN, NodeType
from model.settings.base import Duration
from model.settings.meter import MeterSettings
from model.settings.pipeline import PipelineSettings
from model.settings.thingsboard import SINGLE

LOOK_EVERY = 2.0
"""Seconds between two looks at the files."""

_DURATION: TypeAdapter[float] = TypeAdapter(Duration)
_USER = re.compile(r"(?<=://)[^/@\s]*@")
_SECRETS_ELSEWHERE = ("the environment variable", "the secret file")
"""What a problem says that is about where a secret comes from."""

_DEFAULT_STATE_DIR = str(PipelineSettings.model_fields["state_dir"].default)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ConfiguredProfile:
    """One load profile of a template: `keys` are those it names, `is_log` tells an event log, which has no intervals."""

    name: str
    obis: str
    keys: frozenset[str]
    is_log: bool


@dataclass(frozen=True, slots=True)
class ConfiguredMeter:
    """One meter. `interval` is in seconds; None where it cannot be told. `words` is what a search looks through."""

    id: str
    name: str
    template: str | None
    connect: str | None
    interval: float | None
    tags: Mapping[str, str]
    profiles: tuple[ConfiguredProfile, ...]
    words: str


@dataclass(frozen=True, slots=True)
class ConfiguredNode:
    """One node; `outputs` are the names of its ports, "main" for the main one."""

    id: str
    type: str
    summary: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    gives_readings: bool


@dataclass(frozen=True, slots=True)
class Configured:
    """The configuration as far as it can be understood.

    :arg sessions: the sessions with ThingsBoard; empty where they cannot be told.
    :arg problems: its mistakes. :arg text: the file with secrets masked.
    :arg secrets: what must never be shown, as far as it is known here.
    :arg settings: all of it, of a file without mistakes whose secrets are known here as well.
    """

    file: Path
    state_dir: Path
    meters: Mapping[str, ConfiguredMeter] = field(default_factory=dict)
    nodes: tuple[ConfiguredNode, ...] = ()
    sessions: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    text: str = ""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    settings: PipelineSettings | None = field(default=None, repr=False)


class ConfigurationWatch:
    """The latest reading of the file; a change is noticed within seconds and read in the background.

    What the last readable version said of meters, nodes and state_dir stays while the file cannot be parsed.
    """

    def __init__(self, file: Path, node_types: Mapping[str, NodeType], check_meter: Callable[[MeterSettings], None]) -> None:
        self._file = file
        self._node_types = node_types
        self._check_meter = check_meter
        self._looked = time.monotonic()
        self._lock = threading.Lock()
        self._stamp = self._stamps()
        self._current = read_configuration(file, node_types, check_meter)

    def current(self) -> Configured:
        """What is known now; never waits for the disk longer than a look at the file's time."""
        if time.monotonic() - self._looked >= LOOK_EVERY and self._lock.acquire(blocking=False):
            self._looked = time.monotonic()
            stamp = self._stamps()
            if stamp == self._stamp:
                self._lock.release()
            else:
                threading.Thread(target=self._read, args=(stamp,), name="configuration", daemon=True).start()
        return self._current

    def _read(self, stamp: tuple[Any, ...]) -> None:
        try:
            self._current = read_configuration(self._file, self._node_types, self._check_meter, self._current)
            self._stamp = stamp
        except Exception:
            log.exception("the configuration could not be read", file=str(self._file))
        finally:
            self._lock.release()

    def _stamps(self) -> tuple[Any, ...]:
        """What changes when the file, or the file of meters it names, is written."""
        return tuple(_stamp(file) for file in (self._file, *_meters_files(self._file)))


def read_configuration(
    file: Path,
    node_types: Mapping[str, NodeType],
    check_meter: Callable[[MeterSettings], None],
    before: Configured | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Configured:
    """What `file` says; never raises for what is in it.

    :arg before: what is shown on where the file cannot be parsed.
    """
    problems, loaded = _mistakes(file, node_types, check_meter, environment)
    secrets = frozenset() if loaded is None else loaded.secrets
    document, unreadable = read_yaml(file)
    text = read_text(file)[0]
    if not isinstance(document.data, dict):
        shown = masked_configuration(text, node_types, frozenset())
        known = before or Configured(file, file.parent / _DEFAULT_STATE_DIR)
        return Configured(
            file, known.state_dir, known.meters, known.nodes, known.sessions, tuple(problems or unreadable), shown, known.secrets
        )
    _complete(document, environment)
    secrets = secrets | known_secrets(document, node_types)
    data = document.data
    templates = {name: value for name, value in _mapping(data.get("templates")).items() if isinstance(value, dict)}
    state_dir = file.parent / Path(str(data.get("state_dir") or _DEFAULT_STATE_DIR)).expanduser()
    return Configured(
        file=file,
        state_dir=state_dir,
        meters={meter.id: meter for meter in _meters(data.get("meters"), templates)},
        nodes=tuple(_nodes(data.get("nodes"), node_types)),
        sessions=_sessions(_mapping(data.get("thingsboard"))),
        problems=tuple(problems),
        text=masked_configuration(text, node_types, secrets),
        secrets=secrets,
        settings=None if loaded is None else loaded.settings,
    )


def _mistakes(
    file: Path, node_types: Mapping[str, NodeType], check_meter: Callable[[MeterSettings], None], environment: Mapping[str, str]
) -> tuple[list[Problem], Loaded | None]:
    """The mistakes that the flow would find as well, and all that is said by a file without mistakes."""
    try:
        return [], load(file, node_types, environment, check_meter)
    except ConfigurationError as error:
        return [problem for problem in error.problems if not any(sign in problem.what for sign in _SECRETS_ELSEWHERE)], None
    except Exception as error:  # a file may be stranger than the loader expects; the page must stay
        log.exception("the configuration could not be checked", file=str(file))
        return [Problem(str(file), None, f"cannot be checked: {type(error).__name__}", "run: python -m commands check")], None


def _complete(document: Document, environment: Mapping[str, str]) -> None:
    """Put in the values of variables, and the meters of `meters_file`."""
    substitute(document, (), environment)
    name, meters = document.data.get("meters_file"), document.data.get("meters")
    if isinstance(name, str) and isinstance(meters, (list, type(None))):
        more, _ = read_meters_file(Path(document.file).parent / name)
        start = len(meters or [])
        document.append(more, ("meters",))
        for index in range(len(more.data)):
            substitute(document, ("meters", start + index), environment)


def _meters(entries: Any, templates: Mapping[str, Mapping[str, Any]]) -> Iterator[ConfiguredMeter]:
    profiles = {name: tuple(_profiles(template.get("profiles"))) for name, template in templates.items()}
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), (str, int)):
            continue
        name = str(entry.get("device_name") or entry["id"])
        template = entry.get("template")
        template = None if template is None else str(template)
        connect = entry.get("connect")
        connect = None if connect is None else _USER.sub("", str(connect))
        tags = {str(key): str(value) for key, value in _mapping(entry.get("tags")).items()}
        yield ConfiguredMeter(
            id=str(entry["id"]),
            name=name,
            template=template,
            connect=connect,
            interval=_seconds(entry.get("interval")) or _seconds(templates.get(template or "", {}).get("interval")),
            tags=tags,
            profiles=profiles.get(template or "", ()),
            words="\n".join((str(entry["id"]), name, template or "", connect or "", *tags.values())).casefold(),
        )


def _profiles(entries: Any) -> Iterator[ConfiguredProfile]:
    for name, entry in _mapping(entries).items():
        settings = entry if isinstance(entry, dict) else {"obis": entry}
        keys = frozenset(str(key) for key in _mapping(settings.get("keys")).values() if key is not None)
        yield ConfiguredProfile(str(name), str(settings.get("obis")), keys, is_log=settings.get("events") is not None)


def _sessions(section: Mapping[Any, Any]) -> tuple[str, ...]:
    entries = section.get("sessions")
    if not isinstance(entries, list):
        return (SINGLE,) if section else ()
    return tuple(dict.fromkeys(entry["name"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("name"), str)))


def _nodes(entries: Any, node_types: Mapping[str, NodeType]) -> Iterator[ConfiguredNode]:
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            continue
        inputs = entry.get("inputs")
        found = _node_type(str(entry.get("type")), node_types)
        yield ConfiguredNode(
            id=entry["id"],
            type=str(entry.get("type")),
            summary="" if found is None else found.summary,
            inputs=tuple(str(parse_wire(wire)) for wire in inputs if isinstance(wire, str)) if isinstance(inputs, list) else (),
            outputs=() if found is None else tuple("main" if port == MAIN else port for port in found.emits),
            gives_readings=found is not None and found.emits.get(MAIN) is Reading,
        )


def _node_type(name: str, node_types: Mapping[str, NodeType]) -> NodeType | None:
    try:
        return node_types[name]
    except (KeyError, PipelineError):
        return None


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}


def _seconds(value: Any) -> float | None:
    try:
        return None if value is None else _DURATION.validate_python(value)
    except ValidationError:
        return None


def _meters_files(file: Path) -> Iterable[Path]:
    """The file of meters that `file` names, found without parsing all of it."""
    match = re.search(r"^meters_file:\s*[\"']?([^\"'#\n]+)", read_text(file)[0], re.MULTILINE)
    return [] if match is None else [file.parent / match[1].strip()]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
