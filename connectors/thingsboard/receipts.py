"""`receipts-in`: what became of the records that `thingsboard-out` was given, read from its outbox.

Parallelism: one partition per session, in the process that owns the session. Guarantee: every acknowledgement, refusal, loss and
alert once, in order; again after a crash for what came behind the last snapshot. Without a snapshot it starts with what
happens from now on. Snapshot: the last row ids seen. Blocks: nothing; the file is read without waiting for its writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Union

import bytewax.operators as op
from bytewax.dataflow import Dataflow, operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream

from connectors.thingsboard.bulletin import bulletin_of
from connectors.thingsboard.journal import CURSOR_VERSION, Cursor, Journal, checked_cursor
from connectors.thingsboard.session_names import outbox_files
from model.cluster import Place
from model.epochs import EpochLength, EpochsOfWorkers
from model.messages import Alert, Dropped, Receipt, Rejection
from model.node import MAIN, BuildContext, NodeType, Ports
from model.parked import ParkedPartition
from model.restored import restored
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings
from model.settings.thingsboard import SINGLE
from model.stop import Stop
from model.wake import Wakes

PARTITION = "receipts"
JOURNAL_STEP = "journal"

BUSY_WAKE, IDLE_WAKE = 0.2, 0.5
"""Seconds to the next look after one that found something, and after one that did not."""

LAST_LOOKS = 5
"""Looks after a stop was requested, for the receipts of what the other sources read last."""

News = Union[Receipt, Rejection, Dropped, Alert]


class ReceiptsPartition(StatefulSourcePartition[tuple[str, News], Cursor]):
    """The reader's place in the outbox."""

    def __init__(self, path: Path, cursor: Cursor | None, stop: Stop, wakes: Wakes) -> None:
        self._wakes = wakes
        self._journal = Journal(path, cursor)
        self._bulletin = bulletin_of(path)
        self._stop = stop
        self._looks_left = LAST_LOOKS
        self._busy = False

    def next_batch(self) -> list[tuple[str, News]]:
        """What is new.

        :raises StopIteration: some looks after a stop was requested.
        """
        self._wakes.woke()
        if self._stop.requested():
            if self._looks_left == 0:
                raise StopIteration
            self._looks_left -= 1
        news = self._journal.look()
        messages: list[News] = [*news.receipts, *news.rejections, *news.dropped, *news.alerts, *self._bulletin.take()]
        self._busy = bool(messages)
        return [(message.meter, message) for message in messages]

    def next_awake(self) -> datetime:
        """Soon, on the common grid."""
        return self._wakes.next(BUSY_WAKE if self._busy or self._stop.requested() else IDLE_WAKE)

    def snapshot(self) -> Cursor:
        """The last row ids seen."""
        self._wakes.epoch_ended()
        return dict(self._journal.cursor)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


class ReceiptsSource(FixedPartitionedSource[tuple[str, News], Cursor]):
    """The source, with a partition for each outbox.

    :arg outboxes: the files of this process by partition; each may not exist yet.
    :arg stop: ends the input.
    :arg gone: partitions of sessions that are configured no more, of which the recovery store holds a state; they end at once.
    :arg epochs: see `BuildContext`.
    """

    def __init__(
        self, outboxes: Mapping[str, Path], stop: Stop, gone: frozenset[str] = frozenset(), epochs: EpochLength | None = None
    ) -> None:
        self._epochs = EpochsOfWorkers(epochs)
        self._outboxes = outboxes
        self._stop = stop
        self._gone = gone

    def list_parts(self) -> list[str]:
        """The sessions of this process, and those that are parked."""
        self._stop.attend()
        return sorted({*self._outboxes, *self._gone})

    def build_part(self, step_id: str, for_part: str, resume_state: Cursor | None) -> StatefulSourcePartition[tuple[str, News], Cursor]:
        """Continue behind the snapshot, or start at the end."""
        if for_part not in self._outboxes:
            return ParkedPartition(resume_state or {})
        cursor = restored(resume_state, frozenset({CURSOR_VERSION}), checked_cursor, "receipts-in")
        return ReceiptsPartition(self._outboxes[for_part], cursor, self._stop, Wakes(self._epochs.here(), for_part))


def partition_of(session: str) -> str:
    """The partition that follows the outbox of a session."""
    return PARTITION if session == SINGLE else f"{PARTITION}-{session}"


def outboxes_of(pipeline: PipelineSettings, place: Place) -> dict[str, Path]:
    """The outboxes whose sessions are in the process at `place`, by partition."""
    sessions = pipeline.thingsboard.session_names
    mine = outbox_files(pipeline.state_dir, (session for session in sessions if place.keeps_one(session, sessions)))
    return {partition_of(session): path for session, path in mine.items()}


@dataclass(frozen=True)
class ReceiptsOut:
    """The streams of `receipts_in`, each keyed by meter."""

    receipts: KeyedStream[Receipt]
    rejected: KeyedStream[Rejection]
    dropped: KeyedStream[Dropped]
    alerts: KeyedStream[Alert]


@operator
def receipts_in(step_id: str, flow: Dataflow, source: ReceiptsSource) -> ReceiptsOut:
    """Follow the outbox of `source`."""
    news: KeyedStream[Any] = op.input(JOURNAL_STEP, flow, source)
    return ReceiptsOut(
        op.filter("receipts", news, lambda item: isinstance(item[1], Receipt)),
        op.filter("rejected", news, lambda item: isinstance(item[1], Rejection)),
        op.filter("dropped", news, lambda item: isinstance(item[1], Dropped)),
        op.filter("alerts", news, lambda item: isinstance(item[1], Alert)),
    )


def _build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    known = {partition_of(session) for session in context.pipeline.thingsboard.session_names}
    gone = context.remembered(f"{context.flow.flow_id}.{context.node_id}.{JOURNAL_STEP}") - known
    source = ReceiptsSource(outboxes_of(context.pipeline, context.place), context.stop, gone, context.epochs)
    out = receipts_in(context.node_id, context.flow, source)
    return {MAIN: out.receipts, "rejected": out.rejected, "dropped": out.dropped, "alerts": out.alerts}


NODE = NodeType(
    name="receipts-in",
    summary="Emits what ThingsBoard acknowledged or refused for good, what the outbox dropped, and the alerts of both.",
    settings=NodeSettings,
    accepts=(),
    emits={MAIN: Receipt, "rejected": Rejection, "dropped": Dropped, "alerts": Alert},
    example="- id: receipts\n  type: receipts-in\n",
    build=_build,
)
