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

LONGEST_VALUE = 120
"""Characters of a value that are shown."""

_GET_REQUEST, _GET_RESPONSE = 0xC0, 0xC4
_NEXT, _WITH_LIST = 2, 3


def describe(apdu: bytes, reveal: Callable[[bytes], Union[bytes, None]] | None = None) -> str:
    """The name of `apdu` and, for a GET, its attributes or results; just the name where the rest cannot be read.

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


def _result(reader: Reader) -> str:
    if reader.byte():
        return names.access_result(reader.byte())
    data = cosem.decode_from(reader)
    text = data.hex(" ") if isinstance(data, bytes) else ascii(data) if isinstance(data, str) else str(data)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
