"""The security of one association: keys, challenges and counters, and what they make of APDUs on their way out and in.

`begin` draws a new challenge and, where asked for, a new dedicated key. Then, in the words of IEC 62056-5-3:
AARQ with our challenge (pass 1) - AARE with the meter's (pass 2) - our answer by ACTION on the association object (pass 3) - the
meter's answer (pass 4). Only after `verify` has found that right is the meter who it says it is.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from typing import Protocol

from connectors.dlms.apdu import aarq
from connectors.dlms.security import mechanisms
from connectors.dlms.security.mechanisms import CHALLENGE_SIZE, SHORTEST_CHALLENGE, Mechanism, Side
from connectors.dlms.security.protection import (
    TITLE_SIZE,
    Keys,
    NotAuthentic,
    Policy,
    Suite,
    open_header,
    protect,
    read_header,
    unprotect,
)
from connectors.dlms.security.tags import KeySet
from model.messages import Violation
from model.settings.meter import MeterSettings

POLICIES = {
    "none": Policy.NONE,
    "authentication": Policy.AUTHENTICATION,
    "encryption": Policy.ENCRYPTION,
    "authenticated-encryption": Policy.AUTHENTICATED_ENCRYPTION,
}
MECHANISMS = {
    "none": Mechanism.NONE,
    "low": Mechanism.LOW,
    "high": Mechanism.HIGH,
    "high-md5": Mechanism.HIGH_MD5,
    "high-sha1": Mechanism.HIGH_SHA1,
    "high-sha256": Mechanism.HIGH_SHA256,
    "high-gmac": Mechanism.HIGH_GMAC,
}


_CONTEXTS = {
    False: (aarq.LOGICAL_NAMES, aarq.LOGICAL_NAMES_CIPHERED),
    True: (aarq.SHORT_NAMES, aarq.SHORT_NAMES_CIPHERED),
}


class Counter(Protocol):
    """What `InvocationCounter` offers: numbers never used before, and a place for what was proven of the meter."""

    server_title: bytes
    server_counter: int | None

    def next(self) -> int:
        """A number that was never used before."""
        ...


class Security:
    """What protects the associations with one meter, one after another.

    :arg meter: its settings, of which some ask for ciphering or a high mechanism.
    :arg counter: the client's invocation counter, and what was seen of the meter before.
    """

    def __init__(self, meter: MeterSettings, counter: Counter) -> None:
        self.mechanism = MECHANISMS[meter.authentication]
        self.policy = POLICIES[meter.security_policy]
        self._counter = counter
        self._password = meter.password_bytes() or b""
        self._secret = meter.hls_secret_bytes()
        self._suite = Suite(meter.security_suite)
        self._keys: Keys | None = None
        if meter.block_cipher_key is not None:
            self._keys = Keys(self._suite, meter.block_cipher_key_bytes(), meter.authentication_key_bytes())
        self._title = bytes.fromhex(meter.client_system_title or "")
        self._expected_title = bytes.fromhex(meter.server_system_title or "")
        self._general = meter.ciphering == "general"
        self._wants_dedicated = meter.dedicated_key
        self._protects_release = meter.protected_release
        self._counter_restarts = meter.server_counter_restarts
        self._server = Side(b"", b"")
        self.begin()

    @property
    def is_ciphered(self) -> bool:
        """Whether messages are protected."""
        return self.policy != Policy.NONE

    @property
    def is_high(self) -> bool:
        """Whether both sides have to prove themselves."""
        return self.mechanism >= Mechanism.HIGH

    def begin(self) -> None:
        """Forget the association before: new challenge, new dedicated key."""
        self._client = Side(self._title, secrets.token_bytes(CHALLENGE_SIZE))
        self._server = Side(self._expected_title or self._counter.server_title, b"")
        self._is_proven = False
        self._dedicated: Keys | None = None
        self._dedicated_counter: int | None = None
        if self._wants_dedicated and self._keys is not None:
            self._dedicated = Keys(self._suite, secrets.token_bytes(self._suite.key_size), self._keys.authentication)
        knows_counter = self._server.title == self._counter.server_title and not self._counter_restarts
        self._seen: dict[KeySet, int | None] = {
            KeySet.GLOBAL: self._counter.server_counter if knows_counter else None,
            KeySet.DEDICATED: None,
        }

    def associate(self, conformance: int, max_pdu_size: int, short_names: bool = False) -> bytes:
        """AARQ, its initiate request protected under the global key."""
        plain, ciphered = _CONTEXTS[short_names]
        context = ciphered if self.is_ciphered else plain
        conformance |= aarq.ACTION if self.is_high else 0
        conformance |= aarq.GENERAL_PROTECTION if self._general else 0
        challenge = self._client.challenge if self.is_high else self._password
        return aarq.associate_request(context, self._title, self.mechanism, challenge, self._initiate(conformance, max_pdu_size))

    def release(self, conformance: int, max_pdu_size: int) -> bytes:
        """RLRQ, with a protected initiate request where the settings ask for it."""
        return aarq.release_request(self._initiate(conformance, max_pdu_size) if self.is_ciphered and self._protects_release else b"")

    def protect(self, apdu: bytes) -> bytes:
        """A service request as it goes out: under the global key until the meter is proven, then under the dedicated one."""
        if not self.is_ciphered:
            return apdu
        if self._dedicated is None or not self._is_proven:
            return self._protected(apdu, self._general)
        # A counter of its own. It begins where the global one stands, since some meters compare both with the same number.
        self._dedicated_counter = self._counter.next() if self._dedicated_counter is None else self._dedicated_counter + 1
        return protect(apdu, self._dedicated, self.policy, self._title, self._dedicated_counter, KeySet.DEDICATED, self._general)

    def reveal(self, apdu: bytes) -> bytes:
        """A service response in plain, once it is proven.

        :raises NotAuthentic: when it is not; the conversation must not go on then.
        """
        header = read_header(apdu)
        keys = self._keys if header.keys is KeySet.GLOBAL else self._dedicated
        if keys is None:
            raise NotAuthentic(Violation.MALFORMED, f"protected with a {header.keys.value} key, which this association has not")
        opened = open_header(header, keys, self.policy, self._server.title, self._seen[header.keys])
        self._seen[header.keys] = opened.counter
        # A counter that nobody authenticates may be anybody's: it must not outlive the association and lock the meter out.
        if header.keys is KeySet.GLOBAL and opened.policy & Policy.AUTHENTICATION:
            self._counter.server_counter = opened.counter
        return opened.apdu

    def reveal_initiate(self, title: bytes, initiate: bytes) -> bytes:
        """The initiate response of an AARE in plain.

        :arg title: the responding AP title of the AARE; empty where it has none.
        :raises NotAuthentic: when it is not that of the expected meter.
        """
        self._check_title(title)
        return self.reveal(initiate) if self.is_ciphered else initiate

    def prove(self, challenge: bytes) -> bytes:
        """Pass 3: our answer to the meter's challenge.

        :raises NotAuthentic: for a challenge that no honest meter sends.
        """
        if len(challenge) < SHORTEST_CHALLENGE:
            raise NotAuthentic(Violation.UNPROVEN, f"a challenge of {len(challenge)} bytes, less than {SHORTEST_CHALLENGE}")
        if challenge == self._client.challenge:
            raise NotAuthentic(Violation.UNPROVEN, "our own challenge came back: whoever answers wants us to answer it for him")
        self._server = Side(self._server.title, challenge)
        counter = self._counter.next() if self.mechanism is Mechanism.HIGH_GMAC else 0
        return mechanisms.answer(self.mechanism, self._client, self._server, self._secret, self._keys, counter)

    def verify(self, proof: bytes) -> None:
        """Pass 4: the meter's answer to our challenge.

        :raises NotAuthentic: when it does not know the secret.
        """
        counter = mechanisms.counter_in(self.mechanism, proof)
        right = mechanisms.answer(self.mechanism, self._server, self._client, self._secret, self._keys, counter)
        if not compare_digest(right, proof):
            raise NotAuthentic(Violation.UNPROVEN, "the answer to our challenge is wrong")

    def proven(self) -> None:
        """The association is open and the meter proven: remember its title."""
        self._counter.server_title = self._server.title
        self._is_proven = True

    def peek(self, apdu: bytes, sent: bool) -> bytes | None:
        """What is inside of a protected APDU of this association, for the trace only; None when it cannot be opened."""
        try:
            header = read_header(apdu)
            keys = self._keys if header.keys is KeySet.GLOBAL else self._dedicated
            if keys is None:
                return None
            return unprotect(apdu, keys, Policy.NONE, self._title if sent else self._server.title, None).apdu
        except NotAuthentic:
            return None

    def _initiate(self, conformance: int, max_pdu_size: int) -> bytes:
        key = b"" if self._dedicated is None else self._dedicated.encryption
        initiate = aarq.initiate_request(conformance, max_pdu_size, key)
        return self._protected(initiate, general=False) if self.is_ciphered else initiate

    def _protected(self, apdu: bytes, general: bool) -> bytes:
        assert self._keys is not None
        return protect(apdu, self._keys, self.policy, self._title, self._counter.next(), KeySet.GLOBAL, general)

    def _check_title(self, title: bytes) -> None:
        known = self._server.title
        if title and title == self._title:
            raise NotAuthentic(Violation.FOREIGN_TITLE, "whoever answers claims our own system title")
        if title and known and title != known:
            raise NotAuthentic(Violation.FOREIGN_TITLE, f"{title.hex()} answers, not {known.hex()}")
        if not known and self._keys is not None and len(title) != TITLE_SIZE:
            raise NotAuthentic(Violation.MALFORMED, "the meter does not state its system title; add server_system_title")
        self._server = Side(known or title, b"")
