"""Where a `dlms-push-in` node listens: `tcp://`, `udp://` or `serial://`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, urlsplit

from model.settings.link_address import SerialParameters, parse_link

CUSTOMER_PORT_BAUD = 2400
"""Baud rate where none is written: that of most customer ports."""

_FORMS = "tcp://0.0.0.0:4059, udp://0.0.0.0:4059 or serial:///dev/ttyUSB0?baud=2400&parity=even"


@dataclass(frozen=True, slots=True)
class Socket:
    """A TCP or UDP port of ours; port 0 takes a free one."""

    kind: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial device of ours, and how it is set."""

    device: str
    parameters: SerialParameters = field(default=SerialParameters(baud=CUSTOMER_PORT_BAUD))


def parse_listen(text: str) -> Socket | SerialPort:
    """What `listen` says.

    :raises ValueError: when it is not one of the forms; the message says how to write it.
    """
    parts = urlsplit(text)
    if parts.scheme in ("tcp", "udp"):
        try:
            port = parts.port
        except ValueError:
            port = None
        if not parts.hostname or port is None or parts.query or parts.path not in ("", "/"):
            raise ValueError(f"{text!r} is not a place to listen; write {_FORMS}")
        return Socket(parts.scheme, parts.hostname, port)
    if parts.scheme == "serial":
        address = parse_link(text)
        if address.mode_e is not None:
            raise ValueError(f"{text!r}: a meter that sends by itself wants no handshake; remove handshake")
        stated = "baud" in parse_qs(parts.query)
        return SerialPort(address.device, address.serial if stated else replace(address.serial, baud=CUSTOMER_PORT_BAUD))
    raise ValueError(f"{text!r} is not a place to listen; write {_FORMS}")
