"""The data types of MQTT on the wire (MQTT 5, 1.5 and 2.2.2): integers, strings, properties. Shared by every packet."""

from __future__ import annotations

from simulator.thingsboard.packets import Properties, PropertyValue, Reason

USER_PROPERTY = 0x26

_BYTE, _TWO, _FOUR, _VARIABLE, _STRING, _BINARY, _PAIR = range(7)

_PROPERTY_TYPES = {
    0x01: _BYTE,
    0x02: _FOUR,
    0x03: _STRING,
    0x08: _STRING,
    0x09: _BINARY,
    0x0B: _VARIABLE,
    0x11: _FOUR,
    0x12: _STRING,
    0x13: _TWO,
    0x15: _STRING,
    0x16: _BINARY,
    0x17: _BYTE,
    0x18: _FOUR,
    0x19: _BYTE,
    0x1A: _STRING,
    0x1C: _STRING,
    0x1F: _STRING,
    0x21: _TWO,
    0x22: _TWO,
    0x23: _TWO,
    0x24: _BYTE,
    0x25: _BYTE,
    USER_PROPERTY: _PAIR,
    0x27: _FOUR,
    0x28: _BYTE,
    0x29: _BYTE,
    0x2A: _BYTE,
}


class MalformedPacketError(ValueError):
    """The bytes are not a packet of this version; `reason` is the code a version 5 client is told."""

    def __init__(self, what: str, reason: Reason = Reason.MALFORMED_PACKET) -> None:
        super().__init__(what)
        self.reason = reason


class Reader:
    """Takes fields off the front of a packet's body; :raises MalformedPacketError: when a field is cut or not allowed."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return len(self._body) - self._at

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if self.left < count:
            raise MalformedPacketError(f"the packet ends {count - self.left} bytes early")
        self._at += count
        return self._body[self._at - count : self._at]

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(self.left)

    def integer(self, size: int) -> int:
        """A big-endian unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def variable(self) -> int:
        """A variable byte integer, 1.5.5."""
        value = 0
        for shift in range(0, 28, 7):
            byte = self.integer(1)
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
        raise MalformedPacketError("a variable byte integer is longer than four bytes")

    def binary(self) -> bytes:
        """Binary data with its two-byte length, 1.5.6."""
        return self.take(self.integer(2))

    def string(self) -> str:
        """A UTF-8 encoded string, 1.5.4; U+0000 and surrogates are not allowed."""
        try:
            text = self.binary().decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedPacketError(f"a string is not UTF-8: {error.reason}") from error
        if "\0" in text:
            raise MalformedPacketError("a string contains U+0000")
        return text

    def properties(self) -> dict[int, PropertyValue]:
        """The property list, 2.2.2."""
        inner = Reader(self.take(self.variable()))
        found: dict[int, PropertyValue] = {}
        pairs: list[tuple[str, str]] = []
        while inner.left:
            identifier = inner.variable()
            if identifier not in _PROPERTY_TYPES:
                raise MalformedPacketError(f"property 0x{identifier:02x} does not exist")
            if identifier == USER_PROPERTY:
                pairs.append((inner.string(), inner.string()))
            elif identifier in found:
                raise MalformedPacketError(f"property 0x{identifier:02x} occurs twice", Reason.PROTOCOL_ERROR)
            else:
                found[identifier] = inner._property(_PROPERTY_TYPES[identifier])
        if pairs:
            found[USER_PROPERTY] = pairs
        return found

    def _property(self, kind: int) -> PropertyValue:
        if kind == _STRING:
            return self.string()
        if kind == _BINARY:
            return self.binary()
        if kind == _VARIABLE:
            return self.variable()
        return self.integer({_BYTE: 1, _TWO: 2, _FOUR: 4}[kind])


def encode_variable(value: int) -> bytes:
    """A variable byte integer, 1.5.5, 0 to 268,435,455."""
    if not 0 <= value <= 0x0FFF_FFFF:
        raise ValueError(f"{value} does not fit a variable byte integer")
    encoded = bytearray()
    while True:
        value, low = divmod(value, 128)
        encoded.append(low | (0x80 if value else 0))
        if not value:
            return bytes(encoded)


def encode_binary(data: bytes) -> bytes:
    """Binary data with its two-byte length, 1.5.6."""
    return len(data).to_bytes(2, "big") + data


def encode_string(text: str) -> bytes:
    """A UTF-8 encoded string with its two-byte length, 1.5.4."""
    return encode_binary(text.encode("utf-8"))


def encode_properties(properties: Properties) -> bytes:
    """The property list with its length, 2.2.2."""
    encoded = bytearray()
    for identifier, value in properties.items():
        kind = _PROPERTY_TYPES[identifier]
        if isinstance(value, list):
            for name, text in value:
                encoded += encode_variable(identifier) + encode_string(name) + encode_string(text)
        elif isinstance(value, str):
            encoded += encode_variable(identifier) + encode_string(value)
        elif isinstance(value, bytes):
            encoded += encode_variable(identifier) + encode_binary(value)
        elif kind == _VARIABLE:
            encoded += encode_variable(identifier) + encode_variable(value)
        else:
            encoded += encode_variable(identifier) + value.to_bytes({_BYTE: 1, _TWO: 2, _FOUR: 4}[kind], "big")
    return encode_variable(len(encoded)) + bytes(encoded)
