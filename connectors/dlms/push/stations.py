"""What is remembered per sender, for a few senders only: whoever sends may invent as many as it likes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Stations(Generic[T]):
    """A dictionary that forgets whoever was silent longest when a new one comes.

    :arg most: how many are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str) -> T | None:
        """What is remembered of `name`, which was heard just now."""
        if name in self._entries:
            self._entries.move_to_end(name)
        return self._entries.get(name)

    def pop(self, name: str) -> T | None:
        """What was remembered of `name`, which is forgotten."""
        return self._entries.pop(name, None)

    def newest(self, most: int) -> list[T]:
        """What was put last, the newest first."""
        return list(self._entries.values())[: -most - 1 : -1]

    def put(self, name: str, entry: T) -> None:
        """Remember `entry`."""
        self._entries[name] = entry
        self._entries.move_to_end(name)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)
