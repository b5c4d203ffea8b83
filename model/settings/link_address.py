"""What `connect:` of a meter may say: one address for every kind of link, taken apart and checked.

    tcp://host:port                                        a meter, or a serial-to-TCP converter that passes bytes on
    udp://host:port                                        a meter that speaks the wrapper in datagrams (IEC 62056-47)
    serial:///dev/ttyUSB0?baud=9600&parity=even            a serial port of this host
    serial:///dev/ttyUSB0?handshake=mode-e&max_baud=9600   an optical head: IEC 62056-21 mode E before HDLC
    rfc2217://host:port?baud=9600                          a serial port behind a converter that can be told its baud rate
    push                                                   a meter that is never called and only sends notifications
    sim://profile                                          a virtual meter

An IPv6 address stands in brackets, tcp://[2001:db8::1]:4059.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast
from urllib.parse import SplitResult, parse_qsl, urlsplit

Scheme = Literal["tcp", "udp", "serial", "rfc2217", "push", "sim"]
Parity = Literal["none", "even", "odd", "mark", "space"]
Rs485 = Literal["rts-high", "rts-low"]

_NETWORK = ("tcp", "udp", "rfc2217")
_WRITE = (
    "write tcp://host:port (port 1 to 65535), udp://host:port, serial:///dev/ttyUSB0?baud=9600, rfc2217://host:port?baud=9600, "
    "push for a meter that only calls in, or sim://three-phase for a virtual meter"
)


@dataclass(frozen=True, slots=True)
class SerialParameters:
    """How a serial port is set.

    :arg baud: bits per second, any that the port can do.
    :arg rs485: which level of RTS makes the port drive an RS-485 line; None where the hardware does it by itself.
    """

    baud: int = 9600
    parity: Parity = "none"
    data_bits: int = 8
    stop_bits: float = 1
    rs485: Rs485 | None = None

    @property
    def bits_per_byte(self) -> float:
        """Bits on the line per byte: start, data, parity, stop."""
        return 1 + self.data_bits + (self.parity != "none") + self.stop_bits

    def __str__(self) -> str:
        return f"{self.baud} {self.data_bits}{self.parity[0].upper()}{self.stop_bits:g}"


@dataclass(frozen=True, slots=True)
class ModeE:
    """The handshake of IEC 62056-21 mode E (clause 6.4.5 and annex E of edition 1) that comes before HDLC.

    :arg device_address: the meter's address in the request message; empty for whichever meter the optical head sits on.
    :arg max_baud: the highest baud rate to change to; the one the meter offers where it is None.
    """

    device_address: str = ""
    max_baud: int | None = None


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address taken apart; which fields mean something depends on `scheme`."""

    scheme: Scheme
    host: str = ""
    port: int = 0
    device: str = ""
    serial: SerialParameters = field(default=SerialParameters())
    mode_e: ModeE | None = None

    @property
    def line(self) -> str:
        """What two meters on the same physical line have in common: the address without its parameters."""
        return f"{self.scheme}://{self.device or authority(self.host.lower(), self.port)}"

    @property
    def can_be_shared(self) -> bool:
        """Whether several meters may be behind it; a virtual one has a link of its own, and one that only pushes has none."""
        return self.scheme not in ("push", "sim")

    @property
    def is_serial_port(self) -> bool:
        """Whether it is a serial port of this host, which has one owner at a time."""
        return self.scheme == "serial"


def authority(host: str, port: int) -> str:
    """host:port as a url writes it, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_link(connect: str) -> LinkAddress:
    """Take `connect` apart.

    :raises ValueError: when it is not one of the addresses above; the message says what is wrong and what to write.
    """
    if connect == "push":
        return LinkAddress("push")
    try:
        parts = urlsplit(connect)
        port = parts.port
    except ValueError:
        raise _not_a_link(connect) from None
    if parts.scheme == "sim":
        return LinkAddress("sim", host=parts.netloc)
    options = _options(connect, parts)
    if parts.scheme in _NETWORK and parts.hostname and port and parts.path in ("", "/") and parts.username is None:
        return _network(connect, parts.scheme, parts.hostname, port, options)
    if parts.scheme == "serial" and not parts.netloc and parts.path.startswith("/") and len(parts.path) > 1:
        serial, mode_e = _serial(options, rs485=True)
        return LinkAddress("serial", device=parts.path, serial=serial, mode_e=mode_e)
    raise _not_a_link(connect)


def _not_a_link(connect: str) -> ValueError:
    return ValueError(f"{connect!r} is not a link; {_WRITE}")


def _options(connect: str, parts: SplitResult) -> dict[str, str]:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs) or parts.fragment:
        raise ValueError(f"{connect!r} says something twice or has a #; write every option once, such as ?baud=9600&parity=even")
    return options


def _network(connect: str, scheme: str, host: str, port: int, options: dict[str, str]) -> LinkAddress:
    if scheme == "rfc2217":
        serial, mode_e = _serial(options, rs485=False)
        return LinkAddress("rfc2217", host, port, serial=serial, mode_e=mode_e)
    if "handshake" in options:
        raise ValueError(
            f"{connect!r}: the handshake of mode E changes the baud rate, which cannot be done over {scheme}://; "
            "use serial:// or rfc2217://, or set the converter and the meter to a fixed baud rate and leave the handshake out"
        )
    if options:
        raise ValueError(
            f"{connect!r}: {scheme}:// has no options ({', '.join(options)}); "
            "set baud rate and parity at the converter itself, or use rfc2217:// where it knows that"
        )
    return LinkAddress(cast(Scheme, scheme), host, port)


def _serial(options: Mapping[str, str], rs485: bool) -> tuple[SerialParameters, ModeE | None]:
    readers: dict[str, Callable[[str], object]] = {
        "baud": _baud,
        "parity": lambda text: _one_of(text, ("none", "even", "odd", "mark", "space")),
        "data_bits": lambda text: int(_one_of(text, ("5", "6", "7", "8"))),
        "stop_bits": lambda text: float(_one_of(text, ("1", "1.5", "2"))),
        **({"rs485": lambda text: _one_of(text, ("rts-high", "rts-low"))} if rs485 else {}),
    }
    handshake: dict[str, Callable[[str], object]] = {"address": _device_address, "max_baud": _baud}
    values: dict[str, object] = {}
    every: dict[str, Callable[[str], object]] = {**readers, **handshake, "handshake": lambda text: _one_of(text, ("mode-e",))}
    for name, text in options.items():
        reader = every.get(name)
        if reader is None:
            raise ValueError(f"unknown option {name!r}; possible are {', '.join((*readers, 'handshake', *handshake))}")
        try:
            values[name] = reader(text)
        except ValueError as error:
            raise ValueError(f"{name}={text}: {error}") from None
    if "handshake" not in values:
        surplus = [name for name in handshake if name in values]
        if surplus:
            raise ValueError(f"{surplus[0]} belongs to the handshake of an optical head; add handshake=mode-e, or remove it")
        return SerialParameters(**values), None  # type: ignore[arg-type]
    fixed = [name for name in values if name in readers and name != "rs485"]
    if fixed:
        raise ValueError(f"{fixed[0]} is agreed upon in the mode E handshake; leave it out, or write max_baud to limit the baud rate")
    mode_e = ModeE(cast(str, values.get("address", "")), cast("int | None", values.get("max_baud")))
    return SerialParameters(rs485=cast("Rs485 | None", values.get("rs485"))), mode_e


def _baud(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 50 <= int(text) <= 4_000_000:
        raise ValueError("a baud rate is a whole number; write 9600, or another from 50 to 4000000")
    return int(text)


def _one_of(text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ValueError(f"not possible; write {' or '.join((', '.join(choices[:-1]), choices[-1])) if choices[1:] else choices[0]}")
    return text


def _device_address(text: str) -> str:
    """IEC 62056-21 clause 6.3.1: at most 32 characters; digits, letters or spaces."""
    if len(text) > 32 or not all(character == " " or (character.isascii() and character.isalnum()) for character in text):
        raise ValueError("a device address has at most 32 digits, letters and spaces; write the one on the meter's plate, or leave it out")
    return text
