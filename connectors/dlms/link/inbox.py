"""Bytes that arrived and wait to be read, or the error that ended the link."""

from __future__ import annotations

import asyncio

from model.errors import MeterError

LONGEST = 1_048_576
"""Bytes kept for a reader that does not come: far more than any reply; what arrives beyond that is thrown away."""


class Inbox:
    """Filled by callbacks, emptied by one reader. A read that is cancelled or comes to its time limit loses nothing."""

    __slots__ = ("_data", "_error", "_interruption", "_nudged", "_waiter")

    def __init__(self) -> None:
        self._data = bytearray()
        self._waiter: asyncio.Future[bool] | None = None
        self._error: MeterError | None = None
        self._interruption: MeterError | None = None
        self._nudged = False

    @property
    def broken(self) -> bool:
        """Whether the link has ended."""
        return self._error is not None

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return len(self._data)

    @property
    def awaited(self) -> bool:
        """Whether a reader waits and nothing has arrived yet."""
        return self._waiter is not None and not self._waiter.done()

    def put(self, data: bytes | bytearray) -> None:
        """Add what arrived."""
        self._data += data[: LONGEST - len(self._data)]
        _wake(self._waiter, True)

    def fail(self, error: MeterError) -> None:
        """End the link: what arrived before can still be read, then `error` is raised. Only the first error counts."""
        self._error = self._error or error
        _wake(self._waiter, True)

    def clear(self) -> int:
        """Throw away what has arrived; how many bytes that were."""
        count = len(self._data)
        self._data.clear()
        return count

    def check(self) -> None:
        """Do nothing on a link that works.

        :raises MeterError: what ended it.
        """
        if self._error is not None:
            raise MeterError(self._error.kind, self._error.what, self._error.remedy)

    def interrupt(self, error: MeterError) -> None:
        """End the read that waits at this moment, if there is one, with `error`; the link goes on."""
        if self._waiter is not None:
            self._interruption = error
            _wake(self._waiter, True)

    def nudge(self) -> None:
        """End the read that waits at this moment with what has arrived, which may be nothing."""
        self._nudged = True
        _wake(self._waiter, True)

    async def read(self, within: float | None = None) -> bytes:
        """Whatever has arrived, at least one byte unless it was nudged.

        :arg within: seconds to wait at most.
        :raises asyncio.TimeoutError: when nothing came in time.
        :raises MeterError: when the link has ended and everything is read, or the wait was interrupted.
        """
        while not self._data:
            self.check()
            in_time = await self._wait(within)
            interruption, self._interruption = self._interruption, None
            if self._data or self._nudged:
                break
            if interruption is not None:
                raise interruption
            if not in_time:
                raise asyncio.TimeoutError
        self._nudged = False
        data = bytes(self._data)
        self._data.clear()
        return data

    async def _wait(self, within: float | None) -> bool:
        """Until something happens; whether it did in time. A timer of its own costs less than `asyncio.wait_for`, which makes a task."""
        loop = asyncio.get_running_loop()
        self._interruption = None
        self._waiter = waiter = loop.create_future()
        timer = None if within is None else loop.call_later(within, _wake, waiter, False)
        try:
            in_time: bool = await waiter
            return in_time
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


def _wake(waiter: asyncio.Future[bool] | None, in_time: bool) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(in_time)
