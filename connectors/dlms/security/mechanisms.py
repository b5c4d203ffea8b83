"""The high-level security mechanisms: what proves that a side knows the secret, IEC 62056-5-3 clause 5.2 (Green Book 9.2.7.4).

Each side sends a challenge; the other one answers with f(challenge). Mechanism 2 is the maker's own affair by the
standard; here it is what makers do: AES-128 of the challenge with the secret as key, both filled up with zeros.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from connectors.dlms.security import gcm
from connectors.dlms.security.protection import Keys, Policy, nonce

CHALLENGE_SIZE = 16
"""Bytes; 8 to 64 are allowed, and some meters take no other length than this one."""
SHORTEST_CHALLENGE = 8
_BLOCK = 16


class Mechanism(IntEnum):
    """The last byte of the authentication mechanism's name, 2.16.756.5.8.2.x."""

    NONE = 0
    LOW = 1
    HIGH = 2
    HIGH_MD5 = 3
    HIGH_SHA1 = 4
    HIGH_GMAC = 5
    HIGH_SHA256 = 6


@dataclass(frozen=True, slots=True)
class Side:
    """What one side brings in: its system title (empty where unknown) and the challenge it sent."""

    title: bytes
    challenge: bytes = field(repr=False)


def answer(mechanism: Mechanism, prover: Side, verifier: Side, secret: bytes, keys: Keys | None, counter: int) -> bytes:
    """What `prover` answers to the challenge of `verifier`.

    :arg secret: the shared secret; not used by GMAC.
    :arg keys: for GMAC only.
    :arg counter: the invocation counter of the prover, for GMAC only.
    """
    challenge = verifier.challenge
    if mechanism is Mechanism.HIGH:
        return _aes(challenge, secret)
    if mechanism is Mechanism.HIGH_MD5:
        return hashlib.md5(challenge + secret, usedforsecurity=False).digest()
    if mechanism is Mechanism.HIGH_SHA1:
        return hashlib.sha1(challenge + secret, usedforsecurity=False).digest()
    if mechanism is Mechanism.HIGH_SHA256:
        return hashlib.sha256(secret + prover.title + verifier.title + challenge + prover.challenge).digest()
    assert mechanism is Mechanism.HIGH_GMAC and keys is not None
    control = bytes([Policy.AUTHENTICATION | keys.suite])
    tag = gcm.tag_of(keys.encryption, nonce(prover.title, counter), control + keys.authentication + challenge)
    return control + counter.to_bytes(4, "big") + tag


def counter_in(mechanism: Mechanism, proof: bytes) -> int:
    """The invocation counter with which `proof` was made; 0 where the mechanism has none."""
    return int.from_bytes(proof[1:5], "big") if mechanism is Mechanism.HIGH_GMAC else 0


def _aes(challenge: bytes, secret: bytes) -> bytes:
    padded = challenge + bytes(-len(challenge) % _BLOCK)
    # ECB is the mechanism; what is encrypted once is a random challenge.
    encryptor = Cipher(AES(secret.ljust(_BLOCK, b"\0")), ECB()).encryptor()
    return encryptor.update(padded) + encryptor.finalize()
