"""Follows one GET from its request to the complete answer: matches invoke-id and block numbers, joins blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Union

from connectors.dlms import cosem
from connectors.dlms.apdu import names
from connectors.dlms.apdu.replies import GetBlock, GetList, GetNormal, GetReply
from connectors.dlms.axdr import CosemError, Reader
from connectors.dlms.events import Answered, Attribute, AttributeResult, CosemData, ServiceRefused
from model.messages import ErrorKind
from model.tuples import kept_in_a_tuple

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of one answer put together from blocks; a meter that never sends the last block must not fill the memory."""


@kept_in_a_tuple
@dataclass(frozen=True, slots=True)
class NextBlock:
    """Block `number` has arrived and is not the last: ask for the one after it."""

    number: int


@dataclass(frozen=True, slots=True)
class Stale:
    """The reply belongs to an earlier request."""

    reason: str


Step = Union[NextBlock, Answered, ServiceRefused, Stale]


class Get:
    """One GET request for `attributes` under way."""

    def __init__(self, attributes: Sequence[Attribute], invoke_id: int) -> None:
        self.invoke_id = invoke_id
        self._attributes = tuple(attributes)
        self._blocks = bytearray()
        self._with_surplus: bytearray | None = None
        self._last_number: int | None = None

    def receive(self, reply: GetReply) -> Step:
        """What `reply` means for this request."""
        if reply.invoke_id != self.invoke_id:
            return Stale(f"answers request #{reply.invoke_id}, not #{self.invoke_id}")
        if isinstance(reply, GetBlock):
            return self._block(reply)
        try:
            if isinstance(reply, GetNormal):
                return self._normal(Reader(reply.result))
            return self._list(reply)
        except CosemError as error:
            return ServiceRefused(f"the answer cannot be decoded: {error}", ErrorKind.DECODE)

    @property
    def is_list(self) -> bool:
        """Whether the request was a GET-with-list."""
        return len(self._attributes) > 1

    def _normal(self, reader: Reader) -> Step:
        if reader.byte():
            code = reader.byte()
            if self.is_list:
                return ServiceRefused(f"the meter answered a list with one access result: {names.access_result(code)}")
            return Answered((_denied(self._attributes[0], code),))
        if self.is_list:
            return ServiceRefused("the meter answered a list with a single value")
        # A value says itself where it ends. Some meters send leftovers of their buffer behind it.
        if self._attributes[0].as_encoded:
            return self._encoded(reader.rest())
        return self._single(lambda: cosem.decode_from(reader))

    def _encoded(self, data: bytes) -> Step:
        return Answered((AttributeResult(self._attributes[0], data),))

    def _single(self, decode: Callable[[], CosemData]) -> Step:
        attribute = self._attributes[0]
        try:
            return Answered((AttributeResult(attribute, decode()),))
        except CosemError as error:
            return Answered((AttributeResult(attribute, error=ErrorKind.DECODE, error_detail=str(error)),))

    def _list(self, reply: GetList) -> Step:
        if not self.is_list:
            return ServiceRefused("the meter answered a single request with a list")
        return self._results(Reader(reply.results))

    def _results(self, reader: Reader) -> Step:
        """Every result of a list, in order. A value that cannot be decoded hides where the next one begins."""
        count = reader.length()
        if count != len(self._attributes):
            return ServiceRefused(f"the meter answered {count} of {len(self._attributes)} attributes")
        results = []
        for attribute in self._attributes:
            if reader.byte():
                results.append(_denied(attribute, reader.byte()))
            else:
                results.append(AttributeResult(attribute, cosem.decode_from(reader)))
        reader.finish()
        return Answered(tuple(results))

    def _block(self, block: GetBlock) -> Step:
        if block.error is not None:
            if self.is_list:
                return ServiceRefused(f"the meter ended a block transfer: {names.access_result(block.error)}")
            return Answered((_denied(self._attributes[0], block.error),))
        # Blocks count from 1; some meters begin with 0.
        expected = {0, 1} if self._last_number is None else {self._last_number + 1}
        if block.number == self._last_number:
            return Stale(f"repeats block {block.number}")
        if block.number not in expected:
            return ServiceRefused(f"block {block.number} came where {max(expected)} was expected")
        self._last_number = block.number
        if block.surplus and self._with_surplus is None:
            self._with_surplus = bytearray(self._blocks)
        self._blocks += block.data
        if self._with_surplus is not None:
            self._with_surplus += block.data + block.surplus
        if max(len(self._blocks), len(self._with_surplus or b"")) > MAX_ANSWER:
            return ServiceRefused(f"the answer is longer than {MAX_ANSWER} bytes")
        if not block.last:
            return NextBlock(block.number)
        return self._whole(self._joined())

    def _joined(self) -> bytes:
        """The blocks as long as they say they are, or with what came behind them, where only that makes a value."""
        data = bytes(self._blocks)
        return data if self._with_surplus is None or self._makes_a_value(data) else bytes(self._with_surplus)

    def _makes_a_value(self, data: bytes) -> bool:
        reader = Reader(data)
        try:
            if self.is_list:
                return isinstance(self._results(reader), Answered)
            cosem.decode_from(reader)
        except CosemError:
            return False
        return True

    def _whole(self, data: bytes) -> Step:
        if self._attributes[0].as_encoded:
            return self._encoded(data)
        if not self.is_list:
            return self._single(lambda: cosem.decode(data))
        try:
            return self._results(Reader(data))
        except CosemError as error:
            return ServiceRefused(f"the answer cannot be decoded: {error}", ErrorKind.DECODE)


def _denied(attribute: Attribute, code: int) -> AttributeResult:
    return AttributeResult(attribute, error=ErrorKind.ACCESS, error_detail=names.access_result(code))
