"""Sends what a virtual meter pushes to whoever listens."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit

from model.obis import parse_logical_name
from simulator.meter.axdr import TypedValue
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.logical_device import LogicalDevice
from simulator.push.framing import FRAMINGS, SHORT_SEGMENTS, blocks
from simulator.push.notification import STYLES, data_notification, event_notification, meter_time
from simulator.push.protection import Protection

DEFAULT_OBJECTS = ("1-0:32.7.0", "1-0:31.7.0", "1-0:1.7.0", "1-0:1.8.0")
_CONNECT_TIMEOUT = 10.0


@dataclass
class PushOptions:
    """How a virtual meter pushes.

    :arg style: how the body looks, a name from `STYLES`.
    :arg framing: a name from `FRAMINGS`.
    :arg block_size: bytes in each block of general-block-transfer; 0 sends the APDU in one piece.
    :arg short_segments: HDLC information fields of 60 bytes, so that an APDU takes several.
    :arg with_time: whether the notification states the meter's time.
    :arg objects: what is pushed, OBIS codes.
    :raises ValueError: for a style or framing that is not known.
    """

    style: str = "list"
    framing: str = "wrapper"
    block_size: int = 0
    short_segments: bool = False
    with_time: bool = True
    objects: tuple[str, ...] = DEFAULT_OBJECTS
    protection: Protection | None = None

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style {self.style!r} is not known; possible are {', '.join(STYLES)}")
        if self.framing not in FRAMINGS:
            raise ValueError(f"framing {self.framing!r} is not known; possible are {', '.join(FRAMINGS)}")


@dataclass
class PushingMeter:
    """A virtual meter that makes notifications: their bytes, framed and ciphered as the options say."""

    config: MeterConfig
    options: PushOptions = field(default_factory=PushOptions)

    def __post_init__(self) -> None:
        self.device = LogicalDevice(self.config, Behaviour())
        self._number = 0

    def data(self, at: float) -> bytes:
        """A DataNotification of Unix seconds `at`."""
        names = [parse_logical_name(obis) for obis in self.options.objects]
        body = STYLES[self.options.style](self.device, names, at)
        self._number += 1
        return self.framed(data_notification(self._number, body, meter_time(self.device, at) if self.options.with_time else b""))

    def event(self, obis: str, class_id: int, index: int, value: TypedValue, at: float) -> bytes:
        """An EventNotification of one attribute."""
        time_ = meter_time(self.device, at) if self.options.with_time else b""
        return self.framed(event_notification(class_id, parse_logical_name(obis), index, value, time_))

    def framed(self, apdu: bytes) -> bytes:
        """The bytes on the line of any APDU."""
        protection = self.options.protection
        whole = apdu if protection is None else protection.protect(apdu)
        parts = blocks(whole, self.options.block_size) if self.options.block_size else [whole]
        frame: Callable[[bytes, int], bytes] = FRAMINGS[self.options.framing]
        if self.options.short_segments and self.options.framing == "hdlc":
            frame = SHORT_SEGMENTS
        return b"".join(frame(part, self.config.server_logical) for part in parts)


class Line:
    """Where to: tcp://host:port, udp://host:port or serial:///dev/ttyX. A context manager.

    :raises ValueError: when it is none of these.
    :raises OSError: when nobody is there.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._socket: socket.socket | None = None
        self._file = -1
        if parts.scheme == "tcp":
            self._socket = socket.create_connection((parts.hostname or "", parts.port or 0), _CONNECT_TIMEOUT)
        elif parts.scheme == "udp":
            family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.connect((parts.hostname or "", parts.port or 0))
        elif parts.scheme == "serial" and parts.path:
            self._file = os.open(parts.path, os.O_WRONLY | os.O_NOCTTY)
        else:
            raise ValueError(f"{target!r} is not a target; write tcp://host:port, udp://host:port or serial:///dev/ttyX")

    def send(self, data: bytes) -> None:
        """Send the bytes of one notification."""
        if self._socket is not None:
            self._socket.sendall(data)
        else:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]

    def close(self) -> None:
        """Close the line."""
        if self._socket is not None:
            self._socket.close()
        elif self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Line:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def push(meter: PushingMeter, target: str, count: int = 1, every: float = 0.0) -> None:
    """Send `count` notifications (0: for ever), one each `every` seconds."""
    with Line(target) as line:
        sent = 0
        while not count or sent < count:
            if sent:
                time.sleep(every)
            line.send(meter.data(time.time()))
            sent += 1
