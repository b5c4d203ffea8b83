"""Finds messages in a stream of bytes that may also carry junk, half messages and leftovers of an earlier connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar, Union

from connectors.dlms.events import Discarded

T = TypeVar("T")


@dataclass(slots=True)
class Found(Generic[T]):
    """A complete message; `end` is the position behind its last byte."""

    item: T
    end: int


@dataclass(frozen=True, slots=True)
class Refuted:
    """No message begins here, and no further byte will change that."""

    reason: str


Verdict = Union[Found[T], Refuted, None]
"""What a position in the buffer holds; None as long as more bytes are needed to tell."""

OUTSIDE = "bytes that belong to no message"
_PIECE = 4096
"""Bytes looked at in one go, so that the work grows with the number of bytes and not with its square."""


class Scanner(Generic[T]):
    """Turns bytes into messages, in whatever pieces they arrive.

    Every `marker` may begin a message, so all of them are followed at once and the message that is complete first wins.
    That way an unfinished or damaged message never swallows a good one that begins inside it, and the result does not
    depend on how the bytes were cut. No more is kept than the longest message that `judge` waits for.

    :arg marker: the bytes every message begins with.
    :arg judge: tells what begins at a position of the buffer.
    :arg flag: a byte that closes a message, may open the next one too, and may fill the time between messages; it is
        not counted as discarded.
    :arg header: more of the bytes that every message begins with, where `judge` refutes whatever begins otherwise.
    """

    def __init__(
        self, marker: bytes, judge: Callable[[bytes | bytearray, int], Verdict[T]], flag: bytes = b"", header: bytes | None = None
    ) -> None:
        self._marker = marker
        self._header = header or marker
        self._judge = judge
        self._flag = flag
        self._buffer = bytearray()
        self._searched = 0
        self._openers: list[int] = []
        self._refuted: dict[int, str] = {}

    def feed(self, data: bytes) -> list[Union[T, Discarded]]:
        """The messages that `data` completes, in order, each after what had to be discarded before it."""
        if self._buffer == self._flag:
            whole = self._whole(data)
            if whole is not None:
                return [whole]
        found: list[Union[T, Discarded]] = []
        for start in range(0, len(data), _PIECE):
            self._buffer += data[start : start + _PIECE]
            found += self._complete()
        return found

    def _whole(self, data: bytes) -> T | None:
        """The message in `data` where it is exactly one and none can begin inside it, as nearly always; else None.

        Nothing is pending but perhaps a flag, which stays: the one that closes this message takes its place.
        """
        if not data.startswith(self._marker) or data.find(self._header, 1, len(data) - len(self._flag)) >= 0:
            return None
        verdict = self._judge(data, 0)
        if not isinstance(verdict, Found) or verdict.end != len(data):
            return None
        return verdict.item

    def _complete(self) -> list[Union[T, Discarded]]:
        self._find_openers()
        found: list[Union[T, Discarded]] = []
        while True:
            first = self._first_complete()
            if first is None:
                break
            start, message = first
            found += self._drop(start)
            found.append(message.item)
            self._forget(message.end - start - len(self._flag))
        found += self._drop(self._openers[0] if self._openers else self._searched)
        return found

    def _find_openers(self) -> None:
        while True:
            position = self._buffer.find(self._marker, self._searched)
            if position < 0:
                break
            self._openers.append(position)
            self._searched = position + 1
        # The buffer may end in the middle of a marker: search those bytes again when more have come.
        self._searched = max(self._searched, len(self._buffer) - len(self._marker) + 1)

    def _first_complete(self) -> tuple[int, Found[T]] | None:
        first: tuple[int, Found[T]] | None = None
        waiting = []
        for number, start in enumerate(self._openers):
            if first is not None and start >= first[1].end:
                waiting += self._openers[number:]
                break
            verdict = self._judge(self._buffer, start)
            if isinstance(verdict, Refuted):
                self._refuted[start] = verdict.reason
                continue
            waiting.append(start)
            if verdict is not None and (first is None or verdict.end < first[1].end):
                first = start, verdict
        self._openers = waiting
        return first

    def _drop(self, end: int) -> list[Union[T, Discarded]]:
        """Discard everything before `end`; an opener that did not turn out to be a message says why, until the next one."""
        counts: dict[str, int] = {}
        bounds = sorted({0, end, *(p for p in (*self._refuted, *self._openers) if p < end)})
        for start, stop in pairwise(bounds):
            reason = self._refuted.get(start, "a message cut short" if start in self._openers else OUTSIDE)
            part = self._buffer[start:stop]
            count = len(part) - (part.count(self._flag) if self._flag else 0)
            counts[reason] = counts.get(reason, 0) + count
        self._forget(end)
        return [Discarded(count, reason) for reason, count in counts.items() if count]

    def _forget(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = max(0, self._searched - count)
        self._openers = [p - count for p in self._openers if p >= count]
        self._refuted = {p - count: reason for p, reason in self._refuted.items() if p >= count}
