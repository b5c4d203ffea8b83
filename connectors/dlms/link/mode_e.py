"""The handshake of IEC 62056-21 mode E that a meter's optical port wants before it speaks HDLC.

At 300 baud 7E1: the request message `/?address!`, the identification `/XXXZ\\2...` in which Z offers a baud rate and \\2
says that mode E is known, then the acknowledgement `ACK 2 Z 2`, with which both change to that baud rate, 8N1, and go on
in HDLC (clauses 6.3 and 6.4.5, annex E). First messages without I/O, then the exchange over a serial link.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from connectors.dlms.link.contract import SerialLink
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.link_address import ModeE, SerialParameters

SIGN_ON = SerialParameters(baud=300)
"""How every optical port begins: 300 baud 7E1 (clause 6.4.1). The parity bit is made here, as the eighth data bit: the same
on the line, and possible with every port, also those that cannot do 7E1."""

REACTION = 1.5
"""Seconds: the longest reaction time of a meter (clause 6.3, tr), and the longest pause between two characters."""

ATTEMPTS = 3
"""How often the request is sent: a meter that is still in an earlier conversation, or asleep, misses the first."""

_BAUD = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
"""Baud rate identification of protocol modes C and E (clause 6.3.14.1)."""
_IDENTIFICATION = re.compile(r"/([A-Za-z]{3})([0-6])((?:\\[^/!\r\n])*)([^/!\r\n]{0,32})\r\n")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Identification:
    """What a meter says of itself: three letters of its maker, the baud rate it offers, whether it knows mode E, its type."""

    maker: str
    baud: int
    mode_e: bool
    type: str


def request_message(device_address: str = "") -> bytes:
    """The request to whichever meter the head sits on, or to the one of that address."""
    return with_parity(f"/?{device_address}!\r\n".encode("ascii"))


def identification(data: bytes) -> Identification | None:
    """The identification in `data`, wherever it begins; None when it is not there (yet). Parity bits are disregarded."""
    found = _IDENTIFICATION.search(bytes(byte & 0x7F for byte in data).decode("ascii"))
    if found is None:
        return None
    maker, baud, escapes, kind = found.groups()
    return Identification(maker, _BAUD[baud], "\\2" in escapes, kind)


def chosen_baud(offered: int, limit: int | None) -> int:
    """The highest of the standard's baud rates that is neither above what the meter offers nor above our limit."""
    return max((baud for baud in _BAUD.values() if baud <= min(offered, limit or offered)), default=min(_BAUD.values()))


def acknowledgement(baud: int) -> bytes:
    """ACK, protocol 2 (HDLC), the baud rate, mode 2 (binary)."""
    character = next(name for name, value in _BAUD.items() if value == baud)
    return with_parity(f"\x062{character}2\r\n".encode("ascii"))


def with_parity(data: bytes) -> bytes:
    """Seven-bit characters with their even parity bit on top."""
    return bytes(byte | (byte.bit_count() & 1) << 7 for byte in data)


async def sign_on(link: SerialLink, mode: ModeE, where: str) -> int:
    """Bring the meter from sign-on to HDLC; the baud rate at which it goes on. The link must be set to `SIGN_ON`.

    :arg where: the port, for messages.
    :raises MeterError: TIMEOUT when no meter answers, REFUSED when it does not know mode E, PROTOCOL when it babbles.
    """
    meter = await _identified(link, mode.device_address, where)
    baud = chosen_baud(meter.baud, mode.max_baud)
    message = acknowledgement(baud)
    await link.write(message)
    # The meter repeats the acknowledgement at the old baud rate before it changes. Some change without a word, and some
    # know mode E without saying so in their identification: one of the two has to be there.
    heard = await _collect(link, lambda data: _plain(message) in _plain(data), REACTION + _on_the_line(2 * len(message)))
    if not meter.mode_e and _plain(message) not in _plain(heard):
        raise MeterError(
            ErrorKind.REFUSED,
            f"the meter at {where} ({meter.maker} {meter.type}) does not know mode E",
            "it may speak HDLC without a handshake: leave handshake out and write its baud rate",
        )
    await link.configure(SerialParameters(baud=baud))
    return baud


async def _identified(link: SerialLink, device_address: str, where: str) -> Identification:
    heard = b""
    request = request_message(device_address)
    for _ in range(ATTEMPTS):
        await link.write(request)
        heard = await _collect(link, lambda data: identification(data) is not None, REACTION + _on_the_line(len(request)))
        meter = identification(heard)
        if meter is not None:
            return meter
    if _plain(heard).replace(_plain(request), b""):
        raise MeterError(
            ErrorKind.PROTOCOL,
            f"what arrives at {where} is no identification of a meter: {heard[:_SHOWN]!r}",
            "check that the optical head sits right and sees no other light, and that it can do 300 baud 7E1",
        )
    raise MeterError(
        ErrorKind.TIMEOUT,
        f"no meter answers the handshake at {where}",
        "check that the optical head sits on the meter the right way round; address must be this meter's, or left out",
    )


async def _collect(link: SerialLink, complete: Callable[[bytes], bool], patience: float) -> bytes:
    """What arrives until it is `complete`, or until nothing more came for `patience` seconds."""
    heard = b""
    while not complete(heard) and len(heard) < 4096:
        try:
            heard += await link.read(patience)
        except asyncio.TimeoutError:
            break
        patience = REACTION
    return heard


def _on_the_line(count: int) -> float:
    """Seconds that `count` characters take at sign-on."""
    return count * SIGN_ON.bits_per_byte / SIGN_ON.baud


def _plain(data: bytes) -> bytes:
    return bytes(byte & 0x7F for byte in data)
