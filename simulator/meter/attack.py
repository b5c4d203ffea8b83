"""Attacks on the protected replies of a meter, as someone on the line would make them, or a meter with a wrong key."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from simulator.meter.axdr import DataError
from simulator.meter.behaviour import ATTACKS, Behaviour
from simulator.meter.ciphered_apdu import CipheredApdu, Form, parse_ciphered
from simulator.meter.forgery import forged
from simulator.meter.protection import TAG_SIZE, Protection
from simulator.meter.secure_channel import SecureChannel
from simulator.meter.xdlms import GET_RESPONSE

_KEPT = 16
_COUNTERS_BACK = 1000


class Attacker:
    """Sits in front of one ciphered association and puts something else in place of its GET responses.

    What it puts there is never the truth: replies it makes up carry the values of `forgery`, and a reply is only sent
    again where it would pass for an answer and says something else than the right one.

    :arg chance: seeded; decides which replies are attacked and how.
    :arg sent: counts the attacks that were sent, by field of `Behaviour`.
    """

    def __init__(self, channel: SecureChannel, chance: random.Random, sent: Counter[str]) -> None:
        self._channel = channel
        self._chance = chance
        self._sent = sent
        self._earlier: dict[Form, list[tuple[bytes, CipheredApdu]]] = {}
        self._attacks: dict[str, Callable[[bytes, CipheredApdu], bytes | None]] = {
            "flipped_tag": self._flipped_tag,
            "flipped_ciphertext": self._flipped_ciphertext,
            "flipped_control": self._flipped_control,
            "replayed_reply": self._replayed_reply,
            "plaintext_reply": self._plaintext_reply,
            "foreign_title": self._foreign_title,
            "weaker_protection": self._weaker_protection,
            "old_counter": self._old_counter,
        }

    def apply(self, apdu: bytes, sealed: bytes, behaviour: Behaviour) -> bytes:
        """What is sent in place of a reply; at most one attack at a time.

        :arg apdu: the reply before it was sealed.
        :arg sealed: the reply as it is to be sent.
        """
        try:
            reply = parse_ciphered(sealed)
        except DataError:
            return sealed
        if apdu[0] != GET_RESPONSE:
            return sealed
        for name in ATTACKS:
            rate = getattr(behaviour, name)
            if rate > 0 and self._chance.random() < rate:
                attack = self._attacks[name](apdu, reply)
                if attack is not None:
                    self._sent[name] += 1
                    return attack
        self._earlier[reply.form] = [*self._earlier.get(reply.form, [])[1 - _KEPT :], (apdu, reply)]
        return sealed

    def _flipped_tag(self, apdu: bytes, reply: CipheredApdu) -> bytes | None:
        if not reply.control & Protection.AUTHENTICATION:
            return None
        return self._flipped(reply, range(len(reply.content) - TAG_SIZE, len(reply.content)))

    def _flipped_ciphertext(self, apdu: bytes, reply: CipheredApdu) -> bytes | None:
        return self._flipped(reply, range(len(apdu)))

    def _flipped_control(self, apdu: bytes, reply: CipheredApdu) -> bytes | None:
        return _changed(reply, control=reply.control ^ 1 << self._chance.randrange(8))

    def _flipped(self, reply: CipheredApdu, where: Sequence[int]) -> bytes:
        content = bytearray(reply.content)
        content[self._chance.choice(where)] ^= 1 << self._chance.randrange(8)
        return _changed(reply, content=bytes(content))

    def _replayed_reply(self, apdu: bytes, reply: CipheredApdu) -> bytes | None:
        """An earlier reply, bit by bit; where none says something else, one with a forged value under its counter."""
        earlier = self._earlier.get(reply.form)
        if not earlier:
            return None
        others = [old for old_apdu, old in earlier if old_apdu[:3] == apdu[:3] and old_apdu != apdu]
        if others:
            return self._chance.choice(others).encode()
        return self._channel.build(forged(apdu), reply.form, reply.control, self._chance.choice(earlier)[1].counter)

    def _plaintext_reply(self, apdu: bytes, reply: CipheredApdu) -> bytes | None:
        return forged(apdu)

    def _foreign_title(self, apdu: bytes, reply: CipheredApdu) -> bytes | None:
        """Ciphered with the right keys by another meter; the general forms name its title."""
        title = bytearray(self._channel.own_title)
        title[self._chance.randrange(len(title))] ^= 1 << self._chance.randrange(8)
        return self._channel.build(forged(apdu), reply.form, reply.control, reply.counter, bytes(title))

    def _weaker_protection(self, apdu: bytes, reply: CipheredApdu) -> bytes | None:
        """One kind of protection less, or all: under a new counter and without any other fault."""
        present = reply.control & Protection.BOTH
        weaker = [part for part in (Protection.NONE, Protection.AUTHENTICATION, Protection.ENCRYPTION) if part & present == part != present]
        if not weaker:
            return None
        control = reply.control & ~Protection.BOTH | self._chance.choice(weaker)
        return self._channel.build(forged(apdu), reply.form, control, reply.counter)

    def _old_counter(self, apdu: bytes, reply: CipheredApdu) -> bytes | None:
        """A forged value, protected as it should be under a counter that the client has seen or passed.

        The first reply under a dedicated key has none before it: whatever its counter, it cannot be old.
        """
        if reply.counter < 1 or (reply.form.is_dedicated and not any(form.is_dedicated for form in self._earlier)):
            return None
        counter = self._chance.randrange(max(0, reply.counter - _COUNTERS_BACK), reply.counter)
        return self._channel.build(forged(apdu), reply.form, reply.control, counter)


def _changed(reply: CipheredApdu, control: int | None = None, content: bytes | None = None) -> bytes:
    control = reply.control if control is None else control
    content = reply.content if content is None else content
    return CipheredApdu(reply.form, reply.service, reply.title, control, reply.counter, content).encode()
