"""How a fault is staged for the operator's tools: an installation with one thing wrong, and what `health` or `diagnose` says of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from commands.__main__ import app
from model.settings.meter import MeterSettings
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.sim_url import parse_sim_url
from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import TOKEN, PipelineProcess, pipeline, write_configuration

DEADLINE = 150.0
"""Seconds until a running pipeline must be healthy, or a fault of it be named."""

PLAIN = {"framing": "hdlc", "server_physical": 1234, "client_sap": 32, "authentication": "low", "password": "m3ter-password"}
WRAPPED = {**PLAIN, "framing": "wrapper", "server_physical": 0}
CIPHERED = {
    "framing": "wrapper",
    "client_sap": 1,
    "authentication": "high-gmac",
    "security_policy": "authenticated-encryption",
    "client_system_title": "4D4D4D0000000001",
    "block_cipher_key": bytes(range(16)).hex(),
    "authentication_key": bytes(range(100, 116)).hex(),
}
QUICK = {"exchange_timeout": 0.15, "retries": 0, "connect_timeout": 0.5, "backoff_min": 0.2, "backoff_max": 0.5}


@dataclass(frozen=True)
class Named:
    """One thing that a command says is wrong."""

    subject: str
    what: str
    remedy: str


@dataclass
class Ground:
    """A folder with a configuration, and whatever runs for it; everything ends with `stack`."""

    folder: Path
    stack: ExitStack
    configuration: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    file: Path | None = None

    def __post_init__(self) -> None:
        self.meters = self.stack.enter_context(BackgroundMeters())
        self.configuration = pipeline("embedded", [], 0.5)
        self.say_clock("yes")

    @property
    def section(self) -> dict[str, Any]:
        """The thingsboard section."""
        section: dict[str, Any] = self.configuration["thingsboard"]
        return section

    @property
    def state(self) -> Path:
        """state_dir."""
        return self.folder / "state"

    def meter(self, base: dict[str, Any], behaviour: Behaviour | None = None, id_: str = "lab", **more: Any) -> dict[str, Any]:
        """Start a virtual meter that fits `base` and add it to the configuration; its entry, to be made wrong.

        :arg more: fields of the meter's configuration.
        """
        described = MeterSettings.model_validate({"id": id_, "connect": "sim://three-phase", "template": "five", **base})
        config = replace(parse_sim_url("sim://three-phase", described).config, **more)
        entry = {"id": id_, "connect": self.meters.start(config, behaviour or Behaviour()), "template": "five", **base, **QUICK}
        self.configuration["meters"].append(entry)
        return entry

    def server(self, **settings: Any) -> BackgroundStandIn:
        """Start a stand-in with the pipeline's gateway and name it in the configuration."""
        server = self.stack.enter_context(BackgroundStandIn([Account("gateway", TOKEN, gateway=True)], **settings))
        self.section["url"] = server.address
        return server

    def start(self, *arguments: str) -> PipelineProcess:
        """Start the pipeline."""
        return self.stack.enter_context(PipelineProcess(self.folder, self.configuration, *arguments))

    def start_healthy(self) -> PipelineProcess:
        """Start it and wait until `health` finds nothing wrong."""
        running = self.start()
        try:
            wait_for(lambda: self.invoke("health")["verdict"] == "healthy" and running.archived(), "a healthy pipeline", DEADLINE)
        except AssertionError:
            raise AssertionError((self.invoke("health")["findings"], self.log())) from None
        return running

    def log(self) -> str:
        """The end of the pipeline's log, for a test that fails."""
        log = self.folder / "log"
        return log.read_text()[-2000:] if log.exists() else ""

    def tool(self, name: str, script: str) -> None:
        """Put a program of the host in the way of the real one."""
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        self.environment["PATH"] = f"{folder}:{os.environ['PATH']}"

    def say_clock(self, synchronised: str) -> None:
        """What timedatectl answers."""
        self.tool("timedatectl", f"echo {synchronised}")

    def write(self) -> Path:
        """pipeline.yaml, unless the fault has one of its own."""
        return self.file or write_configuration(self.folder, self.configuration)

    def invoke(self, command: str, *arguments: str) -> dict[str, Any]:
        """What the command answers with --json."""
        environment = {"TB_TOKEN": TOKEN, "TB_DIAGNOSE_TOKEN": "", **self.environment}
        result = CliRunner().invoke(app, [command, str(self.write()), "--json", *arguments], env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert TOKEN not in result.stdout
        # The server of these tests lives in this process, and its log goes to the same output.
        answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
        return answer

    def named(self, fault: Fault) -> list[Named]:
        """What the fault's command says is wrong, the worst first."""
        answer = self.invoke(fault.command, *fault.arguments)
        if fault.command == "health":
            return [Named(found["subject"], found["what"], found["remedy"]) for found in answer["findings"]]
        if "links" not in answer:
            return [Named("settings", problem["what"], problem["remedy"]) for problem in answer["problems"]]
        links = answer["links"]
        ranked = [link for link in links if link["verdict"] == "broken"] + [
            link for link in links if link["verdict"] == "noted" and link["subject"] == fault.subject
        ]
        return [Named(link["subject"], f"{link['link']}: {link['found']}", link["remedy"]) for link in ranked]


@dataclass(frozen=True)
class Fault:
    """One fault.

    :arg command: health or diagnose, with `arguments`.
    :arg subject: what must be named first. :arg words: all of them must be in what is said of it. :arg remedy: and these in the remedy.
    :arg play: injects it, yields, and takes it back.
    :arg long: only with --long or --write-tables: it takes a pipeline of its own.
    :arg patience: seconds until it must be named; 0 where it must be named at once.
    :arg beside: another subject that is wrong as well, because of how it is played: the flow that does not run.
    """

    name: str
    command: str
    subject: str
    words: tuple[str, ...]
    remedy: tuple[str, ...]
    play: Callable[[Ground], Iterator[None]]
    arguments: tuple[str, ...] = ()
    long: bool = False
    patience: float = 0.0
    beside: str = ""

    def found(self, named: list[Named]) -> Named | None:
        """What comes first, if it is this."""
        first = next((one for one in named if one.subject != self.beside), None)
        if first is None or first.subject != self.subject:
            return None
        right = all(word in first.what for word in self.words) and all(word in first.remedy for word in self.remedy)
        return first if right else None


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    fault: str
    command: str
    subject: str
    words: str
    remedy: str

    def __str__(self) -> str:
        return f"| {self.fault} | {self.command} | {self.subject} | {self.words} | {self.remedy} |\n"


def row_of(fault: Fault, named: Named, folder: Path) -> Row:
    """What differs from run to run is replaced."""
    subject = named.subject if named.subject.isidentifier() or " " in named.subject else _masked(named.subject, folder)
    return Row(fault.name, fault.command, subject, _masked(named.what, folder), _masked(named.remedy, folder))


_MASKS = (
    (r"pid \d+", "pid 4711"),
    (r"kill (-CONT )?\d+", r"kill \g<1>4711"),
    (r"(127\.(0\.0\.)?1)(:| port )\d{2,5}", r"\g<1>\g<3>PORT"),
    (r"/dev/pts/\d+", "/dev/ttyUSB0"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?", "2026-11-24 10:00:00"),
    (r"\b\d\d:\d\d:\d\d\b", "10:00:00"),
    (r"\bto \d\d:\d\d UTC", "to 11:00 UTC"),
    (r"\b\d+(\.\d+)? s\b", "N s"),
    (r"\b\d+ of (its latest )?\d+", r"N of \g<1>N"),
    (r"damaged-\w+", "damaged-TIME"),
    (r"dlms-tb-[0-9a-f]+", "dlms-tb-ID"),
    (r"on host [\w.-]+", "on host rack-1"),
    (r"\b\d+(\.\d+)? [MG]B\b", "N MB"),
)


def _masked(text: str, folder: Path) -> str:
    text = text.replace(f"{folder}/", "").replace(str(folder), "state_dir's folder").replace("|", "/").replace("\n", " ")
    for pattern, replacement in _MASKS:
        text = re.sub(pattern, replacement, text)
    return text
