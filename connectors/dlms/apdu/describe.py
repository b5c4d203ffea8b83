"""APDUs in words, for the trace: what was asked for and what was answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

from connectors.dlms import cosem
from connectors.dlms.apdu import names, replies
from connectors.dlms.axdr import CosemError, Reader
from connectors.dlms.security.protection import NotAuthentic, read_header
from connectors.dlms.security.tags import is_protected
from model.obis import format_logical_name

Reveal = Callable[[bytes], Union[bytes, None]]
"""What is inside of a protected APDU; None where it cannot be opened."""

LONGEST_VALUE = 120
"""Characters of a value that are shown."""

_GET_REQUEST, _GET_RESPONSE = 0xC0, 0xC4
_READ_REQUEST, _READ_RESPONSE = 0x05, 0x0C
_GATEWAY = (0xE6, 0xE7)
_NEXT, _WITH_LIST = 2, 3
_BLOCK_RESULT, _PARAMETERIZED_ACCESS, _BLOCK_NUMBER_ACCESS = 2, 4, 5


def describe(apdu: bytes, reveal: Reveal | None = None) -> str:
    """The name of `apdu` and, for a GET or READ, its attributes or results; just the name where the rest cannot be read.

    What goes through a gateway is described behind the gateway's words.

    :arg reveal: gives what is inside of a protected APDU, or None.
    """
    name = names.apdu_name(apdu)
    if is_protected(apdu[0] if apdu else 0):
        inner = None if reveal is None else reveal(apdu)
        return f"{name} ({_protection(apdu)})" + ("" if inner is None else f": {describe(inner)}")
    try:
        if apdu[:1] == bytes([_GET_REQUEST]):
            return f"{name} {_request(Reader(apdu[1:]))}"
        if apdu[:1] == bytes([_GET_RESPONSE]):
            return f"{name} {_response(apdu)}"
        if apdu[:1] == bytes([_READ_REQUEST]):
            return f"{name} {_read_request(Reader(apdu[1:]))}"
        if apdu[:1] == bytes([_READ_RESPONSE]):
            return f"{name} {_read_response(Reader(apdu[1:]))}"
        if apdu[:1] and apdu[0] in _GATEWAY:
            return f"{name} {_behind_gateway(Reader(apdu[1:]), reveal)}"
    except CosemError:
        return name
    return name


def _protection(apdu: bytes) -> str:
    try:
        header = read_header(apdu)
    except NotAuthentic as error:
        return error.detail
    sender = f"from {header.title.hex()}, " if header.title else ""
    return f"{sender}security control {header.control:02x}, counter {header.counter}, {len(header.body)} bytes"


def _request(reader: Reader) -> str:
    choice, _invoke_id = reader.byte(), reader.byte()
    if choice == _NEXT:
        return f"after block {reader.unsigned(4)}"
    count = reader.length() if choice == _WITH_LIST else 1
    return ", ".join(_descriptor(reader) for _ in range(count))


def _descriptor(reader: Reader) -> str:
    class_id, name, index = reader.unsigned(2), format_logical_name(reader.take(6)), reader.byte()
    return f"{name} class {class_id} attribute {index}" + (" selective" if reader.byte() else "")


def _response(apdu: bytes) -> str:
    reply = replies.parse(apdu)
    if isinstance(reply, replies.GetNormal):
        return _result(Reader(reply.result))
    if isinstance(reply, replies.GetList):
        reader = Reader(reply.results)
        return ", ".join(_result(reader) for _ in range(reader.length()))
    if isinstance(reply, replies.GetBlock):
        what = f"{len(reply.data)} bytes" if reply.error is None else names.access_result(reply.error)
        return f"block {reply.number}{' (last)' if reply.last else ''}: {what}"
    return ""


def _read_request(reader: Reader) -> str:
    return ", ".join(_access(reader) for _ in range(reader.length()))


def _access(reader: Reader) -> str:
    choice, number = reader.byte(), reader.unsigned(2)
    if choice == _PARAMETERIZED_ACCESS:
        reader.byte()
        cosem.decode_from(reader)
        return f"{number:04X} selective"
    return f"after block {number}" if choice == _BLOCK_NUMBER_ACCESS else f"{number:04X}"


def _read_response(reader: Reader) -> str:
    return ", ".join(_read_result(reader) for _ in range(reader.length()))


def _read_result(reader: Reader) -> str:
    choice = reader.byte()
    if choice == _BLOCK_RESULT:
        last, number = reader.byte(), reader.unsigned(2)
        return f"block {number}{' (last)' if last else ''}: {len(reader.take(reader.length()))} bytes"
    return names.access_result(reader.byte()) if choice else _value(reader)


def _behind_gateway(reader: Reader, reveal: Reveal | None) -> str:
    network, address = reader.byte(), reader.take(reader.byte())
    return f"network {network} device {address.hex()}: {describe(reader.rest(), reveal)}"


def _result(reader: Reader) -> str:
    if reader.byte():
        return names.access_result(reader.byte())
    return _value(reader)


def _value(reader: Reader) -> str:
    data = cosem.decode_from(reader)
    text = data.hex(" ") if isinstance(data, bytes) else ascii(data) if isinstance(data, str) else str(data)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
