"""Follows one READ, the GET of short names, from its request to the complete answer: object list, blocks, results.

A READ-response does not say which request it answers. Only the data link tells a late answer from the right one, which is
why the caller repeats a READ only where frames are numbered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

from connectors.dlms import cosem
from connectors.dlms.apdu import names
from connectors.dlms.apdu.get import MAX_ANSWER, Stale
from connectors.dlms.apdu.replies import ReadResponse
from connectors.dlms.apdu.short_names import OBJECT_LIST, ShortNames, block_request, read_request
from connectors.dlms.axdr import CosemError, Reader
from connectors.dlms.events import Answered, Attribute, AttributeResult, ServiceRefused
from model.messages import ErrorKind

_DATA, _ACCESS_ERROR, _BLOCK = 0, 1, 2
"""Choices of a READ-response's results."""
_ASSOCIATION_SN, _CURRENT_ASSOCIATION = 12, bytes([0, 0, 40, 0, 0, 255])
_LIST = Attribute(_ASSOCIATION_SN, _CURRENT_ASSOCIATION, 2, OBJECT_LIST - 8)


@dataclass(frozen=True, slots=True)
class Ask:
    """The answer goes on with the reply to this request."""

    apdu: bytes


Answer = Union[Ask, Answered, ServiceRefused]
Step = Union[Answer, Stale]


def without_asking(attributes: Sequence[Attribute], short_names: ShortNames) -> tuple[AttributeResult, ...] | None:
    """The results for `attributes` where the meter is known to have none of them, else None."""
    if short_names.wanting(attributes) or any(short_names.find(attribute) is not None for attribute in attributes):
        return None
    return tuple(_nameless(attribute, short_names) for attribute in attributes)


class Read:
    """One READ of `attributes` under way; where a short name is not known yet the object list is read before.

    At least one of them must have a short name or still be looked for, see `without_asking`.
    """

    def __init__(self, attributes: Sequence[Attribute], short_names: ShortNames) -> None:
        self._attributes = tuple(attributes)
        self._names = short_names
        self._asked: tuple[Attribute, ...] = ()
        self.listing = short_names.wanting(attributes)
        """Whether the object list is what is awaited."""
        self._last_block: int | None = None
        self._blocks = bytearray()
        self._received = b""
        self._list_ended_with: bytes | None = None
        self.request = self._ask((_LIST,)) if self.listing else self._ask(self._named())
        """The first request."""

    @property
    def is_list(self) -> bool:
        """Whether several attributes were asked for."""
        return len(self._attributes) > 1

    def receive(self, reply: ReadResponse) -> Step:
        """What `reply` means for this request."""
        if reply.results == self._list_ended_with and not any(attribute.class_id == _ASSOCIATION_SN for attribute in self._attributes):
            return Stale("repeats the object list")
        self._received = reply.results
        try:
            block = _block(reply.results)
            if block is None:
                if self._last_block is not None:
                    return self.refused(ServiceRefused("the meter ended a block transfer with an answer of another kind"))
                return self._taken(_results(self._asked, reply.results))
            return self._add(*block)
        except CosemError as error:
            return self.refused(ServiceRefused(f"the answer cannot be decoded: {error}", ErrorKind.DECODE))

    def refused(self, refusal: ServiceRefused) -> Answer:
        """What a refusal of the service as a whole means for this request."""
        if not self.listing:
            return refusal
        return self._listed(AttributeResult(_LIST, None, refusal.kind, refusal.detail))

    def _named(self) -> tuple[Attribute, ...]:
        return tuple(attribute for attribute in self._attributes if self._names.find(attribute) is not None)

    def _ask(self, attributes: tuple[Attribute, ...]) -> bytes:
        self._asked = attributes
        self._last_block = None
        self._blocks.clear()
        found = [(name, attribute.selection) for attribute in attributes if (name := self._names.find(attribute)) is not None]
        return read_request(found)

    def _add(self, last: bool, number: int, data: bytes) -> Step:
        if number == self._last_block:
            return Stale(f"repeats block {number}")
        expected = {0, 1} if self._last_block is None else {self._last_block + 1 & 0xFFFF}  # some meters begin with 0
        if number not in expected:
            return self.refused(ServiceRefused(f"block {number} came where {max(expected)} was expected"))
        self._last_block = number
        self._blocks += data
        if len(self._blocks) > MAX_ANSWER:
            return self.refused(ServiceRefused(f"the answer is longer than {MAX_ANSWER} bytes"))
        return self._taken(_joined(self._asked, bytes(self._blocks))) if last else Ask(block_request(number))

    def _taken(self, results: tuple[AttributeResult, ...]) -> Answer:
        if self.listing:
            return self._listed(results[0])
        found = {result.attribute: result for result in results}
        return Answered(tuple(found.get(attribute) or _nameless(attribute, self._names) for attribute in self._attributes))

    def _listed(self, result: AttributeResult) -> Answer:
        """The object list has arrived, or will not: go on with what has a name."""
        self.listing = False
        try:
            if result.error is not None:
                raise CosemError(result.error_detail)
            self._names.learn(result.data)
            self._list_ended_with = self._received
        except CosemError as error:
            self._names.fail(f"the meter's object list cannot be read: {error}")
        named = self._named()
        return Ask(self._ask(named)) if named else self._taken(())


def _block(results: bytes) -> tuple[bool, int, bytes] | None:
    """Whether it is the last, its number and its data, where `results` are one data-block-result."""
    reader = Reader(results)
    if reader.length() != 1 or reader.byte() != _BLOCK:
        return None
    last, number = reader.byte() != 0, reader.unsigned(2)
    data = reader.take(reader.length())
    reader.finish()
    return last, number, data


def _results(asked: Sequence[Attribute], results: bytes) -> tuple[AttributeResult, ...]:
    """Every result, in order. A value that cannot be decoded hides where the next one begins, unless it is the only one."""
    reader = Reader(results)
    count = reader.length()
    if count != len(asked):
        raise CosemError(f"the meter answered {count} of {len(asked)} attributes")
    found = [_result(attribute, reader, alone=count == 1) for attribute in asked]
    reader.finish()
    return tuple(found)


def _result(attribute: Attribute, reader: Reader, alone: bool) -> AttributeResult:
    choice = reader.byte()
    if choice == _ACCESS_ERROR:
        return AttributeResult(attribute, error=ErrorKind.ACCESS, error_detail=names.access_result(reader.byte()))
    if choice != _DATA:
        raise CosemError(f"a result of a READ-response has no choice {choice}")
    if not alone:
        return AttributeResult(attribute, cosem.decode_from(reader))
    return _value(attribute, reader.rest())


def _value(attribute: Attribute, data: bytes) -> AttributeResult:
    try:
        value = cosem.decode(data)
        return AttributeResult(attribute, data if attribute.as_encoded else value)
    except CosemError as error:
        return AttributeResult(attribute, error=ErrorKind.DECODE, error_detail=str(error))


def _joined(asked: Sequence[Attribute], data: bytes) -> tuple[AttributeResult, ...]:
    """The results from joined blocks, encoded as in one READ-response.

    Some meters leave out their number, or that and the first choice too: what makes sense in one way only is believed.
    """
    number = bytes([len(asked)]) if len(asked) < 0x80 else bytes([0x81, len(asked)])
    readings = []
    for left_out in (b"", number, number + bytes([_DATA])):
        with contextlib.suppress(CosemError):
            results = _results(asked, left_out + data)
            if all(result.error is not ErrorKind.DECODE for result in results):
                readings.append(results)
    if len(readings) != 1:
        raise CosemError(f"the joined blocks are no results of {len(asked)} attributes")
    return readings[0]


def _nameless(attribute: Attribute, short_names: ShortNames) -> AttributeResult:
    return AttributeResult(attribute, error=ErrorKind.ACCESS, error_detail=short_names.reason(attribute))
