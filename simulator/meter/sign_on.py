"""The meter's side of IEC 62056-21 mode E, without I/O: at 300 baud until the client has acknowledged, then HDLC."""

from __future__ import annotations

import re
from dataclasses import dataclass

SIGN_ON_BAUD = 300
BAUD_RATES = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
_REQUEST = re.compile(rb"/\?([0-9A-Za-z ]{0,32})!\r\n")
_ACKNOWLEDGEMENT = re.compile(rb"\x06([0-9])([0-6])([0-9])\r\n")
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class SignOnConfig:
    """How an optical port introduces its meter.

    :arg identification: what follows the slash: maker, baud rate character, \\2 where mode E is known, type.
    :arg address: device address; requests for another one are ignored, requests without one answered.
    :arg confirms: whether the acknowledgement is repeated before the change of baud rate, as the standard wants it.
    """

    identification: str = "SIM5\\2VIRTUAL"
    address: str = ""
    confirms: bool = True

    @property
    def baud(self) -> int:
        """The baud rate the meter offers."""
        return BAUD_RATES[self.identification[3]]


class SignOn:
    """Answers until the handshake is done; `baud` is what the port must be set to now."""

    def __init__(self, config: SignOnConfig) -> None:
        self._config = config
        self.completed = 0
        self.restart()

    def restart(self) -> None:
        """Wait for a request message at 300 baud again."""
        self.baud = SIGN_ON_BAUD
        self.done = False
        self._identified = False
        self._received = b""

    def receive(self, data: bytes) -> bytes:
        """What the meter says to `data`; empty where it waits on. Once `done`, bytes belong to the layer above."""
        # A port that is set to 7E1 does not hear characters of another parity.
        self._received = (self._received + bytes(byte & 0x7F for byte in data if byte.bit_count() % 2 == 0))[-_LONGEST:]
        request = _REQUEST.search(self._received)
        if request is not None:
            self._received = self._received[request.end() :]
            self._identified = request[1].decode() in ("", self._config.address)
            return _even(f"/{self._config.identification}\r\n".encode("ascii")) if self._identified else b""
        acknowledgement = _ACKNOWLEDGEMENT.search(self._received)
        if acknowledgement is None or not self._identified:
            return b""
        self._received = b""
        protocol, rate, mode = (group.decode() for group in acknowledgement.groups())
        baud = BAUD_RATES[rate]
        if (protocol, mode) != ("2", "2") or baud > self._config.baud or "\\2" not in self._config.identification:
            self.restart()
            return b""
        self.done = True
        self.baud = baud
        self.completed += 1
        return _even(acknowledgement[0]) if self._config.confirms else b""


def _even(data: bytes) -> bytes:
    """What a port that is set to 7E1 sends, as one that is set to 8N1 receives it."""
    return bytes(byte + 0x80 if byte.bit_count() % 2 else byte for byte in data)
