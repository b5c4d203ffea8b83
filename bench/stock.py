"""The stock gurux client over a blocking socket: what a user would write with the library's own classes and nothing else."""

from __future__ import annotations

import importlib
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any

from gurux_dlms import GXDLMSClient, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType, Security
from gurux_dlms.GXDLMSChipperingStream import GXDLMSChipperingStream
from gurux_dlms.objects import GXDLMSProfileGeneric, GXDLMSRegister
from gurux_dlms.secure import GXDLMSSecureClient

from bench.prepared_ciphering import AUTHENTICATION_KEY, BLOCK_CIPHER_KEY, CLIENT_TITLE

INFORMATION_SIZE = 1_024
"""Longest HDLC information field offered, so that no message has to be cut."""

_CIPHERED_SAP = 1


@contextmanager
def cipher_of_the_library() -> Iterator[None]:
    """The library as it is by itself: our client replaces its cipher, with one that checks tags and is faster."""
    module: Any = importlib.import_module("gurux_dlms.GXDLMSChippering")
    ours = module.GXDLMSChipperingStream
    module.GXDLMSChipperingStream = GXDLMSChipperingStream
    try:
        yield
    finally:
        module.GXDLMSChipperingStream = ours


class StockMeter:
    """One association; scalers are left out, as in our steady state.

    :arg address: "tcp://host:port".
    :arg registers: OBIS groups C to E of what a cycle reads.
    :arg ciphered: suite 0, authenticated and encrypted, with HLS by GMAC.
    """

    def __init__(self, address: str, registers: list[str], framing: str = "hdlc", ciphered: bool = False) -> None:
        host, port = address.removeprefix("tcp://").split(":")
        self._socket = socket.create_connection((host, int(port)), 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        interface = InterfaceType.WRAPPER if framing == "wrapper" else InterfaceType.HDLC
        self._client = _ciphered(interface) if ciphered else GXDLMSClient(True, 16, 1, Authentication.NONE, None, interface)
        self._client.hdlcSettings.maxInfoTX = self._client.hdlcSettings.maxInfoRX = INFORMATION_SIZE
        with redirect_stdout(io.StringIO()) if ciphered else nullcontext():  # the library prints how it ciphers
            self._associate()
        self._registers = [GXDLMSRegister(f"1.0.{register}.255") for register in registers]

    def read(self) -> int:
        """One cycle, one GET per register."""
        for register in self._registers:
            for request in self._client.read(register, 2):
                self._client.updateValue(register, 2, self._ask(request).value)
        return len(self._registers)

    def read_lists(self) -> int:
        """One cycle, as few GETs with list as the library makes of it."""
        for request in self._client.readList([(register, 2) for register in self._registers]):
            reply = GXReplyData()
            for frame in request if isinstance(request, list) else [request]:
                reply = self._ask(frame)
            self._client.updateValues([(register, 2) for register in self._registers], reply.value)
        return len(self._registers)

    def read_profile(self, logical_name: str) -> int:
        """The capture objects, then the whole buffer, block after block; the number of rows."""
        profile = GXDLMSProfileGeneric(logical_name)
        for attribute in (3, 2):
            for request in self._client.read(profile, attribute):
                self._client.updateValue(profile, attribute, self._ask(request).value)
        return len(profile.buffer)

    def close(self) -> None:
        """Without a farewell."""
        self._socket.close()

    def _associate(self) -> None:
        if request := self._client.snrmRequest():
            self._client.parseUAResponse(self._ask(request).data)
        reply = GXReplyData()
        for request in self._client.aarqRequest():
            reply = self._ask(request)
        self._client.parseAareResponse(reply.data)
        if self._client.isAuthenticationRequired:
            for request in self._client.getApplicationAssociationRequest():
                reply = self._ask(request)
            self._client.parseApplicationAssociationResponse(reply.data)

    def _ask(self, request: bytes) -> GXReplyData:
        reply = GXReplyData()
        self._exchange(request, reply)
        while reply.isMoreData():
            self._exchange(self._client.receiverReady(reply.moreData), reply)
        return reply

    def _exchange(self, request: bytes, reply: GXReplyData) -> None:
        self._socket.sendall(bytes(request))
        reply.complete = False
        received = b""
        while not self._client.getData(received, reply, GXReplyData()):
            received += self._socket.recv(65_536)


def _ciphered(interface: InterfaceType) -> GXDLMSSecureClient:
    client = GXDLMSSecureClient(True, _CIPHERED_SAP, 1, Authentication.HIGH_GMAC, None, interface)
    ciphering = client.ciphering
    ciphering.security = Security.AUTHENTICATION_ENCRYPTION
    ciphering.systemTitle = CLIENT_TITLE
    ciphering.blockCipherKey, ciphering.authenticationKey = BLOCK_CIPHER_KEY, AUTHENTICATION_KEY
    return client
