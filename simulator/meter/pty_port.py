"""The client's end of a line as a pseudo terminal: a program opens it as it opens a serial port."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from pathlib import Path

from simulator.meter.shared_line import SharedLine

_READ_SIZE = 4096
_SPEEDS = {
    getattr(termios, name): int(name[1:]) for name in dir(termios) if name.startswith("B") and name[1:].isdigit() and int(name[1:]) > 0
}


class PtyPort:
    """A pseudo terminal with a line behind it; `path` is what a client opens.

    :arg link: a second, lasting name for it: a symbolic link that is made here and removed by `stop`.
    """

    def __init__(self, line: SharedLine, link: Path | None = None) -> None:
        self._line = line
        self._link = link
        self._master = self._slave = -1
        self.path = ""
        self.connections = 1
        self.rejected = 0

    @property
    def baud(self) -> int | None:
        """The baud rate the client has set."""
        return _SPEEDS.get(termios.tcgetattr(self._slave)[5])

    async def start(self) -> str:
        """Open it on the running loop and return its path."""
        self._master, self._slave = os.openpty()  # our own slave end keeps the line alive between two clients
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        if self._link is not None:
            self._link.symlink_to(self.path)
            self.path = str(self._link)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._master, self._readable)
        self._line.attach(self)
        return self.path

    async def stop(self) -> None:
        """Close it; the client sees its port go, as when an adapter is pulled out."""
        self._line.detach()
        self._loop.remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)
        if self._link is not None:
            self._link.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Deliver bytes to the client; what does not fit into its port is lost, as with real ones."""
        try:
            os.write(self._master, data)
        except BlockingIOError:
            return

    def _readable(self) -> None:
        try:
            data = os.read(self._master, _READ_SIZE)
        except (BlockingIOError, OSError):
            return
        if data:
            self._line.receive(data)
