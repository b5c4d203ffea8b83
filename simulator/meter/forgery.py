"""Values that no virtual meter holds, in place of the true ones: who believes one can be told by it."""

from __future__ import annotations

from simulator.meter.axdr import DataError, Tag, TypedValue, decode, decode_length, encode

FORGED_BYTE = 0x6B
"""Numbers consist of it, byte by byte (0x6B, 0x6B6B, 0x6B6B6B6B), texts and octet-strings too."""

_SIZES = {
    Tag.DOUBLE_LONG: 4,
    Tag.DOUBLE_LONG_UNSIGNED: 4,
    Tag.BCD: 1,
    Tag.INTEGER: 1,
    Tag.LONG: 2,
    Tag.UNSIGNED: 1,
    Tag.LONG_UNSIGNED: 2,
    Tag.LONG64: 8,
    Tag.LONG64_UNSIGNED: 8,
    Tag.ENUM: 1,
}


def forged_value(data: TypedValue) -> TypedValue:
    """A value of the same type and length."""
    tag, value = data.tag, data.value
    if isinstance(value, tuple):
        return TypedValue(tag, tuple(forged_value(item) for item in value))
    if tag in _SIZES:
        return TypedValue(tag, int.from_bytes(bytes((FORGED_BYTE,)) * _SIZES[tag], "big"))
    if isinstance(value, bytes):
        return TypedValue(tag, bytes((FORGED_BYTE,)) * len(value))
    if tag == Tag.BIT_STRING:
        return TypedValue(tag, value.translate({48: 49, 49: 48}))
    if isinstance(value, str):
        return TypedValue(tag, chr(FORGED_BYTE) * len(value))
    if isinstance(value, float):
        return TypedValue(tag, float(FORGED_BYTE * 0x101))
    return TypedValue(tag, not value) if isinstance(value, bool) else data


def forged(get_response: bytes) -> bytes:
    """A get-response of the same kind with forged data; of a block, the last byte is inverted.

    An access result in place of data stays what it is.
    """
    try:
        if get_response[1] == 1 and get_response[3] == 0:
            return get_response[:4] + encode(forged_value(decode(get_response, 4)[0]))
        if get_response[1] == 3:
            return _forged_list(get_response)
    except (DataError, IndexError):
        pass
    return get_response[:-1] + bytes((get_response[-1] ^ 0xFF,)) if get_response[1] == 2 else get_response


def _forged_list(get_response: bytes) -> bytes:
    count, offset = decode_length(get_response, 3)
    output = bytearray(get_response[:offset])
    for _ in range(count):
        if get_response[offset]:
            output += get_response[offset : offset + 2]
            offset += 2
            continue
        value, after = decode(get_response, offset + 1)
        output += b"\x00" + encode(forged_value(value))
        offset = after
    return bytes(output)
