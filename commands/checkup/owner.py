"""Exactly one owner of the MQTT session on this host, and it is this pipeline."""

from __future__ import annotations

from commands.checkup.area import Area, Site
from connectors.thingsboard.connection import parse_address
from connectors.thingsboard.ownership import is_another_pipeline, session_holder
from model.cluster import KEEPER
from model.settings.thingsboard import EMBEDDED


def look_at_owner(area: Area, site: Site) -> None:
    """The locks say who; the status files say whether it is us."""
    telling = [status for status in site.running if status.session is not None]
    if len(telling) > 1:
        pids = ", ".join(str(status.pid) for status in telling)
        area.critical(f"{len(telling)} processes say that they own the session: pid {pids}", "stop all of them and start one pipeline")
    if site.loaded is None:
        return
    settings = site.loaded.settings.thingsboard
    if settings.url == EMBEDDED:
        area.fact("the server is the built-in stand-in: nobody else can have its session")
        return
    holder = session_holder(str(parse_address(settings.url)), settings.session_credentials())
    if site.keeper is not None and (holder is None or is_another_pipeline(holder, site.state_dir)):
        area.fact(f"the session belongs to process {KEEPER} of the cluster, on {site.keeper}")
    if holder is None:
        if site.running and site.keeper is None and not any(status.unconnected for status in site.running):
            area.critical(
                "the flow runs, but nobody on this host owns the session with this token: it runs with another pipeline.yaml, or cannot"
                " open its outbox",
                "look for `cannot` and `outbox` in its log; restart it if pipeline.yaml was changed since",
            )
        elif site.keeper is None:
            area.fact("nobody on this host has the session")
    elif is_another_pipeline(holder, site.state_dir):
        what = f"the session with this token belongs to another pipeline on this host: pid {holder['pid']}, state_dir {holder['state_dir']}"
        area.critical(what, f"stop it (kill {holder['pid']}), or give each pipeline a device and token of its own")
    elif site.pids and holder["pid"] != "unknown" and int(holder["pid"]) not in site.pids:
        pids = ", ".join(map(str, sorted(site.pids)))
        what = f"the session belongs to pid {holder['pid']}, which is none of the flow's processes ({pids})"
        area.critical(what, f"stop it (kill {holder['pid']})")
    else:
        area.fact(f"one owner: pid {holder['pid']}")
