"""Decides what is sent next, and what becomes of what was refused. No I/O besides reading the outbox.

There are three tracks. Attributes go first and in order: they have no timestamp, so the last one stays. What came since the
connection was made is live and leaves in the order in which it came. What waited from before is the backlog, in the order
the settings say. Live goes first, but every fourth packet is the backlog's, so neither waits for the other to end; the
backlog leaves a share of the server's rate limits to live, and has no more bytes on their way than the line takes within
moments (`BacklogWindow`). Live that falls far behind (the server took nothing for an hour) becomes backlog itself.

So older values reach ThingsBoard after newer ones. Its history does not mind. Its latest value keeps the newest timestamp
with a SQL database (sql.ts_latest.update_by_latest_ts, on by default); with Cassandra the one that came last stays until
the next live value. Rule chains see values in order of arrival: let them look at `ts`.

Records are packed by device: one device per packet, many timestamps in it. A device is announced (`v1/gateway/connect`) and
that acknowledged before its first packet of a connection. A device that is held (the server refused to announce it) does not
hold up the others. What is refused is judged by `Suspects`.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from itertools import islice

from connectors.thingsboard.backlog_window import BacklogWindow
from connectors.thingsboard.limits import Lane, Pacer
from connectors.thingsboard.outbox import Outbox, Pending
from connectors.thingsboard.packet import Group, Groups, Packet, Track, group_of
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
    topic,
)
from connectors.thingsboard.stretch import Downwards, Order, Skipped, Upwards
from connectors.thingsboard.suspects import Suspects

PAGE = 1000
"""Records read from the outbox at a time."""

MOST_LOADED = 20_000
"""Records in memory at a time: the more, the more timestamps of each of many devices share a packet of a backlog."""

BACKLOG_TURN = 4
"""Every so many packets the backlog goes first."""

SPARE = 0.25
"""Share of the server's rate limits that the backlog leaves to live."""

MOST_BEHIND = 20_000
"""Live records that wait, above which they are backlog."""


class Dispatch:
    """The order of sending for one session.

    :arg outbox: where the records wait.
    :arg api: gateway or device.
    :arg pacer: the server's rate limits.
    :arg order: of the backlog.

    `packet_limit` is the largest packet the server says it takes, `packing_limit` the size up to which records are packed
    together; both in bytes, infinite until they are known.
    """

    def __init__(self, outbox: Outbox, api: Api, pacer: Pacer, order: Order = "oldest-first") -> None:
        self._outbox = outbox
        self._api = api
        self._pacer = pacer
        self._order: Order = order
        self._window = BacklogWindow()
        self._suspects = Suspects()
        self._held: dict[str, float] = {}
        self.packet_limit = math.inf
        self.packing_limit = math.inf
        self.reset()

    def reset(self) -> None:
        """A new connection: nothing is on its way, no device announced; what waits is backlog."""
        newest = self._outbox.newest
        self._boundary = newest
        backlog = Upwards(self._outbox, 0, newest) if self._order == "oldest-first" else Downwards(self._outbox, newest)
        self._stretches: dict[Track, Upwards | Downwards] = {
            "attributes": Upwards(self._outbox, 0, read=self._outbox.pending_attributes),
            "live": Upwards(self._outbox, newest),
            "backlog": backlog,
        }
        self._skipped = Skipped()
        self._loaded: dict[Track, set[int]] = {track: set() for track in self._stretches}
        self._queues = {track: _empty_queues() for track in self._stretches}
        self._slowed: dict[Lane, float] = {}
        self._announcing: dict[str, dict[Track, Groups]] = {}
        self._announced: set[str] = set()
        self._back: deque[Pending] = deque()
        self._alone = False
        self._turn = 0
        self._window.reset()
        self._settled: list[tuple[int, ...]] = []
        self._now = 0.0

    def next(self, now: float, in_flight: int) -> Packet | None:
        """The next packet, or None when nothing may be sent now. The caller sends it."""
        self._now = now
        for ids in self._settled:
            self._window.returned(ids, now)
        self._settled.clear()
        self._release(now)
        if self._alone or (self._suspects.one_at_a_time and in_flight):
            return None
        self._load()
        blocked = False
        for track in self._tracks():
            for lane, groups in self._queues[track].items():
                if not groups:
                    continue
                packet = self._packet(next(iter(groups)), lane, track)
                alone = any(map(self._suspects.must_be_alone, packet.ids))
                wait = self._pacer.sender(lane).wait(packet.points, SPARE if track == "backlog" else 0.0)
                if wait > 0.0:
                    self._slow(lane, now + wait)
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

    def suspects(self, packet: Packet) -> bool:
        """Whether a record of this packet failed before, so that fewer than it came with share its packets."""
        return any(self._suspects.most_together(row_id) is not None for row_id in packet.ids)

    def wait(self, now: float) -> float:
        """Seconds until something that may not be sent now may be; infinite when only news can change that."""
        times = (until for until in (*self._held.values(), *self._slowed.values()) if until > now)
        return max(0.001, min(times, default=math.inf) - now)

    def idle(self) -> bool:
        """Whether everything in the outbox has been sent."""
        waiting = any(any(lanes.values()) for lanes in self._queues.values()) or self._announcing or self._back or self._held
        return not waiting and all(stretch.exhausted() for stretch in self._stretches.values())

    def accepted(self, packet: Packet) -> None:
        """The server took the packet; its records have left the outbox."""
        self._settle(packet)
        if packet.pending:
            self._suspects.accepted(packet.ids)
            self._unload(packet.ids)
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
        queues = [groups for lanes in self._queues.values() for groups in lanes.values()]
        for groups in (*queues, *self._announcing.pop(device, {}).values()):
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

    def _slow(self, lane: Lane, until: float) -> None:
        earlier = self._slowed.get(lane, 0.0)
        self._slowed[lane] = min(until, earlier) if earlier > self._now else until

    def _lane(self, device: str) -> Lane:
        return "devices" if named(self._api, device) else "own"

    def _tracks(self) -> tuple[Track, ...]:
        """Who may go, and who goes first."""
        if not self._window.allows():
            return "attributes", "live"
        return ("attributes", "backlog", "live") if self._turn >= BACKLOG_TURN - 1 else ("attributes", "live", "backlog")

    def _packet(self, group: Group, lane: Lane, track: Track) -> Packet:
        device, _, kind = group
        if lane == "devices" and device not in self._announced:
            return Packet(CONNECT_TOPIC, encode_connect(device, self._outbox.device_type(device)), device, (), 0, track)
        return self._packed(device, kind, self._queues[track][lane][group], track)

    def _packed(self, device: str, kind: Kind, waiting: Sequence[Pending] | deque[Pending], track: Track) -> Packet:
        most_points = self._pacer.sender(self._lane(device)).most_points
        limit = min(self.packet_limit, self.packing_limit)
        if track == "backlog":
            most_points = None if most_points is None else max(1, int(most_points * (1.0 - 2 * SPARE)))
            limit = min(limit, self._window.packet) if math.isfinite(limit) else limit
        chosen = self._chosen(kind, waiting, most_points)
        room = limit - packet_overhead(self._api, device, kind)
        if math.isfinite(room):
            chosen = chosen[: max(1, how_many_fit((entry.record.payload for entry in chosen), int(room)))]
        payload = encode_packet(self._api, device, kind, [entry.record.payload for entry in chosen])
        points = sum(entry.record.points for entry in chosen)
        return Packet(topic(self._api, device, kind), payload, device, tuple(chosen), points, track)

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
        if not packet.pending:
            self._announce(packet.device)
            return
        if packet.track == "backlog":
            self._window.sent(packet.ids, packet.size, self._now)
        self._turn = 0 if packet.track == "backlog" else self._turn + (packet.track == "live")
        groups = self._queues[packet.track][lane]
        group = group_of(packet.pending[0])
        waiting = groups[group]
        for _ in packet.pending:
            waiting.popleft()
        groups.move_to_end(group)
        if not waiting:
            del groups[group]

    def _announce(self, device: str) -> None:
        """Put what waits for this device aside until the server knows it."""
        aside: dict[Track, Groups] = {}
        for track, lanes in self._queues.items():
            groups = lanes["devices"]
            aside[track] = OrderedDict((group, groups.pop(group)) for group in [group for group in groups if group[0] == device])
        self._announcing[device] = aside

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
            self._announce(device)
            packet = self._packet(group_of(entry), lane, "live")
        else:
            self._back.popleft()
            self._alone = True
            packet = self._packed(device, entry.record.kind, [entry], "live")
        self._pacer.sender(lane).take(packet.points)
        return packet

    def _settle(self, packet: Packet) -> None:
        if packet.pending:
            self._alone = False
            self._settled.append(packet.ids)

    def _die(self, packet: Packet) -> tuple[Pending, ...]:
        self._suspects.forget(packet.ids)
        self._unload(packet.ids)
        return packet.pending

    def _give_back(self, pending: Sequence[Pending]) -> None:
        if pending and pending[0].record.device in self._held:
            self._skip(pending)
            return
        for entry in reversed(pending):
            waiting = self._waiting(entry, self._track(entry))
            if waiting is not None:
                waiting.appendleft(entry)

    def _skip(self, pending: Iterable[Pending]) -> None:
        for entry in pending:
            self._unload((entry.id,))
            self._skipped.add(entry.id)

    def _release(self, now: float) -> None:
        due = [device for device, until in self._held.items() if until <= now]
        for device in due:
            del self._held[device]
        if not due or not self._skipped:
            return
        lowest, highest = int(self._skipped.lowest), self._skipped.highest
        self._stretches["attributes"].again(lowest, highest)
        if lowest <= self._boundary:
            self._stretches["backlog"].again(lowest, min(highest, self._boundary))
        if highest > self._boundary:
            self._stretches["live"].again(max(lowest, self._boundary + 1), highest)
        self._skipped = Skipped()

    def _load(self) -> None:
        if self._stretches["live"].left() > MOST_BEHIND:
            self._boundary = self._outbox.newest
            self._stretches["backlog"].extend(self._boundary)
            self._stretches["live"] = Upwards(self._outbox, self._boundary)
        for track, stretch in self._stretches.items():
            if any(self._queues[track].values()):
                continue
            while not stretch.exhausted() and len(self._loaded[track]) < MOST_LOADED:
                self._enqueue(stretch.page(PAGE), track)

    def _enqueue(self, page: Sequence[Pending], track: Track) -> None:
        mine = self._loaded[track]
        other = self._loaded["backlog" if track == "live" else "live"]  # live becomes backlog when it falls behind
        for entry in page:
            if (entry.record.kind is Kind.ATTRIBUTES) is not (track == "attributes"):
                continue
            if entry.id in mine or (track != "attributes" and entry.id in other):
                continue
            if entry.record.device in self._held:
                self._skip([entry])
                continue
            mine.add(entry.id)
            waiting = self._waiting(entry, track)
            if waiting is not None:
                waiting.append(entry)

    def _unload(self, ids: Iterable[int]) -> None:
        for loaded in self._loaded.values():
            loaded.difference_update(ids)

    def _track(self, entry: Pending) -> Track:
        return next((track for track, loaded in self._loaded.items() if entry.id in loaded), "backlog")

    def _waiting(self, entry: Pending, track: Track) -> deque[Pending] | None:
        """The queue a record belongs to; None when it stands back, and it is put there."""
        if self._suspects.stands_back(entry.id):
            self._back.append(entry)
            return None
        device = entry.record.device
        groups = self._announcing[device][track] if device in self._announcing else self._queues[track][self._lane(device)]
        return groups.setdefault(group_of(entry), deque())

    def _resume(self, device: str) -> None:
        for track, groups in self._announcing.pop(device, {}).items():
            self._queues[track]["devices"].update(groups)


def _empty_queues() -> dict[Lane, Groups]:
    return {"own": OrderedDict(), "devices": OrderedDict()}
