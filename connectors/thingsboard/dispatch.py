"""Decides what is sent next, and what becomes of what was refused. No I/O besides reading the outbox.

Records leave in the order in which they came, packed by device: one device per packet, many timestamps in it. A device is
announced (`v1/gateway/connect`) and that acknowledged before its first packet of a connection. A device that is held
(the server refused to announce it) does not hold up the others. What is refused is judged by `Suspects`.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from connectors.thingsboard.limits import Lane, Pacer
from connectors.thingsboard.outbox import Outbox, Pending
from connectors.thingsboard.payload import (
    CONNECT_TOPIC,
    Api,
    Kind,
    Record,
    divided,
    encode_connect,
    encode_packet,
    how_many_fit,
    named,
    packet_overhead,
    publish_header,
    topic,
)
from connectors.thingsboard.suspects import Suspects

PAGE = 1000
"""Records read from the outbox at a time."""

MOST_LOADED = 20_000
"""Records in memory at a time: the more, the more timestamps of each of many devices share a packet of a backlog."""

Group = tuple[str, str, Kind]
Groups = dict[Group, deque[Pending]]


@dataclass(frozen=True)
class Packet:
    """One PUBLISH. Without records it announces a device. `points` is the number of values, as rate limits count."""

    topic: str
    payload: bytes
    device: str
    pending: tuple[Pending, ...]
    points: int

    @property
    def ids(self) -> tuple[int, ...]:
        """The row ids of its records."""
        return tuple(entry.id for entry in self.pending)

    @property
    def size(self) -> int:
        """Bytes of the whole MQTT packet."""
        return publish_header(self.topic) + len(self.payload)


class Dispatch:
    """The order of sending for one session.

    :arg outbox: where the records wait.
    :arg api: gateway or device.
    :arg pacer: the server's rate limits.

    `packet_limit` is the largest packet the server says it takes, `packing_limit` the size up to which records are packed
    together; both in bytes, infinite until they are known.
    """

    def __init__(self, outbox: Outbox, api: Api, pacer: Pacer) -> None:
        self._outbox = outbox
        self._api = api
        self._pacer = pacer
        self._suspects = Suspects()
        self._held: dict[str, float] = {}
        self.packet_limit = math.inf
        self.packing_limit = math.inf
        self.reset()

    def reset(self) -> None:
        """A new connection: nothing is on its way, no device announced; start at the oldest record."""
        self._position = 0
        self._skipped: int | None = None
        self._loaded: set[int] = set()
        self._lanes: dict[Lane, OrderedDict[Group, deque[Pending]]] = {"own": OrderedDict(), "devices": OrderedDict()}
        self._slowed: dict[Lane, float] = {}
        self._announcing: dict[str, Groups] = {}
        self._announced: set[str] = set()
        self._back: deque[Pending] = deque()
        self._alone = False

    def next(self, now: float, in_flight: int) -> Packet | None:
        """The next packet, or None when nothing may be sent now. The caller sends it."""
        self._release(now)
        if self._alone or (self._suspects.one_at_a_time and in_flight):
            return None
        self._load()
        blocked = False
        for lane, groups in self._lanes.items():
            if not groups:
                continue
            packet = self._packet(next(iter(groups)), lane)
            alone = any(map(self._suspects.must_be_alone, packet.ids))
            wait = self._pacer.sender(lane).wait(packet.points)
            if wait > 0.0:
                self._slowed[lane] = now + wait
            if wait > 0.0 or (alone and in_flight):
                blocked = True
                continue
            self._take(lane, packet)
            self._alone = alone
            return packet
        return None if blocked or in_flight else self._stood_back()

    @property
    def isolating(self) -> bool:
        """Whether packets are sent singly to find out which one the server does not take."""
        return self._alone or self._suspects.one_at_a_time

    def wait(self, now: float) -> float:
        """Seconds until something that may not be sent now may be; infinite when only news can change that."""
        times = (until for until in (*self._held.values(), *self._slowed.values()) if until > now)
        return max(0.001, min(times, default=math.inf) - now)

    def idle(self) -> bool:
        """Whether everything in the outbox has been sent."""
        waiting = any(self._lanes.values()) or self._announcing or self._back or self._held
        return not waiting and self._position >= self._outbox.newest

    def accepted(self, packet: Packet) -> None:
        """The server took the packet; its records have left the outbox."""
        self._settle(packet)
        if packet.pending:
            self._suspects.accepted(packet.ids)
            self._loaded.difference_update(packet.ids)
        else:
            self._announced.add(packet.device)
            self._resume(packet.device)

    def malformed(self, packet: Packet) -> tuple[Pending, ...]:
        """The server cannot read the packet: several records are taken apart, one alone is returned as dead."""
        self._settle(packet)
        if len(packet.pending) == 1:
            return self._die(packet)
        self._suspects.take_apart(packet.ids)
        self._give_back(packet.pending)
        return ()

    def failed(self, packet: Packet) -> tuple[Pending, ...]:
        """The packet may be the reason why something failed; returns the record that is given up, if it has come to that."""
        self._settle(packet)
        if len(packet.pending) == 1 and self._suspects.failed_alone(packet.ids[0]):
            return self._die(packet)
        if len(packet.pending) > 1:
            self._suspects.take_apart(packet.ids)
        self._give_back(packet.pending)
        return ()

    def returned(self, packet: Packet) -> None:
        """The packet was not taken, through no fault of its own."""
        self._settle(packet)
        self._suspects.cleared(packet.ids)
        if packet.pending:
            self._give_back(packet.pending)
        else:
            self._resume(packet.device)

    def ended_with(self, packets: Iterable[Packet]) -> None:
        """The connection ended while these packets were on their way."""
        for packet in packets:
            self._suspects.ended_with(packet.ids)

    def hold(self, device: str, until: float) -> None:
        """Send nothing for this device before `until`; its records stay in the outbox meanwhile."""
        self._held[device] = max(until, self._held.get(device, 0.0))
        for groups in (*self._lanes.values(), self._announcing.pop(device, {})):
            for group in [group for group in groups if group[0] == device]:
                self._skip(groups.pop(group))

    def too_large(self, packet: Packet) -> bool:
        """Whether not even one record fits the limit that the server stated."""
        return len(packet.pending) == 1 and packet.size > self.packet_limit

    def divisible(self, packet: Packet) -> tuple[Record, ...]:
        """The records that shall take the place of the one in a packet that is too large; empty when it fits or has one key only."""
        limit = min(self.packet_limit, self.packing_limit)
        if len(packet.pending) != 1 or packet.size <= limit:
            return ()
        record = packet.pending[0].record
        return divided(record, int(limit) - packet_overhead(self._api, record.device, record.kind))

    def divide(self, packet: Packet) -> None:
        """Other records have taken the place of the one in this packet."""
        self._settle(packet)
        self._die(packet)

    def _lane(self, device: str) -> Lane:
        return "devices" if named(self._api, device) else "own"

    def _packet(self, group: Group, lane: Lane) -> Packet:
        device, _, kind = group
        if lane == "devices" and device not in self._announced:
            return Packet(CONNECT_TOPIC, encode_connect(device, self._outbox.device_type(device)), device, (), 0)
        return self._packed(device, kind, self._lanes[lane][group])

    def _packed(self, device: str, kind: Kind, waiting: Sequence[Pending] | deque[Pending]) -> Packet:
        chosen = self._chosen(kind, waiting, self._pacer.sender(self._lane(device)).most_points)
        room = min(self.packet_limit, self.packing_limit) - packet_overhead(self._api, device, kind)
        if math.isfinite(room):
            chosen = chosen[: max(1, how_many_fit((entry.record.payload for entry in chosen), int(room)))]
        payload = encode_packet(self._api, device, kind, [entry.record.payload for entry in chosen])
        points = sum(entry.record.points for entry in chosen)
        return Packet(topic(self._api, device, kind), payload, device, tuple(chosen), points)

    def _chosen(self, kind: Kind, waiting: Sequence[Pending] | deque[Pending], most_points: int | None) -> list[Pending]:
        """The first records that may share a packet, whatever its size."""
        chosen: list[Pending] = []
        points = 0
        most = 1 if kind is Kind.ATTRIBUTES else len(waiting)
        for entry in islice(waiting, most):
            together = self._suspects.most_together(entry.id)
            most = most if together is None else min(most, together)
            points += entry.record.points
            if chosen and (len(chosen) >= most or (most_points is not None and points > most_points)):
                break
            chosen.append(entry)
        return chosen

    def _take(self, lane: Lane, packet: Packet) -> None:
        self._pacer.sender(lane).take(packet.points)
        groups = self._lanes[lane]
        if not packet.pending:
            mine = [group for group in groups if group[0] == packet.device]
            self._announcing[packet.device] = {group: groups.pop(group) for group in mine}
            return
        group = _group(packet.pending[0])
        waiting = groups[group]
        for _ in packet.pending:
            waiting.popleft()
        groups.move_to_end(group)
        if not waiting:
            del groups[group]

    def _stood_back(self) -> Packet | None:
        """A record that stands back, once nothing else is left to send."""
        if not self._back:
            return None
        entry = self._back[0]
        device = entry.record.device
        lane = self._lane(device)
        if device in self._held or device in self._announcing:
            return None
        if lane == "devices" and device not in self._announced:
            self._announcing[device] = {}
            packet = self._packet(_group(entry), lane)
        else:
            self._back.popleft()
            self._alone = True
            packet = self._packed(device, entry.record.kind, [entry])
        self._pacer.sender(lane).take(packet.points)
        return packet

    def _settle(self, packet: Packet) -> None:
        if packet.pending:
            self._alone = False

    def _die(self, packet: Packet) -> tuple[Pending, ...]:
        self._suspects.forget(packet.ids)
        self._loaded.difference_update(packet.ids)
        return packet.pending

    def _give_back(self, pending: Sequence[Pending]) -> None:
        if pending and pending[0].record.device in self._held:
            self._skip(pending)
            return
        for entry in reversed(pending):
            waiting = self._waiting(entry)
            if waiting is not None:
                waiting.appendleft(entry)

    def _skip(self, pending: Iterable[Pending]) -> None:
        for entry in pending:
            self._loaded.discard(entry.id)
            self._skipped = entry.id if self._skipped is None else min(self._skipped, entry.id)

    def _release(self, now: float) -> None:
        due = [device for device, until in self._held.items() if until <= now]
        for device in due:
            del self._held[device]
        if due and self._skipped is not None:
            self._position, self._skipped = min(self._position, self._skipped - 1), None

    def _load(self) -> None:
        if any(self._lanes.values()):
            return
        while self._position < self._outbox.newest and len(self._loaded) < MOST_LOADED:
            page = self._outbox.pending(self._position, PAGE)
            self._position = page[-1].id if page else self._outbox.newest
            for entry in page:
                if entry.id in self._loaded:
                    continue
                if entry.record.device in self._held:
                    self._skip([entry])
                    continue
                self._loaded.add(entry.id)
                waiting = self._waiting(entry)
                if waiting is not None:
                    waiting.append(entry)

    def _waiting(self, entry: Pending) -> deque[Pending] | None:
        """The queue a record belongs to; None when it stands back, and it is put there."""
        if self._suspects.stands_back(entry.id):
            self._back.append(entry)
            return None
        device = entry.record.device
        groups: Groups = self._announcing[device] if device in self._announcing else self._lanes[self._lane(device)]
        return groups.setdefault(_group(entry), deque())

    def _resume(self, device: str) -> None:
        self._lanes["devices"].update(self._announcing.pop(device, {}))


def _group(entry: Pending) -> Group:
    return entry.record.device, entry.record.meter, entry.record.kind
