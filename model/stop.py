"""The request to stop, shared by everything that runs in one process."""

from __future__ import annotations

import time
from collections.abc import Callable


class Stop:
    """Set once, by SIGTERM or SIGINT; every source sees it at its next wake and ends its input.

    Bytewax then drains the flow, takes the last snapshot and exits 0, which neither a default SIGTERM nor a
    KeyboardInterrupt would do.
    """

    def __init__(self) -> None:
        self._requested_at: float | None = None
        self._seen = False
        self._told: list[Callable[[], None]] = []

    def attend(self) -> None:
        """There is a source now that will see a request; before that nothing runs that would have to finish."""
        self._seen = True

    @property
    def attended(self) -> bool:
        """Whether a request will be seen."""
        return self._seen

    def request(self) -> None:
        """Ask everything in this process to finish; only the first call counts. Runs in a signal handler."""
        if self._requested_at is None:
            self._requested_at = time.monotonic()
            for tell in self._told:
                tell()

    def requested(self) -> bool:
        """Whether the process has been asked to finish."""
        return self._requested_at is not None

    def elapsed(self) -> float:
        """Seconds since the request, 0.0 before it: all who finish share one deadline."""
        return 0.0 if self._requested_at is None else time.monotonic() - self._requested_at

    def on_request(self, tell: Callable[[], None]) -> None:
        """Call `tell` when the stop is requested, at once where it already is; it must be quick and must not raise."""
        self._told.append(tell)
        if self.requested():
            tell()
