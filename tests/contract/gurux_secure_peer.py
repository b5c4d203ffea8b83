"""The gurux_dlms client with high-level authentication and ciphering: it decrypts, but does not check the tags of replies."""

from __future__ import annotations

import importlib

import pytest
from gurux_dlms import GXDLMSException, GXReplyData
from gurux_dlms.enums import Authentication, Conformance, InterfaceType, Security
from gurux_dlms.GXDLMSChipperingStream import GXDLMSChipperingStream
from gurux_dlms.objects.enums import SecuritySuite
from gurux_dlms.secure import GXDLMSSecureClient

from tests.contract.gurux_peer import GuruxPeer

AUTHENTICATIONS = {
    "none": Authentication.NONE,
    "low": Authentication.LOW,
    "high": Authentication.HIGH,
    "high-md5": Authentication.HIGH_MD5,
    "high-sha1": Authentication.HIGH_SHA1,
    "high-sha256": Authentication.HIGH_SHA256,
    "high-gmac": Authentication.HIGH_GMAC,
}
SECURITIES = {
    "none": Security.NONE,
    "authentication": Security.AUTHENTICATION,
    "encryption": Security.ENCRYPTION,
    "authenticated-encryption": Security.AUTHENTICATION_ENCRYPTION,
}


@pytest.fixture
def cipher_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library as it is by itself: our client replaces its cipher, and a peer that shares code with us proves less."""
    monkeypatch.setattr(importlib.import_module("gurux_dlms.GXDLMSChippering"), "GXDLMSChipperingStream", GXDLMSChipperingStream)


class GuruxSecurePeer(GuruxPeer):
    """A client with SAP 1; `associate` goes through all four passes."""

    def __init__(
        self,
        address: str,
        framing: str = "hdlc",
        authentication: str = "high-gmac",
        secret: bytes = b"",
        security_suite: int = 0,
        security_policy: str = "authenticated-encryption",
        block_cipher_key: bytes = b"",
        authentication_key: bytes = b"",
        client_system_title: bytes = b"",
        dedicated_key: bytes = b"",
        general: bool = False,
        counter: int = 1,
    ) -> None:
        super().__init__(address, framing)
        self.client = GXDLMSSecureClient(
            True,
            1,
            1,
            AUTHENTICATIONS[authentication],
            secret or None,
            InterfaceType.WRAPPER if framing == "wrapper" else InterfaceType.HDLC,
        )
        ciphering = self.client.ciphering
        ciphering.security = SECURITIES[security_policy]
        ciphering.securitySuite = SecuritySuite(security_suite)
        ciphering.systemTitle = client_system_title
        ciphering.blockCipherKey = block_cipher_key
        ciphering.authenticationKey = authentication_key
        ciphering.invocationCounter = counter
        if dedicated_key:
            ciphering.dedicatedKey = dedicated_key
        if not general:
            self.client.proposedConformance &= ~Conformance.GENERAL_PROTECTION

    def associate(self) -> None:
        super().associate()
        if self.client.isAuthenticationRequired:
            reply = GXReplyData()
            for request in self.client.getApplicationAssociationRequest():
                reply = self._exchange(request)
            if reply.error:
                raise GXDLMSException(reply.error)
            self.client.parseApplicationAssociationResponse(reply.data)
