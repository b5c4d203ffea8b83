"""The request to stop, shared by everything that runs in one process."""

from __future__ import annotations

import threading


class Stop:
    """Set once, by SIGTERM or SIGINT; every source sees it at its next wake and ends its input.

    Bytewax then drains the flow, takes the last snapshot and exits 0, which neither a default SIGTERM nor a
    KeyboardInterrupt would do.
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    def request(self) -> None:
        """Ask everything in this process to finish."""
        self._event.set()

    def requested(self) -> bool:
        """Whether the process has been asked to finish."""
        return self._event.is_set()
