"""Protects APDUs and opens protected ones: the pure part of DLMS security, IEC 62056-5-3 clause 5.3 (Green Book clause 9.2.7.2).

A protected APDU is a tag, for general ciphering a system title, a length, and

    security control | invocation counter (4 bytes) | text | tag (12 bytes)

The text is the plain or the encrypted APDU; the tag is missing where the policy does not authenticate. The nonce is the
sender's system title and the counter, so that a counter used twice with one key gives the key stream away: never do that.

`unprotect` returns nothing but what is authentic: right tag, right sender, a counter above the last one, protected at least
as the policy asks. One exception stands: with the policy `ENCRYPTION` there is no tag, and whoever changes the bytes on the
way changes the reading. Nobody can detect that; such a policy is used only where the settings ask for it by name.

Every failure is a `NotAuthentic` that names its cause. Not understood, hence refused: broadcast keys (bit 6 of the security
control byte), compression (bit 7), general-ciphering (DD) and general-signing (DF).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from connectors.dlms.axdr import CosemError, Reader
from connectors.dlms.security import gcm
from connectors.dlms.security.tags import (
    GENERAL_BY_TAG,
    GENERAL_TAGS,
    PROTECTED_BY,
    SERVICE_TAGS,
    KeySet,
    is_protected,
)
from model.messages import Violation

TITLE_SIZE = 8
MOST_ADDED = 30
"""Bytes that protection adds to an APDU at most: tag, system title and its length, length, control byte, counter, tag."""
HIGHEST_COUNTER = 0xFFFFFFFF
_SUITE_BITS, _BROADCAST, _COMPRESSED = 0x0F, 0x40, 0x80


class Suite(IntEnum):
    """Security suites; 0 and 1 use AES-128, 2 uses AES-256."""

    SUITE_0 = 0
    SUITE_1 = 1
    SUITE_2 = 2

    @property
    def key_size(self) -> int:
        """Bytes of the encryption key and of the authentication key."""
        return 32 if self is Suite.SUITE_2 else 16


class Policy(IntFlag):
    """How APDUs are protected, as bits of the security control byte."""

    NONE = 0x00
    AUTHENTICATION = 0x10
    ENCRYPTION = 0x20
    AUTHENTICATED_ENCRYPTION = 0x30


_POLICY_BITS = Policy.AUTHENTICATED_ENCRYPTION.value
_POLICIES = {bits: Policy(bits) for bits in (0x00, 0x10, 0x20, 0x30)}


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one sender and receiver. Their bytes are never shown.

    :raises ValueError: when a key has not the length that the suite asks for.
    """

    suite: Suite
    encryption: bytes = field(repr=False)
    authentication: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if {len(self.encryption), len(self.authentication)} != {self.suite.key_size}:
            raise ValueError(f"suite {self.suite.value} has keys of {self.suite.key_size} bytes")


class NotAuthentic(Exception):
    """An APDU that must not be believed, and why. Says nothing about keys or contents."""

    def __init__(self, violation: Violation, detail: str) -> None:
        super().__init__(detail)
        self.violation = violation
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Header:
    """What a protected APDU says about itself in plain. Nothing of this is authentic yet.

    `title` is the sender's system title of general ciphering, empty where the APDU carries none; `inner_tag` the tag that
    its contents must have, None for general ciphering.
    """

    keys: KeySet
    title: bytes
    inner_tag: int | None
    control: int
    counter: int
    body: bytes = field(repr=False)

    @property
    def policy(self) -> Policy:
        """How it is protected."""
        return _POLICIES[self.control & _POLICY_BITS]

    @property
    def suite(self) -> int:
        """The number of its security suite."""
        return self.control & _SUITE_BITS


@dataclass(frozen=True, slots=True)
class Unprotected:
    """An APDU that is what its sender sent: `apdu` in plain, and the counter below which nothing more is accepted."""

    apdu: bytes
    counter: int
    title: bytes
    policy: Policy
    keys: KeySet


def nonce(title: bytes, counter: int) -> bytes:
    """The initialization vector of AES-GCM: system title and invocation counter."""
    return title + counter.to_bytes(4, "big")


def protect(
    apdu: bytes,
    keys: Keys,
    policy: Policy,
    title: bytes,
    counter: int,
    key_set: KeySet = KeySet.GLOBAL,
    general: bool = False,
    with_title: bool = True,
) -> bytes:
    """`apdu` protected under `policy`.

    :arg title: the sender's eight-byte system title.
    :arg counter: an invocation counter that was never used with these keys before.
    :arg general: general-glo or general-ded ciphering instead of the tag of the service.
    :arg with_title: whether general ciphering states the title.
    :raises ValueError: for a counter, title or APDU that cannot be protected.
    """
    if len(title) != TITLE_SIZE or not 0 <= counter <= HIGHEST_COUNTER or not policy or not apdu:
        raise ValueError("needs an APDU, a policy, a system title of 8 bytes and a counter of 32 bits")
    content = protected_content(apdu, keys, policy, title, counter)
    if general:
        return bytes([GENERAL_TAGS[key_set]]) + octets(title if with_title else b"") + octets(content)
    tag = SERVICE_TAGS.get((key_set, apdu[0]))
    if tag is None:
        raise ValueError(f"an APDU with tag {apdu[0]:02x} has no ciphering of its own; use general ciphering")
    return bytes([tag]) + octets(content)


def protected_content(apdu: bytes, keys: Keys, policy: Policy, title: bytes, counter: int) -> bytes:
    """Security control byte, counter, text and tag: what stands behind tag and length of a protected APDU."""
    control = policy.value | keys.suite.value
    head = bytes([control]) + counter.to_bytes(4, "big")
    iv = nonce(title, counter)
    if policy is Policy.ENCRYPTION:
        return head + gcm.crypt(keys.encryption, iv, apdu)
    if policy is Policy.AUTHENTICATION:
        return head + apdu + gcm.tag_of(keys.encryption, iv, bytes([control]) + keys.authentication + apdu)
    ciphertext, tag = gcm.seal(keys.encryption, iv, apdu, bytes([control]) + keys.authentication)
    return head + ciphertext + tag


def read_header(apdu: bytes) -> Header:
    """What a protected APDU says about itself: whose key and which counter to look for. Proves nothing.

    :raises NotAuthentic: PLAINTEXT when it is not protected at all, MALFORMED when it cannot be one that is understood here.
    """
    if not apdu:
        raise NotAuthentic(Violation.MALFORMED, "an empty APDU")
    tag = apdu[0]
    if not is_protected(tag):
        raise NotAuthentic(Violation.PLAINTEXT, f"an APDU with tag {tag:02x} without any protection")
    if tag not in PROTECTED_BY and tag not in GENERAL_BY_TAG:
        raise NotAuthentic(Violation.MALFORMED, f"protection with tag {tag:02x} (general-ciphering or general-signing) is not supported")
    reader = Reader(apdu[1:])
    try:
        title = reader.take(reader.length()) if tag in GENERAL_BY_TAG else b""
        content = Reader(reader.take(reader.length()))
        reader.finish()
        control, counter, body = content.byte(), content.unsigned(4), content.rest()
    except CosemError as error:
        raise NotAuthentic(Violation.MALFORMED, f"a protected APDU with tag {tag:02x} is damaged: {error}") from None
    if len(title) not in (0, TITLE_SIZE):
        raise NotAuthentic(Violation.MALFORMED, f"a system title of {len(title)} bytes")
    if control & _BROADCAST:
        raise NotAuthentic(Violation.MALFORMED, "protected with a broadcast key, which many know: it proves no sender")
    if control & _COMPRESSED:
        raise NotAuthentic(Violation.MALFORMED, "compressed (security control bit 7); take compression out of the meter's security setup")
    if tag in GENERAL_BY_TAG:
        return Header(GENERAL_BY_TAG[tag], title, None, control, counter, body)
    key_set, inner = PROTECTED_BY[tag]
    return Header(key_set, b"", inner, control, counter, body)


def unprotect(apdu: bytes, keys: Keys, policy: Policy, title: bytes, above: int | None) -> Unprotected:
    """What is inside of a protected APDU, when everything about it is right.

    :arg policy: the least protection that is accepted; more is accepted too.
    :arg title: the sender that is expected.
    :arg above: the highest counter seen so far from this sender with this key; None for the first one.
    :raises NotAuthentic: when it is not authentic, with the reason.
    """
    return open_header(read_header(apdu), keys, policy, title, above)


def open_header(header: Header, keys: Keys, policy: Policy, title: bytes, above: int | None) -> Unprotected:
    """As `unprotect`, for an APDU whose header was read before to find its keys."""
    protected, due = header.control & _POLICY_BITS, policy.value
    if protected & due != due or not protected:
        raise NotAuthentic(Violation.WEAKER_PROTECTION, f"protected by {_words(header.policy)} where {_words(policy)} is due")
    if header.suite != keys.suite:
        raise NotAuthentic(Violation.WEAKER_PROTECTION, f"protected with suite {header.suite}, not {keys.suite.value}")
    if header.title and header.title != title:
        raise NotAuthentic(Violation.FOREIGN_TITLE, f"sent by {header.title.hex()}, not by {title.hex()}")
    text = _open(header, keys, title)
    # After the tag: an old counter under a wrong tag is a forgery, and only a counter under a right one was ever the sender's.
    if above is not None and header.counter <= above:
        raise NotAuthentic(Violation.OLD_COUNTER, f"invocation counter {header.counter} is not above {above}, the last one seen")
    if header.inner_tag is not None and text[:1] != bytes([header.inner_tag]):
        raise NotAuthentic(Violation.MALFORMED, f"the contents are not those of a message with tag {header.inner_tag:02x}")
    return Unprotected(text, header.counter, title, header.policy, header.keys)


def octets(data: bytes) -> bytes:
    """`data` behind its length."""
    size = len(data)
    if size < 0x80:
        return bytes([size]) + data
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(length)]) + length + data


def _open(header: Header, keys: Keys, title: bytes) -> bytes:
    iv = nonce(title, header.counter)
    if header.policy is Policy.ENCRYPTION:
        return gcm.crypt(keys.encryption, iv, header.body)
    text, tag = header.body[: -gcm.TAG_SIZE], header.body[-gcm.TAG_SIZE :]
    associated = bytes([header.control]) + keys.authentication
    try:
        if header.policy is Policy.AUTHENTICATION:
            gcm.open_sealed(keys.encryption, iv, b"", tag, associated + text)
            return text
        return gcm.open_sealed(keys.encryption, iv, text, tag, associated)
    except gcm.InvalidTag:
        raise NotAuthentic(Violation.WRONG_TAG, "the authentication tag is wrong: forged, damaged, or made with other keys") from None


def _words(policy: Policy) -> str:
    names = {
        Policy.NONE: "nothing",
        Policy.AUTHENTICATION: "authentication",
        Policy.ENCRYPTION: "encryption",
        Policy.AUTHENTICATED_ENCRYPTION: "authenticated encryption",
    }
    return names[policy]
