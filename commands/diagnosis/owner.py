"""Who on this host has each ThingsBoard session: the pipeline of this configuration, another one, or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from commands.diagnosis.links import BrokenLinkError, Chain
from connectors.thingsboard.connection import Address
from connectors.thingsboard.ownership import is_another_pipeline, session_holder
from model.loading.load import Loaded
from model.status import SessionStatus, owned_sessions, read_files

SUBJECT = "pipeline"


def running_sessions(state_dir: Path) -> dict[str, SessionStatus]:
    """The sessions of the pipeline that runs with this state_dir, by name; none where none runs or tells."""
    return {name: owners[0].session for name, owners in owned_sessions(read_files(state_dir).running()).items()}


def of_session(name: str, session: str, sessions: Sequence[str]) -> str:
    """A link's name, and of which session it is where there are several."""
    return name if len(sessions) == 1 else f"{name} ({session})"


def look_at_stand_in(chain: Chain, loaded: Loaded) -> str | None:
    """The same where the server is the built-in stand-in: there the status files say who runs, and where the stand-in listens."""
    running = read_files(loaded.settings.state_dir).running()
    told = running_sessions(loaded.settings.state_dir)
    names = loaded.settings.thingsboard.session_names
    for name in names:
        session = told.get(name)
        with suppress(BrokenLinkError), chain.link("thingsboard", of_session("server", name, names)) as finding:
            if not running:
                finding.skip("the built-in stand-in starts with the pipeline, which does not run")
            elif session is None:
                raise BrokenLinkError("the pipeline runs, but has no session with its built-in stand-in", "look for `stand-in` in its log")
            elif session.state != "up":
                last = f": {session.ends[0].cause} ({session.ends[0].detail})" if session.ends else ""
                raise BrokenLinkError(f"the session with the built-in stand-in is {session.state}{last}", "restart the pipeline")
            else:
                finding.found = f"the built-in stand-in at {session.server}, session up since {session.since:%Y-%m-%d %H:%M:%S} UTC"
    with chain.link(SUBJECT, "session owner") as finding:
        if not running:
            finding.note("no pipeline runs with this state_dir", "start it: python -m bytewax.run flows.main")
            return None
        finding.found = f"the pipeline runs: pid {running[0].pid}, started {running[0].started:%Y-%m-%d %H:%M:%S} UTC"
    return str(running[0].pid)


def look_at_owners(chain: Chain, loaded: Loaded, address: Address) -> dict[str, str | None]:
    """Of each session the pid of the pipeline that runs here with it and with this state_dir; None when none does."""
    return {name: _look_at_owner(chain, loaded, address, name) for name in loaded.settings.thingsboard.session_names}


def _look_at_owner(chain: Chain, loaded: Loaded, address: Address, name: str) -> str | None:
    settings = loaded.settings.thingsboard
    link = of_session("session owner", name, settings.session_names)
    holder = session_holder(str(address), settings.of_session(name).session_credentials())
    if holder is not None and is_another_pipeline(holder, loaded.settings.state_dir):
        found = (
            f"the session with this token belongs to another pipeline on this host: pid {holder['pid']}, state_dir {holder['state_dir']}"
        )
        remedy = f"stop it (kill {holder['pid']}), or give each pipeline a device and token of its own"
        chain.broken(SUBJECT, link, found, remedy)
        return None
    with chain.link(SUBJECT, link) as finding:
        if holder is None:
            finding.note("no pipeline runs on this host with this token", "start it: python -m bytewax.run flows.main")
        else:
            started = f", started {holder['started']}" if "started" in holder else ""
            finding.found = f"a pipeline with this configuration's session runs: pid {holder['pid']}{started}"
    return None if holder is None else holder["pid"]
