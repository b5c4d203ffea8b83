"""Where a `dlms-push-in` node listens: `tcp://`, `udp://` or `serial://`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

_PARITIES = {"none": "N", "even": "E", "odd": "O"}
_FORMS = "tcp://0.0.0.0:4059, udp://0.0.0.0:4059 or serial:///dev/ttyUSB0?baud=2400&parity=even"


@dataclass(frozen=True, slots=True)
class Socket:
    """A TCP or UDP port of ours; port 0 takes a free one."""

    kind: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial device of ours: `parity` N, E or O."""

    device: str
    baud: int = 2400
    parity: str = "N"
    stop_bits: int = 1


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
    if parts.scheme == "serial" and not parts.netloc and len(parts.path) > 1:
        return _serial_port(text, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)))
    raise ValueError(f"{text!r} is not a place to listen; write {_FORMS}")


def _serial_port(text: str, device: str, options: dict[str, str]) -> SerialPort:
    unknown = sorted(set(options) - {"baud", "parity", "stop_bits"})
    if unknown:
        raise ValueError(f"{text!r}: unknown option {unknown[0]}; a serial port has baud, parity and stop_bits")
    baud, parity, stop_bits = options.get("baud", "2400"), options.get("parity", "none"), options.get("stop_bits", "1")
    if not (baud.isdecimal() and 50 <= int(baud) <= 4_000_000):
        raise ValueError(f"{text!r}: {baud!r} is not a baud rate; write a number such as 2400")
    if parity not in _PARITIES:
        raise ValueError(f"{text!r}: {parity!r} is not a parity; write none, even or odd")
    if stop_bits not in ("1", "2"):
        raise ValueError(f"{text!r}: {stop_bits!r} stop bits are impossible; write 1 or 2")
    return SerialPort(device, int(baud), _PARITIES[parity], int(stop_bits))
