"""Takes the frames and what the connector says about them out of the log, for `--trace`; secrets are masked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from flows.logs import SecretMask

_FRAMES = "connectors.dlms.exchange"
"""The logger at whose level debug frames are decoded at all."""

_CONTEXT = ("meter", "event", "frame")


@contextmanager
def traced(mask: SecretMask, show: Callable[[str], None]) -> Iterator[None]:
    """While this lasts `show` gets each frame, in words and in hex, and each remark about one.

    A frame is one line of words, such as `-> I S=0 R=0 GET-request-normal #5 1.0.1.8.0.255 class 3 attribute 2`, and a second
    one, indented, of hexadecimal digits.
    """

    def take(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        show(mask.text(_text(event)))
        raise structlog.DropEvent

    before, frames = structlog.get_config(), logging.getLogger(_FRAMES)
    level = frames.level
    frames.setLevel(logging.DEBUG)
    structlog.configure(processors=[take], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    try:
        yield
    finally:
        structlog.configure(**before)
        frames.setLevel(level)


def _text(event: Mapping[str, Any]) -> str:
    frame = event.get("frame")
    if isinstance(frame, str):
        data, _, words = frame.partition(" | ")
        direction, _, digits = data.partition(" ")
        return f"{direction} {words}\n     {digits}"
    rest = ", ".join(f"{name} {value}" for name, value in event.items() if name not in _CONTEXT)
    return f"   {event.get('event', '')}" + (f": {rest}" if rest else "")
