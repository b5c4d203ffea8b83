"""A serial port of this host, through pyserial: any baud rate, parity and stop bits, RS-485 direction by RTS.

pyserial opens and sets the port; reading and writing go past it, without ever waiting, on the event loop. The port has
one owner per host: it is locked (flock) for programs that ask, and closed to all others (TIOCEXCL).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import termios
from pathlib import Path

import serial
from serial import rs485

from connectors.dlms.link.inbox import Inbox
from connectors.dlms.link.port_owner import owner_of
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.link_address import SerialParameters

READ_SIZE = 4096
DRAIN_LOOK = 0.005
"""Seconds between two looks whether everything written is out on the line."""

HUNG_UP = 10
"""Times in a row that a port said to have something to read and had nothing, after which it counts as gone."""

_PARITIES = {
    "none": serial.PARITY_NONE,
    "even": serial.PARITY_EVEN,
    "odd": serial.PARITY_ODD,
    "mark": serial.PARITY_MARK,
    "space": serial.PARITY_SPACE,
}


class SerialPortLink:
    """An open serial port."""

    def __init__(self, device: str, port: serial.Serial) -> None:
        self._device = device
        self._port = port
        self._inbox = Inbox()
        self._empty = 0
        self._unsent = bytearray()
        self._writable = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._descriptor: int = port.fileno()
        self._loop.add_reader(self._descriptor, self._readable)

    @classmethod
    def open(cls, device: str, parameters: SerialParameters) -> SerialPortLink:
        """Open `device` for this process alone; needs a running loop.

        :raises MeterError: when there is no such port, another program has it, or it cannot be set like that.
        """
        try:
            port = serial.Serial(device, timeout=0, write_timeout=0, exclusive=True, **_settings(parameters))
        except (OSError, ValueError, termios.error) as error:
            raise _refusal(device, parameters, error) from error
        try:
            fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
            if parameters.rs485 is not None:
                high = parameters.rs485 == "rts-high"
                port.rs485_mode = rs485.RS485Settings(rts_level_for_tx=high, rts_level_for_rx=not high)
        except (OSError, ValueError, termios.error) as error:
            port.close()
            raise MeterError(
                ErrorKind.CONNECT,
                f"{device} has no RS-485 direction control: {error}",
                "leave rs485 out where the adapter switches by itself (most USB adapters do), or use a port whose driver supports it",
            ) from error
        return cls(device, port)

    @property
    def closed(self) -> bool:
        """Whether the port is gone, such as a USB adapter that was pulled out."""
        return self._inbox.broken

    @property
    def prompt(self) -> None:
        """It has to be waited for."""
        return None

    async def write(self, data: bytes) -> None:
        """Hand `data` to the port; returns when the system has taken all of it.

        :raises MeterError: when the port is gone.
        """
        self._inbox.check()
        self._unsent += data
        self._send()
        while self._unsent:
            self._writable.clear()
            await self._writable.wait()
            self._inbox.check()

    async def read(self, within: float | None = None) -> bytes:
        """Whatever has arrived, at least one byte.

        :raises MeterError: when the port is gone.
        """
        return await self._inbox.read(within)

    async def configure(self, parameters: SerialParameters) -> None:
        """Set the port once everything written is out on the line; what arrived before is thrown away.

        :raises MeterError: when the port is gone or cannot be set like that.
        """
        try:
            while not self.closed and self._port.out_waiting:
                await asyncio.sleep(DRAIN_LOOK)
            self._inbox.check()
            self._port.apply_settings(_settings(parameters))
        except (OSError, ValueError, termios.error) as error:
            raise _refusal(self._device, parameters, error) from error
        self._inbox.clear()

    async def close(self) -> None:
        """Close the port; never raises."""
        if self._descriptor < 0:
            return
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._descriptor, termios.TIOCNXCL)
        self._descriptor = -1
        self._inbox.fail(MeterError(ErrorKind.LINK_LOST, f"{self._device} is closed"))
        self._writable.set()
        with contextlib.suppress(OSError):
            self._port.close()

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(os.strerror(error.errno or errno.EIO))
            return
        self._empty = 0 if data else self._empty + 1
        if data:
            self._inbox.put(data)
        elif self._empty >= HUNG_UP:
            self._lost("it has hung up")

    def _send(self) -> None:
        try:
            del self._unsent[: os.write(self._descriptor, self._unsent)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._lost(os.strerror(error.errno or errno.EIO))
            self._inbox.check()
        if self._unsent:
            self._loop.add_writer(self._descriptor, self._send_more)

    def _send_more(self) -> None:
        self._loop.remove_writer(self._descriptor)
        with contextlib.suppress(MeterError):  # the writer finds it in the inbox
            self._send()
        if not self._unsent or self.closed:
            self._writable.set()

    def _lost(self, reason: str) -> None:
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._unsent.clear()
        what = f"the serial port {self._device} is gone: {reason}"
        self._inbox.fail(MeterError(ErrorKind.LINK_LOST, what, "was the adapter pulled out, or did its driver reset it?"))
        self._writable.set()


def _settings(parameters: SerialParameters) -> dict[str, object]:
    return {
        "baudrate": parameters.baud,
        "parity": _PARITIES[parameters.parity],
        "bytesize": parameters.data_bits,
        "stopbits": int(parameters.stop_bits) if parameters.stop_bits != 1.5 else serial.STOPBITS_ONE_POINT_FIVE,
    }


def _refusal(device: str, parameters: SerialParameters, error: Exception) -> MeterError:
    number = _number(error)
    if number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK):
        return MeterError(
            ErrorKind.CONNECT,
            f"the serial port {device} already belongs to {owner_of(device)}",
            "a serial port has one owner: stop the other program, and write the same connect for all meters of this port",
        )
    if number == errno.ENOENT:
        return missing_port(device)
    if number in (errno.EACCES, errno.EPERM):
        return forbidden_port(device)
    if number in (errno.ENOTTY, errno.EINVAL) or isinstance(error, ValueError):
        what, remedy = f"{device} cannot be set to {parameters}: {error}", "check that it is a serial port, and what its driver supports"
    else:
        what, remedy = f"cannot open {device}: {error}", "check the adapter and its driver (dmesg)"
    return MeterError(ErrorKind.CONNECT, what, remedy)


def missing_port(device: str) -> MeterError:
    """Why a serial port that is not there cannot be opened."""
    remedy = "check the name (ls /dev/serial/by-id) and that the adapter is plugged in"
    return MeterError(ErrorKind.CONNECT, f"there is no serial port {device}", remedy)


def forbidden_port(device: str) -> MeterError:
    """Why a serial port that this user has no right to cannot be opened."""
    group = _group(device)
    remedy = f"add the user to the group {group} and log in again, or in systemd set SupplementaryGroups={group}"
    return MeterError(ErrorKind.CONNECT, f"this user may not open {device}", remedy)


def _number(error: BaseException | None) -> int | None:
    """The system's error number, which pyserial does not always hand on."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if isinstance(error, termios.error):
            return int(error.args[0])
        error = error.__context__
    return None


def _group(device: str) -> str:
    try:
        return Path(device).group()
    except (OSError, KeyError):
        return "dialout"
