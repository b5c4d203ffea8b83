"""Waits for what a meter sends, and asks for the next part of a long answer at once where nothing but that is to be done.

A load profile comes in hundreds of parts. Over TCP each is dealt with where it arrives, in the callback of the link, without waking
the task that waits for the whole; other links are read by the task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from connectors.dlms.conversation import Conversation
from connectors.dlms.events import Event, Transmit
from connectors.dlms.link.contract import Link, PromptLink


class Hearing:
    """The meter's side of the exchanges of one session, one after the other.

    :arg conversation: what the bytes mean.
    :arg traced: called with all bytes and whether they are sent, returns them.
    """

    def __init__(self, conversation: Conversation, traced: Callable[[bytes, bool], bytes]) -> None:
        self._conversation = conversation
        self._traced = traced
        self._link: Link | None = None
        self._prompt: PromptLink | None = None
        self._heard: list[Event] = []
        self._later = 0.0
        self._deadline = 0.0

    def begin(self, link: Link, patience: float, later: float) -> None:
        """Listen to `link`; `end` must follow.

        :arg patience: seconds to wait for the first sign of life.
        :arg later: seconds to wait for each one after that.
        """
        self._prompt = prompt = link.prompt
        self._link = prompt or link
        self._heard.clear()
        self._later = later
        self._deadline = _now() + patience
        if prompt is not None:
            prompt.listen(self._arrived)

    def end(self) -> None:
        """Listen no more."""
        if self._prompt is not None:
            self._prompt.listen(None)
        self._link = self._prompt = None

    def extend(self) -> None:
        """There was a sign of life."""
        self._deadline = _now() + self._later

    async def events(self) -> list[Event]:
        """What the bytes mean that arrive next.

        :raises asyncio.TimeoutError: when none came in time.
        :raises MeterError: when the link ended.
        """
        assert self._link is not None
        while True:
            try:
                data = await self._link.read(max(0.0, self._deadline - _now()))
            except asyncio.TimeoutError:
                if _now() < self._deadline:  # parts came meanwhile
                    continue
                raise
            events, self._heard = self._heard, []
            return events + self._received(data) if data else events

    def _received(self, data: bytes) -> list[Event]:
        return self._conversation.receive(self._traced(data, False))

    def _arrived(self, data: bytes) -> bool:
        """Called by the link; whether there is nothing left to do for the task that waits."""
        events = self._received(data)
        if len(events) == 1:
            (event,) = events
            if type(event) is Transmit and self._prompt is not None and self._prompt.send(self._traced(event.data, True)):
                self.extend()
                return True
        self._heard += events
        return False


def _now() -> float:
    return asyncio.get_running_loop().time()
