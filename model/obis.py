"""Logical names (OBIS codes, IEC 62056-6-1): six value groups A-B:C.D.E*F, one byte each."""

from __future__ import annotations

import re

_REDUCED = re.compile(r"^(\d{1,3})-(\d{1,3}):(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:[*.](\d{1,3}))?$")
_DOTTED = re.compile(r"^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$")


def parse_logical_name(text: str) -> bytes:
    """The six bytes of a logical name.

    :arg text: "1-0:32.7.0*255", "1-0:32.7.0" (group F is then 255) or "1.0.32.7.0.255".
    :raises ValueError: when the text is none of these or a group exceeds 255; the message says how to write it.
    """
    match = _REDUCED.match(text.strip()) or _DOTTED.match(text.strip())
    groups = [int(group) for group in match.groups("255")] if match else []
    if not groups or max(groups) > 255:
        raise ValueError(f"{text!r} is not an OBIS code; write it as A-B:C.D.E such as 1-0:1.8.0, each group 0 to 255")
    return bytes(groups)


def format_logical_name(name: bytes) -> str:
    """The dotted text of a six-byte logical name, "1.0.32.7.0.255".

    :raises ValueError: when `name` has not six bytes.
    """
    if len(name) != 6:
        raise ValueError(f"a logical name has 6 bytes, not {len(name)}")
    return ".".join(str(group) for group in name)
