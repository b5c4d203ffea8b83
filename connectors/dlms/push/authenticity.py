"""Opens ciphered notifications and refuses what cannot be believed: the counters of a listener's senders.

A notification of a meter that has keys must be protected as its policy asks, by its own system title, with a tag that is
right and a counter above the last one seen: a recorded notification that is sent again is refused, after a restart too.
Counters are kept per sender and key, because a new key starts a new count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from connectors.dlms.security.protection import Header, Keys, NotAuthentic, Policy, Suite, open_header
from model.messages import Violation
from model.settings.meter import MeterSettings

_POLICIES = {
    "authentication": Policy.AUTHENTICATION,
    "encryption": Policy.ENCRYPTION,
    "authenticated-encryption": Policy.AUTHENTICATED_ENCRYPTION,
}


@dataclass(frozen=True, slots=True)
class Security:
    """How one meter protects what it sends: keys, the least protection, and its system title where it is known."""

    keys: Keys
    policy: Policy
    title: bytes | None = None

    def name(self, title: bytes) -> str:
        """Of the count of this key and this sender; does not give the key away."""
        return sha256(b"notification counter" + title + self.keys.encryption).hexdigest()[:24]


def security_of(meter: MeterSettings) -> Security | None:
    """How the notifications of `meter` must be protected; None where they need not be.

    Encryption alone takes no authentication key; where none is given, zeros stand for it.
    """
    if not meter.is_ciphered:
        return None
    encryption = meter.block_cipher_key_bytes()
    keys = Keys(Suite(meter.security_suite), encryption, meter.authentication_key_bytes() or bytes(len(encryption)))
    title = None if meter.server_system_title is None else bytes.fromhex(meter.server_system_title)
    return Security(keys, _POLICIES[meter.security_policy], title)


@dataclass(frozen=True, slots=True)
class Opened:
    """The contents of a protected notification; `accept` its counter once they turn out to be one."""

    apdu: bytes
    name: str
    counter: int


class Counters:
    """The last invocation counter of every sender and key.

    :arg known: from the last snapshot.
    """

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        self._last: dict[str, int] = dict(known or {})

    def open(self, header: Header, security: Security) -> Opened:
        """What a protected APDU holds.

        :raises NotAuthentic: when it must not be believed.
        """
        title = header.title or security.title
        if title is None:
            raise NotAuthentic(Violation.MALFORMED, "it does not say who sent it, and the meter's entry has no server_system_title")
        name = security.name(title)
        opened = open_header(header, security.keys, security.policy, security.title or title, self._last.get(name))
        return Opened(opened.apdu, name, opened.counter)

    def accept(self, opened: Opened) -> None:
        """From now on only higher counters are believed.

        Called when the contents could be read: without authentication anybody may send a counter, which must not lock the
        meter out.
        """
        self._last[opened.name] = max(opened.counter, self._last.get(opened.name, -1))

    def state(self) -> dict[str, int]:
        """A copy for the snapshot."""
        return dict(self._last)
