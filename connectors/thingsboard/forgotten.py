"""Outboxes of sessions that the configuration names no more, with records that nobody delivers. Nothing is ever deleted here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from connectors.thingsboard.outbox_state import look_into
from connectors.thingsboard.session_names import outboxes_on_disk
from model.errors import StorageError


@dataclass(frozen=True, slots=True)
class Forgotten:
    """One outbox that nobody empties; `what` and `remedy` tell an operator.

    :arg waiting: records in it; an upper bound where counting them takes long, None where the file cannot be read.
    """

    session: str
    path: Path
    waiting: int | None
    what: str
    remedy: str


def forgotten_outboxes(state_dir: Path, sessions: Sequence[str], patience: float | None = None) -> Iterator[Forgotten]:
    """The outboxes in `state_dir` with records of sessions that are not among `sessions`, and those that cannot be read.

    :arg patience: see `look_into`.
    """
    try:
        on_disk = outboxes_on_disk(state_dir)
    except OSError:
        return  # whoever looks at state_dir says so
    for session, path in on_disk.items():
        if session in sessions:
            continue
        back = f"put it back as one of thingsboard.sessions, {{name: {session}, token: ..., meters: []}}, until it has delivered"
        try:
            state = look_into(path, patience)
        except StorageError as error:
            what = f"the session {session} is configured no more, and its outbox {path.name} cannot be read: {error.what}"
            yield Forgotten(session, path, None, what, f"{error.remedy}; move the file away if nobody needs it")
            continue
        if state.waiting:
            count = f"{'' if state.exact else 'up to '}{state.waiting} record{'' if state.waiting == 1 else 's'}"
            what = f"{count} in {path.name} will not be delivered: the session {session} is configured no more"
            yield Forgotten(session, path, state.waiting, what, f"{back}; move {path} away if nobody needs its records")
