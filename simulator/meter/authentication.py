"""High-level authentication (IEC 62056-5-3, HLS): challenges and the answers to them, passes 1 to 4."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from simulator.meter.acse import Mechanism
from simulator.meter.client_access import ClientAccess
from simulator.meter.protection import Protection, ProtectionError, protect, unprotect

CHALLENGE_SIZES = range(8, 65)
"""Bytes a challenge may have."""
NEEDS_TITLES = frozenset({Mechanism.HIGH_SHA256, Mechanism.HIGH_GMAC})
"""Mechanisms for which each side must know the other's system title."""
_CHALLENGE_SIZE = 16
_GMAC_SIZE = 17


def new_challenge() -> bytes:
    """A challenge of the meter; from the operating system, not from the seed, as nothing a meter holds depends on it."""
    return secrets.token_bytes(_CHALLENGE_SIZE)


@dataclass(frozen=True, slots=True)
class Challenges:
    """Both challenges of one association and who sent them, by system title.

    :arg from_client: CtoS, pass 1.
    :arg from_server: StoC, pass 2.
    """

    access: ClientAccess
    from_client: bytes
    from_server: bytes
    client_title: bytes
    server_title: bytes

    def is_answered_by(self, answer: bytes) -> bool:
        """Whether pass 3 is right: the client knows the secret. The counter of a GMAC is for the caller to check."""
        if self.access.mechanism != Mechanism.HIGH_GMAC:
            return secrets.compare_digest(answer, self._proof(self.client_title, self.server_title, self.from_server, self.from_client))
        if len(answer) != _GMAC_SIZE or answer[0] != Protection.AUTHENTICATION | self.access.suite:
            return False
        try:
            content = self.from_server + answer[5:]
            unprotect(self.access.keys, self.client_title, answer[0], gmac_counter(answer), content)
        except ProtectionError:
            return False
        return True

    def answer(self, counter: int) -> bytes:
        """Pass 4; `counter` is an unused one of the meter's, only GMAC uses it."""
        if self.access.mechanism != Mechanism.HIGH_GMAC:
            return self._proof(self.server_title, self.client_title, self.from_client, self.from_server)
        control = Protection.AUTHENTICATION | self.access.suite
        content = protect(self.access.keys, self.server_title, control, counter, self.from_client)
        return bytes((control,)) + counter.to_bytes(4, "big") + content[len(self.from_client) :]

    def _proof(self, title: bytes, peer_title: bytes, received: bytes, sent: bytes) -> bytes:
        """The answer of the side with `title` to the challenge it received."""
        secret, mechanism = self.access.password, self.access.mechanism
        if mechanism == Mechanism.HIGH_MD5:
            return hashlib.md5(received + secret, usedforsecurity=False).digest()
        if mechanism == Mechanism.HIGH_SHA1:
            return hashlib.sha1(received + secret, usedforsecurity=False).digest()
        if mechanism == Mechanism.HIGH_SHA256:
            return hashlib.sha256(secret + title + peer_title + received + sent).digest()
        return _manufacturer_specific(secret, received)


def gmac_counter(answer: bytes) -> int:
    """The invocation counter in the answer of a GMAC."""
    return int.from_bytes(answer[1:5], "big")


def _manufacturer_specific(secret: bytes, challenge: bytes) -> bytes:
    """What Gurux's servers and many meters do for HIGH: AES-128-ECB of the challenge under the secret, both filled up with zeros."""
    key = secret[:16].ljust(16, b"\x00")
    blocks = challenge.ljust(-(-len(challenge) // 16) * 16, b"\x00")
    encryptor = Cipher(AES(key), ECB()).encryptor()
    return encryptor.update(blocks) + encryptor.finalize()
