"""What a data link layer, HDLC or wrapper, tells the layer above it, and what it takes from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Union


@dataclass(frozen=True, slots=True)
class Connected:
    """A client opened the data link (SNRM answered with UA); an association over an older link is gone."""

    client: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The client closed the data link in order (DISC answered with UA)."""

    client: int


@dataclass(frozen=True, slots=True)
class Request:
    """A complete APDU from `client`; the answer goes to `respond` before the next event is taken."""

    client: int
    apdu: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes to send that the link layer made itself; `service` names what they answer."""

    data: bytes
    service: str


LinkEvent = Union[Connected, Disconnected, Request, Reply]


class Link(Protocol):
    """One client's data link, bytes in and bytes out."""

    def receive(self, data: bytes) -> Iterator[LinkEvent]:
        """What `data` completes, in order."""

    def respond(self, apdu: bytes) -> bytes:
        """The bytes that carry the answer to the last `Request`, or the first segment of it."""

    def drop(self) -> None:
        """Forget the client, without a word to it."""
