"""Wakes a thread that waits for a socket."""

from __future__ import annotations

import os
from contextlib import suppress


class Wake:
    """A pipe that becomes readable when another thread calls `set`."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._reader

    def set(self) -> None:
        """Wake the waiting thread; a full pipe has woken it already."""
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def clear(self) -> None:
        """Forget earlier calls."""
        with suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass

    def close(self) -> None:
        """Close both ends; nobody may use it afterwards."""
        os.close(self._reader)
        os.close(self._writer)
