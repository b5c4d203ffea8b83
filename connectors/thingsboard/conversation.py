"""One connection's life: CONNACK, limits, then records until it ends. Decides when a record is done, dead or sent again.

A record is done when its PUBACK carries a success code and, on MQTT 3.1.1, the connection outlives it by `GRACE`: there
ThingsBoard acknowledges what it throws away for a rate limit and closes right behind. Then its row leaves the outbox in
the same transaction in which the receipt is written.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from connectors.thingsboard import rhythm
from connectors.thingsboard.connection import Accepted, Acknowledged, Connection, Ended, Event, Received
from connectors.thingsboard.delivered import receipt
from connectors.thingsboard.dispatch import Dispatch
from connectors.thingsboard.ending import (
    ACK_TIMEOUT,
    CONNECTION_LOST,
    MALFORMED,
    NO_CONNACK,
    NOT_A_GATEWAY,
    PROTOCOL_ERROR,
    PROTOCOL_UNSUPPORTED,
    QUOTA,
    SERVER_ERROR,
    TOO_LARGE,
    Ending,
    Exhaustion,
    message_refused,
    said,
)
from connectors.thingsboard.farewell import Farewell
from connectors.thingsboard.limits import (
    ANSWER_TIMEOUT,
    DEFAULT_PAYLOAD,
    REQUEST,
    REQUEST_TOPIC,
    RESPONSE_FILTER,
    RESPONSE_TOPIC,
    Limits,
    Pacer,
    parse_limits,
)
from connectors.thingsboard.outbox import Outbox, Pending
from connectors.thingsboard.packet import Packet
from connectors.thingsboard.payload import named
from connectors.thingsboard.rhythm import Closure
from connectors.thingsboard.trouble import Incident, Trouble
from connectors.thingsboard.wake import Wake
from model.session_record import SessionRecord
from model.settings.thingsboard import ThingsBoardSettings
from model.timestamps import from_ms

GRACE = 0.5
"""Seconds a connection of MQTT 3.1.1 must outlive an acknowledgement before it is believed."""

CONNACK_TIMEOUT = 10.0
"""Seconds to wait for CONNACK."""

LONGEST_POLL = 1.0
"""Seconds between two looks at keep-alive and deadlines when nothing happens."""

RECENT = 2.0
"""Seconds: a connection that is closed so soon after a refusal was closed because of it."""

REFUSAL_PAUSE = 1.0
"""Seconds of pause after the first refused message; doubles with each further one up to the longest reconnect wait."""

_SUCCESS_BELOW = 0x80

log = structlog.get_logger()


@dataclass
class Stopping:
    """Set by another thread to end the session: drain until `deadline` (monotonic), then go."""

    deadline: float = math.inf

    @property
    def requested(self) -> bool:
        """Whether the session shall end."""
        return self.deadline < math.inf


@dataclass
class Known:
    """What is remembered about the server from one connection to the next."""

    limits: Limits = field(default_factory=Limits)
    asked: bool = False
    exhaustion: Exhaustion = field(default_factory=Exhaustion)


@dataclass(frozen=True)
class _Sent:
    packet: Packet
    at: float


class Conversation:
    """One connection from CONNECT to its end; `run` returns when it is over.

    :arg trouble: told when records are acknowledged and when messages are refused.
    :arg record: told when the server accepted the connection, and what was sent and acknowledged.
    :arg listen: seconds to send no record after CONNACK, to see whether the connection ends by itself.
    :arg proven: whether it is known already that connections end over what is sent.
    :arg clock: monotonic seconds. :arg now: wall clock, aware UTC.
    """

    def __init__(
        self,
        connection: Connection,
        settings: ThingsBoardSettings,
        outbox: Outbox,
        dispatch: Dispatch,
        pacer: Pacer,
        known: Known,
        stopping: Stopping,
        wake: Wake,
        trouble: Trouble,
        record: SessionRecord,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        listen: float = 0.0,
        proven: bool = False,
    ) -> None:
        self._connection, self._settings = connection, settings
        self._outbox, self._dispatch, self._pacer, self._known = outbox, dispatch, pacer, known
        self._stopping, self._wake = stopping, wake
        self._trouble = trouble
        self._record = record
        self._clock, self._now = clock, now
        self._grace = 0.0 if settings.protocol == "5" else GRACE
        self._window = settings.inflight
        self._largest_packet = math.inf
        self._connected_at: float | None = None
        self._listen, self._listen_until, self._proven = listen, 0.0, proven
        self._data_acknowledged = 0
        self._limits_message: int | None = None
        self._limits_until = 0.0
        self._control_acknowledged = False
        self._sent: OrderedDict[int, _Sent] = OrderedDict()
        self._believed: deque[tuple[float, Packet]] = deque()
        self._named_acknowledged = False
        self._last_ack: float | None = None
        self._refusal: tuple[float, Ending] | None = None
        self._paused_until = 0.0
        self._refusals = 0

    def run(self) -> Farewell:
        """Talk until the connection ends or the session is to stop and has nothing left to do."""
        started = self._clock()
        self._dispatch.reset()
        try:
            while True:
                ended = self._handle(self._connection.poll(self._timeout(), self._wake.fileno()))
                self._wake.clear()
                now = self._clock()
                self._believe(now)
                if ended is not None:
                    return self._closed(ended, now)
                if self._connected_at is None and now - started > CONNACK_TIMEOUT:
                    return self._farewell(NO_CONNACK)
                late = self._late(now)
                if late is not None:
                    return self._farewell(late)
                if self._stopping.requested and self._connected_at is None:
                    return self._farewell(None)
                if self._stopping.requested and (self._drained() or now >= self._stopping.deadline):
                    self._connection.disconnect()
                    return self._farewell(None)
                self._fill(now)
        finally:
            self._connection.close()

    def _handle(self, events: list[Event]) -> Ended | None:
        for event in events:
            if isinstance(event, Acknowledged):
                self._acknowledged(event)
            elif isinstance(event, Received):
                self._received(event)
            elif isinstance(event, Accepted):
                self._accepted(event)
            else:
                return event
        return None

    def _accepted(self, event: Accepted) -> None:
        now = self._clock()
        self._connected_at = now
        self._largest_packet = event.maximum_packet_size or math.inf
        if event.receive_maximum is not None:
            self._window = min(self._window, event.receive_maximum)
        self._obey(self._known.limits)
        self._connection.subscribe(RESPONSE_FILTER)
        self._limits_message = self._connection.publish(REQUEST_TOPIC, REQUEST)
        self._limits_until = now if self._known.asked else now + ANSWER_TIMEOUT
        self._listen_until = now + self._listen
        self._known.asked = True
        self._record.enter("up")
        self._trouble.connected(self._settings.protocol, self._outbox.depth)

    def _received(self, event: Received) -> None:
        limits = parse_limits(event.payload) if event.topic == RESPONSE_TOPIC else None
        if limits is None:
            return
        if limits != self._known.limits:
            log.info("thingsboard stated its limits", max_payload=limits.max_payload, max_inflight=limits.max_inflight)
        self._known.limits = limits
        self._limits_until = 0.0
        self._obey(limits)

    def _obey(self, limits: Limits) -> None:
        self._dispatch.packet_limit = min(self._largest_packet, limits.max_payload or math.inf)
        self._dispatch.packing_limit = self._settings.outbox.batch_bytes or limits.max_payload or DEFAULT_PAYLOAD
        if limits.max_inflight is not None:
            self._window = min(self._window, limits.max_inflight)
        self._pacer.obey(limits)

    def _acknowledged(self, event: Acknowledged) -> None:
        if event.message == self._limits_message:
            self._control_acknowledged = True
            self._limits_message = None  # ids are used again after 65,535 messages
            return
        sent = self._sent.pop(event.message, None)
        if sent is None:
            return
        self._last_ack = self._clock()
        self._named_acknowledged |= named(self._settings.api, sent.packet.device)
        self._data_acknowledged += bool(sent.packet.pending)
        if event.code >= _SUCCESS_BELOW:
            self._refused(sent, event.code)
            return
        self._record.acknowledged()
        self._believed.append((self._last_ack, sent.packet))
        if sent.packet.pending:
            self._known.exhaustion.passed()

    def _refused(self, sent: _Sent, code: int) -> None:
        packet, now, ending = sent.packet, self._clock(), message_refused(code)
        if ending is QUOTA and packet.pending:
            ending = self._known.exhaustion.refused(sent.at, now)
        if ending is MALFORMED and packet.pending:
            self._bury(self._dispatch.malformed(packet), MALFORMED, "the server says that it is malformed", code)
            return
        self._refusal = (now, ending)
        pause = min(self._settings.reconnect_max, max(self._settings.reconnect_min, REFUSAL_PAUSE) * 2.0 ** min(self._refusals, 20))
        self._refusals += 1
        where = f"{packet.topic} for {packet.device or 'the gateway'}"
        self._trouble.happened(ending, Incident(where, f"reason code 0x{code:02x}"))
        if not packet.pending:  # only this device could not be announced
            self._dispatch.hold(packet.device, now + pause)
            self._dispatch.returned(packet)
            return
        self._paused_until = now + pause
        if ending is SERVER_ERROR:
            self._bury(self._dispatch.failed(packet), SERVER_ERROR, "the server fails on it while it takes others", code)
        else:
            self._dispatch.returned(packet)

    def _believe(self, now: float) -> None:
        """Close the books on acknowledged packets, all in one transaction."""
        sure: list[Packet] = []
        while self._believed and self._believed[0][0] + self._grace <= now:
            sure.append(self._believed.popleft()[1])
        if not sure:
            return
        acknowledged = self._now()
        done = [(packet.ids, receipt(packet.pending, acknowledged)) for packet in sure if packet.pending]
        if done:
            self._outbox.done(done)
            self._refusals = 0
        for packet in sure:
            self._dispatch.accepted(packet)
        if done:
            self._trouble.delivered()

    def _fill(self, now: float) -> None:
        if self._connected_at is None or now < self._silent_until():
            return
        while len(self._sent) < self._window:
            # While a culprit is looked for, an acknowledgement must be believed before the next ending can take it back.
            unsettled = len(self._believed) if self._dispatch.isolating else 0
            packet = self._dispatch.next(now, len(self._sent) + unsettled)
            if packet is None:
                return
            parts = self._dispatch.divisible(packet)
            if parts:
                self._outbox.divide(packet.ids[0], parts)
                self._dispatch.divide(packet)
                continue
            if self._dispatch.too_large(packet):
                reason = f"{packet.size} bytes exceed the server's packet limit of {self._dispatch.packet_limit:.0f}"
                self._bury(self._dispatch.malformed(packet), TOO_LARGE, reason)
                continue
            self._sent[self._connection.publish(packet.topic, packet.payload)] = _Sent(packet, now)
            self._record.sent()

    def _silent_until(self) -> float:
        """The moment before which no record may be sent."""
        return max(self._limits_until, self._paused_until, self._listen_until)

    def _timeout(self) -> float:
        now = self._clock()
        deadlines = [LONGEST_POLL, self._stopping.deadline - now]
        if self._believed:
            deadlines.append(self._believed[0][0] + self._grace - now)
        if self._sent:
            deadlines.append(next(iter(self._sent.values())).at + self._settings.ack_timeout - now)
        if self._connected_at is not None:
            start = self._silent_until()
            deadlines.append(start - now if start > now else self._dispatch.wait(now))
        return max(0.0, min(deadlines))

    def _late(self, now: float) -> Ending | None:
        """What is wrong when the oldest message waits too long for its acknowledgement."""
        if not self._sent:
            return None
        oldest = next(iter(self._sent.values())).at
        if now - oldest < self._settings.ack_timeout:
            return None
        late = [sent for sent in self._sent.values() if now - sent.at >= self._settings.ack_timeout]
        self._sent.clear()
        to_gateway = all(named(self._settings.api, sent.packet.device) for sent in late)
        if to_gateway and not self._named_acknowledged and self._control_acknowledged:
            return NOT_A_GATEWAY
        if self._last_ack is not None and self._last_ack > oldest:  # others were acknowledged meanwhile
            for sent in late:
                reason = "the server never acknowledges it while it acknowledges others"
                self._bury(self._dispatch.failed(sent.packet), ACK_TIMEOUT, reason)
        return ACK_TIMEOUT

    def _closed(self, ended: Ended, now: float) -> Farewell:
        ending, stated = ended.ending, ended.stated
        if not stated and self._connected_at is None and ending is PROTOCOL_ERROR:
            ending = PROTOCOL_UNSUPPORTED
        suspicious = False
        if self._refusal is not None and now - self._refusal[0] < RECENT and (not stated or ending is SERVER_ERROR):
            ending, stated = self._refusal[1], True
        elif ending.blames_message or (ending is CONNECTION_LOST and not stated):
            suspicious = self._blame(ending, stated)
        return self._farewell(ending, stated, ended.code, suspicious)

    def _blame(self, ending: Ending, stated: bool) -> bool:
        """The connection ended over something: find out which message it was, if it was one. Returns whether one was singled out.

        Without a stated reason that counts against a single message only when the connection had been quiet for `LISTEN`
        seconds before it was sent: two clients that fight for the session close each other's connections in the middle of anything.
        """
        sent = [message for message in self._sent.values() if message.packet.pending]
        if not sent or not self._control_acknowledged or self._connected_at is None:
            return False
        singled_out = self._dispatch.isolating or any(self._dispatch.suspects(message.packet) for message in sent)
        proven = self._proven or stated or self._settings.protocol == "5" or sent[0].at - self._connected_at >= rhythm.LISTEN
        if len(sent) == 1 and proven:
            what = ending.explanation if ending.blames_message else "the server closes the connection when it is sent"
            self._bury(self._dispatch.failed(sent[0].packet), MALFORMED, f"{what}, and takes others")
        else:
            self._dispatch.ended_with([message.packet for message in sent])
        return singled_out

    def _bury(self, pending: tuple[Pending, ...], ending: Ending, reason: str, code: int | None = None) -> None:
        if not pending:
            return
        self._outbox.dead([entry.id for entry in pending], reason, code)
        for entry in pending:
            record = entry.record
            where = f"a record of meter {record.meter} with ts {from_ms(record.ts).isoformat()} is now a dead letter: {reason}"
            self._trouble.happened(ending, Incident(where, said(code, self._settings.protocol), at_once=True))
            log.error(
                "a record was refused for good and moved to the dead letters",
                meter=record.meter,
                device=record.device,
                ts=from_ms(record.ts).isoformat(),
                readings=record.readings,
                reason=reason,
                code=None if code is None else f"0x{code:02x}",
                remedy="look at table dead_letter of the outbox; mend what made the record, then delete the row",
            )

    def _drained(self) -> bool:
        return not self._sent and not self._believed and self._dispatch.idle()

    def _farewell(self, ending: Ending | None, stated: bool = False, code: int | None = None, suspicious: bool = False) -> Farewell:
        if self._connected_at is None:
            return Farewell(ending, stated, code, None)
        now = self._clock()
        closure = Closure(
            lifetime=now - self._connected_at,
            after_ack=None if self._last_ack is None else now - self._last_ack,
            acknowledged=self._data_acknowledged,
            on_the_way=len(self._sent),
            listened=self._listen > 0.0,
            suspicious=suspicious,
        )
        return Farewell(ending, stated, code, closure)
