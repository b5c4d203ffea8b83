"""Makes sure that all processes of a cluster over several hosts run the same pipeline: each host has a file of its own.

A meter that only one host's file knows, and that the other host is to read, would be read by nobody, without a word. So each
process tells process 0 at its start what it runs, as a fingerprint, and process 0 ends the flow where it is something else.
What a host may have of its own is left out: where its state lies, its log, and secrets.

The process ends at once, without a word to the engine: an exception in one process of a cluster shows in the log as the broken
connection to the others as often as not. Nodes and wires that differ are another graph, with which the engine does not get as
far as this: then all processes end, and say that another one has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, operator
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.process import end_at_once
from model.cluster import Place
from model.errors import PipelineError
from model.settings.pipeline import PipelineSettings

STEP = "same-pipeline"
OWN = {"state_dir", "log"}
"""Sections of pipeline.yaml that may differ from host to host."""

Told = tuple[str, tuple[int, str]]
"""Key, number of the process, fingerprint."""


def fingerprint(settings: PipelineSettings) -> str:
    """The same for files that mean the same on every host; secrets do not count."""
    return hashlib.sha256(settings.model_dump_json(exclude=OWN).encode()).hexdigest()[:16]


def require_same_pipeline(flow: Dataflow, settings: PipelineSettings, place: Place) -> None:
    """Add the comparison to `flow`, before everything else; nothing where all processes run on one host."""
    if place.spans_hosts:
        _compare(STEP, flow, place, fingerprint(settings))


@operator
def _compare(step_id: str, flow: Dataflow, place: Place, own: str) -> None:
    told = op.input("tell", flow, _Telling(place.index, own))
    op.output("compare", told, _Comparing(place, own))


class _Telling(DynamicSource[Told]):
    """Each worker says once what its process runs."""

    def __init__(self, index: int, own: str) -> None:
        self._told = (index, own)

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSourcePartition[Told]:
        return _Once((STEP, self._told))


class _Once(StatelessSourcePartition[Told]):
    def __init__(self, told: Told) -> None:
        self._left = [told]

    def next_batch(self) -> list[Told]:
        """The one item, then the end.

        :raises StopIteration: the second time.
        """
        if not self._left:
            raise StopIteration
        return [self._left.pop()]


class _Comparing(FixedPartitionedSink[Any, None]):
    """Process 0 compares."""

    def __init__(self, place: Place, own: str) -> None:
        self._place, self._own = place, own

    def list_parts(self) -> list[str]:
        return [STEP] if self._place.keeps else []

    def part_fn(self, item_key: str) -> int:
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[Any, None]:
        return Comparison(self._place, self._own, end_at_once)


class Comparison(StatefulSinkPartition[Any, None]):
    """Compares what it is told with what this process runs.

    :arg end: called where it is something else.
    """

    def __init__(self, place: Place, own: str, end: Callable[[PipelineError], None]) -> None:
        self._place, self._own, self._end = place, own, end

    def write_batch(self, values: list[tuple[int, str]]) -> None:
        """Numbers of processes and what they run."""
        others = sorted({number for number, other in values if other != self._own})
        if others:
            where = ", ".join(f"process {number} on {self._place.addresses[number]}" for number in others)
            what = f"the hosts of the cluster run different pipelines: {where} has another pipeline.yaml than process {self._place.index}"
            remedy = "copy pipeline.yaml and the meters file to every host, and start all processes anew; only state_dir and log may differ"
            self._end(PipelineError(what, remedy))

    def snapshot(self) -> None:
        """Nothing."""
        return
