"""Exactly one owner of each MQTT session on this host, and it is this pipeline."""

from __future__ import annotations

from commands.checkup.area import Area, Site
from connectors.thingsboard.connection import parse_address
from connectors.thingsboard.ownership import is_another_pipeline, session_holder
from model.cluster import KEEPER
from model.settings.thingsboard import EMBEDDED, ThingsBoardSettings


def look_at_owner(area: Area, site: Site) -> None:
    """The locks say who; the status files say whether it is us."""
    for name, owners in site.owned.items():
        if len(owners) > 1:
            pids = ", ".join(str(owned.process.pid) for owned in owners)
            session = "the session" if not site.named("", name) else f"the session {name}"
            what = f"{len(owners)} processes say that they own {session}: pid {pids}"
            area.critical(what, "stop all of them and start one pipeline", site.named(area.name, name))
    if site.loaded is None:
        return
    settings = site.loaded.settings.thingsboard
    if settings.url == EMBEDDED:
        area.fact("the server is the built-in stand-in: nobody else can have its session")
        return
    found: dict[str, list[str]] = {}
    for name in settings.session_names:
        fact = _look_at_one(area, site, settings, name)
        if fact:
            found.setdefault(fact, []).append(name)
    for fact, names in found.items():
        area.fact(fact if len(settings.session_names) == 1 else f"{', '.join(names)}: {fact}")


def _look_at_one(area: Area, site: Site, settings: ThingsBoardSettings, name: str) -> str:
    """What is well, as a sentence; empty where something is not, which is noted."""
    subject = site.named(area.name, name)
    holder = session_holder(str(parse_address(settings.url)), settings.of_session(name).session_credentials())
    kept_elsewhere = f"the session belongs to process {KEEPER} of the cluster, on {site.keeper}"
    if holder is None:
        if site.keeper is not None:
            return kept_elsewhere
        if not site.running or any(status.unconnected for status in site.running):
            return "nobody on this host has the session"
        area.critical(
            "the flow runs, but nobody on this host owns the session with this token: it runs with another pipeline.yaml, or cannot"
            " open its outbox",
            "look for `cannot` and `outbox` in its log; restart it if pipeline.yaml was changed since",
            subject,
        )
    elif is_another_pipeline(holder, site.state_dir):
        what = f"the session with this token belongs to another pipeline on this host: pid {holder['pid']}, state_dir {holder['state_dir']}"
        area.critical(what, f"stop it (kill {holder['pid']}), or give each pipeline a device and token of its own", subject)
        return "" if site.keeper is None else kept_elsewhere
    elif site.pids and holder["pid"] != "unknown" and int(holder["pid"]) not in site.pids:
        pids = ", ".join(map(str, sorted(site.pids)))
        what = f"the session belongs to pid {holder['pid']}, which is none of the flow's processes ({pids})"
        area.critical(what, f"stop it (kill {holder['pid']})", subject)
    else:
        return f"one owner: pid {holder['pid']}"
    return ""
