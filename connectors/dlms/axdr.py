"""Reads A-XDR and BER lengths (IEC 61334-6, ITU-T X.690) without ever reading past the end."""

from __future__ import annotations


class CosemError(ValueError):
    """Bytes or values from a meter that are not what the standard allows; the message says what is wrong with them."""


class Reader:
    """A cursor over `data`. Every method raises CosemError when the bytes end too early."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._position

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start = self._position
        end = start + count
        if end > len(self._data):
            raise CosemError(f"{count} bytes are announced but only {self.remaining} are there")
        self._position = end
        return self._data[start:end]

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(self.remaining)

    def unsigned(self, size: int) -> int:
        """The next `size` bytes as an unsigned integer."""
        return int.from_bytes(self.take(size), "big")

    def byte(self) -> int:
        """The next byte."""
        position = self._position
        if position >= len(self._data):
            raise CosemError("1 bytes are announced but only 0 are there")
        self._position = position + 1
        return self._data[position]

    def length(self) -> int:
        """A length: one byte up to 127, else 0x80 plus the number of bytes that follow, at most four."""
        first = self.byte()
        if first < 0x80:
            return first
        if not 1 <= first & 0x7F <= 4:
            raise CosemError(f"a length cannot begin with {first:02x}")
        return self.unsigned(first & 0x7F)

    def finish(self) -> None:
        """Make sure that nothing is left."""
        if self.remaining:
            raise CosemError(f"{self.remaining} bytes too many")
