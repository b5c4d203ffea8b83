"""The server side of the wrapper (IEC 62056-47): an eight-byte header before each APDU, no connection of its own."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator

from simulator.meter.link import LinkEvent, Request

_HEADER = struct.Struct(">HHHH")
_VERSION = 1
_LONGEST_APDU = 0xFFFF


class WrapperLink:
    """Answers one destination port (the server's logical address); what is no wrapper header is skipped byte by byte.

    :arg server: the server's wrapper port.
    :arg clients: client SAPs that are answered.
    """

    def __init__(self, server: int, clients: Collection[int]) -> None:
        self._server = server
        self._clients = clients
        self._buffer = bytearray()
        self._client = 0

    def drop(self) -> None:
        """Nothing to forget: the wrapper has no state."""

    def receive(self, data: bytes) -> Iterator[LinkEvent]:
        """The requests completed by `data`."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            version, client, server, length = _HEADER.unpack_from(self._buffer)
            if version != _VERSION:
                del self._buffer[0]
                continue
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            apdu = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            if server == self._server and client in self._clients:
                self._client = client
                yield Request(client, apdu)

    def respond(self, apdu: bytes) -> bytes:
        """The answer with its header.

        :raises ValueError: when the APDU is longer than the header can say.
        """
        if len(apdu) > _LONGEST_APDU:
            raise ValueError(f"an APDU of {len(apdu)} bytes does not fit into the wrapper")
        return _HEADER.pack(_VERSION, self._server, self._client, len(apdu)) + apdu
