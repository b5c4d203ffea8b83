"""The flow: do all its processes run, do they tell about themselves, does anything move."""

from __future__ import annotations

from datetime import timedelta

from commands.checkup.area import START_REMEDY, Area, Site, ago
from commands.host.processes import exists, name_of, state_of
from model.status import STALE, ProcessStatus, missing_processes

SETTLED = timedelta(seconds=20)
"""What a process needs at most to begin."""

STANDS = timedelta(seconds=60)
"""Without progress for so long the dataflow stands still."""

LOST_HOST = "Where that host is lost, take it out of the cluster as docs/cluster.md says"

STUCK_REMEDY = (
    "look at the last lines of its log; kill -CONT {pid} if somebody stopped it, else restart it: systemctl restart dlms-thingsboard"
    " (or kill {pid}, and start it as before)"
)


def look_at_flow(area: Area, site: Site) -> None:
    """All processes, then what they do."""
    for damaged in site.status.damaged:
        area.minor(f"{damaged.file}: {damaged.what}", "it is written anew by the running flow; otherwise delete it")
    if not site.running:
        _look_at_absence(area, site)
        return
    missing = missing_processes(site.running)
    if missing:
        numbers = ", ".join(map(str, missing))
        area.critical(
            f"of {len(missing) + len(site.running)} processes of the flow these do not run: {numbers}", "start all of them anew, together"
        )
    for status in site.running:
        if status.unconnected:
            _look_at_waiting(area, site, status)
        else:
            _look_at_progress(area, site, status)
    if not area.findings:
        first = min(status.started for status in site.running)
        pids = ", ".join(str(status.pid) for status in site.running)
        others = ", ".join(f"{number} on {address}" for number, address in sorted(site.running[0].elsewhere.items()))
        if others:
            area.fact(f"connected with the processes on other hosts, which have a health of their own: {others}")
        area.fact(f"runs since {first:%Y-%m-%d %H:%M:%S} UTC, pid {pids}, all processes tell of progress")


def _look_at_absence(area: Area, site: Site) -> None:
    latest = max(site.status.processes, key=lambda status: status.written, default=None)
    if site.living:
        _look_at_silence(area, site, site.living[0])
    elif latest is None:
        where = site.state_dir / "status"
        area.critical(f"the flow does not run, and never told of itself in {where}", START_REMEDY)
    elif latest.ended is not None:
        area.critical(f"the flow does not run: it ended in order {ago(latest.ended, site.now)} (pid {latest.pid})", START_REMEDY)
    elif exists(latest.pid):
        area.critical(f"the flow on host {latest.host} has told nothing since {latest.written:%Y-%m-%d %H:%M:%S} UTC", "look there")
    else:
        what = f"the flow does not run: pid {latest.pid} is gone without a word since {ago(latest.written, site.now)}: killed, or crashed"
        area.critical(what, f"look at the end of its log and for the kernel's out-of-memory killer (journalctl -k); then {START_REMEDY}")


def _look_at_silence(area: Area, site: Site, status: ProcessStatus) -> None:
    """It exists and tells nothing: stopped, stuck, or the disk takes no status."""
    age = (site.now - status.written).total_seconds()
    state = state_of(status.pid)
    if age < 0:
        remedy = "check this host's time service; the flow starts anew by itself when the clock was set back"
        area.critical(f"the status of pid {status.pid} is {-age:.0f} s in the future: this host's clock was set back", remedy)
        return
    what = f"the flow is stuck: pid {status.pid} ({name_of(status.pid)}) lives but has told nothing for {age:.0f} s; {state}"
    if "SIGSTOP" not in state and "debugger" not in state:
        what += f". Or it cannot write {site.state_dir / 'status'}: see disk"
    area.critical(what, STUCK_REMEDY.format(pid=status.pid))


def _look_at_waiting(area: Area, site: Site, status: ProcessStatus) -> None:
    missing = ", ".join(status.unconnected)
    what = f"process {status.process} of the cluster waits since {ago(status.started, site.now)} for {missing}: no meter is read before"
    remedy = "start the process there, with the same -a; see that its address and port can be reached from here. " + LOST_HOST
    if site.now - status.started > SETTLED:
        area.critical(what, remedy)
    else:
        area.minor(what, remedy)


def _look_at_progress(area: Area, site: Site, status: ProcessStatus) -> None:
    if site.now - status.started < SETTLED:
        return
    since = status.progressed or status.started
    if site.now - since > STANDS:
        what = f"the flow is stuck: pid {status.pid} tells of itself, but its dataflow has made no progress since {ago(since, site.now)}"
        if status.elsewhere:
            what += "; a host of the cluster that is cut off looks the same for half a minute"
        what += "; a full outbox with when_full: block, or a disk that does not answer, looks the same: see outbox and disk"
        area.critical(what, STUCK_REMEDY.format(pid=status.pid))
        return
    _look_at_sources(area, site, status)


def _look_at_sources(area: Area, site: Site, status: ProcessStatus) -> None:
    """A meter that cannot be reached yields failed cycles: a source that yields nothing at all does not work."""
    if site.loaded is None or len(site.running) > 1 or not site.polled:
        return
    patience = max(site.recent(meter) for meter in site.polled.values())
    for name, node in status.nodes.items():
        latest = node.last or status.started
        if node.type == "dlms-in" and site.now - latest > patience + timedelta(seconds=STALE):
            what = f"node {name} has yielded no cycle since {ago(latest, site.now)}, not even a failed one"
            area.critical(what, STUCK_REMEDY.format(pid=status.pid), name)
