"""Ciphering of what a virtual meter pushes: general-glo-ciphering, IEC 62056-5-3 clause 5.3, suite 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from simulator.meter.axdr import encode_length

_GENERAL_GLO = 0xDB
_AUTHENTICATED, _ENCRYPTED = 0x10, 0x20
_TAG_SIZE = 12


@dataclass
class Protection:
    """The keys of one meter and its counter, which rises with every message.

    :arg title: system title, 8 bytes.
    :arg control: security control byte: 0x30 authenticated and encrypted, 0x20 encrypted, 0x10 authenticated.
    """

    title: bytes
    encryption_key: bytes = field(repr=False)
    authentication_key: bytes = field(repr=False)
    control: int = 0x30
    counter: int = 1

    def protect(self, apdu: bytes) -> bytes:
        """The protected form of `apdu`."""
        count = self.counter.to_bytes(4, "big")
        self.counter += 1
        sealed = self._sealed(apdu, self.title + count)
        content = bytes([self.control]) + count + sealed
        return bytes([_GENERAL_GLO, len(self.title)]) + self.title + encode_length(len(content)) + content

    def _sealed(self, apdu: bytes, nonce: bytes) -> bytes:
        cipher = AESGCM(self.encryption_key)
        associated = bytes([self.control]) + self.authentication_key
        if not self.control & _ENCRYPTED:
            return apdu + cipher.encrypt(nonce, b"", associated + apdu)[:_TAG_SIZE]
        sealed = cipher.encrypt(nonce, apdu, associated)
        return sealed[: len(apdu) + (_TAG_SIZE if self.control & _AUTHENTICATED else 0)]
