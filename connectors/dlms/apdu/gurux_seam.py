"""Puts AES-GCM of `cryptography` where gurux-dlms 1.0.203 has its own, so that whatever the library ciphers goes through it.

The library's own cipher accepts any tag on what was received encrypted, and takes ten times as long. It is found by its name
in the namespace of `gurux_dlms.GXDLMSChippering`, which is replaced here; `GXSecure` and `GXDLMSSecureClient` import it on
their own for AES blocks and key wrapping and keep the library's. A test fails when a later version moves the name.

The conversation itself does not cipher with the library, even so: around the cipher gurux checks neither counter nor policy
nor sender, lets a changed security control byte decide what is verified, adds transaction-id and titles to what is
authenticated for suites 1 and 2 (right for general-ciphering only), draws challenges from `random` and prints to stdout.
`connectors.dlms.security` does all that.
"""

from __future__ import annotations

import importlib
from hmac import compare_digest

from gurux_dlms.enums import Security

from connectors.dlms.security import gcm

_MODULE, _NAME = "gurux_dlms.GXDLMSChippering", "GXDLMSChipperingStream"


def install() -> None:
    """Replace the library's cipher; again is harmless.

    :raises RuntimeError: when the library does not have it where version 1.0.203 has.
    """
    module = importlib.import_module(_MODULE)  # the package offers a class under the same name
    if not hasattr(module, _NAME):
        raise RuntimeError(f"{_MODULE} has no {_NAME}: this version of gurux-dlms cannot be used")
    setattr(module, _NAME, CryptographyStream)


class CryptographyStream:
    """What `GXDLMSChippering` uses of `GXDLMSChipperingStream`: same arguments, same attributes, but a wrong tag raises.

    :raises ValueError: in `flushFinalBlock`, for a wrong tag.
    """

    def __init__(self, security: int, _encrypt: bool, key: bytes, associated: bytes, nonce: bytes, tag: bytes | None) -> None:
        self._key, self._associated, self._nonce = bytes(key), bytes(associated or b""), bytes(nonce)
        self._authenticates = security != Security.ENCRYPTION
        self._received = tag
        self._text = bytearray()
        self.tag = bytearray(gcm.TAG_SIZE)

    def write(self, data: bytes) -> None:
        """Take the text, plain or encrypted."""
        self._text += bytes(data)

    def flushFinalBlock(self) -> bytearray:
        """The other form of the text; its tag, when encrypting, is in `tag`."""
        text = bytes(self._text)
        if not self._authenticates:
            return bytearray(gcm.crypt(self._key, self._nonce, text))
        if self._received is None:
            ciphertext, tag = gcm.seal(self._key, self._nonce, text, self._associated)
            self.tag = bytearray(tag)
            return bytearray(ciphertext)
        try:
            return bytearray(gcm.open_sealed(self._key, self._nonce, text, bytes(self._received), self._associated))
        except gcm.InvalidTag:
            raise ValueError("the authentication tag is wrong") from None

    @staticmethod
    def tagsEquals(one: bytes, other: bytes) -> bool:
        """Whether two tags are the same, in constant time."""
        return compare_digest(bytes(one), bytes(other))
