"""The invocation counters of a meter: its own, and the last one accepted from each client."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson

_HIGHEST = 0xFFFFFFFF


class InvocationCounters:
    """They belong to the global keys and outlive associations and connections; with a file, restarts too.

    Each client has one global key, so a counter per client SAP is one per client and key. The counters of a dedicated
    key end with its association and are not kept here.

    :arg server: the last one the meter has used.
    :arg client: the last one accepted from each client; None where none was.
    :arg clients: SAPs with keys.
    :arg file: read where it exists, written at each change; what it says goes before `server` and `client`.
    :raises ValueError: when the file does not hold counters.
    :raises OSError: when it cannot be read or written.
    """

    def __init__(self, server: int, client: int | None, clients: Iterable[int], file: Path | None = None) -> None:
        self._server = server
        self._clients: dict[int, int] = {} if client is None else dict.fromkeys(clients, client)
        self._file = file
        if file is not None and file.exists():
            self._load(file)
        self._save()

    def take(self) -> int:
        """The next of the meter's own counters."""
        self._server += 1
        self._save()
        return self._server

    @property
    def server(self) -> int:
        """The last one the meter has used."""
        return self._server

    def last(self, client: int) -> int | None:
        """The last counter accepted from a client, None where there is none yet."""
        return self._clients.get(client)

    def is_new(self, client: int, counter: int) -> bool:
        """Whether a counter is above the last one accepted."""
        return counter > self._clients.get(client, -1)

    def accept(self, client: int, counter: int) -> None:
        """Refuse from now on all up to this one."""
        self._clients[client] = max(counter, self._clients.get(client, -1))
        self._save()

    def _load(self, file: Path) -> None:
        try:
            content = orjson.loads(file.read_bytes())
            server, clients = int(content["server"]), {int(sap): int(counter) for sap, counter in content["clients"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            server, clients = -1, {}
        if not all(0 <= counter <= _HIGHEST for counter in (server, *clients.values())):
            raise ValueError(f"{file} does not hold invocation counters; remove it, or name another counter_file")
        self._server = max(self._server, server)
        self._clients.update(clients)

    def _save(self) -> None:
        if self._file is None:
            return
        content = {"server": self._server, "clients": {str(sap): counter for sap, counter in self._clients.items()}}
        fresh = self._file.with_name(self._file.name + ".new")
        fresh.write_bytes(orjson.dumps(content))
        fresh.replace(self._file)
