"""Protection of APDUs with AES-GCM (IEC 62056-5-3, security suites 0 to 2): security control byte, keys, tag."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

TITLE_SIZE = 8
TAG_SIZE = 12
SUITE_MASK = 0x0F
KEY_SIZES = {0: 16, 1: 16, 2: 32}
"""Bytes of each key by security suite."""


class Protection(IntFlag):
    """The upper half of the security control byte; the lower is the number of the suite."""

    NONE = 0
    AUTHENTICATION = 0x10
    ENCRYPTION = 0x20
    BOTH = 0x30
    BROADCAST_KEY = 0x40
    COMPRESSION = 0x80


class ProtectionError(Exception):
    """The tag is wrong, or the bytes are too short to have one."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The encryption key (global unicast or dedicated) and the authentication key that go together."""

    block_cipher_key: bytes = field(repr=False)
    authentication_key: bytes = field(repr=False)


def protect(keys: Keys, title: bytes, control: int, counter: int, plaintext: bytes) -> bytes:
    """What follows security control byte and invocation counter in a protected APDU.

    :arg title: system title of the sender, eight bytes.
    :arg control: security control byte; says whether to authenticate, to encrypt, both or neither.
    :arg counter: invocation counter of the sender.
    """
    nonce = title + counter.to_bytes(4, "big")
    if not control & Protection.ENCRYPTION:
        return plaintext + (_tag(keys, nonce, control, plaintext) if control & Protection.AUTHENTICATION else b"")
    encryptor = Cipher(AES(keys.block_cipher_key), GCM(nonce)).encryptor()
    if control & Protection.AUTHENTICATION:
        encryptor.authenticate_additional_data(bytes((control,)) + keys.authentication_key)
    ciphertext = encryptor.update(plaintext) + encryptor.finalize()
    return ciphertext + (encryptor.tag[:TAG_SIZE] if control & Protection.AUTHENTICATION else b"")


def unprotect(keys: Keys, title: bytes, control: int, counter: int, content: bytes) -> bytes:
    """The plaintext of what `protect` made; encryption alone lets anything through.

    :raises ProtectionError: when the content is authenticated and its tag is wrong.
    """
    nonce = title + counter.to_bytes(4, "big")
    if not control & Protection.AUTHENTICATION:
        return Cipher(AES(keys.block_cipher_key), GCM(nonce)).encryptor().update(content) if control & Protection.ENCRYPTION else content
    if len(content) < TAG_SIZE:
        raise ProtectionError("the tag is missing")
    body, tag = content[:-TAG_SIZE], content[-TAG_SIZE:]
    decryptor = Cipher(AES(keys.block_cipher_key), GCM(nonce, tag, TAG_SIZE)).decryptor()
    head = bytes((control,)) + keys.authentication_key
    try:
        if control & Protection.ENCRYPTION:
            decryptor.authenticate_additional_data(head)
            return decryptor.update(body) + decryptor.finalize()
        decryptor.authenticate_additional_data(head + body)
        decryptor.finalize()
    except InvalidTag:
        raise ProtectionError("the tag is wrong") from None
    return body


def _tag(keys: Keys, nonce: bytes, control: int, authenticated: bytes) -> bytes:
    encryptor = Cipher(AES(keys.block_cipher_key), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(bytes((control,)) + keys.authentication_key + authenticated)
    encryptor.finalize()
    return encryptor.tag[:TAG_SIZE]
