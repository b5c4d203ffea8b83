"""A relay in front of a meter that cuts every connection after so many bytes from the meter, so many times."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from urllib.parse import urlsplit

_PIECE = 512


class CuttingRelay:
    """Passes bytes on in both directions until it cuts.

    :arg target: tcp://host:port of the meter.
    :arg after: bytes from the meter after which each of the next `cuts` connections is cut.
    """

    def __init__(self, target: str, after: int, cuts: int) -> None:
        url = urlsplit(target)
        assert url.hostname is not None and url.port is not None
        self._target = (url.hostname, url.port)
        self._after = after
        self.left = cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> CuttingRelay:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            meter = socket.create_connection(self._target)
            threading.Thread(target=self._forward, args=(client, meter), daemon=True).start()
            threading.Thread(target=self._back, args=(meter, client), daemon=True).start()

    def _forward(self, client: socket.socket, meter: socket.socket) -> None:
        try:
            while data := client.recv(_PIECE):
                meter.sendall(data)
        except OSError:
            pass
        finally:
            _close(meter)

    def _back(self, meter: socket.socket, client: socket.socket) -> None:
        passed = 0
        try:
            while data := meter.recv(_PIECE):
                passed += len(data)
                if self.left > 0 and passed > self._after:
                    self.left -= 1
                    return
                client.sendall(data)
        except OSError:
            pass
        finally:
            _close(client)
            _close(meter)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
