"""Bytes in hex for a log line, without those that are secret."""

from __future__ import annotations

_HIDDEN = "**"
_ALWAYS_SHOWN = 6
"""Bytes of a hidden message that are shown: the shortest header of a frame."""


def masked_hex(data: bytes, secret: bytes | None, whole: bool) -> str:
    """`data` in hex, `**` for every byte of `secret` in it, also where the data begins or ends in the middle of it.

    :arg whole: hide everything behind the header.
    """
    hidden: set[int] = set(range(_ALWAYS_SHOWN, len(data))) if whole else set()
    if secret:
        position = data.find(secret)
        while position >= 0:
            hidden.update(range(position, position + len(secret)))
            position = data.find(secret, position + 1)
        for size in range(1, min(len(secret), len(data) + 1)):
            if data.startswith(secret[-size:]):
                hidden.update(range(size))
            if data.endswith(secret[:size]):
                hidden.update(range(len(data) - size, len(data)))
    return "".join(_HIDDEN if i in hidden else f"{byte:02x}" for i, byte in enumerate(data))
