"""The API asked in process, over an installation that is made of what the real sinks write."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from connectors.archive.schema import FILE_NAME
from connectors.archive.store import ArchiveStore
from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.outbox_schema import FILE_NAME as OUTBOX_NAME
from connectors.thingsboard.payload import Kind, Record, encode_record
from dashboard.app import Api
from dashboard.installation import Installation
from flows.embedded import check_virtual_meter
from flows.registry import installed_node_types
from model.messages import (
    FLEET,
    Alert,
    Cycle,
    ErrorKind,
    Gap,
    GapState,
    HealthReport,
    Message,
    Origin,
    Outcome,
    RawValue,
    ReadError,
    Reading,
    Rejection,
    Severity,
    Value,
)
from model.settings.thingsboard import SINGLE
from model.status import NodeStatus, ProcessStatus, SessionEnd, SessionStatus, encode_status, status_file
from model.timestamps import to_ms

TOKEN_IN_FILE = "Literal-Token-4711"
PASSWORD_IN_FILE = "Meter-Password-8"
KEY_IN_FILE = "00112233445566778899AABBCCDDEEFF"
SECRET_IN_SECRET_FILE = "Only-In-A-File-3"
SECRETS = (TOKEN_IN_FILE, PASSWORD_IN_FILE, KEY_IN_FILE, SECRET_IN_SECRET_FILE)
HOUR = timedelta(hours=1)
QUARTER = timedelta(minutes=15)

PIPELINE = f"""\
thingsboard:
  url: mqtts://thingsboard.example.org
  token: ${{API_TEST_TOKEN:-{TOKEN_IN_FILE}}}
templates:
  plain: {{interval: 60s, read: {{voltage: "1-0:32.7.0", energy: "1-0:1.8.0"}}, profiles: {{load: "1-0:99.1.0"}}}}
meters:
  - {{id: good, connect: "tcp://192.0.2.1:4059", framing: wrapper, template: plain, device_name: Good house, tags: {{street: Elm}}}}
  - id: partial
    connect: tcp://192.0.2.2:4059
    framing: wrapper
    template: plain
    client_sap: 32
    authentication: low
    password: "{PASSWORD_IN_FILE}"  # was: {PASSWORD_IN_FILE}
  - id: silent
    connect: tcp://192.0.2.3:4059
    framing: wrapper
    template: plain
    authentication: high-gmac
    security_policy: authenticated-encryption
    block_cipher_key: {KEY_IN_FILE}
    authentication_key: {KEY_IN_FILE}
    client_system_title: 4D4D4D0000000001
  - id: new
    connect: tcp://192.0.2.4:4059
    framing: wrapper
    template: plain
    authentication: low
    password: file:secret
nodes:
  - {{id: meters, type: dlms-in}}
  - {{id: receipts, type: receipts-in}}
  - {{id: mapped, type: map, inputs: [meters]}}
  - {{id: checked, type: validate, inputs: [mapped], settings: {{rules: {{energy: {{monotonic: true}}}}}}}}
  - {{id: health, type: health, inputs: [meters, checked, checked.rejected, mapped.rejected, receipts]}}
  - {{id: thingsboard, type: thingsboard-out, inputs: [checked]}}
  - {{id: archive, type: archive-out, inputs: [meters, checked, checked.rejected, mapped.rejected, health]}}
"""


class Site:
    """One installation in a folder; `now` is the time that everything in it is made for."""

    def __init__(self, folder: Path, pipeline: str = PIPELINE) -> None:
        self.folder = folder
        self.file = folder / "pipeline.yaml"
        self.state_dir = folder / "state"
        self.archive = self.state_dir / FILE_NAME
        self.now = datetime.now(timezone.utc).replace(microsecond=0)
        self.file.write_text(pipeline)
        (folder / "secret").write_text(SECRET_IN_SECRET_FILE + "\n")

    def keep(self, *messages: Message) -> None:
        """Write messages to the archive, as archive-out does."""
        store = ArchiveStore(self.archive, 86400.0 * 36500, to_ms(self.now))
        store.write(messages)
        store.close()

    def fill(self) -> None:
        """A bit of everything in the archive, and two records in the outbox."""
        self.keep(*self.history())
        outbox = Outbox(self.state_dir / OUTBOX_NAME)
        for ts, origin in ((1_000, "poll"), (to_ms(self.midnight()), "profile")):
            read_at = to_ms(self.now) - 2_000
            outbox.append([Record("Good house", "good", Kind.TELEMETRY, ts, encode_record(ts, {"x": 1}), origin, 1, read_at, 1)])
        outbox.close()

    def history(self) -> list[Message]:
        """What the archive is filled with: one meter per state."""
        silent = ReadError(None, ErrorKind.TIMEOUT, "no reply", "check the link")
        refused = ReadError("energy", ErrorKind.ACCESS, "read-write-denied", "use another client")
        return [
            *(self.reading("good", "voltage", Decimal("230.10") + n, -n) for n in range(50)),
            self.reading("good", "serial", "00012345", -1),
            self.reading("good", "huge", 2**70, -1),
            self.reading("good", "tiny", Decimal("1E-7"), -1),
            self.reading("good", "open", True, -1),
            self.reading("gone", "voltage", 229, -3),
            *(
                replace(self.reading("good", "energy", 1000 + n, 0), ts=self.midnight() - n * QUARTER, origin=Origin.PROFILE)
                for n in range(96)
                if n not in (10, 11)
            ),
            self.cycle("good", Outcome.OK),
            self.cycle("partial", Outcome.PARTIAL, refused),
            self.cycle("silent", Outcome.FAILED, silent),
            Rejection(self.reading("partial", "voltage", Decimal("999.9"), -1), "max", "999.9 is above 300"),
            *(self.report("good", 1, 1, minutes) for minutes in range(1, 70)),
            self.report("partial", 2, 1, 1),
            self.report("silent", 1, 0, 1, "timeout: no reply"),
            self.report(FLEET, 4, 2, 1, "timeout: no reply"),
            Alert("meter-silent", "silent", Severity.CRITICAL, True, self.now - HOUR, "no reading for an hour", "check the link"),
            Alert("clock-off", "good", Severity.WARNING, True, self.now - 3 * HOUR, "its clock is off", "set it"),
            Alert("clock-off", "good", Severity.WARNING, False, self.now - 2 * HOUR, "its clock is right", ""),
            self.gap("good", 11, 2, GapState.OPEN),
            self.gap("silent", 300, 4, GapState.LOST),
            self.gap("silent", 400, 4, GapState.CLOSED),
        ]

    def midnight(self) -> datetime:
        """The last midnight, UTC."""
        return self.now.replace(hour=0, minute=0, second=0)

    def reading(self, meter: str, key: str, value: Value, minutes: float) -> Reading:
        """One polled reading, made so many minutes from now."""
        ts = self.now + timedelta(minutes=minutes)
        return Reading(meter, key, value, "V", ts, Origin.POLL, ts)

    def cycle(self, meter: str, outcome: Outcome, *errors: ReadError) -> Cycle:
        """One cycle, a minute ago."""
        at = self.now - timedelta(minutes=1)
        values = () if outcome is Outcome.FAILED else (RawValue("voltage", 2300, -1, 35),)
        return Cycle(meter, at - timedelta(milliseconds=20), at, 0.7, outcome, values, errors, 5)

    def report(self, meter: str, cycles: int, ok: int, minutes: int, error: str | None = None) -> HealthReport:
        """The report of the window that ended so many minutes ago, less one; a failed cycle where `error` says why, else partial ones."""
        start = self.now - timedelta(minutes=minutes)
        failed = 1 if error else 0
        counts = (cycles, ok, cycles - ok - failed, failed, cycles - failed, 5 * ok, 0, 5 * ok, ok, 1, 6, 1)
        return HealthReport(meter, start, start + timedelta(minutes=1), *counts, (0.5, 0.7), start if ok else None, None, error)

    def gap(self, meter: str, quarters: int, intervals: int, state: GapState) -> Gap:
        """Missing intervals of the profile `load`, beginning so many quarters before midnight."""
        start = self.midnight() - quarters * QUARTER
        end = start + (intervals - 1) * QUARTER
        return Gap(meter, "load", start, end, intervals, state, start, self.now, "the meter does not answer", 2, 4, 94)

    def run(
        self,
        *,
        ended: bool = False,
        session: str = "up",
        processes: int = 1,
        pid: int | None = None,
        several: Mapping[str, str] | None = None,
    ) -> None:
        """Let the status files say that the flow runs, in this very process.

        :arg several: states of sessions by name, in place of the only one.
        """
        for number in range(processes):
            end = SessionEnd(self.now - HOUR, "taken-over", 142, "another client with this token", 12.5)
            owned = SessionStatus(
                "mqtts://thingsboard.example.org:8883",
                "dlms-1",
                "5",
                session,
                self.now - HOUR,
                100,
                99,
                (end,),
                {"taken-over": 3},  # type: ignore[arg-type]
            )
            status = ProcessStatus(
                pid=os.getpid() if pid is None else pid,
                host=socket.gethostname(),
                process=number,
                processes=processes,
                started=self.now - timedelta(seconds=100),
                written=datetime.now(timezone.utc),
                pipeline="pipeline.yaml",
                ended=self.now if ended else None,
                nodes={
                    "meters": NodeStatus("dlms-in", {"main": 500}, self.now),
                    "mapped": NodeStatus("map", {"main": 1000, "rejected": 0}, self.now),
                    "checked": NodeStatus("validate", {"main": 990, "rejected": 10}, self.now),
                    "archive": NodeStatus("archive-out"),
                    **({"thingsboard": NodeStatus("thingsboard-out")} if several is not None else {}),
                },
                sessions=tuple(
                    replace(owned, name=name, state=state)  # type: ignore[arg-type]
                    for name, state in ({SINGLE: session} if several is None else several).items()
                )
                if number == 0
                else (),
            )
            file = status_file(self.state_dir, number)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_status(status))

    def api(self, token: str | None = None) -> Api:
        """The API over this installation."""
        return Api(Installation(self.file, installed_node_types(), check_virtual_meter), token)


class Client:
    """Asks one API in process."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def get(self, path: str, **headers: str) -> httpx.Response:
        """The answer to GET."""

        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self.api.application)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(once())

    def json(self, path: str) -> Any:
        """What a question is answered with, which must be 200."""
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()


@contextmanager
def client_of(site: Site) -> Iterator[Client]:
    """A client that closes what it opened."""
    api = site.api()
    try:
        yield Client(api)
    finally:
        api.installation.close()
