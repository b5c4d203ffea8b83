"""How a client has to authenticate and to protect what it sends: what a meter knows about one client SAP."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.meter.acse import Mechanism
from simulator.meter.protection import KEY_SIZES, TITLE_SIZE, Keys, Protection

_MECHANISMS = {
    "none": Mechanism.NONE,
    "low": Mechanism.LOW,
    "high": Mechanism.HIGH,
    "high-md5": Mechanism.HIGH_MD5,
    "high-sha1": Mechanism.HIGH_SHA1,
    "high-sha256": Mechanism.HIGH_SHA256,
    "high-gmac": Mechanism.HIGH_GMAC,
}
_POLICIES = {
    "none": Protection.NONE,
    "authentication": Protection.AUTHENTICATION,
    "encryption": Protection.ENCRYPTION,
    "authenticated-encryption": Protection.BOTH,
}


@dataclass(frozen=True, slots=True)
class ClientAccess:
    """What is asked of a client.

    :arg mechanism: how it authenticates.
    :arg password: the password of LOW, the secret of HIGH, MD5, SHA-1 and SHA-256; GMAC has none but the keys.
    :arg policy: protection that each request must have at least, and each response has; NONE, AUTHENTICATION,
        ENCRYPTION or BOTH. Anything but NONE insists on the ciphered application context.
    :arg suite: 0, 1 or 2.
    :arg block_cipher_key: global unicast encryption key, 16 bytes, 32 for suite 2; without it nothing is ciphered.
    :arg authentication_key: as long as the other.
    :arg system_title: the only one it may have, eight bytes; empty takes any.
    :raises ValueError: when a field is not possible or does not fit the others; the message shows no key.
    """

    mechanism: Mechanism = Mechanism.NONE
    password: bytes = field(default=b"", repr=False)
    policy: Protection = Protection.NONE
    suite: int = 0
    block_cipher_key: bytes = field(default=b"", repr=False)
    authentication_key: bytes = field(default=b"", repr=False)
    system_title: bytes = b""

    def __post_init__(self) -> None:
        if self.mechanism not in _MECHANISMS.values():
            raise ValueError(f"mechanism {self.mechanism.name} is not offered by virtual meters")
        if self.suite not in KEY_SIZES:
            raise ValueError(f"security suite {self.suite} is not known; possible are 0, 1 and 2")
        if self.policy not in _POLICIES.values():
            raise ValueError(f"security policy {self.policy!r} is not possible; it is authentication, encryption or both")
        for name in ("block_cipher_key", "authentication_key"):
            key = getattr(self, name)
            if key and len(key) != KEY_SIZES[self.suite]:
                raise ValueError(f"{name} has {len(key)} bytes; security suite {self.suite} takes {KEY_SIZES[self.suite]}")
        if bool(self.block_cipher_key) != bool(self.authentication_key):
            raise ValueError("block_cipher_key and authentication_key go together; one of them is missing")
        if not self.ciphered and (self.policy or self.mechanism == Mechanism.HIGH_GMAC):
            raise ValueError("a security policy and high-gmac need block_cipher_key and authentication_key")
        if self.system_title and len(self.system_title) != TITLE_SIZE:
            raise ValueError(f"a system title has {TITLE_SIZE} bytes, not {len(self.system_title)}")

    @property
    def ciphered(self) -> bool:
        """Whether there are keys, and so an invocation counter."""
        return bool(self.block_cipher_key)

    @property
    def keys(self) -> Keys:
        """The global keys."""
        return Keys(self.block_cipher_key, self.authentication_key)


def client_access(
    authentication: str = "none",
    secret: bytes = b"",
    security_suite: int = 0,
    security_policy: str = "none",
    block_cipher_key: bytes = b"",
    authentication_key: bytes = b"",
    client_system_title: bytes = b"",
) -> ClientAccess:
    """What a meter must ask for to fit a client that is described in the words of pipeline.yaml.

    :arg authentication: none, low, high, high-md5, high-sha1, high-sha256 or high-gmac.
    :arg secret: password or HLS secret.
    :arg security_policy: none, authentication, encryption or authenticated-encryption.
    :raises ValueError: when a word is not known or the fields do not fit each other; the message lists what is possible.
    """
    for name, word, words in (("authentication", authentication, _MECHANISMS), ("security_policy", security_policy, _POLICIES)):
        if word not in words:
            raise ValueError(f"{name} {word!r} is not known; possible are {', '.join(words)}")
    return ClientAccess(
        _MECHANISMS[authentication],
        secret,
        _POLICIES[security_policy],
        security_suite,
        block_cipher_key,
        authentication_key,
        client_system_title,
    )
