"""Bytes to MQTT packets and back, for 3.1.1 and 5, without a socket.

Written here rather than taken from a library: the stand-in must speak both versions and must be able to send what a
strict codec refuses to write (a PUBACK with any reason code, a two-byte DISCONNECT).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from simulator.thingsboard.packets import (
    MQTT_5,
    MQTT_311,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PacketType,
    PingReq,
    PingResp,
    Properties,
    PropertyValue,
    PubAck,
    Publish,
    Reason,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from simulator.thingsboard.wire import MalformedPacketError, Reader, encode_binary, encode_properties, encode_string, encode_variable


@dataclass(frozen=True)
class Frame:
    """A packet before its body is understood: type and flags of the fixed header, and the body."""

    packet_type: int
    flags: int
    body: bytes


class Framer:
    """Cuts a byte stream into frames.

    :arg limit: the longest body accepted, in bytes; ThingsBoard's NETTY_MAX_PAYLOAD_SIZE is 65,536.
    """

    def __init__(self, limit: int = 65_536) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes, one by one; what is left waits for the next call.

        :raises MalformedPacketError: when a length is not one, or exceeds the limit; the frames before it came out.
        """
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        length = shift = 0
        for at in range(1, 5):
            if at >= len(self._buffer):
                return None
            length |= (self._buffer[at] & 0x7F) << shift
            if not self._buffer[at] & 0x80:
                break
            shift += 7
        else:
            raise MalformedPacketError("the remaining length is longer than four bytes")
        if length > self.limit:
            raise MalformedPacketError(f"a packet of {length} bytes exceeds the limit of {self.limit}")
        end = at + 1 + length
        if len(self._buffer) < end:
            return None
        first = self._buffer[0]
        frame = Frame(first >> 4, first & 0x0F, bytes(self._buffer[at + 1 : end]))
        del self._buffer[:end]
        return frame


def decode(frame: Frame, version: int) -> Packet:
    """The packet in a frame of a connection that speaks `version` (CONNECT says its own).

    :raises MalformedPacketError: when type, flags or body are not what the standard allows.
    """
    decoder = _DECODERS.get(frame.packet_type)
    if decoder is None:
        raise MalformedPacketError(f"packet type {frame.packet_type} is not supported", Reason.PROTOCOL_ERROR)
    required = 0b0010 if frame.packet_type in (PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE) else 0
    if frame.packet_type != PacketType.PUBLISH and frame.flags != required:
        raise MalformedPacketError(f"flags {frame.flags:04b} are not allowed for packet type {frame.packet_type}")
    reader = Reader(frame.body)
    packet = decoder(reader, frame.flags, version)
    if reader.left:
        raise MalformedPacketError(f"{reader.left} bytes follow the packet's last field")
    return packet


def encode(packet: Packet, version: int) -> bytes:
    """The bytes of a packet for a connection that speaks `version`."""
    packet_type, flags, body = _encode_body(packet, version)
    return bytes([packet_type << 4 | flags]) + encode_variable(len(body)) + body


def _properties(reader: Reader, version: int) -> dict[int, PropertyValue]:
    return reader.properties() if version == MQTT_5 else {}


def _decode_connect(reader: Reader, _flags: int, _version: int) -> Packet:
    name, level = reader.string(), reader.integer(1)
    if (name, level) not in (("MQTT", MQTT_311), ("MQTT", MQTT_5)):
        raise MalformedPacketError(f"protocol {name!r} level {level} is not served", Reason.UNSUPPORTED_PROTOCOL_VERSION)
    flags, keep_alive = reader.integer(1), reader.integer(2)
    if flags & 0x01 or flags >> 3 & 0x03 == 3:
        raise MalformedPacketError("the connect flags are not allowed")
    properties = _properties(reader, level)
    client_id = reader.string()
    if flags & 0x04:
        _properties(reader, level)
        reader.string()
        reader.binary()
    user_name = reader.string() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    return Connect(client_id, level, bool(flags & 0x02), keep_alive, user_name, password, properties)


def _decode_connack(reader: Reader, _flags: int, version: int) -> Packet:
    present, reason = reader.integer(1), reader.integer(1)
    return ConnAck(reason, bool(present), _properties(reader, version))


def _decode_publish(reader: Reader, flags: int, version: int) -> Packet:
    qos = flags >> 1 & 0x03
    if qos == 3:
        raise MalformedPacketError("QoS 3 does not exist")
    topic = reader.string()
    packet_id = _packet_id(reader) if qos else 0
    properties = _properties(reader, version)
    if not topic or "#" in topic or "+" in topic:
        raise MalformedPacketError("a topic name is empty or has a wildcard", Reason.TOPIC_NAME_INVALID)
    return Publish(topic, reader.rest(), qos, packet_id, bool(flags & 1), bool(flags & 8), properties)


def _packet_id(reader: Reader) -> int:
    packet_id = reader.integer(2)
    if packet_id == 0:
        raise MalformedPacketError("packet identifier 0 is not allowed", Reason.PROTOCOL_ERROR)
    return packet_id


def _decode_puback(reader: Reader, _flags: int, version: int) -> Packet:
    packet_id = _packet_id(reader)
    reason = reader.integer(1) if version == MQTT_5 and reader.left else 0
    return PubAck(packet_id, reason, reader.properties() if version == MQTT_5 and reader.left else {})


def _decode_subscribe(reader: Reader, _flags: int, version: int) -> Packet:
    packet_id, properties = _packet_id(reader), _properties(reader, version)
    filters = []
    while reader.left:
        topic_filter, options = reader.string(), reader.integer(1)
        if options & 0x03 == 3:
            raise MalformedPacketError("QoS 3 does not exist", Reason.PROTOCOL_ERROR)
        filters.append((topic_filter, options & 0x03))
    if not filters:
        raise MalformedPacketError("a SUBSCRIBE names no topic filter", Reason.PROTOCOL_ERROR)
    return Subscribe(packet_id, tuple(filters), properties)


def _decode_suback(reader: Reader, _flags: int, version: int) -> Packet:
    packet_id, properties = _packet_id(reader), _properties(reader, version)
    return SubAck(packet_id, tuple(reader.rest()), properties)


def _decode_unsubscribe(reader: Reader, _flags: int, version: int) -> Packet:
    packet_id, properties = _packet_id(reader), _properties(reader, version)
    filters = []
    while reader.left:
        filters.append(reader.string())
    if not filters:
        raise MalformedPacketError("an UNSUBSCRIBE names no topic filter", Reason.PROTOCOL_ERROR)
    return Unsubscribe(packet_id, tuple(filters), properties)


def _decode_unsuback(reader: Reader, _flags: int, version: int) -> Packet:
    packet_id, properties = _packet_id(reader), _properties(reader, version)
    return UnsubAck(packet_id, tuple(reader.rest()), properties)


def _decode_disconnect(reader: Reader, _flags: int, version: int) -> Packet:
    if version != MQTT_5:
        return Disconnect()
    reason = reader.integer(1) if reader.left else 0
    return Disconnect(reason, reader.properties() if reader.left else {})


_DECODERS: dict[int, Callable[[Reader, int, int], Packet]] = {
    PacketType.CONNECT: _decode_connect,
    PacketType.CONNACK: _decode_connack,
    PacketType.PUBLISH: _decode_publish,
    PacketType.PUBACK: _decode_puback,
    PacketType.SUBSCRIBE: _decode_subscribe,
    PacketType.SUBACK: _decode_suback,
    PacketType.UNSUBSCRIBE: _decode_unsubscribe,
    PacketType.UNSUBACK: _decode_unsuback,
    PacketType.PINGREQ: lambda _reader, _flags, _version: PingReq(),
    PacketType.PINGRESP: lambda _reader, _flags, _version: PingResp(),
    PacketType.DISCONNECT: _decode_disconnect,
}


def _encode_body(packet: Packet, version: int) -> tuple[int, int, bytes]:
    if isinstance(packet, Connect):
        return PacketType.CONNECT, 0, _connect_body(packet)
    if isinstance(packet, ConnAck):
        return PacketType.CONNACK, 0, bytes([packet.session_present, packet.reason]) + _listed(packet.properties, version)
    if isinstance(packet, Publish):
        flags = packet.duplicate << 3 | packet.qos << 1 | packet.retain
        identifier = _two(packet.packet_id) if packet.qos else b""
        return PacketType.PUBLISH, flags, encode_string(packet.topic) + identifier + _listed(packet.properties, version) + packet.payload
    if isinstance(packet, PubAck):
        return PacketType.PUBACK, 0, _two(packet.packet_id) + _reasoned(packet.reason, packet.properties, version)
    if isinstance(packet, Subscribe):
        filters = b"".join(encode_string(name) + bytes([qos]) for name, qos in packet.filters)
        return PacketType.SUBSCRIBE, 0b0010, _two(packet.packet_id) + _listed(packet.properties, version) + filters
    if isinstance(packet, SubAck):
        return PacketType.SUBACK, 0, _two(packet.packet_id) + _listed(packet.properties, version) + bytes(packet.reasons)
    if isinstance(packet, Unsubscribe):
        names = b"".join(encode_string(name) for name in packet.filters)
        return PacketType.UNSUBSCRIBE, 0b0010, _two(packet.packet_id) + _listed(packet.properties, version) + names
    if isinstance(packet, UnsubAck):
        reasons = bytes(packet.reasons) if version == MQTT_5 else b""
        return PacketType.UNSUBACK, 0, _two(packet.packet_id) + _listed(packet.properties, version) + reasons
    if isinstance(packet, Disconnect):
        return PacketType.DISCONNECT, 0, _reasoned(packet.reason, packet.properties, version)
    return (PacketType.PINGREQ if isinstance(packet, PingReq) else PacketType.PINGRESP), 0, b""


def _two(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _listed(properties: Properties, version: int) -> bytes:
    return encode_properties(properties) if version == MQTT_5 else b""


def _reasoned(reason: int, properties: Properties, version: int) -> bytes:
    """Reason and properties of PUBACK and DISCONNECT; as ThingsBoard writes them, both or neither (8E 00, never 8E alone)."""
    if version != MQTT_5 or (reason == 0 and not properties):
        return b""
    return bytes([reason]) + encode_properties(properties)


def _connect_body(packet: Connect) -> bytes:
    flags = packet.clean_start << 1 | (packet.user_name is not None) << 7 | (packet.password is not None) << 6
    body = encode_string("MQTT") + bytes([packet.version, flags]) + _two(packet.keep_alive)
    body += _listed(packet.properties, packet.version) + encode_string(packet.client_id)
    if packet.user_name is not None:
        body += encode_string(packet.user_name)
    if packet.password is not None:
        body += encode_binary(packet.password)
    return body
