"""A session with its outbox, as the sink sets it up, for tests that play the server."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from connectors.thingsboard.client_id import client_id
from connectors.thingsboard.connection import parse_address, tls_context
from connectors.thingsboard.outbox import Device, Outbox
from connectors.thingsboard.payload import Kind, Record, encode_record
from connectors.thingsboard.session import Session
from model.messages import Value
from model.settings.thingsboard import ThingsBoardSettings


def reading(device: str, ts: int, **values: Value) -> Record:
    """A record with readings of a poll; the meter's id is the device's name in lower case."""
    return Record(device, device.lower(), Kind.TELEMETRY, ts, encode_record(ts, values), "poll", len(values), ts, len(values))


class RunningSession:
    """Outbox and session over a temporary folder; quick to come back unless told otherwise."""

    def __init__(self, folder: Path, url: str, **settings: Any) -> None:
        quick = {"token": "gw-token", "reconnect_min": 0.02, "reconnect_max": 0.2}
        self.settings = ThingsBoardSettings(url=url, **{**quick, **settings})
        self.file = folder / "outbox.sqlite"
        self.outbox = Outbox(self.file)
        address = parse_address(url)
        context = tls_context(self.settings) if address.tls else None
        self.session = Session(self.settings, address, client_id(folder), self.outbox, context)

    def __enter__(self) -> RunningSession:
        self.session.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.session.stop(1.5)
        self.outbox.close()

    def deliver(self, records: Sequence[Record], devices: Sequence[Device] = ()) -> None:
        """What the sink does with a batch."""
        self.outbox.append(records, devices)
        self.session.notify()

    def empty(self) -> bool:
        """Whether nothing waits any more."""
        return self.outbox.depth == 0

    def rows(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        """Rows of a table of the outbox file, in order of arrival."""
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as database:
            return list(database.execute(f"SELECT {columns} FROM {table} ORDER BY id"))  # noqa: S608

    def alerts(self) -> list[tuple[str, bool]]:
        """Evidence and whether raised, of every session alert so far."""
        return [(evidence, bool(raised)) for evidence, raised in self.rows("alerts", "evidence, raised")]
