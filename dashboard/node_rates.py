"""How fast items come out of each node: from what the processes counted, now and a few seconds ago."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from model.status import ProcessStatus

SPAN = 10.0
"""Seconds over which a rate is taken, where that long is known."""


@dataclass(frozen=True, slots=True)
class NodeCount:
    """One node over all processes: items since their start and per second lately, by port, and when it last emitted."""

    emitted: Mapping[str, int] = field(default_factory=dict)
    rate: Mapping[str, float] = field(default_factory=dict)
    last: datetime | None = None


class NodeRates:
    """Remembers the counts of the last seconds, per process; one that started anew begins from nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, deque[ProcessStatus]] = {}

    def observe(self, running: Sequence[ProcessStatus]) -> None:
        """Take in what the running processes say."""
        with self._lock:
            for gone in set(self._known) - {process.process for process in running}:
                del self._known[gone]
            for process in running:
                known = self._known.setdefault(process.process, deque())
                if known and (known[-1].pid, known[-1].started) != (process.pid, process.started):
                    known.clear()
                if not known or process.written > known[-1].written:
                    known.append(process)
                while len(known) > 2 and (known[-1].written - known[1].written).total_seconds() >= SPAN:
                    known.popleft()

    def counts(self) -> dict[str, NodeCount]:
        """Every node by its id, all processes together."""
        with self._lock:
            pairs = [(known[0], known[-1]) for known in self._known.values()]
        emitted: dict[str, dict[str, int]] = {}
        rates: dict[str, dict[str, float]] = {}
        last: dict[str, datetime | None] = {}
        for before, now in pairs:
            for name, node in now.nodes.items():
                for port, count in node.emitted.items():
                    ports, per_second = emitted.setdefault(name, {}), rates.setdefault(name, {})
                    ports[port] = ports.get(port, 0) + count
                    per_second[port] = per_second.get(port, 0.0) + _rate(before, now, name, port)
                if node.last is not None:
                    known_last = last.get(name)
                    last[name] = node.last if known_last is None else max(known_last, node.last)
                emitted.setdefault(name, {})
        return {name: NodeCount(ports, rates.get(name, {}), last.get(name)) for name, ports in emitted.items()}


def _rate(before: ProcessStatus, now: ProcessStatus, node: str, port: str) -> float:
    """Items per second since `before`; since the process's start where there is nothing to compare with."""
    if before is now:
        seconds, already = (now.written - now.started).total_seconds(), 0
    else:
        seconds, already = (now.written - before.written).total_seconds(), _count(before, node, port)
    return round(max(0, _count(now, node, port) - already) / seconds, 3) if seconds > 0 else 0.0


def _count(process: ProcessStatus, node: str, port: str) -> int:
    known = process.nodes.get(node)
    return 0 if known is None else known.emitted.get(port, 0)
