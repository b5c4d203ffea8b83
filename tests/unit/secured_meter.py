"""The server's side of secured associations, scripted: answers one APDU at a time, honestly or as an attacker would."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from connectors.dlms.axdr import Reader
from connectors.dlms.security import mechanisms
from connectors.dlms.security.association import MECHANISMS, POLICIES
from connectors.dlms.security.mechanisms import Mechanism, Side
from connectors.dlms.security.protection import Keys, Suite, octets, protect, read_header, unprotect
from connectors.dlms.security.tags import KeySet, is_protected
from model.settings.meter import MeterSettings

SERVER_TITLE = b"MMM\x00\x00\xbc\x61\x4e"
CLIENT_TITLE = b"MMM\x00\x00\x00\x00\x01"
SECRET = "a shared secret"


class Counter:
    """An invocation counter in memory."""

    def __init__(self) -> None:
        self.server_title = b""
        self.server_counter: int | None = None
        self.used: list[int] = []

    def next(self) -> int:
        self.used.append(len(self.used) + 1)
        return self.used[-1]


def secured(authentication: str, policy: str, suite: int = 0, framing: str = "wrapper", **more: Any) -> MeterSettings:
    size = 32 if suite == 2 else 16
    fields: dict[str, Any] = {"client_system_title": CLIENT_TITLE.hex()}
    if policy != "none" or authentication == "high-gmac":
        fields |= {"block_cipher_key": bytes(range(size)).hex(), "authentication_key": bytes(range(100, 100 + size)).hex()}
        fields |= {"security_suite": suite}
    if authentication in ("high", "high-md5", "high-sha1", "high-sha256"):
        fields["hls_secret"] = SECRET
    if authentication == "low":
        fields["password"] = "12345678"
    return MeterSettings.model_validate(
        {"id": "m", "connect": "tcp://127.0.0.1:1", "template": "t", "framing": framing, "server_physical": 17 if framing == "hdlc" else 0}
        | {"authentication": authentication, "security_policy": policy}
        | fields
        | more
    )


class SecuredMeter:
    """Answers the APDUs of a client.

    :arg value: the encoded data that every GET is answered with.
    """

    def __init__(self, meter: MeterSettings, value: bytes = b"\x11\x05") -> None:
        self.value = value
        self.mechanism = MECHANISMS[meter.authentication]
        self.policy = POLICIES[meter.security_policy]
        self.secret = meter.hls_secret_bytes()
        self.keys: Keys | None = None
        if meter.block_cipher_key is not None:
            self.keys = Keys(Suite(meter.security_suite), meter.block_cipher_key_bytes(), meter.authentication_key_bytes())
        self.dedicated: Keys | None = None
        self.title = SERVER_TITLE
        self.states_title = True
        self.counter = 0
        self.client_seen: dict[KeySet, int] = {}
        self.spoil_proof: Callable[[bytes], bytes] = lambda proof: proof
        self.challenge: Callable[[Side], bytes] = lambda _client: secrets.token_bytes(16)

    def answer(self, apdu: bytes) -> bytes:
        """The honest answer to `apdu`, after checking that it is protected as it should be."""
        if apdu[0] == 0x60:
            return self._associate(apdu)
        if self.policy:
            header = read_header(apdu)
            keys = self.keys if header.keys is KeySet.GLOBAL else self.dedicated
            assert keys is not None
            opened = unprotect(apdu, keys, self.policy, CLIENT_TITLE, self.client_seen.get(header.keys))
            self.client_seen[header.keys] = opened.counter
            general = apdu[0] in (0xDB, 0xDC)
            return self.protected(self._service(opened.apdu), header.keys, general)
        return self._service(apdu)

    def protected(self, apdu: bytes, key_set: KeySet = KeySet.GLOBAL, general: bool = False) -> bytes:
        """`apdu` as this meter sends it."""
        keys = self.keys if key_set is KeySet.GLOBAL else self.dedicated
        assert keys is not None
        self.counter += 1
        return protect(apdu, keys, self.policy, self.title, self.counter, key_set, general)

    def _associate(self, apdu: bytes) -> bytes:
        fields = {}
        reader = Reader(apdu[1:])
        body = Reader(reader.take(reader.length()))
        while body.remaining:
            tag = body.byte()
            fields[tag] = body.take(body.length())
        initiate = fields[0xBE][2:]
        if self.policy:
            assert self.keys is not None and is_protected(initiate[0])
            opened = unprotect(initiate, self.keys, self.policy, CLIENT_TITLE, self.client_seen.get(KeySet.GLOBAL))
            self.client_seen[KeySet.GLOBAL] = opened.counter
            initiate = opened.apdu
        self.dedicated = None
        if initiate[1]:
            assert self.keys is not None
            self.dedicated = Keys(self.keys.suite, initiate[3 : 3 + initiate[2]], self.keys.authentication)
        context = b"\xa1\x09\x06\x07\x60\x85\x74\x05\x08\x01" + (b"\x03" if self.policy else b"\x01")
        high = self.mechanism >= Mechanism.HIGH
        result = b"\xa2\x03\x02\x01\x00" + b"\xa3\x05\xa1\x03\x02\x01" + (b"\x0e" if high else b"\x00")
        title = b"\xa4\x0a\x04\x08" + self.title if self.states_title else b""
        challenge = b""
        if high:
            self.client = Side(CLIENT_TITLE, fields[0xAC][2:])
            self.server = Side(self.title, self.challenge(self.client))
            if self.server.challenge:
                challenge = b"\xaa" + octets(b"\x80" + octets(self.server.challenge))
        response = bytes.fromhex("0800065f1f0400001215") + b"\x04\xc8\x00\x07"
        if self.policy:
            response = self.protected(response)
        information = b"\xbe" + octets(b"\x04" + octets(response))
        return b"\x61" + octets(context + result + title + challenge + information)

    def _service(self, apdu: bytes) -> bytes:
        if apdu[0] == 0x62:
            return b"\x63\x03\x80\x01\x00"
        if apdu[0] == 0x05:
            return b"\x0c\x01\x00" + self.value
        if apdu[0] == 0xC0:
            return b"\xc4\x01" + apdu[2:3] + b"\x00" + self.value
        assert apdu[:2] == b"\xc3\x01" and apdu[3:14] == bytes.fromhex("000f0000280000ff010109")
        proof = apdu[15:]
        counter = mechanisms.counter_in(self.mechanism, proof)
        assert proof == mechanisms.answer(self.mechanism, self.client, self.server, self.secret, self.keys, counter)
        self.counter += 1
        ours = self.spoil_proof(mechanisms.answer(self.mechanism, self.server, self.client, self.secret, self.keys, self.counter))
        return b"\xc7\x01" + apdu[2:3] + b"\x00\x01\x00\x09" + octets(ours)
