"""Who on this host has the ThingsBoard session: the pipeline of this configuration, another one, or nobody."""

from __future__ import annotations

from commands.diagnosis.links import Chain
from connectors.thingsboard.connection import Address
from connectors.thingsboard.ownership import session_holder
from model.loading.load import Loaded

SUBJECT = "pipeline"


def look_at_owner(chain: Chain, loaded: Loaded, address: Address) -> str | None:
    """The pid of the pipeline that runs here with this configuration's session and state_dir; None when none does."""
    settings = loaded.settings.thingsboard
    holder = session_holder(str(address), (settings.username or "", settings.token.get_secret_value()))
    own = str(loaded.settings.state_dir.resolve())
    if holder is not None and holder.get("state_dir", own) != own:
        found = (
            f"the session with this token belongs to another pipeline on this host: pid {holder['pid']}, state_dir {holder['state_dir']}"
        )
        remedy = f"stop it (kill {holder['pid']}), or give each pipeline a device and token of its own"
        chain.broken(SUBJECT, "session owner", found, remedy)
        return None
    with chain.link(SUBJECT, "session owner") as finding:
        if holder is None:
            finding.note("no pipeline runs on this host with this token", "start it: python -m bytewax.run flows.main")
        else:
            started = f", started {holder['started']}" if "started" in holder else ""
            finding.found = f"a pipeline with this configuration's session runs: pid {holder['pid']}{started}"
    return None if holder is None else holder["pid"]
