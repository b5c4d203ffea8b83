"""Rows that all look alike, decoded in one pass.

Meters send most buffers as rows of the same types and sizes. Their layout is taken from the first row, which the general decoder
reads; then every byte that says what follows is compared in all rows at once, and the values are unpacked together. Whatever is
not exactly alike, or holds anything but whole numbers and octet-strings, is left to the general decoder, which decides what it means.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from connectors.dlms.axdr import CosemError, Reader
from connectors.dlms.cosem import ARRAY, STRUCTURE
from connectors.dlms.events import CosemData

FEWEST = 4
"""Rows below which it is not worth the trouble."""

_OCTET_STRING = 9
_LONGEST = 0x7F
"""Bytes of an octet-string whose length takes one byte."""
_CODES = {5: "i", 6: "I", 15: "b", 16: "h", 17: "B", 18: "H", 20: "q", 21: "Q", 22: "B"}
"""Type tag of a whole number -> its code in `struct`."""


def uniform_rows(data: bytes) -> list[CosemData] | None:
    """The rows of the encoded array `data`, each a list; None where they do not all look alike, or do not fill it exactly."""
    try:
        reader = Reader(data)
        if reader.byte() != ARRAY:
            return None
        count = reader.length()
        layout = _layout(reader)
    except CosemError:
        return None
    if layout is None:
        return None
    start = len(data) - reader.remaining - layout.size
    body = data[start:]
    if count < FEWEST or len(body) != count * layout.size or not layout.fits(body, count):
        return None
    return [list(row) for row in layout.rows(body)]


class _Layout:
    """Where in a row the bytes stand that say what follows, and how the values between them are unpacked."""

    def __init__(self, code: str, marks: dict[int, int]) -> None:
        self._unpack = struct.Struct(code)
        self._marks = marks
        self.size = self._unpack.size

    def fits(self, body: bytes, count: int) -> bool:
        """Whether all rows in `body` say the same of what follows."""
        return all(body[place :: self.size] == bytes((byte,)) * count for place, byte in self._marks.items())

    def rows(self, body: bytes) -> Iterator[tuple[int | bytes, ...]]:
        """The values of each row."""
        return self._unpack.iter_unpack(body)


def _layout(reader: Reader) -> _Layout | None:
    """That of the row that comes next, which is read over.

    :raises CosemError: when it ends too early.
    """
    before = reader.remaining
    if reader.byte() != STRUCTURE:
        return None
    columns = reader.byte()
    if columns > _LONGEST:
        return None
    marks, code = {0: STRUCTURE, 1: columns}, ">2x"
    for _ in range(columns):
        place = before - reader.remaining
        tag = marks[place] = reader.byte()
        if tag == _OCTET_STRING:
            size = marks[place + 1] = reader.byte()
            if size > _LONGEST:
                return None
            code += f"2x{size}s"
            reader.take(size)
        elif tag in _CODES:
            code += f"x{_CODES[tag]}"
            reader.take(struct.calcsize(f">{_CODES[tag]}"))
        else:
            return None
    return _Layout(code, marks)
