"""Short names: what a meter calls its attributes where it has no logical names on the wire (IEC 62056-5-3, IEC 62056-6-2).

Every object has a base name of 16 bits, its attribute 1; the attributes that follow are 8 apart in all classes. The meter
says which object has which base name in the object list of its association, which is always at the same place.

Requests are built here: a READ-request is a tag, a number and three bytes for each name, while gurux-dlms builds it only
inside of frames, and counts blocks on its own account.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.dlms.axdr import CosemError
from connectors.dlms.events import Attribute, CosemData
from model.obis import format_logical_name

READ_REQUEST = 0x05
VARIABLE_NAME, PARAMETERIZED_ACCESS, BLOCK_NUMBER_ACCESS = 2, 4, 5
"""Choices of Variable-Access-Specification."""
OBJECT_LIST = 0xFA08
"""Attribute 2 of the current association, whose base name is FA00 (IEC 62056-6-2, reserved base names)."""

_ATTRIBUTE_DISTANCE = 8
_LARGEST_NAME = 0xFFFF
MAX_OBJECTS = 8191
"""Base names are multiples of eight; a longer list is not the truth, and must not fill the memory."""
_HEADER_SIZE = 3
"""Tag and, at most, two bytes for the number of names."""
_ENTRY_SIZE = 3


def read_request(names: Sequence[tuple[int, bytes]]) -> bytes:
    """READ-request for the attributes with these short names, 1 to 255, each with its selective access, empty for none."""
    count = bytes([len(names)]) if len(names) < 0x80 else bytes([0x81, len(names)])
    return bytes([READ_REQUEST]) + count + b"".join(_access_specification(name, selection) for name, selection in names)


def _access_specification(name: int, selection: bytes) -> bytes:
    choice = PARAMETERIZED_ACCESS if selection else VARIABLE_NAME
    return bytes([choice]) + name.to_bytes(2, "big") + selection


def block_request(number: int) -> bytes:
    """READ-request by block number: block `number` has arrived, send the one after it."""
    return bytes([READ_REQUEST, 1, BLOCK_NUMBER_ACCESS]) + number.to_bytes(2, "big")


def capacity(max_pdu_size: int) -> int:
    """How many names a READ-request of at most `max_pdu_size` bytes holds (0: unlimited), at least 1, at most 255."""
    if max_pdu_size == 0:
        return 255
    return min(255, max(1, (max_pdu_size - _HEADER_SIZE) // _ENTRY_SIZE))


class ShortNames:
    """The base names of one meter's objects: from its object list, read once and remembered, or given with an attribute."""

    def __init__(self) -> None:
        self._bases: dict[tuple[int, bytes], int] = {}
        self._read = False
        self._problem = ""
        self._missed = False

    def forget(self) -> None:
        """Another meter may have taken the place of this one: read the list anew."""
        self._bases.clear()
        self.reopened()
        self._read = False

    def reopened(self) -> None:
        """On a new association a list that could not be read, or that lacked an object, gets another chance."""
        if self._problem or self._missed:
            self._read = False
        self._problem, self._missed = "", False

    def learn(self, object_list: CosemData) -> None:
        """Remember an object list: an array of structures of base name, class, version and logical name.

        Entries that make no sense are left out, and of two for the same object the first one counts.

        :raises CosemError: when it is none.
        """
        if not isinstance(object_list, list):
            raise CosemError("the object list is no array")
        if len(object_list) > MAX_OBJECTS:
            raise CosemError(f"the object list has {len(object_list)} entries; there are short names for {MAX_OBJECTS}")
        bases: dict[tuple[int, bytes], int] = {}
        for item in object_list:
            entry = _entry(item)
            if entry is not None:
                bases.setdefault(*entry)
        if object_list and not bases:
            raise CosemError(f"{object_list[0]!r:.80} is no entry of an object list")
        self._bases, self._read = bases, True

    def fail(self, problem: str) -> None:
        """The object list cannot be read, and why."""
        self._read, self._problem = True, problem

    def wanting(self, attributes: Sequence[Attribute]) -> bool:
        """Whether the object list is needed for one of `attributes` and has not been asked for yet."""
        return not self._read and any(self._base(attribute) is None for attribute in attributes)

    def find(self, attribute: Attribute) -> int | None:
        """The short name of an attribute; None when the meter has none for it."""
        base = self._base(attribute)
        if base is None:
            self._missed = self._missed or self._read
            return None
        name = base + _ATTRIBUTE_DISTANCE * (attribute.index - 1)
        return name if name <= _LARGEST_NAME else None

    def reason(self, attribute: Attribute) -> str:
        """Why an attribute has no short name."""
        if self._problem:
            return f"{self._problem}; a base_name in the template makes the list unnecessary"
        if self._base(attribute) is not None:
            return f"attribute {attribute.index} lies beyond the largest short name"
        name = format_logical_name(attribute.logical_name)
        return f"object-undefined: the meter's object list has no {name} of class {attribute.class_id}"

    def _base(self, attribute: Attribute) -> int | None:
        if attribute.base_name is not None:
            return attribute.base_name
        return self._bases.get((attribute.class_id, attribute.logical_name))


def _entry(item: CosemData) -> tuple[tuple[int, bytes], int] | None:
    if isinstance(item, list) and len(item) == 4:
        base, class_id, _version, logical_name = item
        # The base name is a signed integer of 16 bits on the wire.
        if type(base) is int and -0x8000 <= base <= _LARGEST_NAME and type(class_id) is int and isinstance(logical_name, bytes):
            return (class_id, logical_name), base & _LARGEST_NAME
    return None
