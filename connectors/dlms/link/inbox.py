"""Bytes that arrived and wait to be read, or the error that ended the link."""

from __future__ import annotations

import asyncio

from model.errors import MeterError

LONGEST = 1_048_576
"""Bytes kept for a reader that does not come: far more than any reply; what arrives beyond that is thrown away."""


class Inbox:
    """Filled by callbacks, emptied by one reader. A read that is cancelled loses nothing."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._arrived = asyncio.Event()
        self._error: MeterError | None = None
        self._interruption: MeterError | None = None
        self._waiting = False

    @property
    def broken(self) -> bool:
        """Whether the link has ended."""
        return self._error is not None

    def put(self, data: bytes) -> None:
        """Add what arrived."""
        self._data += data[: LONGEST - len(self._data)]
        self._arrived.set()

    def fail(self, error: MeterError) -> None:
        """End the link: what arrived before can still be read, then `error` is raised. Only the first error counts."""
        self._error = self._error or error
        self._arrived.set()

    def clear(self) -> int:
        """Throw away what has arrived; how many bytes that were."""
        count = len(self._data)
        self._data.clear()
        if self._error is None:
            self._arrived.clear()
        return count

    def check(self) -> None:
        """Do nothing on a link that works.

        :raises MeterError: what ended it.
        """
        if self._error is not None:
            raise MeterError(self._error.kind, self._error.what, self._error.remedy)

    def interrupt(self, error: MeterError) -> None:
        """End the read that waits at this moment, if there is one, with `error`; the link goes on."""
        if self._waiting:
            self._interruption = error
            self._arrived.set()

    async def read(self) -> bytes:
        """Whatever has arrived, at least one byte.

        :raises MeterError: when the link has ended and everything is read, or the wait was interrupted.
        """
        while not self._data:
            self.check()
            self._arrived.clear()
            self._waiting = True
            try:
                await self._arrived.wait()
            finally:
                self._waiting = False
                interruption, self._interruption = self._interruption, None
            if interruption is not None and not self._data:
                raise interruption
        data = bytes(self._data)
        self._data.clear()
        return data
