"""`dlms-push-in`: listens for meters that call in by themselves, and emits one Cycle per notification.

Parallelism: none, one partition per node, which is one port or one serial device; several nodes listen in parallel. The
engine places the partition, in whichever process: meters must be told the address of that host. Guarantee: none beyond
that of the sender, which does not repeat itself: what arrives while nobody listens is lost, and so is what was received
and not yet stored at a kill -9. Snapshot: the last invocation counter of every ciphered sender, so that a recorded
notification is refused after a restart too (it is kept in a file as well, for runs without a recovery store), and which alerts
are raised. Blocks: nothing; the port is served on the
background loop, `next_batch` takes what has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Union

import bytewax.operators as op
from bytewax.dataflow import Dataflow, operator
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream
from pydantic import Field, field_validator

from connectors.dlms.background_work import BackgroundWork
from connectors.dlms.push.authenticity import Counters, Security, security_of
from connectors.dlms.push.framing import FramingName
from connectors.dlms.push.listen import parse_listen
from connectors.dlms.push.listener import Listener
from connectors.dlms.push.receiver import Receiver
from connectors.dlms.push.troubles import Troubles
from connectors.dlms.push.values import Interpreter
from model.cluster import Place
from model.epochs import EpochLength, EpochsOfWorkers
from model.messages import Alert, Cycle
from model.node import MAIN, BuildContext, NodeType, Ports
from model.restored import restored
from model.settings.meter import MeterSettings
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings
from model.stop import Stop
from model.wake import Wakes

PARTITION = "listener"

WAKE = 0.2
"""Seconds from one look for what has come to the next."""

VERSION = 1
"""Of the snapshot; another version is not read."""

Snapshot = dict[str, Any]
News = Union[Cycle, Alert]
_ALONE = Place()


class DlmsPushInSettings(NodeSettings):
    """Where to listen, and which meters may call in."""

    listen: str = Field(description="tcp://0.0.0.0:4059, udp://0.0.0.0:4059, or serial:///dev/ttyUSB0?baud=2400&parity=even.")
    framing: FramingName = Field(default="wrapper", description="How senders frame: hdlc, wrapper or mbus.")
    meters: list[str] = Field(
        default=["*"], min_length=1, description="Patterns of the ids of meters that may call in here; all where left out."
    )
    max_connections: int = Field(
        default=1000, ge=1, le=100_000, description="TCP connections at a time; beyond, the one that was silent longest is closed."
    )

    @field_validator("listen")
    @classmethod
    def _a_place(cls, listen: str) -> str:
        parse_listen(listen)
        return listen


class ListenerPartition(StatefulSourcePartition[tuple[str, News], Snapshot]):
    """One listener: takes what it has received."""

    def __init__(self, listener: Listener, troubles: Troubles, counters: Counters, stop: Stop, wakes: Wakes) -> None:
        self._wakes = wakes
        self._listener = listener
        self._troubles = troubles
        self._counters = counters
        self._work = BackgroundWork(listener.run(), listener.stop, stop)

    def next_batch(self) -> list[tuple[str, News]]:
        """What has come.

        :raises StopIteration: when a stop was requested and the port is closed, or `STOP_TIMEOUT` is over.
        """
        self._wakes.woke()
        may_end = self._work.may_end()
        news: list[News] = [*self._listener.take(), *self._troubles.take()]
        self._counters.keep()
        if may_end and not news:
            raise StopIteration
        return [(item.meter, item) for item in news]

    def next_awake(self) -> datetime:
        """Soon, on the common grid."""
        return self._wakes.next(WAKE)

    def snapshot(self) -> Snapshot:
        """Counters, and the alerts that are raised."""
        self._wakes.epoch_ended()
        return {"version": VERSION, "counters": self._counters.state(), "raised": self._troubles.raised()}

    def close(self) -> None:
        """Close the port; never raises, never waits."""
        self._listener.stop()


class DlmsPushSource(FixedPartitionedSource[tuple[str, News], Snapshot]):
    """The listener of one `dlms-push-in` node.

    :arg node: the node's id.
    :arg settings: where to listen.
    :arg pipeline: templates.
    :arg meters: the meters that may call in.
    :arg security: by meter id, of those that have keys.
    :arg stop: ends the input.
    :arg place: this process; over several hosts the meters call in at one of them, always the same.
    :arg epochs: see `BuildContext`.
    """

    def __init__(
        self,
        node: str,
        settings: DlmsPushInSettings,
        pipeline: PipelineSettings,
        meters: Sequence[MeterSettings],
        security: dict[str, Security],
        stop: Stop,
        place: Place = _ALONE,
        epochs: EpochLength | None = None,
    ) -> None:
        self._epochs = EpochsOfWorkers(epochs)
        self._place = place
        self._node = node
        self._settings = settings
        self._pipeline = pipeline
        self._meters = tuple(meters)
        self._security = security
        self._stop = stop

    def list_parts(self) -> list[str]:
        """The single partition, whose name does not depend on the settings: recovery finds its counters when they change."""
        self._stop.attend()
        return [PARTITION] if self._place.keeps else []

    def build_part(self, step_id: str, for_part: str, resume_state: Snapshot | None) -> ListenerPartition:
        """Listen, with the counters of the snapshot."""
        known, raised = restored(resume_state, frozenset({VERSION}), _parts, "dlms-push-in") or ({}, [])
        troubles = Troubles(self._node, raised)
        counters = Counters(known, self._pipeline.state_dir / f"push-counters-{self._node}.json")
        receiver = Receiver(self._meters, self._interpreters(), self._security, troubles, counters)
        settings = self._settings
        listener = Listener(parse_listen(settings.listen), settings.framing, receiver, troubles, settings.max_connections)
        return ListenerPartition(listener, troubles, counters, self._stop, Wakes(self._epochs.here(), for_part))

    def _interpreters(self) -> dict[str, Interpreter]:
        """By meter; meters of one template without overrides share theirs."""
        alike: dict[str, Interpreter] = {}
        found = {}
        for meter in self._meters:
            shared = None if meter.overrides else alike.get(meter.template)
            found[meter.id] = shared or Interpreter(self._pipeline.reads(meter), self._pipeline.templates[meter.template].push)
            if not meter.overrides:
                alike[meter.template] = found[meter.id]
        return found


def _parts(state: Snapshot) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The counters, and the alerts that are raised, by kind and subject."""
    counters = {str(name): int(counter) for name, counter in (state["counters"] or {}).items()}
    return counters, [(kind, subject) for kind, subject in state.get("raised", ())]


@dataclass(frozen=True)
class PushOut:
    """The streams of `dlms_push_in`: notifications keyed by meter, alerts keyed by what they concern."""

    cycles: KeyedStream[Cycle]
    alerts: KeyedStream[Alert]


@operator
def dlms_push_in(step_id: str, flow: Dataflow, source: DlmsPushSource) -> PushOut:
    """Listen as `source` says."""
    news: KeyedStream[Any] = op.input("listen", flow, source)
    return PushOut(
        op.filter("cycles", news, lambda item: isinstance(item[1], Cycle)),
        op.filter("alerts", news, lambda item: isinstance(item[1], Alert)),
    )


def _build(context: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    patterns = context.settings.meters
    meters = [meter for meter in context.pipeline.meters if any(fnmatchcase(meter.id, pattern) for pattern in patterns)]
    security = {meter.id: found for meter in meters if (found := security_of(meter)) is not None}
    source = DlmsPushSource(
        context.node_id, context.settings, context.pipeline, meters, security, context.stop, context.place, context.epochs
    )
    out = dlms_push_in(context.node_id, context.flow, source)
    return {MAIN: out.cycles, "alerts": out.alerts}


NODE = NodeType(
    name="dlms-push-in",
    summary="Listens for DLMS/COSEM meters that send notifications by themselves; one Cycle per notification, alerts for strangers.",
    settings=DlmsPushInSettings,
    accepts=(),
    emits={MAIN: Cycle, "alerts": Alert},
    example="- id: pushed\n  type: dlms-push-in\n  settings: {listen: tcp://0.0.0.0:4059, framing: wrapper}\n",
    build=_build,
)
