"""What goes wrong. Only configuration, ownership and storage errors stop the pipeline; a meter's misbehaviour is data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.messages import ErrorKind


class PipelineError(Exception):
    """Base of all errors of this project: what happened and to what, then what to do about it."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what if not remedy else f"{what}\n  -> {remedy}")
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration file: where, what, and how to mend it. `line` counts from 1."""

    file: str
    line: int | None
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.what}" + (f"\n    -> {self.remedy}" if self.remedy else "")


class ConfigurationError(PipelineError):
    """The configuration has mistakes; all of them are listed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"the configuration has {count}:\n" + "\n".join(f"  {p}" for p in problems))
        self.problems = tuple(problems)


class OwnershipError(PipelineError):
    """Another process on this host already owns something that must have one owner."""


class StorageError(PipelineError):
    """A file the pipeline must be able to write or read (outbox, archive) cannot be used."""


class MeterError(PipelineError):
    """A meter or the link to it misbehaved. Never leaves the connector that talks to it: it becomes a ReadError.

    `needs_a_person` when trying again soon is of no use and may do harm.
    """

    def __init__(self, kind: ErrorKind, what: str, remedy: str = "", needs_a_person: bool = False) -> None:
        super().__init__(what, remedy)
        self.kind = kind
        self.needs_a_person = needs_a_person
