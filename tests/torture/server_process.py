"""`python -m tests.torture.server_process FILE [HOST]`: the ThingsBoard stand-in in a process that a test may kill.

Prints its port. A line of JSON sets fields of `Misbehaviour`, or with {"listen": false} closes the port and all sessions.
What it accepts it keeps in FILE before it acknowledges; besides the points there, `arrival` has every value that was new or
other than the one before, in the order of arrival.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

import structlog

from simulator.thingsboard.accounts import Account
from simulator.thingsboard.journal import SqliteJournal
from simulator.thingsboard.packets import Publish
from simulator.thingsboard.payload import StoredValue
from simulator.thingsboard.stand_in import StandIn
from simulator.thingsboard.store import Store
from tests.contract.pipeline_process import TOKEN
from tests.ports import free_port
from tests.torture.told import lines_told


class Chronicle(SqliteJournal):
    """A journal that forgets nothing that was overwritten."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._db.execute("CREATE TABLE IF NOT EXISTS arrival (device TEXT, key TEXT, ts INTEGER, value TEXT)")

    def add_points(self, name: str, ts: int, values: list[tuple[str, StoredValue]]) -> None:
        """Values of one timestamp are new or have changed."""
        self._write("INSERT INTO arrival VALUES (?, ?, ?, ?)", [(name, key, ts, json.dumps(value)) for key, value in values])
        super().add_points(name, ts, values)


async def serve(file: Path, host: str) -> None:
    """Run until the end of the input."""
    journal = Chronicle(file)
    server = StandIn([Account("gateway", TOKEN, gateway=True)], store=Store(journal))
    server.misbehaviour.ack_matching = _is_telemetry
    await server.start(host, free_port())
    print(json.dumps(server.port), flush=True)
    async for told in lines_told():
        listen = told.pop("listen", None)
        if listen is not None:
            await (server.start_listening() if listen else server.stop_listening())
        for name, value in told.items():
            setattr(server.misbehaviour, name, value)
    await server.stop()
    journal.close()


def _is_telemetry(message: Publish) -> bool:
    return message.topic == "v1/gateway/telemetry"


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    asyncio.run(serve(Path(sys.argv[1]), *(sys.argv[2:3] or ["127.0.0.1"])))
