"""Alerts that cannot be written to the outbox file, because the disk under it refuses: they wait here, in memory.

`receipts-in` takes them from here when it runs in the same process; otherwise they are written to the file as soon as
that is possible again.
"""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from weakref import WeakValueDictionary

from model.messages import Alert

MOST_ALERTS = 100
"""The oldest go first; an alert is told when it begins and when it ends."""


class Bulletin:
    """The alerts of one outbox that nobody has heard yet. Any thread may use it."""

    def __init__(self) -> None:
        self._alerts: deque[Alert] = deque(maxlen=MOST_ALERTS)
        self._lock = threading.Lock()

    def post(self, *alerts: Alert) -> None:
        """Add alerts."""
        with self._lock:
            self._alerts.extend(alerts)

    def take(self) -> list[Alert]:
        """All alerts, oldest first; they are told once."""
        with self._lock:
            alerts = list(self._alerts)
            self._alerts.clear()
        return alerts


_BULLETINS: WeakValueDictionary[Path, Bulletin] = WeakValueDictionary()
_LOCK = threading.Lock()


def bulletin_of(outbox: Path) -> Bulletin:
    """The bulletin of an outbox file, the same for everybody in this process who holds on to it."""
    with _LOCK:
        path = outbox.absolute()
        bulletin = _BULLETINS.get(path)
        if bulletin is None:
            bulletin = _BULLETINS[path] = Bulletin()
        return bulletin
