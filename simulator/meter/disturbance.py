"""What happens to replies between the meter and the wire: lost, doubled, late, cut, corrupted, preceded by junk."""

from __future__ import annotations

import random
from typing import Literal

from simulator.meter.behaviour import Behaviour


def junk(chance: random.Random, length: int) -> bytes:
    """Random bytes, some of them the beginning of a frame that never comes."""
    content = bytearray(chance.randbytes(length))
    if length >= 4 and chance.random() < 0.5:
        start = chance.randrange(length - 3)
        content[start : start + 3] = b"\x7e\xa7\xff"
    return bytes(content)


def stale_bytes(chance: random.Random, last_reply: bytes) -> bytes:
    """What a serial converter still delivers to a new client after an old one: junk, half a reply and a whole one."""
    return junk(chance, 6) + last_reply[len(last_reply) // 2 :] + last_reply


class Disturbance:
    """Applies the rates of a `Behaviour` to the replies of one connection."""

    def __init__(self, framing: Literal["hdlc", "wrapper"], chance: random.Random) -> None:
        self._framing = framing
        self._chance = chance
        self._withheld: list[bytes] = []

    def apply(self, reply: bytes, behaviour: Behaviour) -> list[bytes]:
        """What is sent in place of a reply, in order; empty where it is lost or late."""
        due, self._withheld = self._withheld, []
        if self._happens(behaviour.lost):
            return due
        if self._happens(behaviour.late):
            self._withheld = [reply]
            return due
        if self._happens(behaviour.wrong_check):
            reply = self._corrupted(reply)
        if self._happens(behaviour.half):
            reply = reply[: len(reply) // 2]
        copies = 2 if self._happens(behaviour.duplicated) else 1
        before = junk(self._chance, behaviour.junk_length) if self._happens(behaviour.junk) else b""
        return [*due, before + reply] + [reply] * (copies - 1)

    def _happens(self, rate: float) -> bool:
        return rate > 0 and self._chance.random() < rate

    def _corrupted(self, reply: bytes) -> bytes:
        position = len(reply) - 2 if self._framing == "hdlc" else 0
        return reply[:position] + bytes((reply[position] ^ 0x55,)) + reply[position + 1 :]
