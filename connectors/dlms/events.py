"""What a conversation with a meter is asked for and what it reports: plain data, no I/O.

`conversation` turns bytes into these events, `session` acts on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, Union

from model.messages import ErrorKind, Violation
from model.tuples import kept_in_a_tuple

CosemData = Union[None, int, Decimal, bool, str, bytes, datetime, "list[CosemData]"]
"""A decoded COSEM value: integers and enums as int, float32/float64 as the shortest exact Decimal, bit-string as a str
of 0 and 1, octet-string as bytes (a 12-byte date-time only where the object says it is one), array and structure as list."""


class Attribute(NamedTuple):
    """A COSEM attribute descriptor: interface class, six-byte logical name, attribute index.

    `base_name` is the object's short name where it is known beforehand; it matters for meters read by short names only.
    `selection` asks for a part of the attribute: the selector and its parameters, encoded (IEC 62056-5-3, selective access).
    With `as_encoded` the answer's data is the encoded value, for one that is too long to be decoded at a stretch; such an
    attribute is asked for alone.
    """

    class_id: int
    logical_name: bytes
    index: int  # type: ignore[assignment]  # hides that of tuple, which nobody needs here
    base_name: int | None = None
    selection: bytes = b""
    as_encoded: bool = False


class AttributeResult(NamedTuple):
    """The meter's answer for one attribute: `data`, or why there is none.

    `data` None with `error` None is null-data. `error_detail` names the access result (IEC 62056-5-3
    Data-Access-Result, such as "read-write-denied") or what could not be decoded.
    """

    attribute: Attribute
    data: CosemData = None
    error: ErrorKind | None = None
    error_detail: str = ""


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class Transmit:
    """Bytes the protocol itself wants sent now: AARQ after UA, RR, the request for the next block."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Progressed:
    """A part of the answer has arrived and more of it is on the way without being asked for."""


@dataclass(frozen=True, slots=True)
class Associated:
    """The association is open. `with_list` and `block_transfer` are the negotiated conformance; sizes are in bytes,
    0 for unlimited: `max_pdu_size` the largest APDU the meter receives, `information_size` its HDLC information field."""

    with_list: bool
    block_transfer: bool
    max_pdu_size: int
    information_size: int


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class Answered:
    """The complete answer to the last `get`, one result per attribute asked for, in order."""

    results: tuple[AttributeResult, ...]


@dataclass(frozen=True, slots=True)
class ServiceRefused:
    """The meter answered the last `get` as a whole with a refusal (exception-response, confirmed-service-error) while
    the association stays open; a with-list request may be worth repeating as single ones. `kind` is DECODE for an answer
    that cannot be read."""

    detail: str
    kind: ErrorKind = ErrorKind.ACCESS


@dataclass(frozen=True, slots=True)
class Refused:
    """The meter said no to the connection or the association; nothing more can be asked. `counter` when it named our
    invocation counter, or what it could not decipher, as the reason."""

    detail: str
    remedy: str
    counter: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """The meter ended the connection or the association by itself (DM, DISC, AARE or exception in the data phase);
    `counter` as in `Refused`."""

    detail: str
    counter: bool = False


@dataclass(frozen=True, slots=True)
class Violated:
    """Something arrived that is not authentic: none of it becomes a value. The association is of no use any more, unless it
    `stands` because nothing was awaited: a copy of what was taken already."""

    violation: Violation
    detail: str
    stands: bool


@dataclass(frozen=True, slots=True)
class Released:
    """The association is released; the bytes of `disconnect` may follow."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The data link is closed in order (UA to our DISC, or at once with the wrapper)."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """Bytes or a frame that were not ours to use: junk, a bad checksum, another station's address, a stale answer."""

    count: int
    reason: str


Event = Union[Transmit, Progressed, Associated, Answered, ServiceRefused, Refused, Dropped, Released, Disconnected, Discarded, Violated]
