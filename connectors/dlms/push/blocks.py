"""Puts together what a sender split by general-block-transfer, IEC 62056-5-3 clause 7.3.13 (tag E0)."""

from __future__ import annotations

from connectors.dlms.axdr import CosemError, Reader
from connectors.dlms.push.framing import MAX_APDU

TAG = 0xE0
_LAST = 0x80


class Blocks:
    """The blocks of one sender. A lost block cannot be asked for again: the whole APDU is given up.

    :arg most: bytes of the largest APDU.
    """

    def __init__(self, most: int = MAX_APDU) -> None:
        self._most = most
        self._next = 1
        self._data = b""

    def add(self, apdu: bytes) -> bytes | None:
        """The APDU that the block completes; None while others are to come.

        :raises CosemError: when the block does not follow the one before; what there was is forgotten.
        """
        number, last, data = _block(apdu)
        before = self._data if number > 1 else b""
        expected = self._next
        self._next, self._data = 1, b""
        if number not in (1, expected):
            raise CosemError(f"block {number} came where {expected} was expected")
        if len(before) + len(data) > self._most:
            raise CosemError(f"blocks of more than {self._most} bytes together")
        if last:
            return before + data
        self._next, self._data = number + 1, before + data
        return None


def _block(apdu: bytes) -> tuple[int, bool, bytes]:
    reader = Reader(apdu)
    reader.take(1)
    control = reader.byte()
    number = reader.unsigned(2)
    reader.take(2)  # the last block of ours that the sender has received; we send none
    data = reader.take(reader.length())
    reader.finish()
    return number, bool(control & _LAST), data
