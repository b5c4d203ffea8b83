"""A TCP relay that can be cut: then what is under way is swallowed and no new connection comes about, as behind a dead link."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from types import TracebackType

from tests.ports import free_port

CHUNK = 65_536
PATIENCE = 0.05
"""Seconds between two looks at whether the relay was cut or closed."""


class Proxy:
    """Relays 127.0.0.1:`port` to another port, from `with` to its end."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._cut = threading.Event()
        self._refusing = threading.Event()
        self._closed = threading.Event()
        self._blockers: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port = free_port()
        self._listener = self._listen(self.port, 16)

    def __enter__(self) -> Proxy:
        self._serve()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()
        self._cut.clear()
        for thread in self._threads:
            thread.join(5.0)
        self._listener.close()
        for blocker in self._blockers:
            blocker.close()

    def cut(self) -> None:
        """From now on nothing gets through and nobody is told. New connections hang: the kernel drops what a full queue cannot hold."""
        self._cut.set()
        self._listener.close()
        self._threads[0].join(5.0)
        self._listener = self._listen(self.port, 0)
        for _ in range(2):
            blocker = socket.socket()
            blocker.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                blocker.connect(("127.0.0.1", self.port))
            self._blockers.append(blocker)

    def refuse(self) -> None:
        """Listen no longer, as if the relay were the server and it had been stopped; what is connected stays so."""
        self._listener.close()
        self._refusing.set()
        self._threads[0].join(5.0)

    def mend(self) -> None:
        """Relay again; what was under way stays lost."""
        self._listener.close()
        for blocker in self._blockers:
            blocker.close()
        self._blockers.clear()
        self._listener = self._listen(self.port, 16)
        self._cut.clear()
        self._refusing.clear()
        self._serve()

    def _serve(self) -> None:
        self._threads.insert(0, threading.Thread(target=self._accept, args=(self._listener,), daemon=True))
        self._threads[0].start()

    def _accept(self, listener: socket.socket) -> None:
        while not (self._closed.is_set() or self._cut.is_set() or self._refusing.is_set()):
            try:
                if not select.select([listener], [], [], PATIENCE)[0]:
                    continue
                client, _ = listener.accept()
            except (OSError, ValueError):
                return
            thread = threading.Thread(target=self._relay, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _relay(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            while not self._closed.is_set():
                readable = select.select([client, server], [], [], PATIENCE)[0]
                if self._cut.is_set():
                    self._swallow(client)
                    return
                for source in readable:
                    data = source.recv(CHUNK)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)

    def _swallow(self, client: socket.socket) -> None:
        """Take what the client sends until it gives up, and answer nothing."""
        while not self._closed.is_set():
            if select.select([client], [], [], PATIENCE)[0] and not client.recv(CHUNK):
                return

    @staticmethod
    def _listen(port: int, backlog: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(backlog)
        return listener
