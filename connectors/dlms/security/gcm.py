"""AES-GCM as DLMS uses it (IEC 62056-5-3 clause 5.3.3): a 12-byte tag, a 12-byte nonce; AES-128 and AES-256 by the key's length.

Built on `cryptography`. The mode without authentication is GCM whose tag is not sent, which leaves AES in counter mode
(NIST SP 800-38D clause 6.5): whoever can change such bytes on the way changes the plaintext unnoticed.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM

TAG_SIZE = 12
_FIRST_BLOCK = b"\x00\x00\x00\x02"
"""Block 1 encrypts the tag, the text begins with block 2."""

__all__ = ["TAG_SIZE", "InvalidTag", "crypt", "open_sealed", "seal", "tag_of"]


def seal(key: bytes, nonce: bytes, plain: bytes, associated: bytes) -> tuple[bytes, bytes]:
    """The ciphertext of `plain` and the tag over it and the `associated` data."""
    encryptor = Cipher(AES(key), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(associated)
    ciphertext = encryptor.update(plain) + encryptor.finalize()
    return ciphertext, encryptor.tag[:TAG_SIZE]


def open_sealed(key: bytes, nonce: bytes, ciphertext: bytes, tag: bytes, associated: bytes) -> bytes:
    """The plaintext, when the 12-byte `tag` is right.

    :raises InvalidTag: when it is not; nothing of the plaintext gets out.
    """
    if len(tag) != TAG_SIZE:
        raise InvalidTag
    decryptor = Cipher(AES(key), GCM(nonce, tag, min_tag_length=TAG_SIZE)).decryptor()
    decryptor.authenticate_additional_data(associated)
    plain = decryptor.update(ciphertext)
    return plain + decryptor.finalize()


def tag_of(key: bytes, nonce: bytes, associated: bytes) -> bytes:
    """The GMAC: a tag over data that is not encrypted."""
    return seal(key, nonce, b"", associated)[1]


def crypt(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Encrypt or decrypt without any authentication."""
    return Cipher(AES(key), CTR(nonce + _FIRST_BLOCK)).encryptor().update(data)
