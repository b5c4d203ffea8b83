"""What one partition has running on the background loop, and when the partition may end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from connectors.dlms.loop import submit
from model.stop import Stop

STOP_TIMEOUT = 2.8
"""Seconds from the request to stop until a partition ends even if its meter did not say goodbye, or its port is not closed yet."""


class BackgroundWork:
    """Work that goes on until a stop is requested.

    :arg work: starts at once.
    :arg finish: makes it end soon; called when the stop is requested.
    """

    def __init__(self, work: Coroutine[Any, Any, None], finish: Callable[[], None], stop: Stop) -> None:
        self._running = submit(work)
        self._stop = stop
        stop.on_request(finish)

    def may_end(self) -> bool:
        """Whether the partition may end once nothing is left to be taken; ask before taking.

        What ended the work unasked is raised: a defect of ours, and better the whole flow ends than one partition falls
        silent unnoticed.
        """
        stopping, ended = self._stop.requested(), self._running.done()
        if ended and not stopping:
            self._running.result()
        return stopping and (ended or self._stop.elapsed() >= STOP_TIMEOUT)
