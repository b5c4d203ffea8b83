"""Secrets and paths that a configuration file refers to: `file:/path` in a secret, and paths relative to the file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from model.errors import Problem
from model.loading.document import Document, Location
from model.loading.translation import subject

_PREFIX = "file:"
_LARGEST = 65536


def read_secret_files(document: Document, secrets: Iterable[Location]) -> tuple[list[Problem], frozenset[Location]]:
    """Replace every secret `file:PATH` by what that file holds, without the line end at its end.

    PATH is relative to the folder of the file that names it. Gives the problems, and where secrets are still missing.
    """
    problems = []
    missing = set()
    for location in secrets:
        value = document.get(location)
        if not isinstance(value, str) or not value.startswith(_PREFIX):
            continue
        path = _folder(document, location) / value[len(_PREFIX) :].strip()
        try:
            document.set(location, _content(path))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            remedy = "make the file, with the secret as its only line, readable for the user who runs the pipeline"
            problems.append(
                document.problem(location, f"{subject(document, location)}: the secret file {path} cannot be used: {reason}", remedy)
            )
            missing.add(location)
    return problems, frozenset(missing)


def resolve_paths(document: Document, paths: Iterable[Location]) -> None:
    """Make every path absolute, or relative to the working directory, as the file that names it is."""
    for location in paths:
        value = document.get(location)
        if isinstance(value, str):
            document.set(location, str(_folder(document, location) / Path(value).expanduser()))


def _folder(document: Document, location: Location) -> Path:
    return Path(document.place(location).file).parent


def _content(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError("it is larger than a secret can be")
    try:
        text = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    if not text:
        raise ValueError("it is empty")
    return text
