"""What a prepared meter says: from the plain APDU of a request to that of its answer, encoded once and then patched.

Registers, scalers and the profile are the same for all meters. An answer depends on nothing but the request, except for the
blocks of a long one, which `Conversation` remembers.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from simulator.meter import acse
from simulator.meter.acse import Conformance, Responder
from simulator.meter.axdr import array, double_long_unsigned, encode, encode_length, enum, integer, long_unsigned, octet_string, structure

CLOCK = bytes.fromhex("0000010000FF")
PROFILE = bytes.fromhex("0100630100FF")
REGISTERS = [
    "32.7.0", "52.7.0", "72.7.0", "31.7.0", "51.7.0", "71.7.0", "14.7.0", "1.7.0", "1.8.0", "2.8.0",
    "3.7.0", "4.7.0", "13.7.0", "21.7.0", "41.7.0", "61.7.0", "21.8.0", "41.8.0", "61.8.0", "22.8.0",
]  # fmt: skip
"""OBIS groups C to E of what is read from medium 1, channel 0."""

PERIOD = 900
"""Capture period of the profile, seconds."""

CONFORMANCE = (
    Conformance.GET
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.ACTION
)
_BLOCK_OVERHEAD = 16
"""Bytes of a block's APDU around its data, at most."""

_GET_NORMAL, _GET_NEXT, _GET_LIST = b"\xc0\x01", b"\xc0\x02", b"\xc0\x03"
_DESCRIPTOR = 10
"""Bytes of one attribute in a list: class, logical name, attribute and the flag for selective access."""


def logical_name(register: str) -> bytes:
    """The logical name of one of `REGISTERS`."""
    return bytes((1, 0, *map(int, register.split(".")), 255))


def _date_time(at: int) -> bytes:
    moment = datetime.fromtimestamp(at, timezone.utc)
    day = bytes((moment.month, moment.day, moment.isoweekday(), moment.hour, moment.minute, moment.second, 0))
    return moment.year.to_bytes(2, "big") + day + bytes(3)


def _seconds(octets: bytes) -> int:
    """A limit of a range, as the client encoded it, in seconds since 1970."""
    year, month, day, _, hour, minute, second, _, deviation, _ = struct.unpack(">HBBBBBBBhB", octets)
    hour, minute, second = (0 if part == 0xFF else part for part in (hour, minute, second))
    moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    return int((moment + timedelta(minutes=0 if deviation == -0x8000 else deviation)).timestamp())


class Profile:
    """A profile of `columns` columns, the clock being the first one, whose newest row ends at `newest` (seconds since 1970)."""

    def __init__(self, rows: int, columns: int, newest: int) -> None:
        newest -= newest % PERIOD
        self.columns = [logical_name(register) for register in REGISTERS[: columns - 1]]
        self.times = range(newest - PERIOD * (rows - 1), newest + 1, PERIOD) if rows else range(0)
        self._rows = [
            encode(structure(octet_string(_date_time(at)), *(double_long_unsigned(100_000 + number * 3 + c) for c in range(columns - 1))))
            for number, at in enumerate(self.times)
        ]

    def attribute(self, index: int) -> bytes:
        """One of its attributes but the buffer, encoded."""
        count = double_long_unsigned(len(self._rows))
        captured = [(8, CLOCK), *((3, name) for name in self.columns)]
        objects = (structure(long_unsigned(kind), octet_string(name), integer(2), long_unsigned(0)) for kind, name in captured)
        own = {
            3: lambda: array(list(objects)),
            4: lambda: double_long_unsigned(PERIOD),
            5: lambda: enum(1),
            7: lambda: count,
            8: lambda: count,
        }
        return encode(own[index]()) if index in own else encode(octet_string(PROFILE))

    def buffer(self, selection: bytes) -> bytes:
        """The rows that `selection` (selector and parameters; empty for all) asks for, encoded."""
        first, end = 0, len(self._rows)
        if selection[:1] == b"\x01":
            # Structure of four: the restricting object, then two limits as octet-strings of twelve bytes.
            start = selection.index(b"\x09\x0c")
            first = bisect_left(self.times, _seconds(selection[start + 2 : start + 14]))
            end = bisect_right(self.times, _seconds(selection[start + 16 : start + 28]))
        elif selection[:1] == b"\x02":
            first, end = int.from_bytes(selection[4:8], "big") - 1, int.from_bytes(selection[9:13], "big") or end
        rows = self._rows[first:end]
        return b"\x01" + encode_length(len(rows)) + b"".join(rows)


@dataclass(slots=True)
class Conversation:
    """What has to be remembered of one connection.

    :arg room: longest APDU that the client takes, as the association has it, bytes.
    """

    room: int = 0
    blocks: Sequence[bytes] = ()
    client_title: bytes = b""
    client_challenge: bytes = b""
    ciphered: bool = field(default=False)


class Replies:
    """Answers plain APDUs.

    :arg profile: the profile that every meter has.
    :arg longest: longest APDU sent, bytes.
    """

    def __init__(self, profile: Profile, longest: int) -> None:
        self._profile = profile
        self.longest = longest
        self._values: dict[bytes, bytes] = {}

    def answer(self, request: bytes, conversation: Conversation) -> bytes:
        """The answer to a service request."""
        service = request[:2]
        if service == _GET_NORMAL:
            if request[3:5] == b"\x00\x07" and request[11] == 2:
                return self._first_block(request[2:3], self._profile.buffer(request[13:]), conversation)
            return b"\xc4\x01" + request[2:3] + self._result(request[3:12])
        if service == _GET_LIST:
            listed = range(4, 4 + request[3] * _DESCRIPTOR, _DESCRIPTOR)
            results = b"".join(self._result(request[at : at + _DESCRIPTOR - 1]) for at in listed)
            return b"\xc4\x03" + request[2:4] + results
        if service == _GET_NEXT:
            return self._block(request[2:3], int.from_bytes(request[3:7], "big"), conversation)
        return b"\xd8\x01\x01"  # exception-response: service not allowed

    def is_pure(self, request: bytes) -> bool:
        """Whether the answer to this request is the same at any time and on any connection."""
        return request[:2] in (_GET_NORMAL, _GET_LIST) and request[3:5] != b"\x00\x07"

    def accept(self, request: acse.AssociationRequest, initiate: acse.InitiateRequest, conversation: Conversation) -> bytes:
        """The initiate response; from now on the conversation has its limits."""
        conversation.room = min(self.longest, initiate.max_pdu_size or self.longest)
        conversation.client_title, conversation.client_challenge = request.calling_title, request.authentication_value
        return acse.build_initiate_response(CONFORMANCE & initiate.conformance, self.longest)

    def associate(self, aarq: bytes, conversation: Conversation) -> bytes:
        """AARE for an AARQ without ciphering."""
        request = acse.parse_aarq(aarq)
        response = self.accept(request, acse.parse_initiate(request.user_information), conversation)
        return acse.build_aare_accepted(response, Responder())

    def _result(self, descriptor: bytes) -> bytes:
        """Choice of result and the data of one attribute."""
        value = self._values.get(descriptor)
        if value is None:
            value = self._values[descriptor] = b"\x00" + self._encoded(
                int.from_bytes(descriptor[:2], "big"), descriptor[2:8], descriptor[8]
            )
        return value

    def _encoded(self, kind: int, name: bytes, index: int) -> bytes:
        if kind == 7:
            return self._profile.attribute(index)
        if kind == 1:
            return encode(double_long_unsigned(0))
        if index == 3:
            return encode(structure(integer(-1), enum(35)))
        return encode(double_long_unsigned(2_300 + name[2]))

    def _first_block(self, invoke_id: bytes, data: bytes, conversation: Conversation) -> bytes:
        size = conversation.room - _BLOCK_OVERHEAD
        if len(data) <= size:
            conversation.blocks = ()
            return b"\xc4\x01" + invoke_id + b"\x00" + data
        conversation.blocks = [data[at : at + size] for at in range(0, len(data), size)]
        return self._block(invoke_id, 0, conversation)

    def _block(self, invoke_id: bytes, acknowledged: int, conversation: Conversation) -> bytes:
        blocks = conversation.blocks
        last = acknowledged + 1 >= len(blocks)
        data = blocks[acknowledged]
        head = b"\xc4\x02" + invoke_id + bytes((last,)) + (acknowledged + 1).to_bytes(4, "big")
        return head + b"\x00" + encode_length(len(data)) + data
