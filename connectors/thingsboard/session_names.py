"""What is named after a session with ThingsBoard: its partitions, its files, the subject of its alerts.

Where there is one session its names are those that there were before there could be several, so recovery stores and files go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from connectors.thingsboard.outbox_schema import FILE_NAME
from model.settings.thingsboard import SINGLE

_STEM, _SUFFIX = FILE_NAME.split(".")
_SUBJECT = f"{SINGLE}-"


def subject_of(session: str) -> str:
    """The partition of `thingsboard-out`, and the subject of the alerts about the session and its outbox."""
    return SINGLE if session == SINGLE else f"{_SUBJECT}{session}"


def is_one_of_several(subject: str) -> bool:
    """Whether an alert's subject is a session beside others."""
    return subject.startswith(_SUBJECT)


def outbox_file(state_dir: Path, session: str) -> Path:
    """The outbox of a session, whether it exists or not."""
    return state_dir / (FILE_NAME if session == SINGLE else f"{_STEM}-{session}.{_SUFFIX}")


def outbox_lock(state_dir: Path, session: str) -> Path:
    """The lock beside it."""
    return outbox_file(state_dir, session).with_suffix(".lock")


def outbox_files(state_dir: Path, sessions: Iterable[str]) -> dict[str, Path]:
    """The outbox of each session."""
    return {session: outbox_file(state_dir, session) for session in sessions}


def outboxes_on_disk(state_dir: Path) -> dict[str, Path]:
    """Every outbox file that exists, by session: also of sessions that the configuration names no more.

    :raises OSError: when the directory cannot be read.
    """
    found = {} if not (state_dir / FILE_NAME).exists() else {SINGLE: state_dir / FILE_NAME}
    for path in sorted(state_dir.glob(f"{_STEM}-*.{_SUFFIX}")):
        found[session_of_file(path)] = path
    return found


def session_of_file(path: Path) -> str:
    """The session whose outbox has this file's name."""
    return SINGLE if path.name == FILE_NAME else path.name.removeprefix(f"{_STEM}-").removesuffix(f".{_SUFFIX}")
