"""One client's connection: reads packets, answers them, and ends for a reason that is written down."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from simulator.thingsboard.accounts import Account
from simulator.thingsboard.answer import Answer, Caller
from simulator.thingsboard.application import SUBSCRIBABLE, Application
from simulator.thingsboard.codec import Framer, decode, encode
from simulator.thingsboard.limits import Limits
from simulator.thingsboard.misbehaviour import Misbehaviour
from simulator.thingsboard.packets import (
    MQTT_5,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    Reason,
    ReturnCode,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from simulator.thingsboard.statistics import SessionRecord, Statistics
from simulator.thingsboard.wire import MalformedPacketError

CONNECT_TIMEOUT = 10.0
"""Seconds a client has to send CONNECT."""
_CLOSE_TIMEOUT = 2.0
_HALF_OPEN_POLL = 0.02

_RETURN_CODES: dict[int, int] = {
    Reason.BAD_USER_NAME_OR_PASSWORD: ReturnCode.NOT_AUTHORIZED,
    Reason.NOT_AUTHORIZED: ReturnCode.NOT_AUTHORIZED,
    Reason.CLIENT_IDENTIFIER_NOT_VALID: ReturnCode.IDENTIFIER_REJECTED,
    Reason.UNSUPPORTED_PROTOCOL_VERSION: ReturnCode.UNACCEPTABLE_PROTOCOL_VERSION,
}
"""What a 3.1.1 client gets for a reason code (ThingsBoard's ReturnCodeResolver); server unavailable for all others."""

_ACCEPTED_TYPES = frozenset(
    [PacketType.PUBLISH, PacketType.PUBACK, PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE, PacketType.PINGREQ, PacketType.DISCONNECT]
)


class Host(Protocol):
    """What a connection needs of the server it belongs to."""

    application: Application
    statistics: Statistics
    misbehaviour: Misbehaviour
    limits: Limits

    def authenticate(self, packet: Connect) -> Account | None:
        """The device whose credentials these are, or None."""

    def open_session(self, connection: Connection) -> None:
        """Take the device's session over from whoever has it."""

    def close_session(self, connection: Connection) -> None:
        """The connection is gone."""


class Connection:
    """A socket, and once CONNECT is accepted the session of one device."""

    def __init__(self, host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.caller: Caller | None = None
        self.record: SessionRecord | None = None
        self._host = host
        self._reader = reader
        self._writer = writer
        self._framer = Framer(host.limits.payload_size)
        self._version = MQTT_5
        self._keep_alive = 0
        self._last_packet = time.monotonic()
        self._subscriptions: dict[str, int] = {}
        self._unacknowledged = 0
        self._next_packet_id = 0
        self._ended = False

    async def run(self) -> None:
        """Serve the client until the connection ends; never raises for anything the client does."""
        try:
            await self._converse()
        except MalformedPacketError as error:
            self.end("malformed packet", error.reason)
        except OSError:
            self.end("connection lost")
        finally:
            self.end("server stopped")
            self._host.close_session(self)
            await self._close()

    def end(self, cause: str, disconnect: int | None = None) -> None:
        """End the connection; the first cause counts. A MQTT 5 client with a session is told `disconnect` if given."""
        if self._ended:
            return
        self._ended = True
        if disconnect is not None and self.caller is not None and self._version == MQTT_5:
            self._write(Disconnect(disconnect))
        self._writer.close()
        if self.record is not None:
            self.record.closed, self.record.end = time.time(), cause

    def subscribed(self, topic_filter: str) -> bool:
        """Whether the client asked for this topic filter."""
        return topic_filter in self._subscriptions

    def deliver(self, message: Publish) -> None:
        """Send a message to the client, QoS 1 unless it subscribed with QoS 0."""
        qos = min((qos for name, qos in self._subscriptions.items() if _matches(name, message.topic)), default=1)
        self._next_packet_id = self._next_packet_id % 65_535 + 1
        self._send(Publish(message.topic, message.payload, qos, self._next_packet_id if qos else 0))

    async def _converse(self) -> None:
        while not self._ended:
            data = await self._read()
            while self._host.misbehaviour.stop_reading and not self._ended:
                await asyncio.sleep(_HALF_OPEN_POLL)
                self._last_packet = time.monotonic()
            if not data:
                self.end("connection lost")
            for frame in self._framer.feed(data):
                self._last_packet = time.monotonic()
                if self._ended:
                    return
                if self.caller is None:
                    self._connect(frame.packet_type == PacketType.CONNECT, decode(frame, self._version))
                elif frame.packet_type not in _ACCEPTED_TYPES:
                    raise MalformedPacketError("this packet type is not allowed here", Reason.PROTOCOL_ERROR)
                else:
                    self._dispatch(self.caller, decode(frame, self._version))
            await self._drain()

    async def _read(self) -> bytes:
        limit, cause, reason = self._deadline()
        try:
            return await asyncio.wait_for(self._reader.read(65_536), max(0.001, self._last_packet + limit - time.monotonic()))
        except asyncio.TimeoutError:
            self.end(cause, reason)
            return b""

    def _deadline(self) -> tuple[float, str, Reason]:
        """How long the client may be silent, and what that is called."""
        if self.caller is None:
            return CONNECT_TIMEOUT, "no CONNECT", Reason.UNSPECIFIED_ERROR
        if self._keep_alive and 1.5 * self._keep_alive < self._host.limits.idle:
            return 1.5 * self._keep_alive, "keep-alive", Reason.KEEP_ALIVE_TIMEOUT
        return self._host.limits.idle, "idle", Reason.MAXIMUM_CONNECT_TIME

    def _connect(self, first: bool, packet: Packet) -> None:
        if not first or not isinstance(packet, Connect):
            raise MalformedPacketError("the first packet is not CONNECT", Reason.PROTOCOL_ERROR)
        self._version, self._keep_alive = packet.version, packet.keep_alive
        if self._host.misbehaviour.silent_connect:
            return
        account = self._host.authenticate(packet)
        refusal = self._host.misbehaviour.refuse_connect
        if refusal is None and account is None:
            refusal = _refusal(packet)
        if refusal is None and account is not None and not self._host.application.limiters.own(account).allow(0):
            refusal = Reason.CONNECTION_RATE_EXCEEDED
        if refusal is not None or account is None:
            self._refuse(refusal or Reason.UNSPECIFIED_ERROR)
            return
        self.caller = Caller(account, packet.version)
        self.record = SessionRecord(account.name, packet.client_id, packet.version, time.time())
        self._host.open_session(self)
        # ThingsBoard keeps no session, yet reports one to whoever did not ask for a clean start.
        self._send(ConnAck(session_present=not packet.clean_start))

    def _refuse(self, reason: int) -> None:
        self._host.statistics.refused_connects[f"0x{reason:02x}"] += 1
        if self._version != MQTT_5 and reason > ReturnCode.NOT_AUTHORIZED:
            reason = _RETURN_CODES.get(reason, ReturnCode.SERVER_UNAVAILABLE)
        self._write(ConnAck(reason))
        self.end("connect refused")

    def _dispatch(self, caller: Caller, packet: Packet) -> None:
        if isinstance(packet, Publish):
            self._publish(caller, packet)
        elif isinstance(packet, Subscribe):
            self._send(SubAck(packet.packet_id, tuple(self._subscribe(name, qos) for name, qos in packet.filters)))
        elif isinstance(packet, Unsubscribe):
            missing = [self._subscriptions.pop(name, None) is None for name in packet.filters]
            self._send(UnsubAck(packet.packet_id, tuple(Reason.NO_SUBSCRIPTION_EXISTED if gone else 0 for gone in missing)))
        elif isinstance(packet, PingReq):
            self._send(PingResp())
        elif isinstance(packet, Disconnect):
            self.end("client disconnected")

    def _subscribe(self, topic_filter: str, qos: int) -> int:
        if topic_filter not in SUBSCRIBABLE:
            return Reason.TOPIC_FILTER_INVALID if self._version == MQTT_5 else Reason.UNSPECIFIED_ERROR
        self._subscriptions[topic_filter] = min(qos, 1)
        return self._subscriptions[topic_filter]

    def _publish(self, caller: Caller, message: Publish) -> None:
        if message.qos > 1:
            raise MalformedPacketError("QoS 2 is not supported", Reason.QOS_NOT_SUPPORTED)
        statistics, misbehaviour = self._host.statistics, self._host.misbehaviour
        statistics.messages += 1
        if self.record is not None:
            self.record.messages += 1
        self._unacknowledged += message.qos
        statistics.peak_unacknowledged = max(statistics.peak_unacknowledged, self._unacknowledged)
        forced = misbehaviour.take_ack_reason(message)
        if forced is None:
            answer = self._host.application.publish(caller, message)
        else:
            answer = Answer(forced, closes=misbehaviour.ack_closes, cause=f"0x{forced:02x} on purpose")
        if answer.cause:
            statistics.refused[answer.cause] += 1
        else:
            statistics.accepted += 1
        if misbehaviour.take_drop():
            self.end("dropped on purpose")
        elif misbehaviour.ack_delay > 0:
            asyncio.get_running_loop().call_later(misbehaviour.ack_delay, self._answer, message, answer)
        else:
            self._answer(message, answer)

    def _answer(self, message: Publish, answer: Answer) -> None:
        if answer.ack is not None and message.qos > 0 and not self._ended:
            if self._host.misbehaviour.take_withheld_ack():
                self._host.statistics.withheld += 1
            else:
                self._unacknowledged -= 1
                self._host.statistics.acknowledged += 1
                self._send(PubAck(message.packet_id, answer.ack))
        if answer.reply is not None:
            self.deliver(answer.reply)
        if answer.closes:
            self.end(answer.cause, answer.disconnect)

    def _send(self, packet: Packet) -> None:
        if not self._ended:
            self._write(packet)

    def _write(self, packet: Packet) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(packet, self._version))

    async def _drain(self) -> None:
        if not self._ended:
            await self._writer.drain()

    async def _close(self) -> None:
        """Let what was written leave, but wait for no client that has stopped reading."""
        try:
            await asyncio.wait_for(self._writer.wait_closed(), _CLOSE_TIMEOUT)
        except (OSError, asyncio.TimeoutError):
            self._writer.transport.abort()


def _refusal(packet: Connect) -> Reason:
    """What ThingsBoard says to credentials it does not know (MqttTransportHandler.onValidateDeviceResponse)."""
    if packet.user_name is not None or packet.password is not None:
        return Reason.BAD_USER_NAME_OR_PASSWORD
    return Reason.CLIENT_IDENTIFIER_NOT_VALID if packet.client_id.strip() else Reason.NOT_AUTHORIZED


def _matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic falls under one of the filters that are served, whose only wildcard is a + at the end."""
    if topic_filter.endswith("/+"):
        return topic.startswith(topic_filter[:-1]) and "/" not in topic[len(topic_filter) - 1 :]
    return topic == topic_filter
