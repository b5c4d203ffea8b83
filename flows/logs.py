"""How the pipeline logs: one event per line on stderr, for people or as JSON, with every known secret masked.

What the libraries say through `logging` (paho, asyncio) takes the same way out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import is_dataclass
from typing import Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor

from model.settings.pipeline import LogSettings
from model.settings.security import password_octets

MASK = "***"

_SHORTEST = 4
"""Characters: a shorter secret would mask parts of innocent words; the modules that handle secrets never log them anyway."""

_KEY = re.compile(r"(?:hex:)?(?:[0-9A-Fa-f]{2}\s*){16,}")
"""A secret that looks like the hexadecimal digits of a key."""

_CHATTY = ("asyncio", "concurrent.futures")

_SHARED: Sequence[Processor] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
)
"""What happens to every event, ours or a library's, before it is rendered."""


def configure_logs(settings: LogSettings, secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Route all logs of this process to `stream`, stderr where left out.

    :arg secrets: texts that must never appear, in the clear, escaped, or in hex.
    """
    level = logging.getLevelName(settings.level.upper())
    root = logging.getLogger()
    root.handlers[:] = [_handler(settings, SecretMask(secrets), sys.stderr if stream is None else stream)]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.INFO))
    structlog.configure(
        processors=[*_SHARED, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _handler(settings: LogSettings, mask: SecretMask, stream: TextIO) -> logging.Handler:
    """Writes events to `stream` in the form that `settings` asks for."""
    human = settings.format == "human" or (settings.format == "auto" and stream.isatty())
    form = _for_people(colors=stream.isatty()) if human else _for_programs()
    handler = logging.StreamHandler(stream)
    processors: list[Processor] = [ProcessorFormatter.remove_processors_meta, mask, *form]
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=_SHARED, processors=processors))
    return handler


def _for_people(*, colors: bool) -> list[Processor]:
    return [
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        _on_one_line,
        _without_details,
        structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0),
    ]


def _for_programs() -> list[Processor]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_details,
        _in_order,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


def _on_one_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Line ends inside the event, which may come from a meter or a server, must not look like another event.

    Tracebacks become fields with other names: the renderer would put `exception` and `stack` on lines of their own.
    """
    event["event"] = str(event.get("event", "")).replace("\r", "\\r").replace("\n", "\\n")
    for name, field in (("exception", "traceback"), ("stack", "called_from")):
        text = event.pop(name, None)
        if text:
            event[field] = text  # which the renderer writes as a Python literal, line ends escaped
    return event


def _without_details(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """`details` are the numbers that the sentence says already: people need them once, programs as fields."""
    event.pop("details", None)
    return event


def _with_details(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    details = event.pop("details", None)
    return {**event, **details} if isinstance(details, Mapping) else event


def _in_order(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """When, how urgent and what, then the rest."""
    return {**{key: event[key] for key in ("timestamp", "level", "event") if key in event}, **event}


class SecretMask:
    """A processor that turns an event into plain values and replaces every secret in it."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        self._pattern = re.compile("|".join(sorted(forms, key=lambda form: (-len(form), form)))) if forms else None

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The event, safe to be shown."""
        return {self.text(str(key)): self._plain(value) for key, value in event.items()}

    def text(self, text: str) -> str:
        """`text` without secrets."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def _plain(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._plain(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)) and not is_dataclass(value):  # messages are kept in tuples
            return [self._plain(inner) for inner in value]
        return self.text(value.hex(" ") if isinstance(value, bytes) else str(value))


def _forms(secret: str) -> set[str]:
    """Patterns for the ways in which a secret can end up in a text: as it is, escaped by repr or JSON, in hex."""
    escaped = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    pairs = [f"{byte:02x}" for byte in _octets(secret)]
    forms = {re.escape(form) for form in escaped} | {_in_hex(pairs)}
    if _KEY.fullmatch(secret):  # a key is written in hex: its bytes must not appear in another spelling
        forms.add(_in_hex([f"{byte:02x}" for byte in bytes.fromhex(secret.removeprefix("hex:"))]))
    return forms


def _in_hex(pairs: Sequence[str]) -> str:
    either_case = ["".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in pair) for pair in pairs]
    return "[ :-]?".join(either_case)


def _octets(secret: str) -> bytes:
    """What goes over the wire for `secret`, also for one that no meter would take."""
    try:
        return password_octets(secret)
    except ValueError:
        return secret.encode("utf-8", "surrogatepass")
