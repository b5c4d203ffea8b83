"""A DLMS client over a plain socket, built on the gurux_dlms client classes: a peer of the virtual meter that shares no code with it."""

from __future__ import annotations

import socket
from typing import Any

from gurux_dlms import GXDLMSClient, GXDLMSException, GXReplyData
from gurux_dlms.enums import Authentication, Conformance, InterfaceType, RequestTypes


class GuruxPeer:
    """Blocking; every wait ends after `timeout` seconds with a TimeoutError."""

    def __init__(
        self,
        address: str,
        framing: str = "hdlc",
        client_sap: int = 16,
        logical: int = 1,
        physical: int = 0,
        address_size: int = 0,
        password: str | None = None,
        timeout: float = 5.0,
        short_names: bool = False,
    ) -> None:
        wrapper = framing == "wrapper"
        server = logical if wrapper or address_size == 1 or not physical else GXDLMSClient.getServerAddress(logical, physical, address_size)
        self.client = GXDLMSClient(
            not short_names,
            client_sap,
            server,
            Authentication.LOW if password else Authentication.NONE,
            password,
            InterfaceType.WRAPPER if wrapper else InterfaceType.HDLC,
        )
        if address_size:
            self.client.serverAddressSize = address_size
        if short_names:
            wanted = Conformance.READ | Conformance.MULTIPLE_REFERENCES | Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ
            self.client.proposedConformance = wanted
        host, port = address.removeprefix("tcp://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout)

    def __enter__(self) -> GuruxPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def open_link(self) -> None:
        request = self.client.snrmRequest()
        if request:
            self.client.parseUAResponse(self._exchange(request).data)

    def associate(self) -> None:
        self.open_link()
        reply = GXReplyData()
        for request in self.client.aarqRequest():
            reply = self._exchange(request)
        self.client.parseAareResponse(reply.data)

    def release(self) -> None:
        for request in self.client.releaseRequest():
            self._exchange(request)

    def disconnect(self) -> None:
        request = self.client.disconnectRequest(True)
        if request:
            self._exchange(request)

    @property
    def offers_lists(self) -> bool:
        return bool(self.client.negotiatedConformance & Conformance.MULTIPLE_REFERENCES)

    def read(self, item: Any, index: int) -> Any:
        """The decoded value; raises GXDLMSException with the access result."""
        reply = self.get(self.client.read(item, index))
        return self.client.updateValue(item, index, reply.value)

    def get(self, requests: Any) -> GXReplyData:
        """The complete reply to one request, with all segments and blocks; raises GXDLMSException with the access result."""
        reply = GXReplyData()
        for request in requests:
            for frame in request if isinstance(request, list) else [request]:
                reply = self._exchange(frame)
        if reply.error:
            raise GXDLMSException(reply.error)
        return reply

    def _exchange(self, request: bytes) -> GXReplyData:
        reply = GXReplyData()
        self.socket.sendall(bytes(request))
        self._read_reply(reply)
        while reply.isMoreData():
            more = self.client.receiverReady(reply.moreData)
            self.socket.sendall(bytes(more))
            self._read_reply(reply)
        assert reply.moreData == RequestTypes.NONE
        return reply

    def _read_reply(self, reply: GXReplyData) -> None:
        reply.complete = False
        buffer = b""
        while True:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the meter closed the connection")
            buffer += data
            if self.client.getData(buffer, reply, GXReplyData()):
                return
