"""Server-sent events: the overview when it changes, and alarms as they come. A stream ends when its reader goes or the server stops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

from starlette.concurrency import run_in_threadpool

from dashboard.answers import Alarm, Overview
from dashboard.json_answer import encode

EVERY = 2.0
"""Seconds between two looks."""

KEEP_ALIVE = 15.0
"""Seconds after which a comment is sent, so that whatever is in between does not close the connection."""

MOST_STREAMS = 200

_SLICE = 0.25
"""Seconds; a stop is seen that soon."""


class Streams:
    """All open streams.

    :arg overview: what the `overview` event tells. :arg alarms: the newest alarms.
    """

    def __init__(self, overview: Callable[[], Overview], alarms: Callable[[], list[Alarm]]) -> None:
        self._overview = overview
        self._alarms = alarms
        self._stopping = threading.Event()
        self.open = 0

    def stop(self) -> None:
        """End all streams within moments; may be called from a signal handler."""
        self._stopping.set()

    @property
    def full(self) -> bool:
        """Whether no further stream may be opened."""
        return self.open >= MOST_STREAMS

    async def events(self) -> AsyncIterator[bytes]:
        """One stream, for as long as its reader wants it."""
        self.open += 1
        try:
            async for event in self._events():
                yield event
        finally:
            self.open -= 1

    async def _events(self) -> AsyncIterator[bytes]:
        yield b"retry: 3000\n\n"
        known = await run_in_threadpool(self._alarm_keys)
        before: Overview | None = None
        spoke = time.monotonic()
        while not self._stopping.is_set():
            overview = await run_in_threadpool(self._overview)
            if before is None or overview.model_copy(update={"now": before.now}) != before:
                before = overview
                spoke = time.monotonic()
                yield b"event: overview\ndata: " + encode(overview) + b"\n\n"
            for alarm in reversed(await run_in_threadpool(self._alarms)):
                if _key(alarm) not in known:
                    known.add(_key(alarm))
                    spoke = time.monotonic()
                    yield b"event: alarm\ndata: " + encode(alarm) + b"\n\n"
            if time.monotonic() - spoke >= KEEP_ALIVE:
                spoke = time.monotonic()
                yield b": still here\n\n"
            await self._pause()

    async def _pause(self) -> None:
        end = time.monotonic() + EVERY
        while time.monotonic() < end and not self._stopping.is_set():
            await asyncio.sleep(_SLICE)

    def _alarm_keys(self) -> set[tuple[str, ...]]:
        return {_key(alarm) for alarm in self._alarms()}


def _key(alarm: Alarm) -> tuple[str, ...]:
    """An alarm that is raised, and the same when it is over, are two events."""
    return alarm.kind, alarm.subject, alarm.severity, alarm.at.isoformat(), str(alarm.raised)
